//! Folds evictions into one line per second and network namespace: in a flood there are thousands.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::engine::notice::Eviction;
use crate::engine::tally::{Ranking, Tally};

/// How long evictions are gathered, from the first of them on.
const WINDOW_NS: u64 = 1_000_000_000;

/// Sources named in a line.
const ROWS: usize = 3;

/// Sources told apart while gathering.
const KEYS: usize = 1024;

/// The evictions of up to one second in one network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// When the first was.
    pub first_ktime_ns: u64,
    /// When the last was.
    pub last_ktime_ns: u64,
    /// The victims' sources, and so in total how many.
    pub sources: Ranking<IpAddr>,
}

/// Evictions being gathered.
#[derive(Debug, Default)]
pub struct Fold {
    open: BTreeMap<u32, Gathered>,
}

#[derive(Debug)]
struct Gathered {
    first_ktime_ns: u64,
    last_ktime_ns: u64,
    sources: Tally<IpAddr>,
}

impl Gathered {
    fn ends(&self) -> u64 {
        self.first_ktime_ns.saturating_add(WINDOW_NS)
    }

    fn folded(&self, netns: u32) -> Folded {
        let Self { first_ktime_ns, last_ktime_ns, ref sources } = *self;
        Folded { netns, first_ktime_ns, last_ktime_ns, sources: sources.ranking(ROWS) }
    }
}

impl Fold {
    /// Takes one in; what is returned was gathered before and is complete.
    #[must_use = "what was gathered must be written"]
    pub fn add(&mut self, eviction: &Eviction) -> Option<Folded> {
        let (netns, ktime_ns) = (eviction.victim.netns, eviction.ktime_ns);
        let over = self.open.get(&netns).is_some_and(|gathered| gathered.ends() <= ktime_ns);
        let complete = if over { self.open.remove(&netns) } else { None };
        let gathered = self.open.entry(netns).or_insert_with(|| Gathered {
            first_ktime_ns: ktime_ns,
            last_ktime_ns: ktime_ns,
            sources: Tally::new(KEYS),
        });
        // Evictions that waited to learn for whom come a little late.
        gathered.first_ktime_ns = gathered.first_ktime_ns.min(ktime_ns);
        gathered.last_ktime_ns = gathered.last_ktime_ns.max(ktime_ns);
        gathered.sources.add(eviction.victim.src, 1);
        complete.map(|gathered| gathered.folded(netns))
    }

    /// Gives out what is complete at a time; `u64::MAX` at the end gives out all.
    #[must_use = "what was gathered must be written"]
    pub fn due(&mut self, ktime_ns: u64) -> Vec<Folded> {
        let complete = self.open.extract_if(.., |_, gathered| gathered.ends() <= ktime_ns);
        complete.map(|(netns, gathered)| gathered.folded(netns)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::gauge::Level;
    use crate::engine::testing;
    use crate::engine::tuple::{Connection, Status};

    const S: u64 = 1_000_000_000;

    fn eviction(netns: u32, ktime_ns: u64, host: u8) -> Eviction {
        Eviction {
            ktime_ns,
            victim: Connection { netns, ..testing::connection(host) },
            age_ns: None,
            status: Status(8),
            mark: 0,
            level: Level::default(),
            for_whom: None,
        }
    }

    #[test]
    fn one_line_per_second_and_namespace() {
        let mut fold = Fold::default();
        for at in [0, 1, 2, S - 1] {
            assert_eq!(fold.add(&eviction(1, at, 5)), None);
        }
        assert_eq!(fold.add(&eviction(2, 10, 6)), None);
        let first = fold.add(&eviction(1, S, 7)).expect("the first second is over");
        let host = |last| IpAddr::from([10, 1, 0, last]);
        let top = |rows: &[(IpAddr, u64)]| Ranking { top: rows.to_vec(), other: 0 };
        assert_eq!(
            first,
            Folded { netns: 1, first_ktime_ns: 0, last_ktime_ns: S - 1, sources: top(&[(host(5), 4)]) }
        );
        assert_eq!(fold.due(S + 9), []);
        let second =
            Folded { netns: 2, first_ktime_ns: 10, last_ktime_ns: 10, sources: top(&[(host(6), 1)]) };
        assert_eq!(fold.due(S + 10), [second]);
        assert_eq!(fold.due(u64::MAX).len(), 1);
        assert_eq!(fold.due(u64::MAX), []);
    }

    #[test]
    fn names_the_first_three_sources_and_counts_the_rest() {
        let mut fold = Fold::default();
        for host in [1, 2, 3, 4, 1, 2, 3, 1, 2, 1] {
            assert_eq!(fold.add(&eviction(1, 5, host)), None);
        }
        let folded = fold.due(u64::MAX);
        assert_eq!(folded[0].sources.top.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [4, 3, 2]);
        assert_eq!((folded[0].sources.other, folded[0].sources.total()), (1, 10));
    }
}
