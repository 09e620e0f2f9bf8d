//! Shares of a total that add up to it and never go back, whatever becomes known later of who did what.

use std::hash::Hash;

use hashbrown::HashMap;

/// `N` totals, what each of several has of them, what is nobody's, and what those had that are gone.
#[derive(Debug)]
pub struct Shares<K, const N: usize> {
    total: [u64; N],
    of: HashMap<K, [u64; N]>,
    nobody: [u64; N],
    gone: [u64; N],
}

impl<K, const N: usize> Default for Shares<K, N> {
    fn default() -> Self {
        Self { total: [0; N], of: HashMap::new(), nobody: [0; N], gone: [0; N] }
    }
}

impl<K: Eq + Hash, const N: usize> Shares<K, N> {
    /// The total has grown to this, of which these say that they have so much. Who says more than is left waits for it;
    /// who is no longer there is gone, and its share with it.
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
        add(&mut self.nobody, &left);
        before.values().for_each(|share| add(&mut self.gone, share));
    }

    /// The share of one; nothing if it is not there.
    pub fn of(&self, key: &K) -> [u64; N] {
        self.of.get(key).copied().unwrap_or([0; N])
    }

    /// What is nobody's.
    pub fn nobody(&self) -> [u64; N] {
        self.nobody
    }

    /// What those had who are gone.
    pub fn gone(&self) -> [u64; N] {
        self.gone
    }
}

fn add<const N: usize>(to: &mut [u64; N], more: &[u64; N]) {
    to.iter_mut().zip(more).for_each(|(to, more)| *to += more);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_nobodys_stays_so_and_whose_it_was_waits() {
        let mut shares = Shares::default();
        shares.divide([10], [('a', [7])].into_iter());
        assert_eq!((shares.of(&'a'), shares.nobody()), ([7], [3]));
        // The three were a's.
        shares.divide([10], [('a', [10])].into_iter());
        assert_eq!((shares.of(&'a'), shares.nobody()), ([7], [3]));
        shares.divide([15], [('a', [15])].into_iter());
        assert_eq!((shares.of(&'a'), shares.nobody()), ([12], [3]));
        // Three more that are nobody's: now a has all.
        shares.divide([18], [('a', [15])].into_iter());
        assert_eq!((shares.of(&'a'), shares.nobody()), ([15], [3]));
        shares.divide([17], [('a', [14]), ('b', [1])].into_iter());
        assert_eq!(
            (shares.of(&'a'), shares.of(&'b'), shares.nobody()),
            ([15], [0], [3]),
            "nothing goes back"
        );
        shares.divide([20], [('b', [1])].into_iter());
        assert_eq!((shares.of(&'a'), shares.of(&'b')), ([0], [1]));
        assert_eq!((shares.nobody(), shares.gone()), ([4], [15]));
    }
}
