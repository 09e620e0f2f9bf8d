//! Counts by key in bounded memory: exact while the keys fit, and honest about the rest.

use std::cmp::Reverse;
use std::hash::Hash;

use hashbrown::HashMap;

/// Counts by key. When more than `capacity` keys have come, the lighter half is given up and its sum goes
/// to `other`; so heavy keys stay, each count is a lower bound, and the counts plus `other` are always the total.
#[derive(Clone, Debug)]
pub struct Tally<K> {
    counts: HashMap<K, u64>,
    capacity: usize,
    other: u64,
}

/// The heaviest keys of a [`Tally`], heaviest first, and the sum of all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranking<K> {
    /// Key and count.
    pub top: Vec<(K, u64)>,
    /// What the rest amounts to.
    pub other: u64,
}

impl<K> Default for Ranking<K> {
    fn default() -> Self {
        Self { top: Vec::new(), other: 0 }
    }
}

impl<K: Copy + Ord> Ranking<K> {
    /// The `k` heaviest of rows that have a key each; equals in the order of the keys.
    pub fn of(mut rows: Vec<(K, u64)>, k: usize) -> Self {
        let total: u64 = rows.iter().map(|(_, count)| count).sum();
        keep_top(&mut rows, k, |(key, count)| (Reverse(*count), *key));
        let listed: u64 = rows.iter().map(|(_, count)| count).sum();
        Self { top: rows, other: total - listed }
    }
}

impl<K> Ranking<K> {
    /// All that was counted.
    pub fn total(&self) -> u64 {
        self.other + self.top.iter().map(|(_, count)| count).sum::<u64>()
    }

    /// The same with other keys.
    pub fn map<L>(&self, key: impl Fn(K) -> L) -> Ranking<L>
    where
        K: Copy,
    {
        let top = self.top.iter().map(|(of, count)| (key(*of), *count)).collect();
        Ranking { top, other: self.other }
    }
}

impl<K: Copy + Eq + Hash + Ord> Tally<K> {
    /// Keeps at most `capacity` keys.
    pub fn new(capacity: usize) -> Self {
        Self { counts: HashMap::new(), capacity, other: 0 }
    }

    /// Adds to a key's count.
    pub fn add(&mut self, key: K, count: u64) {
        *self.counts.entry(key).or_insert(0) += count;
        if self.counts.len() > self.capacity {
            self.halve();
        }
    }

    /// Counts what has no key.
    pub fn add_other(&mut self, count: u64) {
        self.other = self.other.saturating_add(count);
    }

    /// The `k` heaviest keys; equals in the order of the keys.
    pub fn ranking(&self, k: usize) -> Ranking<K> {
        let mut ranking = Ranking::of(self.counts.iter().map(|(key, count)| (*key, *count)).collect(), k);
        ranking.other += self.other;
        ranking
    }

    fn halve(&mut self) {
        let mut counts: Vec<u64> = self.counts.values().copied().collect();
        let middle = counts.len() / 2;
        let (_, median, _) = counts.select_nth_unstable(middle);
        let (median, mut surplus) = (*median, self.counts.len() - middle);
        // Those below the median go, and of its equals as many as it takes to make the half.
        self.counts.retain(|_, count| {
            let goes = *count < median || (*count == median && surplus > 0);
            if goes {
                surplus = surplus.saturating_sub(1);
                self.other += *count;
            }
            !goes
        });
    }
}

/// Cuts to the first `k` rows by `key`, in order, without sorting the others.
pub fn keep_top<T, O: Ord>(rows: &mut Vec<T>, k: usize, key: impl Fn(&T) -> O) {
    if k < rows.len() {
        rows.select_nth_unstable_by_key(k, &key);
        rows.truncate(k);
    }
    rows.sort_unstable_by_key(key);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranks_by_count_then_key() {
        let mut tally = Tally::new(10);
        for (key, count) in [("c", 2), ("a", 1), ("b", 2), ("c", 3), ("d", 1)] {
            tally.add(key, count);
        }
        let ranking = tally.ranking(3);
        assert_eq!(ranking, Ranking { top: vec![("c", 5), ("b", 2), ("a", 1)], other: 1 });
        assert_eq!(ranking.total(), 9);
    }

    #[test]
    fn a_heavy_key_survives_a_crowd_of_light_ones() {
        let mut tally = Tally::new(16);
        for light in 0..10_000 {
            tally.add(light, 1);
            tally.add(1_000_000, 1);
        }
        let ranking = tally.ranking(1);
        assert_eq!(ranking, Ranking { top: vec![(1_000_000, 10_000)], other: 10_000 });
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_memory_is_bounded(adds in prop::collection::vec((0u8..60, 1u64..9), 0..400), k in 0usize..20) {
            let mut tally = Tally::new(20);
            let mut exact = std::collections::BTreeMap::new();
            for (key, count) in adds {
                tally.add(key, count);
                *exact.entry(key).or_insert(0) += count;
                prop_assert!(tally.counts.len() <= 20);
            }
            let ranking = tally.ranking(k);
            prop_assert_eq!(ranking.total(), exact.values().sum::<u64>());
            prop_assert!(ranking.top.len() <= k);
            prop_assert!(ranking.top.iter().all(|(key, count)| *count <= exact[key]));
            if exact.len() <= 20 {
                let mut rows: Vec<_> = exact.into_iter().collect();
                rows.sort_by_key(|(key, count)| (Reverse(*count), *key));
                rows.truncate(k);
                prop_assert_eq!(ranking.top, rows);
            }
        }
    }
}
