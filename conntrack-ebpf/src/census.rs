//! Reads `nf_conntrack_count` of every network namespace at once; the loader runs it (BPF_PROG_TEST_RUN).

use core::ffi::c_void;

use aya_ebpf::{
    helpers::bpf_loop,
    macros::{map, raw_tracepoint},
    maps::Array,
    programs::RawTracePointContext,
};
use conntrack_common::{ABSENT, CensusRun, Count, Kind, PerCpu};

use crate::{
    kernel::{self, read, setting},
    maps,
};

/// Namespaces per run: some ten microseconds, in which this processor does nothing else but interrupts.
const NAMESPACES: u32 = 128;

/// The same where there is no `bpf_loop` (before 5.17), to bound the verifier's work, which goes through every turn.
const NAMESPACES_UNROLLED: u32 = 32;

#[map(name = "CTW_CENSUS")]
static RUN: Array<CensusRun> = Array::with_max_entries(1, 0);

/// Walks `net_namespace_list` from where the last run stopped. Namespaces come and go under it: a node that has just
/// been freed ends the walk early, and the next census sees the rest.
#[raw_tracepoint(tracepoint = "sys_enter")]
pub fn ctw_census(_ctx: RawTracePointContext) -> i32 {
    run(|mut turn| {
        let context = (&raw mut turn).cast();
        // SAFETY: the callback is called with this context, which outlives the call, and not kept.
        unsafe { bpf_loop(NAMESPACES, looped as *mut c_void, context, 0) };
    })
}

/// The same for kernels without `bpf_loop`.
#[raw_tracepoint(tracepoint = "sys_enter")]
pub fn ctw_census_5_10(_ctx: RawTracePointContext) -> i32 {
    run(|turn| {
        for _ in 0..NAMESPACES_UNROLLED {
            if !next(turn) {
                break;
            }
        }
    })
}

/// What a run works on.
struct Turn<'a> {
    cpu: &'a mut PerCpu,
    run: &'a mut CensusRun,
}

#[inline(always)]
fn run(turns: impl FnOnce(&mut Turn<'_>)) -> i32 {
    let (Some(cpu), Some(run)) = (maps::cpu(), RUN.get_ptr_mut(0)) else {
        return 0;
    };
    let head = setting!(addr_net_list);
    if head == 0 {
        return 0;
    }
    // SAFETY: a map value, valid while the program runs; the loader does not touch it meanwhile.
    let run = unsafe { &mut *run };
    if setting!(addr_hash_size) != 0 {
        run.buckets = read(setting!(addr_hash_size));
    }
    if run.next == 0 {
        run.next = read(head);
    }
    turns(&mut Turn { cpu, run });
    0
}

/// One turn; 1 if it was the last.
extern "C" fn looped(_turn: u32, turn: &mut &mut Turn<'_>) -> i64 {
    i64::from(!next(turn))
}

/// Reports one namespace; false at the end of the list.
#[inline(always)]
fn next(turn: &mut Turn<'_>) -> bool {
    let node = turn.run.next;
    if node == setting!(addr_net_list) || node == 0 {
        turn.run.next = 0;
        return false;
    }
    report(turn.cpu, turn.run, node - u64::from(setting!(net_list)));
    turn.run.next = read(node);
    true
}

#[inline(always)]
fn report(cpu: &mut PerCpu, run: &mut CensusRun, net: u64) {
    let netns = kernel::netns(net);
    let count = kernel::count(net);
    let max = kernel::max();
    let cookie = kernel::cookie(net);
    run.counts += 1;
    run.digest ^= cookie;
    if count != ABSENT {
        run.entries += u64::from(count);
    }
    maps::send_incident(cpu, |record: *mut Count, now| {
        // SAFETY: a reserved record; every field is written.
        unsafe {
            (*record).kind = Kind::Count as u8;
            (*record).reserved = [0; 3];
            (*record).netns = netns;
            (*record).ktime_ns = now;
            (*record).count = count;
            (*record).max = max;
            (*record).cookie = cookie;
        }
    });
}
