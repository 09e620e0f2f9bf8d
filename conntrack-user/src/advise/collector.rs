//! The kernel's collector of expired entries. An entry whose time is up is counted until somebody finds it: the
//! collector when it comes round, or a packet whose look-up walks the same chain.
//!
//! ```c
//! static void gc_worker(struct work_struct *work);      // net/netfilter/nf_conntrack_core.c
//! ```
//!
//! Since 2cfadb761d3d (5.18, and in the stable kernels from 5.15 on) it comes again after the mean time that the entries
//! have left, each counted once for each direction, between one and sixty seconds; a hundred entries of sixty
//! seconds are pretended. The mean is a running one in whole ticks, and its division rounds to nothing when as many
//! entries have been counted as the next one differs from it in ticks: the mean of many entries stays above the true
//! one, at 250 ticks a second by 3 s for entries of 6 s. Before, it comes every two minutes.

/// Nanoseconds of a second.
const S: u64 = 1_000_000_000;

/// What is left to an entry counts from this many seconds on.
const LEAST_S: u64 = 1;

/// And up to this many.
const CLAMP_S: u64 = 300;

/// The longest interval, in seconds, and what the pretended entries have left.
const LONGEST_S: u64 = 60;

/// Entries that are pretended.
const PRETENDED: i64 = 100;

/// Ticks of the kernel in a second (`CONFIG_HZ`) where the recording does not tell.
pub const USUAL_HZ: u64 = 250;

/// Which of its two ways the kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Every two minutes.
    Fixed,
    /// By the mean time that entries have left.
    Adaptive,
}

impl Pace {
    /// That of a kernel by its release (`6.12.107-cloud-amd64`). What is no release is taken for a new one.
    pub fn of_kernel(release: &str) -> Self {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < (5, 15) => Self::Fixed,
            _ => Self::Adaptive,
        }
    }

    /// The longest time between two rounds, in nanoseconds.
    pub const fn longest_ns(self) -> u64 {
        match self {
            Self::Fixed => 120 * S,
            Self::Adaptive => LONGEST_S * S,
        }
    }

    /// Time between the beginnings of two rounds, in nanoseconds, of a kernel with `hz` ticks a second and so many
    /// entries that are not expired; `left_ns` is what some of them have left, in any order that has nothing to do
    /// with it.
    pub fn interval_ns(self, hz: u64, entries: u64, left_ns: &[u64]) -> u64 {
        if self == Self::Fixed || left_ns.is_empty() {
            return self.longest_ns();
        }
        let hz = hz.clamp(1, S);
        let ticks = |ns: &u64| (ns / (S / hz)).clamp(LEAST_S * hz, CLAMP_S * hz) as i64;
        let left: Vec<_> = left_ns.iter().map(ticks).collect();
        let least = left.iter().copied().min().unwrap_or(0);
        let most = left.iter().copied().max().unwrap_or(0);
        let (mut mean, mut count) = ((LONGEST_S * hz) as i64, PRETENDED);
        let nodes = usize::try_from(entries.saturating_mul(2)).unwrap_or(usize::MAX);
        for left in left.iter().cycle().take(nodes) {
            if (most - mean).max(mean - least) <= count {
                break; // From now on every step rounds to nothing.
            }
            count += 1;
            mean += (left - mean) / count;
        }
        (mean as u64).clamp(LEAST_S * hz, LONGEST_S * hz) * (S / hz)
    }
}

/// How often packets find an expired entry, per second, so that with rounds of `interval_ns` entries stay
/// `mean_lag_ns` longer than their time in the mean. Zero if rounds alone explain it.
///
/// An entry expires at any moment of a round of length I and is found at rate r: it stays
/// `(1 - (1 - exp(-rI)) / rI) / r` in the mean.
pub fn finding_rate(mean_lag_ns: f64, interval_ns: u64) -> f64 {
    let (lag, interval) = (mean_lag_ns / 1e9, interval_ns as f64 / 1e9);
    let stays = |rate: f64| (1.0 - (1.0 - (-rate * interval).exp()) / (rate * interval)) / rate;
    let (mut low, mut high) = (1e-6, 1e3);
    if lag >= stays(low) {
        return 0.0;
    }
    for _ in 0..40 {
        let middle = f64::sqrt(low * high);
        if stays(middle) > lag { low = middle } else { high = middle }
    }
    f64::sqrt(low * high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_come_every_two_minutes() {
        for (release, pace) in [
            ("5.10.0-46-cloud-amd64", Pace::Fixed),
            ("4.19.0", Pace::Fixed),
            ("5.15.1", Pace::Adaptive),
            ("6.1.0-50-amd64", Pace::Adaptive),
            ("", Pace::Adaptive),
        ] {
            assert_eq!(Pace::of_kernel(release), pace, "{release}");
        }
        assert_eq!(Pace::Fixed.interval_ns(250, 5, &[3 * S]), 120 * S);
    }

    /// Of entries that have anything up to so long left.
    fn interval_s(hz: u64, entries: u64, most_s: u64) -> f64 {
        let left: Vec<_> = (0..997).map(|n| n * 617 % 997 * (most_s * S / 997)).collect();
        Pace::Adaptive.interval_ns(hz, entries, &left) as f64 / S as f64
    }

    #[test]
    fn new_ones_come_by_the_mean_of_what_is_left() {
        assert_eq!(Pace::Adaptive.interval_ns(250, 0, &[]), 60 * S);
        assert_eq!(Pace::Adaptive.interval_ns(250, 0, &[S]), 60 * S);
        // 100 of 60 s and 100 of 10 s.
        assert!((interval_s(1_000, 50, 20) - 35.0).abs() < 0.8, "{}", interval_s(1_000, 50, 20));
        assert!((interval_s(1_000_000, 1_000_000, 30) - 15.0).abs() < 0.2);
        assert!((interval_s(250, 1_000_000, 1_000) - 60.0).abs() < 0.01);
    }

    #[test]
    fn the_mean_stops_where_its_steps_round_to_nothing() {
        // As the kernel does it, entry by entry: 60 s at first, and then (left - mean) / ++count in whole ticks.
        let by_hand = |hz: i64, most_s: i64| {
            let (mut mean, mut count) = (60 * hz, 100);
            for n in 0..20_000 {
                count += 1;
                mean += ((n * 617 % 997 * most_s * hz / 997).clamp(hz, 300 * hz) - mean) / count;
            }
            mean as f64 / hz as f64
        };
        for (hz, most_s, seconds) in [(250, 6, 8.1), (250, 20, 12.9), (1_000, 6, 5.3)] {
            let interval = interval_s(hz, 10_000, most_s);
            assert!((interval - by_hand(hz as i64, most_s as i64)).abs() < 0.1, "{interval}");
            assert!((interval - seconds).abs() < 0.5, "{hz} {most_s}: {interval}");
        }
    }

    #[test]
    fn the_rate_of_finding_gives_the_lag_back() {
        let interval_ns = 15_000_000_000;
        assert_eq!(finding_rate(7.6e9, interval_ns), 0.0);
        for rate in [0.01, 0.1, 1.0, 10.0] {
            let (r, i) = (rate, 15.0);
            let lag_s = (1.0 - (1.0 - f64::exp(-r * i)) / (r * i)) / r;
            let found = finding_rate(lag_s * 1e9, interval_ns);
            assert!((found / rate - 1.0).abs() < 1e-3, "{rate}: {found}");
        }
    }
}
