//! Walks the kernel's own table, for entries that no hook has told of; the loader runs it (BPF_PROG_TEST_RUN).
//!
//! `nf_conntrack_hash` is an array of `hlist_nulls_head`: chains whose last pointer is odd and holds the number of
//! the bucket (include/linux/list_nulls.h, 5.10 to 7.3). Each entry is in it twice, by its original and its reply
//! tuple; the original one is reported. No lock is taken: an entry may be freed and put into another chain under
//! the walk, which then ends in the wrong bucket and walks the right one again.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::bpf_loop,
    macros::{map, raw_tracepoint},
    maps::Array,
    programs::RawTracePointContext,
};
use conntrack_common::{HEADS, Progress, Tuple, Walk};

use crate::{
    kernel::{self, read, setting},
    look::{Report, look},
    maps,
};

/// Nodes and buckets per run: 0.1 to 0.2 ms, in which this processor does nothing else but interrupts.
const STEPS: u32 = 1024;

/// Steps between two looks how full the ring is.
const STEPS_BLIND: u32 = 256;

/// The same where there is no `bpf_loop` (before 5.17), to bound the verifier's work, which goes through every turn: a
/// second for these under emulation. A chain longer than this is cut short.
const STEPS_UNROLLED: u32 = 128;

/// An end of chain that belongs to no bucket.
const BETWEEN: u64 = 1;

/// No bucket is ahead.
const NOWHERE: u32 = 1;

#[map(name = "CTW_WALK")]
static WALK: Array<Walk> = Array::with_max_entries(1, 0);

/// `struct nf_conntrack_tuple_hash`, whose layout the loader has checked.
#[repr(C)]
#[derive(Clone, Copy)]
struct Node {
    next: u64,
    pprev: u64,
    tuple: Tuple,
}

/// Goes on where the last run stopped.
#[raw_tracepoint(tracepoint = "sys_enter")]
pub fn ctw_walk(_ctx: RawTracePointContext) -> i32 {
    run(|mut walk| {
        let context = (&raw mut walk).cast();
        // SAFETY: the callback is called with this context, which outlives the call, and not kept.
        unsafe { bpf_loop(STEPS, next as *mut c_void, context, 0) };
    })
}

/// The same for kernels without `bpf_loop`.
#[raw_tracepoint(tracepoint = "sys_enter")]
pub fn ctw_walk_5_10(_ctx: RawTracePointContext) -> i32 {
    run(|walk| {
        for turn in 0..STEPS_UNROLLED {
            if !turn_of(turn, STEPS_UNROLLED, walk) {
                break;
            }
        }
    })
}

/// One turn; 1 if it was the last.
extern "C" fn next(turn: u32, walk: &mut &mut Walk) -> i64 {
    if turn % STEPS_BLIND == STEPS_BLIND - 1 && maps::entries_wait() {
        walk.progress = Progress::NoRoom as u32;
        return 1;
    }
    i64::from(!turn_of(turn, STEPS, walk))
}

/// One turn, unless there is none; whether another may follow. A bucket is begun in the first three quarters of a run
/// only: a chain that is not finished is walked again by the next run.
#[inline(always)]
fn turn_of(turn: u32, of: u32, walk: &mut Walk) -> bool {
    if walk.node & 1 == 1 && turn > of / 4 * 3 {
        return false;
    }
    let progress = step(walk);
    walk.progress = progress as u32;
    progress == Progress::More
}

#[inline(always)]
fn run(turns: impl FnOnce(&mut Walk)) -> i32 {
    let Some(walk) = WALK.get_ptr_mut(0) else { return 0 };
    // SAFETY: a map value, valid while the program runs; the loader does not touch it meanwhile.
    let walk = unsafe { &mut *walk };
    if maps::entries_wait() {
        walk.progress = Progress::NoRoom as u32;
        return 0;
    }
    if walk.table == 0 {
        walk.generation = generation();
        walk.table = read(setting!(addr_hash));
        walk.size = read(setting!(addr_hash_size));
    }
    walk.node = BETWEEN;
    walk.ahead = NOWHERE;
    let begun = walk.bucket;
    turns(walk);
    if walk.node & 1 == 0 {
        give_up_bucket(walk, begun);
    }
    if is_resized(walk) {
        walk.progress = Progress::Resized as u32;
    }
    0
}

/// The run ends inside a chain: it is walked again from its head, unless it was the only one of this run.
#[inline(always)]
fn give_up_bucket(walk: &mut Walk, begun: u32) {
    if walk.progress == Progress::More as u32 && walk.bucket == begun + 1 {
        walk.cut_short += 1;
    } else {
        walk.bucket -= 1;
    }
}

/// One bucket's head or one node. Not inlined: 5.10's verifier refuses the loop's jump back otherwise.
#[inline(never)]
fn step(walk: &mut Walk) -> Progress {
    if walk.node & 1 == 1 {
        if walk.bucket >= walk.size {
            return Progress::Complete;
        }
        walk.node = head(walk, walk.bucket);
        walk.bucket += 1;
    } else {
        let node: Node = read(walk.node);
        if node.tuple.dir == 0 && !report(walk, walk.node + u64::from(setting!(node_tuple))) {
            return Progress::NoRoom;
        }
        walk.node = node.next;
    }
    // The chain ended in another bucket, or the node was no longer one.
    let strayed = walk.node & 1 == 1 && walk.node >> 1 != u64::from(walk.bucket - 1);
    if strayed || walk.node == 0 {
        walk.node = BETWEEN;
        walk.ahead = NOWHERE;
        walk.bucket -= 1;
    }
    Progress::More
}

/// The first node of a bucket, as it is now or was a moment ago: what has left it since is still readable, as to every
/// reader of the table, for the run holds the RCU read lock.
#[inline(always)]
fn head(walk: &mut Walk, bucket: u32) -> u64 {
    let (ahead, at) = (bucket & !(HEADS as u32 - 1), bucket as usize & (HEADS - 1));
    if walk.ahead != ahead {
        walk.ahead = ahead;
        kernel::read_into(&raw mut walk.heads, walk.table + 8 * u64::from(ahead));
    }
    // SAFETY: below HEADS; an index the compiler checks would bring in its panic.
    unsafe { *walk.heads.get_unchecked(at) }
}

/// Reports the entry with this original tuple; false if there was no room.
#[inline(always)]
fn report(walk: &mut Walk, tuple: u64) -> bool {
    let ct = tuple - u64::from(setting!(ct_tuple));
    look(ct, Report::Alive, |net| {
        // Neighbours are mostly of one namespace: that saves a read each.
        if walk.net != net {
            walk.net = net;
            walk.netns = kernel::netns(net);
        }
        walk.netns
    })
}

#[inline(always)]
fn generation() -> u32 {
    let address = setting!(addr_generation);
    if address == 0 { 0 } else { read(address) }
}

/// `nf_conntrack_hash_resize` moves the entries between two steps of the generation, then swaps the table. What
/// was walked meanwhile may lack some.
#[inline(always)]
fn is_resized(walk: &Walk) -> bool {
    let now = generation();
    let table: u64 = read(setting!(addr_hash));
    now != walk.generation || now & 1 == 1 || table != walk.table
}
