//! All network namespaces, found by their inode numbers.

use std::cmp::Reverse;

use hashbrown::HashMap;

use super::Netns;
use crate::engine::saturation::Saturation;
use crate::engine::snapshot::{History, NetnsRow};
use crate::engine::statistics::{Comparison, StatisticsRow};

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
