//! How long entries live: on average, how that is spread, and the oldest of them.

mod histogram;

pub use histogram::{BOUNDS_S, Histogram};

/// The lifetimes of entries that ended, of those whose birth was known: their sum and number.
///
/// The sum grows by the entries held times the time, so 64 bits of nanoseconds are full after 19 hours of 262,144
/// entries. It has the low 80 and the number the high 48 of 128 bits: with so many, what each event touches of a source
/// is two cache lines, and one addition does for both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetimes(u128);

/// Bits of the sum.
const SUM: u32 = 80;

impl Lifetimes {
    /// Another has ended, after this time if it is known.
    #[inline]
    pub fn ended(&mut self, lifetime_ns: Option<u64>) {
        // Without a branch: nothing is added for one that is not known.
        self.add(&Self(u128::from(lifetime_ns.is_some()) << SUM | u128::from(lifetime_ns.unwrap_or(0))));
    }

    /// Adds another's.
    #[inline]
    pub fn add(&mut self, other: &Self) {
        self.0 = self.0.wrapping_add(other.0);
    }

    /// Those that are not among these, which must be some of them.
    #[must_use]
    pub fn since(&self, some: &Self) -> Self {
        Self(self.0.wrapping_sub(some.0))
    }

    /// So many of this mean.
    pub fn of(number: u64, mean_ns: u64) -> Self {
        Self((u128::from(number) << SUM).wrapping_add(u128::from(number) * u128::from(mean_ns)))
    }

    /// How many ended.
    pub fn number(&self) -> u64 {
        (self.0 >> SUM) as u64
    }

    /// All of them together.
    pub fn sum_ns(&self) -> u128 {
        self.0 & ((1 << SUM) - 1)
    }

    /// Their mean, if any has ended.
    pub fn mean_ns(&self) -> Option<u64> {
        let mean = self.sum_ns().checked_div(self.0 >> SUM)?;
        Some(mean.try_into().expect("the mean of 64-bit numbers has 64 bits"))
    }
}

/// When the oldest of some entries was born, as far as births are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oldest {
    born_ktime_ns: u64,
}

impl Default for Oldest {
    fn default() -> Self {
        Self::NONE
    }
}

impl Oldest {
    /// Of no entries.
    pub const NONE: Self = Self { born_ktime_ns: u64::MAX };

    /// Another entry, born then; 0 if that is not known.
    #[inline]
    pub fn see(&mut self, born_ktime_ns: u64) {
        if born_ktime_ns != 0 {
            self.born_ktime_ns = self.born_ktime_ns.min(born_ktime_ns);
        }
    }

    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.see(other.born_ktime_ns);
    }

    /// How old it is, if any birth is known.
    pub fn age_ns(self, ktime_ns: u64) -> Option<u64> {
        (self.born_ktime_ns != u64::MAX).then(|| ktime_ns.saturating_sub(self.born_ktime_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_unknown_birth_are_left_out() {
        let mut lifetimes = Lifetimes::default();
        lifetimes.ended(None);
        assert_eq!(lifetimes.mean_ns(), None);
        for lifetime_ns in [Some(u64::MAX), Some(u64::MAX - 2), None] {
            lifetimes.ended(lifetime_ns);
        }
        assert_eq!(lifetimes.mean_ns(), Some(u64::MAX - 1));
        let mut both = lifetimes;
        both.add(&lifetimes);
        assert_eq!(both.mean_ns(), lifetimes.mean_ns());
        assert_eq!((both.number(), Lifetimes::default().number()), (4, 0));
        let again = Lifetimes::of(both.number(), u64::MAX - 1);
        assert_eq!((again.number(), again.mean_ns()), (4, both.mean_ns()));
        assert_eq!(Lifetimes::of(0, 7).mean_ns(), None);
    }

    #[test]
    fn the_oldest_is_the_first_born() {
        let mut oldest = Oldest::default();
        oldest.see(0);
        assert_eq!(oldest.age_ns(100), None);
        for born_ktime_ns in [40, 30, 0, 70] {
            oldest.see(born_ktime_ns);
        }
        oldest.add(&Oldest::default());
        assert_eq!((oldest.age_ns(100), oldest.age_ns(10)), (Some(70), Some(0)));
    }
}
