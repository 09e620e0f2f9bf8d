//! New entries of the last minute, in six slots of ten seconds: exact over a stated window, 28 bytes a source.
//!
//! An average that decays would be smaller still, but its value is of no stated time and depends on a rate
//! constant nobody remembers at three in the morning.

const SLOTS: usize = 6;
const SLOT_NS: u64 = 10_000_000_000;

/// Counts, that of the running slot first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Minute {
    counts: [u32; SLOTS],
    /// Number of the running slot, counted since boot.
    running: u32,
}

impl Minute {
    /// Counts one event. One that comes late is counted in the running slot.
    #[inline]
    pub fn add(&mut self, ktime_ns: u64) {
        self.roll(slot(ktime_ns));
        self.counts[0] += 1;
    }

    /// Events in the window that [`window_start`] names.
    pub fn count(mut self, ktime_ns: u64) -> u64 {
        self.roll(slot(ktime_ns));
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    #[inline]
    fn roll(&mut self, now: u32) {
        if now > self.running {
            let gone = SLOTS.min((now - self.running) as usize);
            self.counts.copy_within(..SLOTS - gone, gone);
            self.counts[..gone].fill(0);
            self.running = now;
        }
    }
}

/// When the window of [`Minute::count`] began: between fifty and sixty seconds ago.
pub fn window_start(ktime_ns: u64) -> u64 {
    u64::from((slot(ktime_ns) + 1).saturating_sub(SLOTS as u32)) * SLOT_NS
}

/// 32 bits of ten seconds are 1,361 years of uptime.
fn slot(ktime_ns: u64) -> u32 {
    (ktime_ns / SLOT_NS) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_minute_passes() {
        let mut minute = Minute::default();
        for at in [5, 15, 15, 64] {
            minute.add(at * S);
        }
        assert_eq!(minute.count(64 * S), 3, "the window began at 10 s");
        assert_eq!(minute.count(69 * S), 3);
        assert_eq!(minute.count(70 * S), 1);
        assert_eq!(minute.count(400 * S), 0);
        minute.add(60 * S);
        assert_eq!(minute.count(64 * S), 4, "a late one counts");
    }

    proptest! {
        #[test]
        fn counts_what_is_in_the_window(steps in prop::collection::vec(0u64..25 * S, 0..60)) {
            let (mut minute, mut now, mut times) = (Minute::default(), 0, Vec::new());
            for step in steps {
                now += step;
                minute.add(now);
                times.push(now);
                let start = window_start(now);
                prop_assert!(now - start < 60 * S && (start == 0 || now - start >= 50 * S));
                let expected = times.iter().filter(|time| **time >= start).count() as u64;
                prop_assert_eq!(minute.count(now), expected);
            }
        }
    }
}
