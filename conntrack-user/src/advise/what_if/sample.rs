//! A sample of the entries, for the mean time that they have left.

use std::collections::BTreeMap;

use super::report::Both;

/// Entries kept, at most.
const MOST: usize = 4_096;

/// What a living entry counts for of which nothing is known: a TCP connection in use.
const IN_USE_NS: u64 = 300_000_000_000;

/// One of them, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct One {
    born: u64,
    /// When its time is up; never, while it lives.
    expires: Both<u64>,
    /// The most that it may have left, but for what waits in its last state.
    most_ns: Both<u64>,
}

/// Every `1 << thinned`th entry, by its number. They are kept by a hash of it, so that their order means nothing.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    thinned: u32,
    ones: BTreeMap<u64, One>,
}

impl Sample {
    fn takes(&self, hash: u64) -> bool {
        hash & ((1 << self.thinned) - 1) == 0
    }

    /// An entry was born that has at most this left while it is in use; None if that is not known.
    pub fn born(&mut self, id: u64, ktime_ns: u64, most_ns: Both<Option<u64>>) {
        let hash = mixed(id);
        if !self.takes(hash) {
            return;
        }
        let most = |ns: Option<u64>| ns.map_or(IN_USE_NS, |it| it.min(IN_USE_NS));
        let most_ns = Both { recorded: most(most_ns.recorded), predicted: most(most_ns.predicted) };
        let one = One { born: ktime_ns, expires: Both { recorded: u64::MAX, predicted: u64::MAX }, most_ns };
        self.ones.insert(hash, one);
        while self.ones.len() > MOST {
            self.thinned += 1;
            let mask = (1 << self.thinned) - 1;
            self.ones.retain(|hash, _| hash & mask == 0);
        }
    }

    /// It has ended, and its time was up then.
    pub fn expires(&mut self, id: u64, expires: Both<u64>) {
        if let Some(one) = self.ones.get_mut(&mixed(id)) {
            one.expires = expires;
        }
    }

    /// What entries have left now, in nanoseconds; forgets those that are long gone.
    pub fn left_ns(&mut self, now: u64) -> Both<Vec<u64>> {
        self.ones.retain(|_, one| one.expires.recorded.max(one.expires.predicted) > now);
        let left = |of: fn(&One) -> (u64, u64)| {
            let living = self.ones.values().filter(|one| one.born <= now).map(of);
            let living = living.filter(|(expires, _)| *expires > now);
            living.map(|(expires, most_ns)| (expires - now).min(most_ns)).collect()
        };
        Both {
            recorded: left(|one| (one.expires.recorded, one.most_ns.recorded)),
            predicted: left(|one| (one.expires.predicted, one.most_ns.predicted)),
        }
    }
}

/// A number's hash (splitmix64's output function).
pub fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
