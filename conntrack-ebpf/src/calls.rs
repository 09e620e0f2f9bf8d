//! Carries a call's arguments to its return, for kretprobes, which do not see them.
//!
//! The key is the stack slot of the return address: unique among the live frames of all CPUs, so it is safe
//! against a softirq on top of a process, preemption and migration, where a task or CPU key is not.

use aya_ebpf::{
    bindings::BPF_ANY,
    macros::map,
    maps::{Array, HashMap},
};

use crate::alloc::Request;

const SLOTS: u32 = 4096;

/// One call under way; `frame` is 0 in a free slot.
#[repr(C)]
struct Call {
    frame: u64,
    request: Request,
}

/// Calls under way, at the slot their frame hashes to. An array look-up is a few instructions where a hash
/// map's update, look-up and delete are a thousand.
#[map(name = "CTW_CALLS")]
static CALLS: Array<Call> = Array::with_max_entries(SLOTS, 0);

/// Calls whose slot was taken by another frame.
#[map(name = "CTW_CALLS_SPILL")]
static SPILL: HashMap<u64, Request> = HashMap::with_max_entries(1024, 0);

#[inline(always)]
fn slot(frame: u64) -> u32 {
    // Frames of one path differ in high bits only (stacks are 16 KiB apart): Fibonacci hashing spreads them.
    ((frame >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as u32 % SLOTS
}

/// Keeps a call's arguments.
#[inline(always)]
pub fn enter(frame: u64, request: Request) {
    let Some(call) = CALLS.get_ptr_mut(slot(frame)) else {
        return;
    };
    // SAFETY: a map value, valid while the program runs.
    let call = unsafe { &mut *call };
    // The same frame again means its return was missed; what it kept is stale.
    if call.frame == 0 || call.frame == frame {
        call.request = request;
        call.frame = frame;
    } else {
        // Full only after a thousand missed returns; then the return counts itself unmatched.
        let _ = SPILL.insert(frame, request, u64::from(BPF_ANY));
    }
}

/// Takes a call's arguments; `None` if the call was not caught.
#[inline(always)]
pub fn leave(frame: u64) -> Option<Request> {
    // SAFETY: a map value, valid while the program runs.
    let call = unsafe { &mut *CALLS.get_ptr_mut(slot(frame))? };
    if call.frame == frame {
        call.frame = 0;
        return Some(call.request);
    }
    // SAFETY: a map value, copied at once.
    let request = *unsafe { SPILL.get(frame) }?;
    // Another return cannot have taken it: the frame is ours alone.
    let _ = SPILL.remove(frame);
    Some(request)
}

/// Packets being confirmed, by the frame. Rarely hooked, so a plain map does.
#[map(name = "CTW_CONFIRMS")]
static CONFIRMS: HashMap<u64, u64> = HashMap::with_max_entries(1024, 0);

/// Keeps the packet a call of `__nf_conntrack_confirm` is for.
#[inline(always)]
pub fn enter_confirm(frame: u64, skb: u64) {
    // Full only after a thousand missed returns; then this failure shows in the kernel's statistics alone.
    let _ = CONFIRMS.insert(frame, skb, u64::from(BPF_ANY));
}

/// Takes it; `None` if the call was not caught.
#[inline(always)]
pub fn leave_confirm(frame: u64) -> Option<u64> {
    // SAFETY: a map value, copied at once.
    let skb = *unsafe { CONFIRMS.get(frame) }?;
    // Another return cannot have taken it: the frame is ours alone.
    let _ = CONFIRMS.remove(frame);
    Some(skb)
}
