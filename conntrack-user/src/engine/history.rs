//! The last ten minutes of a network namespace, second by second of the kernel's monotonic clock.

use std::collections::VecDeque;

use super::gauge::Level;
use super::snapshot::Second;
use super::sources::Sums;

/// Seconds kept.
const KEPT: usize = 600;

/// One second in nanoseconds.
pub const SECOND_NS: u64 = 1_000_000_000;

/// When the second ends that a time is in.
pub fn end_of_second(ktime_ns: u64) -> u64 {
    (ktime_ns / SECOND_NS + 1).saturating_mul(SECOND_NS)
}

/// The seconds of one network namespace: at most 43 KiB. A second that nothing was heard in until it and the next
/// were over is left out.
#[derive(Debug, Default)]
pub struct Seconds {
    kept: VecDeque<Second>,
    before: Sums,
}

impl Seconds {
    /// A second ended then, with this count and these sums.
    pub fn end(&mut self, ktime_ns: u64, level: Level, sums: &Sums) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Second { ktime_ns, level, sums: sums.since(&self.before) });
        self.before = *sums;
    }

    /// The oldest first.
    pub fn to_vec(&self) -> Vec<Second> {
        self.kept.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_end_after_what_is_in_them() {
        assert_eq!(
            [0, 999_999_999, SECOND_NS, u64::MAX].map(end_of_second),
            [SECOND_NS, SECOND_NS, 2 * SECOND_NS, u64::MAX]
        );
    }

    #[test]
    fn the_last_ten_minutes_are_kept() {
        let (mut seconds, mut sums) = (Seconds::default(), Sums::default());
        for at in 1..=700 {
            sums.new += at;
            seconds.end(at, Level::new(at as u32, 0), &sums);
        }
        let kept = seconds.to_vec();
        assert_eq!((kept.len(), kept[0].ktime_ns), (600, 101));
        assert!(
            kept.iter().all(|it| it.sums.new == it.ktime_ns && it.level.count == Some(it.ktime_ns as u32))
        );
    }
}
