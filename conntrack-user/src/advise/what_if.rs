//! What would have been with other settings: the births and deaths of a recording with `--entries`, played again.
//!
//! Two tables run side by side, the recorded one and the predicted one, driven by the same births. An entry whose
//! timeout is unchanged dies in both at once, so without changes both are the same to the unit. One that waited out a
//! timeout which is changed dies in the predicted table when that would have run out and the kernel's collector had
//! come. All decisions about room are made by the difference between the two: where the recorded table was full and
//! the predicted one holds fewer entries, or may hold more, there is room.
//!
//! A shorter timeout moves deaths back in time. So events wait in a queue until nothing that may still be read can come
//! before them; that, the living entries and the means of their lives are all that is kept.

mod future;
mod report;
mod sample;

use conntrack_common::{AuditPhase, Cause, End, Free, Kind, New, Refused, Seen, Tuple};
use hashbrown::{DefaultHashBuilder, HashMap};
use std::hash::BuildHasher as _;

use super::changes::Changes;
use super::collector::Pace;
use super::timeouts::{self, Fate, Timeout, Timeouts};
use crate::engine::decode::{DecodeError, Record, Records};
use crate::engine::recorded::{Recorded, Setting, Summed};
use crate::engine::tuple::{Proto, Status};
use future::{Event, Future, Who};

pub use report::*;

/// Bytes of a slab object where the recording does not tell (5.10 to 7.3: 256 or 248, aligned).
const OBJECT_BYTES: u64 = 256;

/// Extensions of an entry, allocated beside it (`NF_CT_EXT_PREALLOC`, net/netfilter/nf_conntrack_extend.c).
const EXTENSION_BYTES: u64 = 128;

/// Of an `hlist_nulls_head`.
const BUCKET_BYTES: u64 = 8;

/// A refusal that is known by its sum only is spread over its second in so many steps.
const SLICES: u64 = 16;

/// A recording, played under other settings. Give it all records in order, then [`Simulation::finish`].
pub struct Simulation {
    changes: Changes,
    pace: Pace,
    hasher: DefaultHashBuilder,
    /// By inode number: index of the namespace in `facts` and in the future.
    index: HashMap<u32, usize>,
    facts: Vec<Facts>,
    /// Living entries by address.
    live: HashMap<u64, Life>,
    future: Future,
    next_id: u64,
    began: Option<u64>,
    ended: u64,
    /// The last entry that was seen to end. A recorder sees none while it shuts down.
    last_free: u64,
    /// The last drain, whose records are being read.
    drained: u64,
    object_bytes: Option<u64>,
    buckets: Option<u64>,
    lost: u64,
    /// Records are missing: entries that the next audit does not find have ended, nobody knows when.
    is_torn: bool,
    /// When the audit began that looks for them.
    mending_since: Option<u64>,
    doubts: Doubts,
}

/// What is known of a namespace besides its entries.
struct Facts {
    netns: u32,
    name: Option<String>,
    recorded: Timeouts,
    changed: Timeouts,
    is_recorded: bool,
    waited: [Waited; timeouts::COUNT],
    active_ns: u128,
    unknown_ns: u128,
}

#[derive(Clone, Copy, Default)]
struct Waited {
    ended: u64,
    ns: u128,
}

/// A living entry.
struct Life {
    id: u64,
    space: usize,
    /// When it was born, or first seen.
    born: u64,
    /// When an audit last saw it, or it was born.
    seen: u64,
    is_older: bool,
    who: Who,
}

impl Simulation {
    /// Nothing played yet. `kernel` is the release of the kernel that was recorded.
    pub fn new(changes: Changes, kernel: &str) -> Self {
        let pace = Pace::of_kernel(kernel);
        let future = Future::new(pace, changes.max);
        Self {
            pace,
            future,
            changes,
            hasher: DefaultHashBuilder::default(),
            index: HashMap::new(),
            facts: Vec::new(),
            live: HashMap::new(),
            next_id: 1,
            began: None,
            ended: 0,
            last_free: 0,
            drained: 0,
            object_bytes: None,
            buckets: None,
            lost: 0,
            is_torn: false,
            mending_since: None,
            doubts: Doubts::default(),
        }
    }

    /// Plays records, as many as there are.
    ///
    /// # Errors
    ///
    /// If they are none; what came before them is played.
    pub fn play(&mut self, records: &[u8]) -> Result<(), DecodeError> {
        Records::new(records).try_for_each(|record| record.map(|record| self.take(record)))
    }

    /// Here records are missing: the file is damaged.
    pub fn missing(&mut self) {
        self.doubts.lost += 1;
        self.is_torn = true;
    }

    /// The recording is over.
    pub fn finish(mut self) -> Prediction {
        let until = self.known_until();
        self.future.end(until);
        let now = self.ended;
        let mut alive = vec![(0, 0); self.facts.len()];
        for life in self.live.values() {
            let facts = &mut self.facts[life.space];
            facts.unknown_ns += u128::from(now.saturating_sub(life.born));
            alive[life.space].0 += 1;
            alive[life.space].1 += u64::from(facts.may_be_gone(life, now));
        }
        self.doubts.no_entries = self.next_id == 1;
        self.doubts.lost += self.lost;
        self.doubts.cut_short = self.future.cut_short;
        let began = self.began.unwrap_or(now);
        let spans_ns = [now, until].map(|end| end.saturating_sub(began).max(1));
        let mut netns: Vec<_> =
            (0..self.facts.len()).map(|at| self.predict(at, alive[at], spans_ns)).collect();
        netns.retain(|it| it.peak.recorded.entries + it.peak.predicted.entries + it.refused.recorded > 0);
        netns.sort_unstable_by_key(|it| it.netns);
        Prediction {
            pace: self.pace,
            began_ktime_ns: self.began.unwrap_or(0),
            ended_ktime_ns: now,
            known_until_ktime_ns: until,
            memory: self.memory(&netns),
            netns,
            doubts: self.doubts,
            changes: self.changes,
        }
    }

    fn predict(
        &self,
        at: usize,
        (alive, alive_perhaps_gone): (u64, u64),
        [span_ns, known_ns]: [u64; 2],
    ) -> NetnsPrediction {
        let (facts, space) = (&self.facts[at], &self.future.spaces[at]);
        let mean = |area: u128| area as f64 / known_ns as f64;
        NetnsPrediction {
            netns: facts.netns,
            name: facts.name.clone(),
            max: self.future.max,
            peak: space.peak,
            mean: Both { recorded: mean(space.area.recorded), predicted: mean(space.area.predicted) },
            refused: space.refused,
            evicted: space.evicted,
            occupancy: facts.occupancy(span_ns),
            alive,
            alive_perhaps_gone,
            timeouts_recorded: facts.is_recorded,
        }
    }

    fn memory(&self, netns: &[NetnsPrediction]) -> Memory {
        let entry_bytes = self.object_bytes.unwrap_or(OBJECT_BYTES) + EXTENSION_BYTES;
        let buckets = Both { recorded: self.buckets, predicted: self.changes.buckets.or(self.buckets) };
        let bytes = |entries: u64, buckets: Option<u64>| {
            entries
                .saturating_mul(entry_bytes)
                .saturating_add(buckets.unwrap_or(0).saturating_mul(BUCKET_BYTES))
        };
        let peaks = |of: fn(&Both<Peak>) -> Peak| netns.iter().map(|it| of(&it.peak).entries).sum();
        let at_limit = |max: Option<u32>, buckets| Some(bytes(max?.into(), buckets));
        let max = self.future.max;
        Memory {
            entry_bytes,
            buckets,
            at_peak: Both {
                recorded: bytes(peaks(|it| it.recorded), buckets.recorded),
                predicted: bytes(peaks(|it| it.predicted), buckets.predicted),
            },
            at_limit: Both {
                recorded: at_limit(max.recorded, buckets.recorded),
                predicted: at_limit(max.predicted, buckets.predicted),
            },
        }
    }

    fn take(&mut self, record: Record<'_>) {
        let now = record.ktime_ns();
        if self.began.is_none() {
            self.begins_at(now);
        }
        match record {
            Record::New(new) => self.born(&new.get()),
            Record::Free(free) => self.freed(&free.get()),
            Record::Seen(seen) => self.seen(&seen.get()),
            Record::Refused(refused) => self.refused(&refused.get()),
            Record::Evicted(evicted) => self.limit(now, evicted.get().max),
            Record::Audit(audit) => self.audited(audit.get().phase, now),
            Record::Gap(gap) if gap.get().over == 0 => self.unloaded(now),
            Record::NetnsName(name) => {
                let name = name.get();
                let at = self.space(name.netns);
                self.facts[at].name = text(&name.name);
            }
            Record::Recorded(recorded) => self.recorded(recorded, now),
            _ => {}
        }
    }

    /// What waits for a changed timeout is not all there before it has run out once.
    fn begins_at(&mut self, now: u64) {
        self.began = Some(now);
        let longest_s = self.changes.timeouts.iter().map(|(_, seconds)| *seconds).max().unwrap_or(0);
        let fills_ns = longest_s.saturating_mul(1_000_000_000).min(self.pace.longest_ns());
        self.future.collector.settled_ns = now.saturating_add(fills_ns);
    }

    fn recorded(&mut self, recorded: Recorded<'_>, now: u64) {
        match recorded {
            Recorded::Drain(_) => {
                // All that was stamped before the drain before this one has been read.
                let read_up_to = std::mem::replace(&mut self.drained, now);
                self.future.pass(read_up_to.saturating_sub(self.horizon_ns()));
                self.ended = self.ended.max(now);
            }
            Recorded::Setting(setting) => self.setting(&setting.get()),
            Recorded::NetnsSecond(second) => self.limit(now, second.get().max),
            Recorded::Summed(summed) => self.summed(&summed.get()),
            Recorded::Counters(counters) => self.lost = counters.get().totals.lost(),
            Recorded::Unrecorded(unrecorded) => {
                self.missing();
                self.doubts.lost += unrecorded.get().drains.saturating_sub(1);
            }
            Recorded::Ended(_) => self.ended = self.ended.max(now),
            _ => {}
        }
    }

    /// How far back in time a death may be moved that is yet to be read.
    fn horizon_ns(&self) -> u64 {
        if self.changes.timeouts.is_empty() {
            return 0;
        }
        let shorter = |facts: &Facts| {
            let by = Timeout::ALL.map(|it| facts.recorded.ns(it).saturating_sub(facts.changed.ns(it)));
            by.into_iter().max().unwrap_or(0)
        };
        let most = self.facts.iter().map(shorter).max().unwrap_or(0);
        most.saturating_add(self.pace.longest_ns())
    }

    /// What a shorter timeout ends at a moment was freed in the recording as much later, and collected later still: so
    /// near the recording's end nothing can be said. A timeout that ended nothing does not matter, nor one that would
    /// be shorter by most of the recording: nothing would be left of it.
    fn known_until(&self) -> u64 {
        let half = self.ended.saturating_sub(self.began.unwrap_or(0)) / 2;
        let shorter = |facts: &Facts| {
            let ended = Timeout::ALL.into_iter().filter(|it| facts.waited[*it as usize].ended > 0);
            let by = ended.map(|it| facts.recorded.ns(it).saturating_sub(facts.changed.ns(it)));
            by.filter(|by| *by <= half).max().unwrap_or(0)
        };
        match self.facts.iter().map(shorter).max().unwrap_or(0) {
            0 => self.ended,
            most => {
                let later = most.saturating_add(self.future.collector.longest_lag_ns());
                self.last_free.saturating_sub(later).max(self.began.unwrap_or(0))
            }
        }
    }

    fn space(&mut self, netns: u32) -> usize {
        *self.index.entry(netns).or_insert_with(|| {
            self.facts.push(Facts::new(netns, &self.changes));
            self.future.spaces.push(future::Space::default());
            self.facts.len() - 1
        })
    }

    fn setting(&mut self, setting: &Setting) {
        let name = text(&setting.name).unwrap_or_default();
        let at = self.space(setting.netns);
        match name.as_str() {
            "max" => self.limit(setting.ktime_ns, u32::try_from(setting.value).unwrap_or(u32::MAX)),
            "buckets" => self.buckets = Some(setting.value),
            "object_bytes" => self.object_bytes = Some(setting.value),
            "hz" => self.future.collector.hz = setting.value,
            name => {
                if let Some(timeout) = Timeout::ALL.into_iter().find(|it| it.name() == name) {
                    self.facts[at].set(timeout, setting.value, &self.changes);
                }
            }
        }
    }

    fn limit(&mut self, ktime_ns: u64, max: u32) {
        // Of the one limit of all namespaces the last is enough, and most records repeat it.
        if max != conntrack_common::ABSENT && self.future.latest_max != Some(max) {
            self.future.latest_max = Some(max);
            let space = self.index.values().next().copied().unwrap_or(0);
            self.future.at(ktime_ns, space, Event::Limit { max });
        }
    }

    fn who(&self, netns: u32, tuple: &Tuple) -> Who {
        let key = self.hasher.hash_one((netns, tuple.src, tuple.protonum, tuple.dport));
        Who { key: key.max(1), proto: tuple.protonum }
    }

    fn tuple(&self, netns: u32, zone: u16, tuple: &Tuple) -> u64 {
        self.hasher.hash_one((netns, zone, tuple)).max(1)
    }

    fn born(&mut self, new: &New) {
        let New { netns, zone, ktime_ns, ct, ref tuple, may_be_seen, kind: _ } = *new;
        self.ended = self.ended.max(ktime_ns);
        if let Some(old) = self.live.remove(&ct) {
            if may_be_seen == 1 {
                self.live.insert(ct, old);
                return;
            }
            self.ends_in_both(&old, ktime_ns);
        }
        let (space, who) = (self.space(netns), self.who(netns, tuple));
        let id = self.begins(ct, space, ktime_ns, false, who);
        let tuple = self.tuple(netns, zone, tuple);
        self.future.at(ktime_ns, space, Event::Born { id, tuple });
    }

    fn seen(&mut self, seen: &Seen) {
        let Seen { alive, netns, ktime_ns, ct, ref tuple, listed, .. } = *seen;
        match self.live.remove(&ct) {
            Some(mut life) if alive == 1 => {
                life.seen = ktime_ns;
                self.live.insert(ct, life);
            }
            // Its `Free` was lost.
            Some(life) => self.ends_in_both(&life, ktime_ns),
            // What a dump lists has no address by which its end could be known.
            None if alive == 1 && listed == 0 => {
                let (space, who) = (self.space(netns), self.who(netns, tuple));
                self.doubts.older += 1;
                let id = self.begins(ct, space, ktime_ns, true, who);
                self.future.at(ktime_ns, space, Event::Born { id, tuple: 0 });
            }
            None => {}
        }
    }

    fn begins(&mut self, ct: u64, space: usize, born: u64, is_older: bool, who: Who) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        if !self.changes.timeouts.is_empty() {
            let most_ns = self.facts[space].most_in_use_ns(Proto(who.proto));
            self.future.collector.sample.born(id, born, most_ns);
        }
        self.live.insert(ct, Life { id, space, born, seen: born, is_older, who });
        id
    }

    /// It ended when it did, whatever is set.
    fn ends_in_both(&mut self, life: &Life, ktime_ns: u64) {
        let at = ktime_ns.max(life.born);
        self.future.collector.sample.expires(life.id, Both { recorded: at, predicted: at });
        self.future.at(at, life.space, Event::Freed { id: life.id, predicted: true });
    }

    /// What a whole audit has not found after records went missing has ended unseen.
    fn audited(&mut self, phase: u8, now: u64) {
        if phase == AuditPhase::Began as u8 {
            self.mending_since = self.is_torn.then_some(now);
        } else if phase == AuditPhase::Abandoned as u8 {
            self.mending_since = None;
        } else if phase == AuditPhase::Ended as u8
            && let Some(since) = self.mending_since.take()
        {
            self.is_torn = false;
            let ended: Vec<_> = self.live.extract_if(|_, life| life.seen < since).collect();
            ended.iter().for_each(|(_, life)| self.ends_in_both(life, now));
        }
    }

    fn unloaded(&mut self, ktime_ns: u64) {
        for (_, life) in std::mem::take(&mut self.live) {
            self.ends_in_both(&life, ktime_ns);
        }
    }

    fn freed(&mut self, free: &Free) {
        self.ended = self.ended.max(free.ktime_ns);
        self.last_free = self.last_free.max(free.ktime_ns);
        let Some(life) = self.live.remove(&free.ct) else {
            self.doubts.unknown_free += 1;
            return;
        };
        let at = free.ktime_ns.max(life.born);
        let status = Status(free.status.into());
        let proto = Proto(life.who.proto);
        if free.end() == Some(End::Evicted) {
            return self.evicted(&life, at, status, free.tcp_state());
        }
        let age_ns = (!life.is_older).then_some(at - life.born);
        let recorded = self.facts[life.space].recorded;
        let fate = timeouts::fate(proto, status, free.tcp_state(), age_ns, &recorded);
        let interval_ns = self.future.collector.interval_ns.recorded;
        self.facts[life.space].spent(&life, at, fate, interval_ns);
        match fate {
            Fate::Expired(timeout) => return self.expired(&life, at, timeout),
            Fate::Killed => self.doubts.killed += u64::from(status.confirmed()),
            Fate::Unknown => self.doubts.stateless += u64::from(proto == Proto::TCP),
        }
        self.ends_in_both(&life, at);
        self.lived(&life, at - life.born);
    }

    fn lived(&mut self, life: &Life, ns: u64) {
        if !life.is_older {
            self.future.lived(life.space, life.who, ns);
        }
    }

    /// It had waited out a timeout at some moment since the collector came the last time.
    fn expired(&mut self, life: &Life, at: u64, timeout: Timeout) {
        let facts = &self.facts[life.space];
        let (was, is) = (facts.recorded.ns(timeout), facts.changed.ns(timeout));
        let interval_ns = self.future.collector.interval_ns.recorded;
        let at_once = life.born.saturating_add(was).min(at);
        let lag_ns = at - at_once;
        let is_late = lag_ns > interval_ns + interval_ns / 10;
        // Was its last packet one of its first, it expired then; else at any moment since the last round. Of one that
        // was there before the recording, the last packet may have come before too.
        let up = if life.is_older || is_late {
            let latest = if is_late { at } else { at_once };
            latest - self.future.collector.some_lag_ns(life.id, at, latest).min(latest - life.born)
        } else {
            self.future.collector.lagged(lag_ns);
            at_once
        };
        if was == is {
            self.future.collector.sample.expires(life.id, Both { recorded: up, predicted: up });
            self.future.at(at, life.space, Event::Freed { id: life.id, predicted: true });
            self.lived(life, at - life.born);
            return;
        }
        let would = (up.saturating_add(is)).saturating_sub(was);
        if would < life.born && self.future.never(life.id, life.born) {
            self.future.collector.sample.expires(life.id, Both { recorded: up, predicted: 0 });
            self.future.at(at, life.space, Event::Freed { id: life.id, predicted: false });
            return;
        }
        let would = would.max(life.born);
        self.future.collector.sample.expires(life.id, Both { recorded: up, predicted: would });
        self.future.at(at, life.space, Event::Freed { id: life.id, predicted: false });
        self.future.at(would, life.space, Event::Expires { id: life.id });
        let lag_ns = self.future.collector.interval_ns.predicted / 2;
        self.lived(life, would - life.born + lag_ns);
    }

    fn evicted(&mut self, life: &Life, at: u64, status: Status, tcp_state: Option<u8>) {
        let facts = &mut self.facts[life.space];
        facts.active_ns += u128::from(at - life.born);
        // As old as any: which timeout it was waiting for.
        let fate = timeouts::fate(Proto(life.who.proto), status, tcp_state, None, &facts.recorded);
        let (was, is) = match fate {
            Fate::Expired(timeout) => (facts.recorded.ns(timeout), facts.changed.ns(timeout)),
            Fate::Killed | Fate::Unknown => (0, 0),
        };
        // A life no longer than the timeout is taken to be one burst of packets.
        let is_burst = !life.is_older && at - life.born <= was;
        let from = if is_burst { life.born } else { at };
        let would = from.saturating_add(is);
        self.future.collector.sample.expires(life.id, Both { recorded: at, predicted: would.max(at) });
        if would < at {
            self.future.at(would, life.space, Event::Expires { id: life.id });
            self.future.at(at, life.space, Event::Evicted { id: life.id, until: 0 });
        } else {
            self.future.at(at, life.space, Event::Evicted { id: life.id, until: would });
        }
    }

    fn refused(&mut self, refused: &Refused) {
        let Refused { cause, zone, netns, ktime_ns, max, ref tuple, .. } = *refused;
        self.ended = self.ended.max(ktime_ns);
        self.limit(ktime_ns, max);
        if Cause::from_byte(cause) != Some(Cause::TableFull) || netns == 0 {
            return;
        }
        let (space, who) = (self.space(netns), self.who(netns, tuple));
        let tuple = self.tuple(netns, zone, tuple);
        self.future.at(ktime_ns, space, Event::Attempt { tuple, who, weight: 1 });
    }

    fn summed(&mut self, summed: &Summed) {
        let Summed { of, cause, netns, ktime_ns, first_ktime_ns, count, .. } = *summed;
        let is_refusal = of == Kind::Refused as u8 && Cause::from_byte(cause) == Some(Cause::TableFull);
        if !is_refusal || netns == 0 {
            return;
        }
        self.doubts.summed += count;
        let space = self.space(netns);
        let span = ktime_ns.saturating_sub(first_ktime_ns);
        for slice in 0..SLICES {
            let weight = count * (slice + 1) / SLICES - count * slice / SLICES;
            if weight > 0 {
                let who = Who { key: 0, proto: u8::MAX };
                let event =
                    Event::Attempt { tuple: 0, who, weight: u32::try_from(weight).unwrap_or(u32::MAX) };
                self.future.at(first_ktime_ns + span / SLICES * slice, space, event);
            }
        }
    }
}

impl Facts {
    fn new(netns: u32, changes: &Changes) -> Self {
        let recorded = Timeouts::default();
        Self {
            netns,
            name: None,
            changed: changes.apply(&recorded),
            recorded,
            is_recorded: false,
            waited: [Waited::default(); timeouts::COUNT],
            active_ns: 0,
            unknown_ns: 0,
        }
    }

    fn set(&mut self, timeout: Timeout, seconds: u64, changes: &Changes) {
        self.is_recorded = true;
        self.recorded.set(timeout, seconds);
        self.changed = changes.apply(&self.recorded);
    }

    /// What an entry in use has left at most; None of TCP, where that is a long time.
    fn most_in_use_ns(&self, proto: Proto) -> Both<Option<u64>> {
        let of = |timeouts: &Timeouts| match Timeout::of_unanswered(proto)? {
            Timeout::TcpSynSent => None,
            Timeout::Gre => Some(timeouts.ns(Timeout::GreStream)),
            timeout => Some(timeouts.ns(timeout)),
        };
        Both { recorded: of(&self.recorded), predicted: of(&self.changed) }
    }

    /// What an entry was there for, where the collector comes once in an interval.
    fn spent(&mut self, life: &Life, at: u64, fate: Fate, interval_ns: u64) {
        let age = at - life.born;
        match fate {
            Fate::Expired(timeout) => {
                let timeout_ns = self.recorded.ns(timeout);
                let at_once = age <= timeout_ns.saturating_add(interval_ns);
                let waited_ns = if at_once { age } else { timeout_ns + interval_ns / 2 };
                let waited = &mut self.waited[timeout as usize];
                waited.ended += 1;
                waited.ns += u128::from(waited_ns);
                self.active_ns += u128::from(age - waited_ns);
            }
            Fate::Killed => self.active_ns += u128::from(age),
            Fate::Unknown => self.unknown_ns += u128::from(age),
        }
    }

    fn may_be_gone(&self, life: &Life, now: u64) -> bool {
        let proto = Proto(life.who.proto);
        let of_proto = |timeout: Timeout| match proto {
            Proto::TCP => timeout.name().starts_with("tcp_"),
            Proto::GRE => matches!(timeout, Timeout::Gre | Timeout::GreStream),
            Proto(17 | 136) => matches!(timeout, Timeout::Udp | Timeout::UdpStream),
            _ => Timeout::of_unanswered(proto) == Some(timeout),
        };
        Timeout::ALL.into_iter().filter(|it| of_proto(*it)).any(|timeout| {
            let is = self.changed.ns(timeout);
            is < self.recorded.ns(timeout) && (life.is_older || now.saturating_sub(life.born) > is)
        })
    }

    fn occupancy(&self, span_ns: u64) -> Occupancy {
        let mean = |ns: u128| ns as f64 / span_ns as f64;
        let of = |timeout: Timeout| {
            let Waited { ended, ns } = self.waited[timeout as usize];
            let seconds = Both { recorded: self.recorded.get(timeout), predicted: self.changed.get(timeout) };
            Waiting { timeout, seconds, ended, entries: mean(ns) }
        };
        let mut waiting: Vec<_> = Timeout::ALL.into_iter().map(of).filter(|it| it.ended > 0).collect();
        waiting.sort_by(|a, b| b.entries.total_cmp(&a.entries));
        Occupancy { waiting, active: mean(self.active_ns), unknown: mean(self.unknown_ns) }
    }
}

/// A zero-filled name.
fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let text = std::str::from_utf8(bytes.get(..end)?).ok()?;
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
