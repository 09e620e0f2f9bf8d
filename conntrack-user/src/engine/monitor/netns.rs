//! What is kept per network namespace.

mod namespaces;

pub use namespaces::Namespaces;

use conntrack_common::{Cause, InsertCause};

use super::giving::Told;
use crate::engine::causes::Causes;
use crate::engine::episode::Open;
use crate::engine::gauge::{Gauge, Level};
use crate::engine::history::Seconds;
use crate::engine::lifetimes::{Histogram, Lifetimes};
use crate::engine::notice::Refusal;
use crate::engine::saturation::{Edge, Saturation, State};
use crate::engine::snapshot::NetnsRow;
use crate::engine::sources::{Rates, Sums};
use crate::engine::statistics::{Comparison, Reckoning};

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
