//! What is kept per network namespace, found by its inode number.

use std::cmp::Reverse;

use hashbrown::HashMap;

use crate::engine::episode::Open;
use crate::engine::gauge::{Gauge, Level};
use crate::engine::notice::Refusal;
use crate::engine::saturation::{Edge, Saturation, Thresholds};
use crate::engine::snapshot::NetnsRow;
use crate::engine::sources::Sums;

/// One network namespace. Whatever may move its state returns the edge, if it did.
#[derive(Debug)]
pub struct Netns {
    /// Its inode number.
    pub inum: u32,
    /// Counts of its entries and events.
    pub sums: Sums,
    /// The episode that lasts.
    pub open: Option<Box<Open>>,
    entries: u64,
    gauge: Gauge,
    saturation: Saturation,
    before: Sums,
}

impl Netns {
    fn new(inum: u32, saturation: Saturation) -> Self {
        Self {
            inum,
            sums: Sums::default(),
            open: None,
            entries: 0,
            gauge: Gauge::default(),
            saturation,
            before: Sums::default(),
        }
    }

    /// An entry was allocated.
    #[inline]
    pub fn born(&mut self, ktime_ns: u64) -> Option<Edge> {
        self.entries += 1;
        self.sums.new += 1;
        self.gauge.born(ktime_ns);
        self.moved(ktime_ns)
    }

    /// An entry was freed.
    #[inline]
    pub fn freed(&mut self, ktime_ns: u64) -> Option<Edge> {
        self.freed_unseen();
        self.gauge.freed(ktime_ns);
        self.moved(ktime_ns)
    }

    /// An entry had been freed, but when is not known: the gauge is left alone.
    #[inline]
    pub fn freed_unseen(&mut self) {
        self.entries -= 1;
        self.sums.freed += 1;
    }

    /// The kernel's count was read.
    pub fn observed(&mut self, ktime_ns: u64, level: Level) -> Option<Edge> {
        self.gauge.observe(ktime_ns, level);
        self.moved(ktime_ns)
    }

    /// The table was full and an allocation failed.
    #[inline]
    pub fn refused(&mut self, refusal: &Refusal) -> Option<Edge> {
        self.gauge.observe(refusal.ktime_ns, refusal.level);
        self.saturation.refused(refusal.ktime_ns, refusal.level.or(self.gauge.level()))
    }

    /// `early_drop` freed an entry.
    pub fn evicted(&mut self, ktime_ns: u64, level: Level) -> Option<Edge> {
        self.sums.evicted += 1;
        self.gauge.observe_eviction(ktime_ns, level);
        self.saturation.evicted(ktime_ns, level.or(self.gauge.level()))
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

    /// Most namespaces of a container host never track anything.
    fn is_idle(&self) -> bool {
        self.gauge.level().count.unwrap_or(0) == 0 && self.sums == Sums::default()
    }

    fn row(&self, name: Option<String>, interval_ns: u64) -> NetnsRow {
        NetnsRow {
            netns: self.inum,
            name,
            level: self.gauge.level(),
            state: self.saturation.state(),
            since_ktime_ns: self.saturation.since_ktime_ns(),
            entries: self.entries,
            sums: self.sums,
            rates: self.sums.rates_since(&self.before, interval_ns),
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
}

impl Namespaces {
    /// None yet.
    pub fn new(thresholds: Thresholds, since_ktime_ns: u64) -> Self {
        Self {
            all: Vec::new(),
            index: HashMap::new(),
            last: 0,
            names: HashMap::new(),
            saturation: Saturation::new(thresholds, since_ktime_ns),
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

    /// Gives one a name.
    pub fn name(&mut self, inum: u32, name: String) {
        self.names.insert(inum, name);
    }

    /// Begins a new interval for the rates.
    pub fn begin_interval(&mut self) {
        for netns in &mut self.all {
            netns.before = netns.sums;
        }
    }

    /// Those worth a line, the worst first.
    pub fn rows(&self, interval_ns: u64) -> Vec<NetnsRow> {
        let row = |it: &Netns| it.row(self.names.get(&it.inum).cloned(), interval_ns);
        let mut rows: Vec<_> = self.all.iter().filter(|it| !it.is_idle()).map(row).collect();
        rows.sort_by_key(|row| (Reverse((row.state, row.level.count, row.entries)), row.netns));
        rows
    }
}
