//! The one place where time is read.

use rustix::time::{ClockId, clock_gettime};

use crate::engine::batch::WallClock;

/// CLOCK_MONOTONIC in nanoseconds: the clock of `bpf_ktime_get_ns`.
pub fn ktime_ns() -> u64 {
    u64::try_from(nanoseconds(ClockId::Monotonic)).unwrap_or(0)
}

/// How far the wall clock is from the monotonic one now.
///
/// The two cannot be read at once; a preemption between the reads would be a false step, so the closest of
/// three pairs counts.
pub fn wall() -> WallClock {
    let closest = (0..3)
        .map(|_| {
            let before = nanoseconds(ClockId::Monotonic);
            let wall = nanoseconds(ClockId::Realtime);
            let after = nanoseconds(ClockId::Monotonic);
            (after - before, wall - (before + (after - before) / 2))
        })
        .min()
        .map_or(0, |(_, offset)| offset);
    WallClock { offset_ns: closest }
}

fn nanoseconds(clock: ClockId) -> i64 {
    let now = clock_gettime(clock);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}
