//! One saturation of one network namespace: from the first eviction or refusal to the recovery.

use std::net::IpAddr;
use std::sync::Arc;

use conntrack_common::Cause;

use super::gauge::Level;
use super::holders::Holders;
use super::notice::{Refusal, Summed};
use super::saturation::{Edge, State};
use super::tally::{Ranking, Tally};

/// Victims kept of each ranking.
const ROWS: usize = 10;

/// Victims counted exactly; see [`Tally`] for what happens beyond.
const KEYS: usize = 4096;

/// Refusals by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Causes {
    /// The table was full.
    pub table_full: u64,
    /// There was no memory.
    pub no_memory: u64,
    /// ctnetlink or a BPF kfunc asked, not a packet.
    pub ctnetlink: u64,
}

impl Causes {
    /// Counts one.
    pub fn add(&mut self, cause: Cause) {
        self.add_many(cause, 1);
    }

    /// Counts so many.
    pub fn add_many(&mut self, cause: Cause, count: u64) {
        let refused = match cause {
            Cause::TableFull => &mut self.table_full,
            Cause::NoMemory => &mut self.no_memory,
            Cause::Ctnetlink => &mut self.ctnetlink,
        };
        *refused = refused.saturating_add(count);
    }

    /// Of all causes.
    pub fn total(&self) -> u64 {
        self.table_full.saturating_add(self.no_memory).saturating_add(self.ctnetlink)
    }
}

/// What is known of one episode.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// The first eviction or refusal.
    pub start_ktime_ns: u64,
    /// The recovery; None while it lasts.
    pub end_ktime_ns: Option<u64>,
    /// How it began: evicting or refusing.
    pub began: State,
    /// Count and limit then.
    pub level: Level,
    /// Allocations refused.
    pub refused: Causes,
    /// The first of them.
    pub first_refused: Option<Refusal>,
    /// When the last of them was.
    pub last_refused_ktime_ns: Option<u64>,
    /// Entries evicted.
    pub evicted: u64,
    /// Who held the table when it began, or as soon as all entries were known if it began before.
    pub holders: Arc<Holders>,
    /// Who was refused.
    pub refused_sources: Ranking<IpAddr>,
    /// Who was evicted.
    pub evicted_sources: Ranking<IpAddr>,
}

/// An episode that lasts.
#[derive(Clone, Debug)]
pub struct Open {
    episode: Episode,
    refused: Tally<IpAddr>,
    evicted: Tally<IpAddr>,
}

impl Open {
    /// Begins with an edge to evicting or refusing.
    pub fn new(netns: u32, edge: &Edge, holders: Holders) -> Self {
        Self {
            episode: Episode {
                netns,
                start_ktime_ns: edge.ktime_ns,
                end_ktime_ns: None,
                began: edge.state,
                level: edge.level,
                refused: Causes::default(),
                first_refused: None,
                last_refused_ktime_ns: None,
                evicted: 0,
                holders: Arc::new(holders),
                refused_sources: Ranking::default(),
                evicted_sources: Ranking::default(),
            },
            refused: Tally::new(KEYS),
            evicted: Tally::new(KEYS),
        }
    }

    /// When it began.
    pub fn start_ktime_ns(&self) -> u64 {
        self.episode.start_ktime_ns
    }

    /// The holders are known better now.
    pub fn set_holders(&mut self, holders: Holders) {
        self.episode.holders = Arc::new(holders);
    }

    /// Another allocation was refused.
    pub fn refused(&mut self, refusal: &Refusal) {
        self.episode.refused.add(refusal.cause);
        self.episode.first_refused.get_or_insert(*refusal);
        self.episode.last_refused_ktime_ns = Some(refusal.ktime_ns);
        match &refusal.connection {
            Some(connection) => self.refused.add(connection.src, 1),
            None => self.refused.add_other(1),
        }
    }

    /// Another entry was evicted.
    pub fn evicted(&mut self, victim: IpAddr) {
        self.episode.evicted += 1;
        self.evicted.add(victim, 1);
    }

    /// The kernel's statistics tell that so many more were, but not who; `refusal` stands for them.
    pub fn counted(&mut self, refusal: &Refusal, refused: u64, evicted: u64) {
        if refused > 0 {
            self.refused(refusal);
            let causes = &mut self.episode.refused;
            causes.table_full = causes.table_full.saturating_add(refused - 1);
            self.refused.add_other(refused - 1);
        }
        self.episode.evicted = self.episode.evicted.saturating_add(evicted);
        self.evicted.add_other(evicted);
    }

    /// So many more were, of one source; `last` stands for the last of them.
    pub fn refused_many(&mut self, last: &Refusal, summed: &Summed) {
        let &Summed { first_ktime_ns, count, src, .. } = summed;
        self.episode.refused.add_many(last.cause, count);
        self.episode.first_refused.get_or_insert(Refusal { ktime_ns: first_ktime_ns, ..*last });
        self.episode.last_refused_ktime_ns = self.episode.last_refused_ktime_ns.max(Some(last.ktime_ns));
        add(&mut self.refused, src, count);
    }

    /// So many more entries of one source were evicted.
    pub fn evicted_many(&mut self, summed: &Summed) {
        self.episode.evicted = self.episode.evicted.saturating_add(summed.count);
        add(&mut self.evicted, summed.src, summed.count);
    }

    /// What is known so far, or in the end.
    pub fn episode(&self, end_ktime_ns: Option<u64>) -> Episode {
        Episode {
            end_ktime_ns,
            refused_sources: self.refused.ranking(ROWS),
            evicted_sources: self.evicted.ranking(ROWS),
            ..self.episode.clone()
        }
    }
}

fn add(tally: &mut Tally<IpAddr>, src: Option<IpAddr>, count: u64) {
    match src {
        Some(src) => tally.add(src, count),
        None => tally.add_other(count),
    }
}
