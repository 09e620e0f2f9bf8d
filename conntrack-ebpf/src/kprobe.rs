//! Shells for kprobe and kretprobe, where BTF of the module or trampolines are missing (Debian's 5.10).

use aya_ebpf::{
    bindings::pt_regs,
    macros::{kprobe, kretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use aya_log_ebpf::debug;

use crate::{
    alloc::{self, Request},
    calls, early_drop, free, insertion, kernel,
};

#[kprobe]
pub fn ctw_alloc_call(ctx: ProbeContext) -> u32 {
    let argument = |n| ctx.arg::<u64>(n).unwrap_or(0);
    let net = argument(0);
    let request = Request {
        net,
        netns: kernel::netns(net),
        hash: argument(5) as u32,
        zone: argument(1),
        tuple: argument(2),
    };
    calls::enter(stack_pointer(ctx.regs), request);
    0
}

#[kretprobe]
pub fn ctw_alloc_ret(ctx: RetProbeContext) -> u32 {
    let request = calls::leave(stack_pointer(ctx.regs) - RETURN_ADDRESS_BYTES);
    if request.is_none() {
        debug!(&ctx, "a return of __nf_conntrack_alloc without its call");
    }
    alloc::returned(request, ctx.ret());
    0
}

#[kprobe]
pub fn ctw_early_call(ctx: ProbeContext) -> u32 {
    early_drop::entered(ctx.arg::<u64>(1).unwrap_or(0) as u32);
    0
}

#[kprobe]
pub fn ctw_clash_call(ctx: ProbeContext) -> u32 {
    insertion::clashing(ctx.arg(0).unwrap_or(0), ctx.arg(1).unwrap_or(0));
    0
}

#[kretprobe]
pub fn ctw_clash_ret(ctx: RetProbeContext) -> u32 {
    insertion::clashed(ctx.ret());
    0
}

#[kprobe]
pub fn ctw_conf_call(ctx: ProbeContext) -> u32 {
    calls::enter_confirm(stack_pointer(ctx.regs), ctx.arg(0).unwrap_or(0));
    0
}

#[kretprobe]
pub fn ctw_conf_ret(ctx: RetProbeContext) -> u32 {
    if let Some(skb) = calls::leave_confirm(stack_pointer(ctx.regs) - RETURN_ADDRESS_BYTES) {
        insertion::confirmed(skb, ctx.ret());
    }
    0
}

#[kprobe]
pub fn ctw_free_call(ctx: ProbeContext) -> u32 {
    free::entered(ctx.arg(0).unwrap_or(0));
    0
}

/// x86-64 pops the return address before the return probe sees the stack pointer.
#[cfg(bpf_target_arch = "x86_64")]
const RETURN_ADDRESS_BYTES: u64 = 8;
#[cfg(bpf_target_arch = "aarch64")]
const RETURN_ADDRESS_BYTES: u64 = 0;

#[inline(always)]
fn stack_pointer(regs: *const pt_regs) -> u64 {
    // SAFETY: the context of a probe is its registers.
    #[cfg(bpf_target_arch = "x86_64")]
    return unsafe { (*regs).rsp };
    // SAFETY: the context of a probe is its registers.
    #[cfg(bpf_target_arch = "aarch64")]
    return unsafe { (*regs).sp };
}
