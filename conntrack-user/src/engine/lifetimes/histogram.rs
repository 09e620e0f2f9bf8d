//! How lifetimes are spread.

/// The bounds of the buckets in seconds, each among those under it: timeouts of conntrack, for most entries end by one.
pub const BOUNDS_S: [u64; 10] = [1, 10, 30, 60, 120, 300, 600, 3_600, 86_400, 432_000];

/// One bucket for each bound, and one for what is above all.
const BUCKETS: usize = BOUNDS_S.len() + 1;

/// Lifetimes by bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
}

/// Between two powers of two lies at most one bound.
#[derive(Clone, Copy)]
struct Span {
    /// The one in it, in nanoseconds; all lifetimes if there is none.
    bound_ns: u64,
    /// Bounds below it.
    below: usize,
}

/// By the number of binary digits of a lifetime: so its bucket takes one comparison instead of ten.
const SPANS: [Span; 65] = {
    let mut spans = [Span { bound_ns: u64::MAX, below: 0 }; 65];
    let (mut digits, mut below) = (0, 0);
    while digits <= 64 {
        spans[digits].below = below;
        if below < BOUNDS_S.len() {
            let bound_ns = BOUNDS_S[below] * 1_000_000_000;
            if 64 - bound_ns.leading_zeros() as usize == digits {
                spans[digits].bound_ns = bound_ns;
                below += 1;
            }
        }
        digits += 1;
    }
    assert!(below == BOUNDS_S.len(), "two bounds between two powers of two");
    spans
};

impl Histogram {
    /// Another lifetime.
    #[inline]
    pub fn add(&mut self, lifetime_ns: u64) {
        let Span { bound_ns, below } = SPANS[64 - lifetime_ns.leading_zeros() as usize];
        self.buckets[below + usize::from(lifetime_ns > bound_ns)] += 1;
    }

    /// How many were not longer than each of [`BOUNDS_S`].
    pub fn up_to(&self) -> [u64; BOUNDS_S.len()] {
        let mut sum = 0;
        std::array::from_fn(|at| {
            sum += self.buckets[at];
            sum
        })
    }

    /// How many in all.
    pub fn number(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_under_the_first_bound_it_does_not_exceed() {
        for (at, bound_s) in BOUNDS_S.into_iter().enumerate() {
            for (lifetime_ns, bucket) in
                [(bound_s * 1_000_000_000, at), (bound_s * 1_000_000_000 + 1, at + 1)]
            {
                let mut histogram = Histogram::default();
                histogram.add(lifetime_ns);
                let expected = std::array::from_fn(|it| u64::from(it == bucket));
                assert_eq!(histogram.buckets, expected, "{lifetime_ns} ns");
            }
        }
        let mut histogram = Histogram::default();
        [0, 1, u64::MAX].into_iter().for_each(|lifetime_ns| histogram.add(lifetime_ns));
        assert_eq!((histogram.buckets[0], histogram.buckets[BUCKETS - 1]), (2, 1));
        assert_eq!((histogram.up_to(), histogram.number()), ([2; BOUNDS_S.len()], 3));
    }
}
