//! Looks up entries by address, which the walk has not found: unconfirmed ones are in no table. The loader runs it.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::bpf_loop,
    macros::{map, raw_tracepoint},
    maps::Array,
    programs::RawTracePointContext,
};
use conntrack_common::{SUSPECTS, SUSPECTS_UNROLLED, Suspects};

use crate::{
    kernel,
    look::{Report, look},
    maps,
};

#[map(name = "CTW_SUSPECTS")]
static LIST: Array<Suspects> = Array::with_max_entries(1, 0);

/// Goes on with the list where the last run stopped, up to its end unless the ring is full.
#[raw_tracepoint(tracepoint = "sys_enter")]
pub fn ctw_examine(_ctx: RawTracePointContext) -> i32 {
    run(|mut list| {
        let context = (&raw mut list).cast();
        // SAFETY: the callback is called with this context, which outlives the call, and not kept.
        unsafe { bpf_loop(SUSPECTS as u32, turn as *mut c_void, context, 0) };
    })
}

/// The same for kernels without `bpf_loop` (before 5.17).
#[raw_tracepoint(tracepoint = "sys_enter")]
pub fn ctw_exam_5_10(_ctx: RawTracePointContext) -> i32 {
    run(|list| {
        for _ in 0..SUSPECTS_UNROLLED {
            if !next(list) {
                break;
            }
        }
    })
}

/// One turn; 1 if it was the last.
extern "C" fn turn(_turn: u32, list: &mut &mut Suspects) -> i64 {
    i64::from(!next(list))
}

#[inline(always)]
fn run(turns: impl FnOnce(&mut Suspects)) -> i32 {
    let Some(list) = LIST.get_ptr_mut(0) else { return 0 };
    // SAFETY: a map value, valid while the program runs; the loader does not touch it meanwhile.
    let list = unsafe { &mut *list };
    if !maps::entries_wait() {
        turns(list);
    }
    0
}

/// Looks up one; false if there is none left or the ring has no room. Not inlined: 5.10's verifier refuses the loop's
/// jump back otherwise.
#[inline(never)]
fn next(list: &mut Suspects) -> bool {
    let at = list.done;
    if at >= list.len || at as usize >= SUSPECTS {
        return false;
    }
    // SAFETY: below SUSPECTS; an index the compiler checks would bring in its panic.
    let ct = unsafe { *list.ct.get_unchecked(at as usize) };
    let looked = look(ct, Report::Always, kernel::netns);
    list.done += u32::from(looked);
    looked
}
