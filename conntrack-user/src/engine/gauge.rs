//! The kernel's count and limit of one network namespace, as last observed and carried on by events.
//!
//! Observations are exact but rare: the census a few times a second, refusals, evictions. Between them each
//! `New` and known `Free` later than the observation moves the count by one. What was in flight at the
//! observation (the kernel counts before it stamps) may be counted twice; the next observation ends that,
//! so the error never adds up.

use conntrack_common::ABSENT;

/// A count beside its limit. None: not readable on this kernel, or not yet read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// `nf_conntrack_count`
    pub count: Option<u32>,
    /// `nf_conntrack_max`; 0 means no limit.
    pub max: Option<u32>,
}

impl Level {
    /// From a record's fields.
    pub fn new(count: u32, max: u32) -> Self {
        let known = |value| (value != ABSENT).then_some(value);
        Self { count: known(count), max: known(max) }
    }

    /// Each side from `other` where this one does not know it.
    pub fn or(self, other: Self) -> Self {
        Self { count: self.count.or(other.count), max: self.max.or(other.max) }
    }

    /// The count in hundredths of the limit, where there is one.
    pub fn percent(self) -> Option<f64> {
        let (count, max) = self.limited()?;
        Some(f64::from(count) * 100.0 / f64::from(max))
    }

    /// Whether the count has reached this share of the limit; never without a limit.
    pub fn reaches(self, percent: u8) -> bool {
        self.limited()
            .is_some_and(|(count, max)| u64::from(count) * 100 >= u64::from(max) * u64::from(percent))
    }

    /// Count and limit, if both are known and there is a limit.
    pub fn limited(self) -> Option<(u32, u32)> {
        self.count.zip(self.max).filter(|(_, max)| *max > 0)
    }
}

/// The running level of one network namespace.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gauge {
    level: Level,
    /// The highest count before the present one, since it was last taken.
    peak: u32,
    as_of_ktime_ns: u64,
}

impl Gauge {
    /// Takes over what the kernel read.
    pub fn observe(&mut self, ktime_ns: u64, level: Level) {
        if ktime_ns < self.as_of_ktime_ns {
            return;
        }
        self.peak = self.peak();
        self.level = level.or(self.level);
        if level.count.is_some() {
            self.as_of_ktime_ns = ktime_ns;
        }
    }

    /// As [`observe`](Self::observe), for a count read while `early_drop` frees a victim: it still holds the
    /// victim and already the newcomer, whose `New` will come and count it.
    pub fn observe_eviction(&mut self, ktime_ns: u64, level: Level) {
        self.observe(ktime_ns, Level { count: level.count.map(|count| count.saturating_sub(2)), ..level });
    }

    /// An entry was allocated.
    pub fn born(&mut self, ktime_ns: u64) {
        if let Some(count) = &mut self.level.count
            && ktime_ns > self.as_of_ktime_ns
        {
            *count = count.saturating_add(1);
        }
    }

    /// An entry was freed.
    pub fn freed(&mut self, ktime_ns: u64) {
        if let Some(count) = &mut self.level.count
            && ktime_ns > self.as_of_ktime_ns
        {
            self.peak = self.peak.max(*count);
            *count = count.saturating_sub(1);
        }
    }

    /// It stood there, whatever moved it since.
    pub fn stood(&mut self, ktime_ns: u64, level: Level) {
        (self.level, self.as_of_ktime_ns) = (level, ktime_ns);
    }

    /// The highest count since [`take_peak`](Self::take_peak), or the present one; 0 if none is known.
    pub fn peak(&self) -> u32 {
        self.peak.max(self.level.count.unwrap_or(0))
    }

    /// The same, and begins anew with the present one.
    pub fn take_peak(&mut self) -> u32 {
        let peak = self.peak();
        self.peak = 0;
        peak
    }

    /// What it stands at.
    pub fn level(&self) -> Level {
        self.level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_after_an_observation_move_it() {
        let mut gauge = Gauge::default();
        gauge.born(1);
        assert_eq!(gauge.level(), Level::default(), "nothing to move yet");
        gauge.observe(10, Level::new(100, 512));
        gauge.born(10);
        gauge.freed(9);
        gauge.born(11);
        gauge.born(12);
        gauge.freed(13);
        assert_eq!(gauge.level(), Level::new(101, 512));
        gauge.observe(20, Level::new(ABSENT, 1024));
        gauge.born(15);
        assert_eq!(gauge.level(), Level::new(102, 1024), "an absent count is no observation");
        gauge.observe(9, Level::new(7, 7));
        assert_eq!(gauge.level(), Level::new(102, 1024), "nor is an old one");
    }

    #[test]
    fn the_peak_is_the_highest_count_since_it_was_taken() {
        let mut gauge = Gauge::default();
        assert_eq!(gauge.take_peak(), 0, "none is known");
        gauge.observe(10, Level::new(100, 512));
        gauge.born(11);
        gauge.freed(12);
        gauge.freed(13);
        assert_eq!((gauge.take_peak(), gauge.level().count), (101, Some(99)));
        assert_eq!(gauge.take_peak(), 99, "it stands there still");
        gauge.observe(20, Level::new(300, 512));
        gauge.observe(21, Level::new(50, 512));
        assert_eq!(gauge.take_peak(), 300);
    }

    #[test]
    fn an_eviction_leaves_the_count_where_it_was() {
        let mut gauge = Gauge::default();
        gauge.observe(10, Level::new(512, 512));
        // The newcomer counts first (513), the victim is freed, the newcomer's New comes last.
        gauge.observe_eviction(20, Level::new(513, 512));
        gauge.freed(20);
        gauge.born(21);
        assert_eq!(gauge.level(), Level::new(512, 512));
        // Two victims for one newcomer.
        gauge.observe_eviction(30, Level::new(513, 512));
        gauge.freed(30);
        gauge.observe_eviction(31, Level::new(512, 512));
        gauge.freed(31);
        gauge.born(32);
        assert_eq!(gauge.level(), Level::new(511, 512));
    }

    #[test]
    fn no_limit_is_never_reached() {
        for (count, max, reaches) in
            [(80, 100, true), (79, 100, false), (80, 0, false), (80, ABSENT, false), (ABSENT, 100, false)]
        {
            assert_eq!(Level::new(count, max).reaches(80), reaches, "{count}/{max}");
        }
        assert_eq!(Level::new(1, 4).percent(), Some(25.0));
    }
}
