//! Shares of a total that add up to it and never go back, whatever becomes known later of who did what.

use std::hash::Hash;

use hashbrown::HashMap;

/// `N` totals, what each of several has of them, and the rest.
#[derive(Debug)]
pub struct Shares<K, const N: usize> {
    total: [u64; N],
    of: HashMap<K, [u64; N]>,
    rest: [u64; N],
}

impl<K, const N: usize> Default for Shares<K, N> {
    fn default() -> Self {
        Self { total: [0; N], of: HashMap::new(), rest: [0; N] }
    }
}

impl<K: Eq + Hash, const N: usize> Shares<K, N> {
    /// The total has grown to this, of which these say that they have so much. Who says more than is left waits for it;
    /// who is no longer there leaves its share to the rest.
    pub fn divide(&mut self, total: [u64; N], parts: impl Iterator<Item = (K, [u64; N])>) {
        let mut left: [u64; N] = std::array::from_fn(|at| total[at].saturating_sub(self.total[at]));
        (0..N).for_each(|at| self.total[at] += left[at]);
        let mut before = std::mem::take(&mut self.of);
        for (key, says) in parts {
            let mut share = before.remove(&key).unwrap_or([0; N]);
            for at in 0..N {
                let more = says[at].saturating_sub(share[at]).min(left[at]);
                share[at] += more;
                left[at] -= more;
            }
            self.of.insert(key, share);
        }
        for leaves in before.values().chain([&left]) {
            (0..N).for_each(|at| self.rest[at] += leaves[at]);
        }
    }

    /// The share of one; nothing if it is not there.
    pub fn of(&self, key: &K) -> [u64; N] {
        self.of.get(key).copied().unwrap_or([0; N])
    }

    /// What is nobody's.
    pub fn rest(&self) -> &[u64; N] {
        &self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_nobodys_stays_so_and_whose_it_was_waits() {
        let mut shares = Shares::default();
        shares.divide([10], [('a', [7])].into_iter());
        assert_eq!((shares.of(&'a'), *shares.rest()), ([7], [3]));
        // The three were a's.
        shares.divide([10], [('a', [10])].into_iter());
        assert_eq!((shares.of(&'a'), *shares.rest()), ([7], [3]));
        shares.divide([15], [('a', [15])].into_iter());
        assert_eq!((shares.of(&'a'), *shares.rest()), ([12], [3]));
        // Three more that are nobody's: now a has all.
        shares.divide([18], [('a', [15])].into_iter());
        assert_eq!((shares.of(&'a'), *shares.rest()), ([15], [3]));
        shares.divide([17], [('a', [14]), ('b', [1])].into_iter());
        assert_eq!((shares.of(&'a'), shares.of(&'b'), *shares.rest()), ([15], [0], [3]), "nothing goes back");
        shares.divide([20], [('b', [1])].into_iter());
        assert_eq!((shares.of(&'a'), shares.of(&'b'), *shares.rest()), ([0], [1], [19]));
    }
}
