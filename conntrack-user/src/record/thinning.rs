//! What of a drain is recorded: everything, or what matters within a budget. Nothing is dropped without a sum.

use conntrack_common::{ABSENT, Evicted, InsertFailed, Kind, Refused, Tuple};
use hashbrown::{HashMap, HashSet};
use zerocopy::IntoBytes as _;

use crate::engine::batch::Batch;
use crate::engine::decode::{Record, Records};
use crate::engine::recorded::{Counters, Drain, Recorded, RecordedKind, Summed};

/// Sources of one second that are summed apart; what others add goes to one sum of nobody.
const SOURCES: usize = 4096;

/// What says the same as before is left out for so long.
const STILL_NS: u64 = 60_000_000_000;

const SECOND_NS: u64 = 1_000_000_000;

/// Who and what is summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// Seconds since boot: a sum does not reach beyond the second it began in.
    second: u64,
    of: u8,
    cause: u8,
    netns: u32,
    l3num: u16,
    src: [u8; 16],
}

/// One incident, as far as sums go.
struct Incident {
    key: Key,
    ktime_ns: u64,
    count: u32,
    max: u32,
}

/// What was recorded last.
#[derive(Debug)]
struct Told {
    ktime_ns: u64,
    said: Box<[u8]>,
}

/// Decides record by record.
#[derive(Debug)]
pub struct Thinning {
    entries: bool,
    detail_per_s: usize,
    /// Seconds since boot of what is counted below.
    second: u64,
    /// Incidents whose records were kept in it.
    kept: usize,
    /// Sources of which one was.
    sources: HashSet<Key>,
    sums: HashMap<Key, Summed>,
    /// Hashes of evictions that were kept: for whom they were is kept too.
    awaited: HashSet<u32>,
    /// What was last recorded of a kind and namespace, and when.
    told: HashMap<(u8, u32), Told>,
    wall_offset_ns: Option<i64>,
    counters: Option<Counters>,
    counters_ktime_ns: u64,
}

impl Thinning {
    /// Records everything with `entries`; else of incidents at most so many a second one by one, and the rest as sums
    /// by source.
    pub fn new(entries: bool, detail_per_s: usize) -> Self {
        Self {
            entries,
            detail_per_s,
            second: 0,
            kept: 0,
            sources: HashSet::new(),
            sums: HashMap::new(),
            awaited: HashSet::new(),
            told: HashMap::new(),
            wall_offset_ns: None,
            counters: None,
            counters_ktime_ns: 0,
        }
    }

    /// Appends what is recorded of a drain and of what the engine `added` to it; nothing if there is nothing.
    pub fn take(&mut self, batch: &Batch, added: &[u8], out: &mut Vec<u8>) {
        let begin = out.len();
        let drain = Drain {
            kind: RecordedKind::Drain as u8,
            reserved: [0; 7],
            ktime_ns: batch.ktime_ns,
            wall_offset_ns: batch.wall.offset_ns,
        };
        out.extend_from_slice(drain.as_bytes());
        let empty = out.len();
        if self.entries {
            out.extend_from_slice(&batch.entries);
            out.extend_from_slice(&batch.incidents);
        } else {
            self.begin_second(batch.ktime_ns / SECOND_NS);
            self.gaps(&batch.entries, out);
            self.incidents(&batch.incidents, out);
            self.sums_before(batch.ktime_ns.max(latest_second(added)) / SECOND_NS, out);
        }
        let totals = |totals| Counters {
            kind: RecordedKind::Counters as u8,
            reserved: [0; 7],
            ktime_ns: batch.ktime_ns,
            totals,
        };
        self.counters = batch.totals.map(totals).or(self.counters);
        if self.entries || batch.ktime_ns.saturating_sub(self.counters_ktime_ns) >= SECOND_NS {
            self.counters(out);
        }
        out.extend_from_slice(added);
        let clock_was_set = self.wall_offset_ns.replace(batch.wall.offset_ns) != Some(batch.wall.offset_ns);
        if out.len() == empty && !self.entries && !clock_was_set {
            out.truncate(begin);
        }
    }

    /// Appends what still waits.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        self.sums_before(u64::MAX, out);
        self.counters(out);
    }

    /// What says the same as before is recorded again: another file begins.
    pub fn begin_file(&mut self) {
        self.told.clear();
    }

    fn counters(&mut self, out: &mut Vec<u8>) {
        if let Some(counters) = self.counters.take() {
            self.counters_ktime_ns = counters.ktime_ns;
            out.extend_from_slice(counters.as_bytes());
        }
    }

    fn begin_second(&mut self, second: u64) {
        if second != self.second {
            self.second = second;
            self.kept = 0;
            self.sources.clear();
        }
    }

    /// Tells the sums of all seconds before this one: with the row of their second, which the engine adds as soon as it
    /// is over, or before.
    fn sums_before(&mut self, second: u64, out: &mut Vec<u8>) {
        let ended = self.sums.extract_if(|key, _| key.second < second);
        let mut sums: Vec<Summed> = ended.map(|(_, sum)| sum).collect();
        sums.sort_by_key(|sum| (sum.ktime_ns, sum.src));
        sums.iter().for_each(|sum| out.extend_from_slice(sum.as_bytes()));
    }

    /// Of what moves entries only that there were none.
    fn gaps(&self, entries: &[u8], out: &mut Vec<u8>) {
        let mut records = Records::new(entries);
        while let Some((record, bytes)) = records.next_with_bytes() {
            if matches!(record, Record::Gap(_)) {
                out.extend_from_slice(bytes);
            }
        }
    }

    fn incidents(&mut self, incidents: &[u8], out: &mut Vec<u8>) {
        let mut records = Records::new(incidents);
        while let Some((record, bytes)) = records.next_with_bytes() {
            let kept = match record {
                Record::Refused(record) => self.keeps(&refusal(&record.get())),
                Record::InsertFailed(record) => self.keeps(&failure(&record.get())),
                Record::Evicted(record) => {
                    let record = record.get();
                    let kept = self.keeps(&eviction(&record));
                    if kept {
                        self.await_newcomer(record.hash);
                    }
                    kept
                }
                Record::RoomMade(record) => self.awaited.remove(&record.get().hash),
                Record::Stats(record) => self.is_news(record.get().netns, bytes),
                Record::NetnsName(record) => self.is_news(record.get().netns, bytes),
                Record::Ledger(_) | Record::Missed(_) => true,
                _ => false,
            };
            if kept {
                out.extend_from_slice(bytes);
            }
        }
    }

    fn await_newcomer(&mut self, hash: u32) {
        if self.awaited.len() >= SOURCES {
            self.awaited.clear();
        }
        self.awaited.insert(hash);
    }

    /// Whether an incident is recorded as it is; else it has been added to a sum. The second half of a second's budget is for
    /// sources of which nothing was kept in it: a flood must not hide the others.
    fn keeps(&mut self, incident: &Incident) -> bool {
        let is_first = self.sources.len() < SOURCES && self.sources.insert(incident.key);
        if self.kept < self.detail_per_s / 2 || (is_first && self.kept < self.detail_per_s) {
            self.kept += 1;
            return true;
        }
        self.add(incident);
        false
    }

    fn add(&mut self, incident: &Incident) {
        let Incident { mut key, ktime_ns, count, max } = *incident;
        if self.sums.len() >= SOURCES && !self.sums.contains_key(&key) {
            (key.l3num, key.src) = (0, [0; 16]);
        }
        let sum = self.sums.entry(key).or_insert(Summed {
            kind: RecordedKind::Summed as u8,
            of: key.of,
            cause: key.cause,
            reserved: 0,
            netns: key.netns,
            ktime_ns,
            first_ktime_ns: ktime_ns,
            count: 0,
            src: key.src,
            l3num: key.l3num.into(),
            level_count: count,
            level_max: max,
            reserved2: 0,
        });
        sum.count += 1;
        sum.first_ktime_ns = sum.first_ktime_ns.min(ktime_ns);
        if ktime_ns >= sum.ktime_ns {
            (sum.ktime_ns, sum.level_count, sum.level_max) = (ktime_ns, count, max);
        }
    }

    /// Whether a record says something else than the last of its kind about this namespace, or that is long ago.
    fn is_news(&mut self, netns: u32, record: &[u8]) -> bool {
        // Kind, namespace and time come first in both kinds this is asked for.
        let (head, rest) = record.split_at(16);
        let ktime_ns = u64::from_ne_bytes(head[8..].try_into().expect("eight bytes"));
        let is_old = |told: &Told| *told.said == *rest && ktime_ns.saturating_sub(told.ktime_ns) < STILL_NS;
        if self.told.get(&(head[0], netns)).is_some_and(is_old) {
            return false;
        }
        self.told.insert((head[0], netns), Told { ktime_ns, said: rest.into() });
        true
    }
}

/// The time of the last second that has ended, by the rows of namespaces in what the engine added.
fn latest_second(added: &[u8]) -> u64 {
    let ended = Records::new(added).flatten().filter_map(|record| match record {
        Record::Recorded(Recorded::NetnsSecond(row)) => Some(row.get().ktime_ns),
        _ => None,
    });
    ended.max().unwrap_or(0)
}

fn key(of: Kind, cause: u8, netns: u32, ktime_ns: u64, tuple: &Tuple) -> Key {
    let second = ktime_ns / SECOND_NS;
    Key { second, of: of as u8, cause, netns, l3num: tuple.l3num, src: tuple.src }
}

fn refusal(record: &Refused) -> Incident {
    let Refused { cause, netns, ktime_ns, count, max, ref tuple, .. } = *record;
    Incident { key: key(Kind::Refused, cause, netns, ktime_ns, tuple), ktime_ns, count, max }
}

fn eviction(record: &Evicted) -> Incident {
    let Evicted { netns, ktime_ns, count, max, ref tuple, .. } = *record;
    Incident { key: key(Kind::Evicted, 0, netns, ktime_ns, tuple), ktime_ns, count, max }
}

fn failure(record: &InsertFailed) -> Incident {
    let InsertFailed { cause, netns, ktime_ns, ref original, .. } = *record;
    Incident {
        key: key(Kind::InsertFailed, cause, netns, ktime_ns, original),
        ktime_ns,
        count: ABSENT,
        max: ABSENT,
    }
}

#[cfg(test)]
mod tests;
