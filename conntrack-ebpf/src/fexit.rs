//! Shells for fentry and fexit, on vmlinux or on the module: arguments and result come in one context.
//!
//! Loaded by `kernel/tracing_link.rs`, which resolves the functions itself; the section names are for aya's parser.

use aya_ebpf::{
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};

use crate::{
    alloc::{self, Request},
    early_drop, free, insertion,
    kernel::setting,
};

/// The result follows the six arguments in the context. Read there it is a typed pointer to the verifier,
/// so it is only compared and stored; `bpf_get_func_ret` would want 5.17.
#[fexit(function = "__nf_conntrack_alloc")]
pub fn ctw_alloc_exit(ctx: FExitContext) -> i32 {
    let net: *const u8 = ctx.arg(0);
    let request =
        Request { net: net as u64, netns: inum(net), hash: ctx.arg(5), zone: ctx.arg(1), tuple: ctx.arg(2) };
    alloc::returned(Some(request), ctx.arg(6));
    0
}

/// `net->ns.inum`, loaded through the typed pointer: two instructions where a probe read is fifty.
#[inline(always)]
fn inum(net: *const u8) -> u32 {
    let field = net.wrapping_add(setting!(net_inum) as usize).cast::<u32>();
    // SAFETY: the verifier checks the load against BTF, and a fault reads as 0.
    unsafe { field.read() }
}

#[fentry(function = "early_drop")]
pub fn ctw_early_entry(ctx: FEntryContext) -> i32 {
    early_drop::entered(ctx.arg(1));
    0
}

#[fentry(function = "nf_ct_resolve_clash")]
pub fn ctw_clash_entry(ctx: FEntryContext) -> i32 {
    insertion::clashing(ctx.arg(0), ctx.arg(1));
    0
}

#[fexit(function = "nf_ct_resolve_clash")]
pub fn ctw_clash_exit(ctx: FExitContext) -> i32 {
    insertion::clashed(ctx.arg(3));
    0
}

#[fexit(function = "__nf_conntrack_confirm")]
pub fn ctw_conf_exit(ctx: FExitContext) -> i32 {
    insertion::confirmed(ctx.arg(0), ctx.arg(1));
    0
}

#[fentry(function = "nf_conntrack_free")]
pub fn ctw_free_entry(ctx: FEntryContext) -> i32 {
    free::entered(ctx.arg(0));
    0
}
