//! The one place where time is read.

use rustix::time::{ClockId, clock_getres, clock_gettime};

use crate::engine::batch::WallClock;

/// CLOCK_MONOTONIC in nanoseconds: the clock of `bpf_ktime_get_ns`.
pub fn ktime_ns() -> u64 {
    u64::try_from(nanoseconds(ClockId::Monotonic)).unwrap_or(0)
}

/// CPU time the calling thread has used, in the kernel too, in nanoseconds.
pub fn cpu_ns() -> u64 {
    u64::try_from(nanoseconds(ClockId::ThreadCPUTime)).unwrap_or(0)
}

/// Ticks of the kernel in a second (`CONFIG_HZ`): a coarse clock goes by them.
pub fn hz() -> u64 {
    let tick = clock_getres(ClockId::MonotonicCoarse);
    1_000_000_000 / u64::try_from(tick.tv_nsec).unwrap_or(0).clamp(1, 1_000_000_000)
}

/// Tells the wall clock from the monotonic one, the same for all stamps until the two have moved apart.
///
/// Measured anew each time, one stamp would be printed with different last digits in different lines.
#[derive(Clone, Copy, Debug)]
pub struct Wall(WallClock);

impl Wall {
    /// They have moved apart: by a step, or by the slow slewing of NTP.
    const TOLERANCE_NS: u64 = 50_000;

    /// Measures it.
    pub fn measure() -> Self {
        Self(wall())
    }

    /// As first measured, or anew if that has become wrong.
    pub fn now(&mut self) -> WallClock {
        let now = wall();
        let apart = now.offset_ns.abs_diff(self.0.offset_ns);
        if apart > Self::TOLERANCE_NS {
            tracing::debug!("the wall clock moved by {apart} ns against the monotonic one");
            self.0 = now;
        }
        self.0
    }
}

/// How far the wall clock is from the monotonic one now.
///
/// The two cannot be read at once; a preemption between the reads would be a false step, so the closest of
/// three pairs counts.
fn wall() -> WallClock {
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
