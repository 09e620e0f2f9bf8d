//! `early_drop`: the kernel evicting unassured entries of others so that a new one may live.
//!
//! ```c
//! static noinline int early_drop(struct net *net, unsigned int hash);   // nf_conntrack_core.c, 5.10 to 7.3
//! ```
//!
//! It is entered only when the count is over the limit, so nothing here is paid on a healthy gateway. Its return
//! needs no hook: the allocation that called it returns right after, with an error if nothing was evicted. What
//! it frees is freed below it on the same CPU and task, unless somebody else still holds the entry: those few
//! are freed later and not counted here, while the kernel's `early_drop` statistic has them.

use aya_ebpf::helpers::{bpf_get_current_task, bpf_jiffies64};
use conntrack_common::{EarlyDrop, PerCpu};

use crate::{
    kernel::{read, setting},
    maps,
};

#[inline(always)]
fn current() -> u64 {
    // SAFETY: a helper without preconditions.
    unsafe { bpf_get_current_task() }
}

/// The function was entered.
#[inline(always)]
pub fn entered(hash: u32) {
    let Some(cpu) = maps::cpu() else { return };
    cpu.early_drop = EarlyDrop { task: current(), hash, victims: 0 };
}

/// Counts a free as an eviction if this task is inside `early_drop` on this CPU; its hash, if so.
///
/// `early_drop_list` also collects entries whose time was up on its way: those are no victims.
#[inline(always)]
pub fn victim(cpu: &mut PerCpu, ct: u64) -> Option<u32> {
    let drop = &mut cpu.early_drop;
    if drop.task == 0 || drop.task != current() || expired(ct) {
        return None;
    }
    drop.victims += 1;
    Some(drop.hash)
}

/// `nf_ct_is_expired` (include/net/netfilter/nf_conntrack.h): `timeout` is in jiffies, 32 bits, and wraps.
#[inline(always)]
fn expired(ct: u64) -> bool {
    let timeout: u32 = read(ct + u64::from(setting!(ct_timeout)));
    // SAFETY: a helper without preconditions.
    let now = unsafe { bpf_jiffies64() } as u32;
    timeout.wrapping_sub(now).cast_signed() <= 0
}

/// The run that the returning allocation with this hash made, if it made one; it is then over.
///
/// One of another task is stale: that task moved to another CPU in the middle, or its return was missed. One
/// of this task with another hash belongs to an allocation that a softirq has interrupted.
#[inline(always)]
pub fn take(cpu: &mut PerCpu, hash: u32) -> Option<EarlyDrop> {
    let drop = cpu.early_drop;
    if drop.task == 0 {
        return None;
    }
    let ours = drop.task == current();
    if ours && drop.hash != hash {
        return None;
    }
    cpu.early_drop.task = 0;
    ours.then_some(drop)
}
