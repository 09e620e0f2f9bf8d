//! Maps and the two ways out of the kernel: sums that are exact, rings that may lose and count what they lose.

use core::{arch::asm, cell::UnsafeCell};

use aya_ebpf::{
    bindings::{BPF_NOEXIST, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    macros::map,
    maps::{LruHashMap, PerCpuArray, RingBuf, ring_buf::RingBufEntry},
};
use conntrack_common::{PerCpu, RefusalKey, Refusals};

use crate::kernel::{self, setting};

/// New and Free of every CPU and what the walk sees, in order. The loader sets the size.
#[map(name = "CTW_ENTRIES")]
static ENTRIES: RingBuf = RingBuf::with_byte_size(1 << 23, 0);

/// Refused, Evicted, RoomMade, InsertFailed, Count.
#[map(name = "CTW_INCIDENTS")]
static INCIDENTS: RingBuf = RingBuf::with_byte_size(1 << 21, 0);

/// One value per CPU: sums and scratch.
#[map(name = "CTW_CPU")]
static CPU: PerCpuArray<PerCpu> = PerCpuArray::with_max_entries(1, 0);

/// Who was refused, how often, when first and last, whatever the rings lose.
#[map(name = "CTW_REFUSALS")]
static REFUSALS: LruHashMap<RefusalKey, Refusals> = LruHashMap::with_max_entries(1 << 16, 0);

/// When the consumer of the incidents ring was last woken.
static LAST_WAKE_NS: Shared = Shared(UnsafeCell::new(0));

/// One in this many allocations of a CPU looks how full the entries ring is.
const WAKE_CHECK_EVERY: u64 = 64;

/// A u64 of all CPUs, written whole and without order. (LLVM selects no atomic load for the BPF target.)
struct Shared(UnsafeCell<u64>);

// SAFETY: only touched by `get` and `set`, each one aligned 64-bit access.
unsafe impl Sync for Shared {}

impl Shared {
    #[inline(always)]
    fn get(&self) -> u64 {
        // SAFETY: valid and aligned; a race reads one of the values written.
        unsafe { self.0.get().read_volatile() }
    }

    #[inline(always)]
    fn set(&self, value: u64) {
        // SAFETY: as above.
        unsafe { self.0.get().write_volatile(value) }
    }
}

/// This CPU's value. A program does not nest with itself on a CPU (`prog->active`, `bpf_prog_active`), so
/// a field that one program alone writes needs no atomics.
#[inline(always)]
pub fn cpu() -> Option<&'static mut PerCpu> {
    // SAFETY: the pointer is this CPU's slot, alive as long as the program runs.
    CPU.get_ptr_mut(0).map(|value| unsafe { &mut *value })
}

/// Sends a record of the entries ring, written in place by `fill`.
///
/// Nobody is woken per record (that costs a context switch each, 4,000 instructions on 6.12); the consumer
/// polls, and is woken only when the ring fills faster than it polls.
#[inline(always)]
pub fn send_entry<T: 'static>(cpu: &mut PerCpu, fill: impl FnOnce(*mut T)) {
    let flags = if cpu.totals.new.is_multiple_of(WAKE_CHECK_EVERY) && entries_wait() {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    };
    match ENTRIES.reserve::<T>(0) {
        Some(mut record) => {
            fill(record.as_mut_ptr());
            record.submit(u64::from(flags));
        }
        None => count_lost(&mut cpu.totals.lost_entries),
    }
}

/// Sends a record of the incidents ring, written by `fill` with its stamp, and wakes its consumer unless that happened
/// a moment ago; returns the stamp.
///
/// The stamp is taken when the record has its place, as `fill` is to do in [`send_entry`]: a consumer that has read
/// all places taken by a time knows everything stamped before it.
#[inline(always)]
pub fn send_incident<T: 'static>(cpu: &mut PerCpu, fill: impl FnOnce(*mut T, u64)) -> u64 {
    let place = INCIDENTS.reserve::<T>(0);
    let now = kernel::now();
    match place {
        Some(mut record) => {
            fill(record.as_mut_ptr(), now);
            let wake = now.wrapping_sub(LAST_WAKE_NS.get()) >= setting!(incident_wake_ns);
            record.submit(u64::from(if wake { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP }));
            if wake {
                LAST_WAKE_NS.set(now);
            }
        }
        None => count_lost(&mut cpu.totals.lost_incidents),
    }
    now
}

/// Whether the entries ring is so full that what is not urgent waits: the rest is for what happens.
#[inline(always)]
pub fn entries_wait() -> bool {
    ENTRIES.query(u64::from(BPF_RB_AVAIL_DATA)) >= setting!(entries_wake_bytes)
}

/// A place in the entries ring, in order with what hooks send; nobody is woken for it. None: there is no room,
/// which is not counted as a loss.
#[inline(always)]
pub fn place_of_entry<T: 'static>() -> Option<RingBufEntry<T>> {
    ENTRIES.reserve::<T>(0)
}

/// Adds one to a sum that several programs of this CPU write.
#[inline(always)]
fn count_lost(sum: &mut u64) {
    // SAFETY: a valid, aligned u64.
    unsafe { atomic_add_one(sum) };
}

/// Enters a refusal into the ledger.
#[inline(always)]
pub fn ledger(key: &RefusalKey, now: u64) {
    if add_refusal(key, now) {
        return;
    }
    let first = Refusals { count: 1, first_ktime_ns: now, last_ktime_ns: now };
    if REFUSALS.insert(key, first, u64::from(BPF_NOEXIST)).is_err() {
        // Another CPU was first; its line takes ours.
        add_refusal(key, now);
    }
}

#[inline(always)]
fn add_refusal(key: &RefusalKey, now: u64) -> bool {
    let Some(line) = REFUSALS.get_ptr_mut(key) else {
        return false;
    };
    // SAFETY: a map value, valid while the program runs; count is only touched by atomics.
    unsafe {
        atomic_add_one(&raw mut (*line).count);
        (*line).last_ktime_ns = now;
    }
    true
}

/// The kernel's `BPF_XADD`. rustc's BPF target claims no read-modify-write atomics, so it is spelled out; the
/// form that returns the old value would want 5.12.
///
/// # Safety
///
/// `sum` points to an aligned u64 in a map value.
#[inline(always)]
unsafe fn atomic_add_one(sum: *mut u64) {
    // SAFETY: the caller's.
    unsafe { asm!("lock *(u64 *)({sum} + 0) += {one}", sum = in(reg) sum, one = in(reg) 1_u64) };
}
