//! What the engine gives a recorder: all that a recording has beside the records of the rings.

use std::cmp::Reverse;

use conntrack_common::ABSENT;

use super::netns::Netns;
use super::{Config, Engine};
use crate::engine::digest::{address_bytes, holdings};
use crate::engine::gauge::Level;
use crate::engine::history;
use crate::engine::holders::Holders;
use crate::engine::lifetimes::Lifetimes;
use crate::engine::recorded::{Holder, Holding, NetnsSecond, RecordedKind};
use crate::engine::snapshot;
use crate::engine::sources::{Source, Sums};
use crate::engine::tally::keep_top;

/// A namespace in which nothing moves is told of this often.
const STILL_NS: u64 = 60_000_000_000;

/// What waits to be taken. Nothing is kept unless told to.
#[derive(Debug, Default)]
pub(super) struct Digest {
    keeps: bool,
    seconds: Vec<NetnsSecond>,
    pictures: Vec<Holding>,
    /// What was told last of no namespace.
    nobody: Told,
}

/// What was told last of a namespace.
#[derive(Debug, Default)]
pub(super) struct Told(Option<Box<NetnsSecond>>);

impl Told {
    /// The row, unless it says what was said before, less than a minute ago.
    fn anew(&mut self, row: NetnsSecond) -> Option<NetnsSecond> {
        let is_old = |told: &NetnsSecond| {
            let same = NetnsSecond { ktime_ns: told.ktime_ns, ..row } == *told;
            same && row.ktime_ns.saturating_sub(told.ktime_ns) < STILL_NS
        };
        if self.0.as_deref().is_some_and(is_old) {
            return None;
        }
        self.0 = Some(Box::new(row));
        Some(row)
    }

    /// Whether anything was.
    pub(super) fn is_some(&self) -> bool {
        self.0.is_some()
    }
}

impl Digest {
    /// Nothing yet.
    pub(super) fn new(keeps: bool) -> Self {
        Self { keeps, ..Self::default() }
    }

    /// Who holds a table was found out.
    pub(super) fn picture(&mut self, netns: u32, holders: &Holders) {
        if self.keeps {
            self.pictures.extend(holdings(netns, holders));
        }
    }
}

impl Config {
    /// From when on the second is over that a time is in, if seconds are kept. A recording says at a second's end what
    /// the second was like, so that it is over just after.
    pub(super) fn second_over(&self, ktime_ns: u64) -> u64 {
        match self.recorded {
            _ if !self.live_view && !self.for_recording => u64::MAX,
            true => {
                ktime_ns.div_ceil(history::SECOND_NS).saturating_mul(history::SECOND_NS).saturating_add(1)
            }
            false => history::end_of_second(ktime_ns),
        }
    }
}

impl Engine {
    /// The seconds that have ended since this was last called, of each namespace in which something moved, and of
    /// every one once a minute; of namespace 0 what is in the totals and of no namespace. None unless the engine was
    /// told that it is [for a recording](super::Config::for_recording).
    pub fn netns_seconds(&mut self) -> Vec<NetnsSecond> {
        std::mem::take(&mut self.digest.seconds)
    }

    /// The pictures taken since this was last called, of who held a table when an episode began. None unless the
    /// engine was told that it is [for a recording](super::Config::for_recording).
    pub fn pictures(&mut self) -> Vec<Holding> {
        std::mem::take(&mut self.digest.pictures)
    }

    /// Ends the running second before its time: nothing more will come.
    pub fn end_second_early(&mut self) {
        // What came at a second's very end is not in that second.
        self.tell_seconds(self.ktime_ns + u64::from(self.ktime_ns.is_multiple_of(history::SECOND_NS)));
    }

    /// The running second is over; it is so late.
    pub(super) fn end_second(&mut self, now_ktime_ns: u64) {
        let ended = self.second_over - u64::from(self.config.recorded);
        if self.config.live_view {
            self.netns.end_second(ended);
        }
        if self.config.live_view && self.config.recorded {
            self.end_still_seconds(ended, now_ktime_ns);
        }
        self.tell_seconds(ended);
        self.second_over = self.config.second_over(now_ktime_ns);
    }

    /// A recording says nothing of a second in which nothing moved; but if it is silent for more than a minute, nobody
    /// knows.
    fn end_still_seconds(&mut self, ended: u64, now_ktime_ns: u64) {
        if now_ktime_ns.saturating_sub(ended) <= STILL_NS + history::SECOND_NS {
            let still = (1..).map(|at| ended.saturating_add(at * history::SECOND_NS));
            still.take_while(|at| *at < now_ktime_ns).for_each(|at| self.netns.end_second(at));
        }
    }

    fn tell_seconds(&mut self, ktime_ns: u64) {
        let Digest { keeps: true, seconds, nobody, .. } = &mut self.digest else { return };
        let mut of_some = Sums::default();
        for netns in self.netns.iter_mut().filter(|it| it.inum != 0) {
            of_some.add(&netns.sums);
            seconds.extend(netns.second(ktime_ns));
        }
        let rest = snapshot::sums(&self.own, self.failed_unknown).since(&of_some);
        if rest != Sums::default() || nobody.is_some() {
            seconds.extend(nobody.anew(second(0, ktime_ns, &rest)));
        }
    }

    /// A namespace is gone, with so many sources.
    pub(super) fn tell_gone(&mut self, inum: u32, ktime_ns: u64, sources: usize) {
        let netns = self.netns.get(inum);
        if self.digest.keeps && inum != 0 && (netns.told.is_some() || !netns.is_idle() || sources > 0) {
            let gone = NetnsSecond { state: NetnsSecond::GONE, ..second(inum, ktime_ns, &netns.sums) };
            self.digest.seconds.push(gone);
        }
    }

    /// The `k` sources with the most entries and the `k` refused most, heaviest first, and all others together: the
    /// sum of these rows is the engine's totals.
    pub fn holders_rows(&self, k: usize) -> Vec<Holder> {
        let heaviest = |source: &&Source| Reverse((source.entries, source.sums.refused));
        let mut listed = top(self.sources.iter().filter(|it| it.entries > 0), k, |it| it.entries.into());
        let refused = top(self.sources.iter().filter(|it| it.sums.refused > 0), k, |it| it.sums.refused);
        listed.extend(refused);
        listed.sort_by_key(|source| (heaviest(source), source.netns, source.src));
        listed.dedup_by_key(|source| (source.netns, source.src));

        let (mut entries, mut sums) = (0, Sums::default());
        for source in &listed {
            entries += u64::from(source.entries);
            sums.add(&source.sums);
        }
        let lifetimes = self.lifetimes_besides(&listed);
        let other = Holder {
            rank: Holder::OTHER,
            entries: u32::try_from(self.entries().saturating_sub(entries)).unwrap_or(u32::MAX),
            ..holder(self.ktime_ns, &self.sums().since(&sums), &lifetimes)
        };
        let row = |(rank, source): (u16, &&Source)| {
            let (family, src) = address_bytes(source.src);
            let Source { netns, entries, sums, lifetimes, .. } = *source;
            let (rank, l3num) = (rank, family.into());
            Holder {
                rank,
                netns: *netns,
                src,
                l3num,
                entries: *entries,
                ..holder(self.ktime_ns, sums, lifetimes)
            }
        };
        (0..Holder::OTHER).zip(&listed).map(row).chain([other]).collect()
    }

    fn lifetimes_besides(&self, listed: &[&Source]) -> Lifetimes {
        let (mut all, mut theirs) = (Lifetimes::default(), Lifetimes::default());
        self.sources.iter().for_each(|source| all.add(&source.lifetimes));
        listed.iter().for_each(|source| theirs.add(&source.lifetimes));
        all.since(&theirs)
    }
}

fn top<'a>(of: impl Iterator<Item = &'a Source>, k: usize, by: impl Fn(&Source) -> u64) -> Vec<&'a Source> {
    let mut rows: Vec<_> = of.collect();
    keep_top(&mut rows, k, |source| (Reverse(by(source)), source.netns, source.src));
    rows
}

impl Netns {
    /// The second that ended then, if there is something to tell of it.
    fn second(&mut self, ktime_ns: u64) -> Option<NetnsSecond> {
        let peak = self.take_peak();
        if self.is_idle() && !self.told.is_some() {
            return None;
        }
        let (Level { count, max }, lifetimes) = (self.level(), self.lifetimes);
        self.told.anew(NetnsSecond {
            state: self.state() as u8,
            count: count.unwrap_or(ABSENT),
            max: max.unwrap_or(ABSENT),
            peak,
            entries: u32::try_from(self.entries()).unwrap_or(u32::MAX),
            lifetimes: lifetimes.number(),
            mean_lifetime_ns: lifetimes.mean_ns().unwrap_or(0),
            ..second(self.inum, ktime_ns, &self.sums)
        })
    }
}

/// With nothing but sums.
fn second(netns: u32, ktime_ns: u64, sums: &Sums) -> NetnsSecond {
    let Sums { new, freed, refused, evicted, failed, unconfirmed } = *sums;
    NetnsSecond {
        kind: RecordedKind::NetnsSecond as u8,
        state: 0,
        reserved: 0,
        netns,
        ktime_ns,
        count: ABSENT,
        max: ABSENT,
        peak: 0,
        entries: 0,
        new,
        freed,
        refused,
        evicted,
        failed,
        unconfirmed,
        lifetimes: 0,
        mean_lifetime_ns: 0,
    }
}

/// Of nobody and no entries.
fn holder(ktime_ns: u64, sums: &Sums, lifetimes: &Lifetimes) -> Holder {
    let Sums { new, freed, refused, evicted, failed, unconfirmed } = *sums;
    Holder {
        kind: RecordedKind::Holder as u8,
        reserved: 0,
        rank: 0,
        netns: 0,
        ktime_ns,
        src: [0; 16],
        l3num: 0,
        entries: 0,
        new,
        freed,
        refused,
        evicted,
        failed,
        unconfirmed,
        lifetimes: lifetimes.number(),
        mean_lifetime_ns: lifetimes.mean_ns().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests;
