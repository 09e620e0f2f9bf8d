//! Who held the table over time, and why: how fast a source opens connections times how long they live is what it holds
//! (Little's law).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use hashbrown::HashMap;

use super::{Moment, Narrow};
use crate::engine::recorded::Holder;
use crate::engine::sources::per_second;
use crate::engine::tally::keep_top;
use crate::engine::tuple::address;

/// Intervals kept of the span.
const INTERVALS: usize = 400;

/// Sources drawn; the rest is `other`.
const SERIES: usize = 8;

/// Sources kept of an interval.
const RANKS: usize = 64;

/// Sources whose occupancy is summed.
const KEYS: usize = 4096;

/// Sources whose occupancy is explained.
const EXPLAINED: usize = 100;

const S: i64 = 1_000_000_000;

type Key = (u32, IpAddr);

/// One source over time.
#[derive(Clone, Debug, PartialEq)]
pub struct HolderSeries {
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Its address.
    pub src: IpAddr,
    /// Entries at each interval; None where it was not among those recorded.
    pub entries: Vec<Option<u32>>,
    /// New entries per second since the interval before; None where that is not known.
    pub new_per_s: Vec<Option<f64>>,
}

/// Sources that held most, over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HoldersOverTime {
    /// The times; of several that fall together the one when most was held.
    pub at: Vec<Moment>,
    /// Those that held most over the whole of it.
    pub series: Vec<HolderSeries>,
    /// Entries of all others at each; None under a filter, since the others are of all namespaces.
    pub other: Vec<Option<u64>>,
}

/// What one source held, and what explains it.
#[derive(Clone, Debug, PartialEq)]
pub struct Occupancy {
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Its address.
    pub src: IpAddr,
    /// New entries per second while it was among those recorded. As all numbers here to the thousandth, so that
    /// whoever rounds further comes to the same.
    pub new_per_s: f64,
    /// Mean lifetime in seconds of the entries that ended meanwhile; None if none did.
    pub mean_lifetime_s: Option<f64>,
    /// Rate times lifetime.
    pub expected: Option<f64>,
    /// Entries it held, on average over the intervals.
    pub held: f64,
    /// The most it held.
    pub most: u32,
    /// How long it was among those recorded, in seconds.
    pub seconds: f64,
}

#[derive(Clone, Debug)]
struct Row {
    key: Key,
    entries: u32,
    new: u64,
}

#[derive(Clone, Debug)]
struct Interval {
    at: Moment,
    session: u64,
    rows: Vec<Row>,
    other: u64,
}

impl Interval {
    fn held(&self) -> u64 {
        self.rows.iter().map(|row| u64::from(row.entries)).sum::<u64>() + self.other
    }
}

/// Sums of one source between the intervals it was in.
#[derive(Clone, Debug, Default)]
struct Stay {
    last: Option<(u64, u64, u64, f64)>,
    span_ns: u64,
    new: u64,
    lifetimes: u64,
    lived_s: f64,
    entries: u64,
    rows: u64,
    most: u32,
}

impl Stay {
    fn row(&mut self, record: &Holder) {
        let lived_s = record.lifetimes as f64 * record.mean_lifetime_ns as f64 / 1e9;
        let now = (record.ktime_ns, record.new, record.lifetimes, lived_s);
        if let Some((ktime_ns, new, lifetimes, lived)) = self.last
            && record.ktime_ns > ktime_ns
            && record.new >= new
            && record.lifetimes >= lifetimes
        {
            self.span_ns += record.ktime_ns - ktime_ns;
            self.new += record.new - new;
            self.lifetimes += record.lifetimes - lifetimes;
            self.lived_s += lived_s - lived;
        }
        self.last = Some(now);
        self.entries += u64::from(record.entries);
        self.rows += 1;
        self.most = self.most.max(record.entries);
    }
}

/// Being read.
#[derive(Debug)]
pub(super) struct Holding {
    width_s: i64,
    intervals: BTreeMap<i64, Interval>,
    open: Option<Interval>,
    stays: HashMap<Key, Stay>,
    session: u64,
}

impl Holding {
    pub fn new() -> Self {
        Self { width_s: 1, intervals: BTreeMap::new(), open: None, stays: HashMap::new(), session: 0 }
    }

    /// Sums begin anew.
    pub fn new_session(&mut self) {
        self.close();
        self.session += 1;
        self.stays.values_mut().for_each(|stay| stay.last = None);
    }

    /// A row of an interval within the time looked at.
    pub fn row(&mut self, at: Moment, record: &Holder, narrow: &Narrow) {
        if self.open.as_ref().is_some_and(|open| open.at.ktime_ns != at.ktime_ns) {
            self.close();
        }
        let session = self.session;
        let open = self.open.get_or_insert_with(|| Interval { at, session, rows: Vec::new(), other: 0 });
        if record.rank == Holder::OTHER {
            open.other += u64::from(record.entries);
            return self.close();
        }
        let key = (record.netns, address(record.l3num, record.src));
        if !narrow.netns(key.0) || !narrow.source(Some(key.1)) {
            return;
        }
        if open.rows.len() < RANKS {
            open.rows.push(Row { key, entries: record.entries, new: record.new });
        } else {
            open.other += u64::from(record.entries);
        }
        self.stays.entry(key).or_default().row(record);
        if self.stays.len() > KEYS {
            self.forget_lightest();
        }
    }

    fn forget_lightest(&mut self) {
        let mut most: Vec<u32> = self.stays.values().map(|stay| stay.most).collect();
        let middle = most.len() / 2;
        let (_, median, _) = most.select_nth_unstable(middle);
        let (median, mut surplus) = (*median, KEYS / 2);
        self.stays.retain(|_, stay| {
            let goes = stay.most <= median && surplus > 0;
            surplus -= usize::from(goes);
            !goes
        });
    }

    /// Of intervals that fall together the one with the most entries stays: a peak is never averaged away.
    fn close(&mut self) {
        let Some(interval) = self.open.take() else { return };
        put(&mut self.intervals, self.width_s * S, interval);
        while self.intervals.len() > INTERVALS {
            self.width_s *= 2;
            let narrower = std::mem::take(&mut self.intervals);
            for interval in narrower.into_values() {
                put(&mut self.intervals, self.width_s * S, interval);
            }
        }
    }

    pub fn finish(mut self, narrow: &Narrow) -> (HoldersOverTime, Vec<Occupancy>) {
        self.close();
        let intervals: Vec<Interval> = self.intervals.into_values().collect();
        (over_time(&intervals, narrow), explained(self.stays))
    }
}

fn put(intervals: &mut BTreeMap<i64, Interval>, width_ns: i64, interval: Interval) {
    let at = interval.at.unix_ns.div_euclid(width_ns);
    let greater = intervals.get(&at).is_none_or(|known| known.held() < interval.held());
    if greater {
        intervals.insert(at, interval);
    }
}

fn over_time(intervals: &[Interval], narrow: &Narrow) -> HoldersOverTime {
    let mut sums: BTreeMap<Key, u64> = BTreeMap::new();
    for row in intervals.iter().flat_map(|interval| &interval.rows) {
        *sums.entry(row.key).or_insert(0) += u64::from(row.entries);
    }
    let mut heaviest: Vec<(Key, u64)> = sums.into_iter().filter(|(_, sum)| *sum > 0).collect();
    keep_top(&mut heaviest, SERIES, |(key, sum)| (Reverse(*sum), *key));
    let keys: Vec<Key> = heaviest.into_iter().map(|(key, _)| key).collect();
    let find = |interval: &Interval, key: Key| interval.rows.iter().find(|row| row.key == key).cloned();
    let series = keys.iter().map(|key| {
        let rows: Vec<Option<Row>> = intervals.iter().map(|interval| find(interval, *key)).collect();
        let rate = |at: usize| {
            let (before, now) = (rows.get(at.checked_sub(1)?)?.as_ref()?, rows[at].as_ref()?);
            let (from, to) = (&intervals[at - 1], &intervals[at]);
            let span = to.at.ktime_ns.checked_sub(from.at.ktime_ns)?;
            let new = now.new.checked_sub(before.new)?;
            (from.session == to.session).then(|| thousandths(per_second(new, span)))
        };
        HolderSeries {
            netns: key.0,
            src: key.1,
            new_per_s: (0..rows.len()).map(rate).collect(),
            entries: rows.iter().map(|row| row.as_ref().map(|row| row.entries)).collect(),
        }
    });
    let unlisted = |interval: &Interval| {
        let unlisted = interval.rows.iter().filter(|row| !keys.contains(&row.key));
        unlisted.map(|row| u64::from(row.entries)).sum::<u64>() + interval.other
    };
    let all = narrow.netns.is_empty() && narrow.src.is_empty();
    HoldersOverTime {
        at: intervals.iter().map(|interval| interval.at).collect(),
        series: series.collect(),
        other: intervals.iter().map(|interval| all.then(|| unlisted(interval))).collect(),
    }
}

fn explained(stays: HashMap<Key, Stay>) -> Vec<Occupancy> {
    let of = |((netns, src), stay): (Key, Stay)| {
        let mean_lifetime_s = (stay.lifetimes > 0).then(|| stay.lived_s / stay.lifetimes as f64);
        let new_per_s = per_second(stay.new, stay.span_ns);
        Occupancy {
            netns,
            src,
            new_per_s: thousandths(new_per_s),
            mean_lifetime_s: mean_lifetime_s.map(thousandths),
            expected: mean_lifetime_s.map(|lifetime| thousandths(lifetime * new_per_s)),
            held: thousandths(stay.entries as f64 / stay.rows.max(1) as f64),
            most: stay.most,
            seconds: thousandths(stay.span_ns as f64 / 1e9),
        }
    };
    let mut rows: Vec<Occupancy> = stays.into_iter().filter(|(_, stay)| stay.span_ns > 0).map(of).collect();
    keep_top(&mut rows, EXPLAINED, |row| (Reverse((row.held * 1000.0) as u64), row.src, row.netns));
    rows
}

fn thousandths(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
