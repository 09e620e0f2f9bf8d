//! Reads `nf_conntrack_count` of every network namespace at once; the loader runs it (BPF_PROG_TEST_RUN).

use aya_ebpf::{
    helpers::bpf_ktime_get_ns,
    macros::{map, raw_tracepoint},
    maps::Array,
    programs::RawTracePointContext,
};
use conntrack_common::{ABSENT, CensusRun, Count, Kind, PerCpu};

use crate::{
    kernel::{self, read, setting},
    maps,
};

/// Namespaces per run, to bound the verifier's work, which goes through every turn of the loop.
const NAMESPACES: u32 = 32;

#[map(name = "CTW_CENSUS")]
static RUN: Array<CensusRun> = Array::with_max_entries(1, 0);

/// Walks `net_namespace_list` from where the last run stopped; returns a [`Progress`]. Namespaces come and go under
/// it: a node that has just been freed ends the walk early, and the next census sees the rest.
#[raw_tracepoint(tracepoint = "sys_enter")]
pub fn ctw_census(_ctx: RawTracePointContext) -> i32 {
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
    let mut node = if run.next == 0 { read(head) } else { run.next };
    for _ in 0..NAMESPACES {
        if node == head || node == 0 {
            node = 0;
            break;
        }
        report(cpu, run, node - u64::from(setting!(net_list)));
        node = read(node);
    }
    run.next = node;
    0
}

#[inline(always)]
fn report(cpu: &mut PerCpu, run: &mut CensusRun, net: u64) {
    // SAFETY: a helper without preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    let netns = kernel::netns(net);
    let count = kernel::count(net);
    let max = kernel::max();
    let cookie = kernel::cookie(net);
    run.counts += 1;
    run.digest ^= cookie;
    if count != ABSENT {
        run.entries += u64::from(count);
    }
    maps::send_incident(cpu, now, |record: *mut Count| {
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
