//! What is kept per network namespace, found by its inode number.

use std::cmp::Reverse;

use conntrack_common::{Cause, InsertCause};
use hashbrown::HashMap;

use super::giving::Told;
use crate::engine::causes::Causes;
use crate::engine::episode::Open;
use crate::engine::gauge::{Gauge, Level};
use crate::engine::history::Seconds;
use crate::engine::lifetimes::{Histogram, Lifetimes};
use crate::engine::notice::Refusal;
use crate::engine::saturation::{Edge, Saturation, State};
use crate::engine::snapshot::{History, NetnsRow};
use crate::engine::sources::{Rates, Sums};
use crate::engine::statistics::{Comparison, Reckoning, StatisticsRow};

/// One network namespace. Whatever may move its state returns the edge, if it did.
#[derive(Debug)]
pub struct Netns {
    /// Its inode number.
    pub inum: u32,
    /// Counts of its entries and events.
    pub sums: Sums,
    /// How long its entries lived.
    pub lifetimes: Lifetimes,
    /// The episode that lasts.
    pub open: Option<Box<Open>>,
    /// Episodes that have begun.
    pub episodes: u64,
    /// When the last of them did.
    pub last_episode_ktime_ns: Option<u64>,
    /// Tells it from a later one with the same inode number; 0 if not known.
    pub cookie: u64,
    /// When a census counted it last.
    pub counted_ktime_ns: u64,
    /// When anything was last heard of it.
    pub heard_ktime_ns: u64,
    /// The kernel's statistics and ours.
    pub reckoning: Reckoning,
    /// Whether the kernel's statistics are all that is known of refusals: nothing to compare them with.
    pub statistics_alone: bool,
    entries: u64,
    gauge: Gauge,
    saturation: Saturation,
    /// But for those that are sums as well.
    causes: Causes,
    histogram: Histogram,
    before: Sums,
    rates: Rates,
    seconds: Option<Box<Seconds>>,
    /// What a recorder was told last of it.
    pub(super) told: Told,
}

impl Netns {
    fn new(inum: u32, saturation: Saturation) -> Self {
        Self {
            inum,
            sums: Sums::default(),
            lifetimes: Lifetimes::default(),
            open: None,
            episodes: 0,
            last_episode_ktime_ns: None,
            cookie: 0,
            counted_ktime_ns: 0,
            heard_ktime_ns: 0,
            reckoning: Reckoning::default(),
            statistics_alone: false,
            entries: 0,
            gauge: Gauge::default(),
            saturation,
            causes: Causes::default(),
            histogram: Histogram::default(),
            before: Sums::default(),
            rates: Rates::default(),
            seconds: None,
            told: Told::default(),
        }
    }

    /// An entry was allocated.
    #[inline]
    pub fn born(&mut self, ktime_ns: u64) -> Option<Edge> {
        self.entries += 1;
        self.sums.new += 1;
        self.heard_ktime_ns = ktime_ns;
        self.gauge.born(ktime_ns);
        self.moved(ktime_ns)
    }

    /// An entry was freed, this long after its birth if that is known.
    #[inline]
    pub fn freed(&mut self, ktime_ns: u64, lifetime_ns: Option<u64>) -> Option<Edge> {
        self.freed_unseen();
        self.lifetimes.ended(lifetime_ns);
        if let Some(lifetime_ns) = lifetime_ns {
            self.histogram.add(lifetime_ns);
        }
        self.heard_ktime_ns = ktime_ns;
        self.gauge.freed(ktime_ns);
        self.moved(ktime_ns)
    }

    /// An entry had been freed, but when is not known: the gauge is left alone.
    #[inline]
    pub fn freed_unseen(&mut self) {
        self.entries -= 1;
        self.sums.freed += 1;
    }

    /// A walk found an entry, whose allocation is counted only now if it was `missed`. The gauge has it already.
    pub fn found(&mut self, missed: bool) {
        self.entries += 1;
        self.sums.new += u64::from(missed);
    }

    /// An entry found is the one that is told now.
    pub fn found_is_told(&mut self, missed: bool) {
        self.entries -= 1;
        self.sums.new -= u64::from(missed);
    }

    /// Entries in the live table.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// conntrack is gone, with all entries and whatever it did about them.
    pub fn release_all(&mut self, saturation: Saturation) {
        self.entries = 0;
        self.gauge = Gauge::default();
        self.saturation = saturation;
        self.reckoning.restart();
    }

    /// The kernel's count was read.
    pub fn observed(&mut self, ktime_ns: u64, level: Level) -> Option<Edge> {
        self.gauge.observe(ktime_ns, level);
        self.moved(ktime_ns)
    }

    /// An allocation failed; `counts` unless the ledger has told before.
    pub fn refused(&mut self, refusal: &Refusal, counts: bool) -> Option<Edge> {
        self.heard_ktime_ns = refusal.ktime_ns;
        self.refusals(refusal.cause, counts.into());
        self.gauge.observe(refusal.ktime_ns, refusal.level);
        match refusal.cause {
            Cause::TableFull => {
                self.saturation.refused(refusal.ktime_ns, refusal.level.or(self.gauge.level()))
            }
            // Not the table's fault: no state of it.
            Cause::NoMemory | Cause::Ctnetlink => self.moved(refusal.ktime_ns),
        }
    }

    /// So many allocations failed, at no known time.
    pub fn refusals(&mut self, cause: Cause, refusals: u64) {
        self.sums.refused = self.sums.refused.saturating_add(refusals);
        self.causes.add_refused(cause, refusals);
        self.reckoning.running.refused(cause, refusals);
    }

    /// `early_drop` freed an entry.
    pub fn evicted(&mut self, ktime_ns: u64, level: Level) -> Option<Edge> {
        self.sums.evicted += 1;
        self.heard_ktime_ns = ktime_ns;
        self.reckoning.running.evicted(1);
        self.gauge.observe_eviction(ktime_ns, level);
        self.saturation.evicted(ktime_ns, level.or(self.gauge.level()))
    }

    /// The statistics tell that `early_drop` freed so many more entries.
    pub fn evictions(&mut self, ktime_ns: u64, evictions: u64) -> Option<Edge> {
        self.sums.evicted = self.sums.evicted.saturating_add(evictions);
        self.saturation.evicted(ktime_ns, self.gauge.level())
    }

    /// So many entries were not inserted, the last of them then.
    pub fn failed(&mut self, ktime_ns: u64, cause: InsertCause, failures: u64) {
        self.sums.failed = self.sums.failed.saturating_add(failures);
        self.causes.add_failed(cause, failures);
        self.heard_ktime_ns = ktime_ns;
        self.reckoning.running.failed(cause, failures);
    }

    /// The statistics tell that so many more entries were not inserted; of some, that a chain was too long.
    pub fn failures(&mut self, failures: u64, chain_too_long: u64) {
        self.sums.failed = self.sums.failed.saturating_add(failures);
        self.causes.add_failed(InsertCause::ChainTooLong, chain_too_long);
        self.causes.failed = self.causes.failed.saturating_add(failures - chain_too_long);
    }

    /// What was not kept, by cause.
    pub fn causes(&self) -> Causes {
        Causes { evicted: self.sums.evicted, unconfirmed: self.sums.unconfirmed, ..self.causes }
    }

    /// A recording says what it was like then; its sums are the caller's to set.
    pub fn replay(&mut self, ktime_ns: u64, level: Level, entries: u64, lifetimes: Lifetimes) {
        self.heard_ktime_ns = ktime_ns;
        self.gauge.stood(ktime_ns, level);
        (self.entries, self.lifetimes) = (entries, lifetimes);
    }

    /// A recording says that its state changed.
    pub fn replay_edge(&mut self, edge: &Edge) {
        self.saturation.replay(edge);
    }

    /// When [`expire`](Self::expire) is due, if nothing happens before.
    pub fn deadline(&self) -> Option<u64> {
        self.saturation.deadline()
    }

    /// The deadline passed and nothing had happened.
    pub fn expire(&mut self) -> Option<Edge> {
        self.saturation.expire(self.gauge.level())
    }

    #[inline]
    fn moved(&mut self, ktime_ns: u64) -> Option<Edge> {
        self.saturation.moved(ktime_ns, self.gauge.level())
    }

    /// The kernel's count and limit.
    pub fn level(&self) -> Level {
        self.gauge.level()
    }

    /// The highest count since this was last asked.
    pub fn take_peak(&mut self) -> u32 {
        self.gauge.take_peak()
    }

    /// The state.
    pub fn state(&self) -> State {
        self.saturation.state()
    }

    /// Per second over the last interval that ended.
    pub fn rates(&self) -> &Rates {
        &self.rates
    }

    /// A second ended then.
    fn end_second(&mut self, ktime_ns: u64) {
        if self.seconds.is_some() || !self.is_idle() {
            self.seconds.get_or_insert_default().end(ktime_ns, self.gauge.level(), &self.sums);
        }
    }

    /// Most namespaces of a container host never track anything.
    pub fn is_idle(&self) -> bool {
        self.gauge.level().count.unwrap_or(0) == 0
            && self.entries == 0
            && self.sums == Sums::default()
            && self.statistics().is_none_or(|both| both == Comparison::default())
    }

    /// Both accounts, if there are two.
    pub fn statistics(&self) -> Option<Comparison> {
        self.reckoning.comparison().filter(|_| !self.statistics_alone)
    }

    fn row(&self, name: Option<String>) -> NetnsRow {
        NetnsRow {
            netns: self.inum,
            name,
            level: self.gauge.level(),
            state: self.saturation.state(),
            since_ktime_ns: self.saturation.since_ktime_ns(),
            entries: self.entries,
            evictable: 0,
            unseen: 0,
            statistics: self.statistics(),
            sums: self.sums,
            causes: self.causes(),
            lifetimes: self.lifetimes,
            histogram: self.histogram,
            episodes: self.episodes,
            last_episode_ktime_ns: self.last_episode_ktime_ns,
            in_episode: self.open.is_some(),
            rates: self.rates,
        }
    }
}

/// All network namespaces that were heard of.
#[derive(Debug)]
pub struct Namespaces {
    all: Vec<Netns>,
    index: HashMap<u32, usize>,
    /// Whose record came last: most often the next is of the same.
    last: usize,
    names: HashMap<u32, String>,
    /// What every namespace begins in.
    saturation: Saturation,
    /// Both accounts of those that are gone.
    gone: Option<Comparison>,
}

impl Namespaces {
    /// None yet; each begins in this.
    pub fn new(saturation: Saturation) -> Self {
        Self {
            all: Vec::new(),
            index: HashMap::new(),
            last: 0,
            names: HashMap::new(),
            gone: None,
            saturation,
        }
    }

    /// The one with that inode number.
    #[inline]
    pub fn get(&mut self, inum: u32) -> &mut Netns {
        if self.all.get(self.last).is_none_or(|last| last.inum != inum) {
            self.last = self.find_or_insert(inum);
        }
        &mut self.all[self.last]
    }

    fn find_or_insert(&mut self, inum: u32) -> usize {
        *self.index.entry(inum).or_insert_with(|| {
            self.all.push(Netns::new(inum, self.saturation.clone()));
            self.all.len() - 1
        })
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Netns> {
        self.all.iter()
    }

    /// The same, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Netns> {
        self.all.iter_mut()
    }

    /// Entries in the live table, of all of them.
    pub fn entries(&self) -> u64 {
        self.all.iter().map(|it| it.entries).sum()
    }

    /// Entries in all of them by the kernel's counts.
    pub fn count(&self) -> u64 {
        self.all.iter().filter_map(|it| it.gauge.level().count).map(u64::from).sum()
    }

    /// Forgets one and its name; what it still has must have been taken from it.
    pub fn retire(&mut self, inum: u32) {
        self.names.remove(&inum);
        let Some(at) = self.index.remove(&inum) else { return };
        let retired = self.all.swap_remove(at);
        if let Some(moved) = self.all.get(at) {
            self.index.insert(moved.inum, at);
        }
        if let Some(both) = retired.statistics() {
            self.gone.get_or_insert_default().add(&both);
        }
    }

    /// Those that a complete census, begun at a time, did not count and that hold nothing. None if the census was
    /// not complete. The entries of a namespace are freed after it has left the kernel's list (net/core/net_namespace.c,
    /// `cleanup_net`), seconds later where many go at once: each is heard of, and an audit finds what was missed.
    pub fn uncounted(&self, counts: u32, began_ktime_ns: u64) -> Vec<u32> {
        let counted = |it: &&Netns| it.counted_ktime_ns >= began_ktime_ns;
        if self.all.iter().filter(counted).count() != counts as usize {
            return Vec::new();
        }
        let empty = |it: &&Netns| it.entries == 0 && it.heard_ktime_ns < began_ktime_ns;
        let gone = self.all.iter().filter(|it| !counted(it)).filter(empty);
        gone.map(|it| it.inum).collect()
    }

    /// conntrack is gone, and nothing is known of any count. What a namespace begins in begins now.
    pub fn release_all(&mut self, ktime_ns: u64) {
        self.saturation = self.saturation.anew(ktime_ns);
        for netns in &mut self.all {
            netns.release_all(self.saturation.clone());
        }
    }

    /// Gives one a name.
    pub fn name(&mut self, inum: u32, name: String) {
        self.names.insert(inum, name);
    }

    /// Ends an interval of so many nanoseconds and begins the next.
    pub fn end_interval(&mut self, length_ns: u64) {
        for netns in &mut self.all {
            netns.rates = netns.sums.rates_since(&netns.before, length_ns);
            netns.before = netns.sums;
        }
    }

    /// Ends a second.
    pub fn end_second(&mut self, ktime_ns: u64) {
        self.all.iter_mut().for_each(|it| it.end_second(ktime_ns));
    }

    /// One second by second, as far as that was kept; the first of these rows if none is asked for.
    pub fn history(&self, asked: Option<u32>, rows: &[NetnsRow]) -> History {
        let Some(netns) = asked.or_else(|| Some(rows.first()?.netns)) else { return History::default() };
        let seconds = self.index.get(&netns).and_then(|at| self.all[*at].seconds.as_ref());
        History { netns, seconds: seconds.map(|it| it.to_vec()).unwrap_or_default() }
    }

    /// Both accounts of each, and first their sum, of which the kernel's resolved clashes can be told too.
    pub fn statistics(&self, clash_resolved: u64) -> Vec<StatisticsRow> {
        let row = |it: &Netns| {
            let comparison = it.statistics()?;
            Some(StatisticsRow { netns: Some(it.inum), name: self.names.get(&it.inum).cloned(), comparison })
        };
        let mut rows: Vec<_> = self.all.iter().filter_map(row).collect();
        let mut sum = self.gone.unwrap_or_default();
        rows.iter().for_each(|row| sum.add(&row.comparison));
        if rows.is_empty() && self.gone.is_none() {
            return rows;
        }
        sum.ctwatch.clash_resolve = Some(clash_resolved);
        // The most of the namespaces of a container host never track anything.
        rows.retain(|row| row.comparison != Comparison::default());
        rows.push(StatisticsRow { netns: None, name: None, comparison: sum });
        rows.sort_by_key(|row| row.netns);
        rows
    }

    /// Those worth a line, the worst first.
    pub fn rows(&self) -> Vec<NetnsRow> {
        let row = |it: &Netns| it.row(self.names.get(&it.inum).cloned());
        let mut rows: Vec<_> = self.all.iter().filter(|it| !it.is_idle()).map(row).collect();
        rows.sort_by_key(|row| (Reverse((row.state, row.level.count, row.entries)), row.netns));
        rows
    }
}
