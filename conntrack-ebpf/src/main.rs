//! The eBPF programs of ctwatch: what conntrack allocates, refuses, evicts and frees, as it happens.
//!
//! `alloc`, `early_drop`, `insertion` and `free` are the bodies, `fexit` and `kprobe` thin shells over them;
//! `census`, `walk` and `examine` are run by the loader. On the host this crate is an empty binary, so that `--workspace` works.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod alloc;
#[cfg(target_arch = "bpf")]
mod calls;
#[cfg(target_arch = "bpf")]
mod census;
#[cfg(target_arch = "bpf")]
mod early_drop;
#[cfg(target_arch = "bpf")]
mod examine;
#[cfg(target_arch = "bpf")]
mod fexit;
#[cfg(target_arch = "bpf")]
mod free;
#[cfg(target_arch = "bpf")]
mod insertion;
#[cfg(target_arch = "bpf")]
mod kernel;
#[cfg(target_arch = "bpf")]
mod kprobe;
#[cfg(target_arch = "bpf")]
mod look;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod walk;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

/// The kernel lends its GPL-only helpers (probe reads, ktime) to programs that declare a compatible licence.
#[cfg(target_arch = "bpf")]
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
