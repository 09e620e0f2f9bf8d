//! Who holds the table: sums per (network namespace, source address), in bounded memory.
//!
//! A source that holds entries is never dropped (their number bounds it); of the idle ones the oldest leaves
//! when another needs its place, and its sums go to `other`. So the sums of all sources plus `other` are
//! always the totals.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::net::IpAddr;

use conntrack_common::Refusals;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::lifetimes::{Lifetimes, Oldest};
use super::minute::Minute;

/// Names a source for as long as it holds entries; stored with each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceId(u32);

impl SourceId {
    /// Its place in a vector of [`Sources::slots`].
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The sources of one network namespace: a small table for passes over a large one.
#[derive(Clone, Debug)]
pub struct Members(Vec<bool>);

impl Members {
    /// Whether the source is one of them.
    #[inline]
    pub fn contains(&self, id: SourceId) -> bool {
        self.0.get(id.0 as usize).is_some_and(|is| *is)
    }
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Entries allocated.
    pub new: u64,
    /// Entries freed.
    pub freed: u64,
    /// Allocations refused.
    pub refused: u64,
    /// Entries evicted.
    pub evicted: u64,
    /// Entries not inserted.
    pub failed: u64,
    /// Entries freed unconfirmed though nothing failed: a rule dropped their packet.
    pub unconfirmed: u64,
}

impl Sums {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        let Self { new, freed, refused, evicted, failed, unconfirmed } = other;
        self.new = self.new.saturating_add(*new);
        self.freed = self.freed.saturating_add(*freed);
        self.refused = self.refused.saturating_add(*refused);
        self.evicted = self.evicted.saturating_add(*evicted);
        self.failed = self.failed.saturating_add(*failed);
        self.unconfirmed = self.unconfirmed.saturating_add(*unconfirmed);
    }

    /// What came since `earlier`. What audits corrected meanwhile is not below nothing.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            new: self.new.saturating_sub(earlier.new),
            freed: self.freed.saturating_sub(earlier.freed),
            refused: self.refused.saturating_sub(earlier.refused),
            evicted: self.evicted.saturating_sub(earlier.evicted),
            failed: self.failed.saturating_sub(earlier.failed),
            unconfirmed: self.unconfirmed.saturating_sub(earlier.unconfirmed),
        }
    }

    /// What came since `earlier`, per second of an interval.
    pub fn rates_since(&self, earlier: &Self, interval_ns: u64) -> Rates {
        let Self { new, freed, refused, evicted, failed, unconfirmed } = self.since(earlier);
        let per_s = |events| per_second(events, interval_ns);
        Rates {
            new: per_s(new),
            freed: per_s(freed),
            refused: per_s(refused),
            evicted: per_s(evicted),
            failed: per_s(failed),
            unconfirmed: per_s(unconfirmed),
        }
    }
}

/// Events per second; 0 over no time.
pub fn per_second(events: u64, interval_ns: u64) -> f64 {
    if interval_ns == 0 { 0.0 } else { events as f64 * 1e9 / interval_ns as f64 }
}

/// Per second, over the interval before a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Entries allocated.
    pub new: f64,
    /// Entries freed.
    pub freed: f64,
    /// Allocations refused.
    pub refused: f64,
    /// Entries evicted.
    pub evicted: f64,
    /// Entries not inserted.
    pub failed: f64,
    /// Entries freed unconfirmed though nothing failed.
    pub unconfirmed: f64,
}

/// One source and its sums.
#[derive(Clone, Debug)]
pub struct Source {
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Its address.
    pub src: IpAddr,
    /// Entries it holds now.
    pub entries: u32,
    /// What happened so far.
    pub sums: Sums,
    /// How long the entries that ended had lived.
    pub lifetimes: Lifetimes,
    /// New entries in the last minute.
    pub minute: Minute,
    /// Refusals up to here are in the sums by the ledger, whether their records have come or not.
    ledger_ktime_ns: u64,
    /// Whether it waits in the queue of the idle.
    queued: bool,
    /// Whether it did anything since it was queued: then it is not the oldest after all.
    stirred: bool,
}

/// What is looked at once an interval. Kept apart, so that what each event touches of a source is two cache lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct Aside {
    /// The oldest entry that it held at the last pass over the live table.
    pub oldest: Oldest,
    /// New entries in the last interval that ended.
    pub new_in_interval: u64,
    /// `sums.new` when the running interval began, or when a recording listed it last.
    new_before: u64,
    /// When a recording listed it last.
    listed_ktime_ns: u64,
    /// Whether the slot is taken.
    tracked: bool,
}

const _: () = assert!(size_of::<Source>() == 128);

/// What a recording says of a source at one time.
#[derive(Clone, Copy, Debug)]
pub struct SourceSums {
    /// When.
    pub ktime_ns: u64,
    /// Entries it held.
    pub entries: u32,
    /// What happened so far.
    pub sums: Sums,
    /// How long the entries that ended had lived.
    pub lifetimes: Lifetimes,
}

/// Of a source that is new.
const TAKEN: Aside =
    Aside { oldest: Oldest::NONE, new_in_interval: 0, new_before: 0, listed_ktime_ns: 0, tracked: true };

/// All sources.
#[derive(Debug)]
pub struct Sources {
    slots: Vec<Source>,
    aside: Vec<Aside>,
    vacant: Vec<u32>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    idle: VecDeque<u32>,
    dropped: Sums,
    /// What befell nobody knows whom.
    unknown: Sums,
    max: usize,
}

impl Sources {
    /// Tracks at most `max` sources, or as many as hold entries if those are more.
    pub fn new(max: usize) -> Self {
        Self {
            slots: Vec::new(),
            aside: Vec::new(),
            vacant: Vec::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            idle: VecDeque::new(),
            dropped: Sums::default(),
            unknown: Sums::default(),
            max,
        }
    }

    /// Counts a new entry of a source; the id is valid until as many [`freed`](Self::freed) have come.
    // The calls would cost a third of what is done in them: registers saved, and an address put in memory.
    #[inline(always)]
    pub fn new_entry(&mut self, netns: u32, src: IpAddr, ktime_ns: u64) -> SourceId {
        let at = self.find_or_insert(netns, src);
        let source = &mut self.slots[at as usize];
        source.entries += 1;
        source.sums.new += 1;
        source.minute.add(ktime_ns);
        SourceId(at)
    }

    /// Counts an entry of a source that a walk found: one that was there before counting began, or one whose
    /// allocation was `missed` and is counted now.
    pub fn found_entry(&mut self, netns: u32, src: IpAddr, missed: bool) -> SourceId {
        let at = self.find_or_insert(netns, src);
        let source = &mut self.slots[at as usize];
        source.entries += 1;
        source.sums.new += u64::from(missed);
        SourceId(at)
    }

    /// An entry found is the one that is told now: one entry, and one allocation.
    pub fn found_is_told(&mut self, id: SourceId, missed: bool) {
        let source = &mut self.slots[id.0 as usize];
        source.entries -= 1;
        source.sums.new -= u64::from(missed);
    }

    /// Counts an entry, which lived so long if that is known, out of its source, whose namespace and address are
    /// returned.
    #[inline]
    pub fn freed(&mut self, id: SourceId, lifetime_ns: Option<u64>) -> (u32, IpAddr) {
        let source = &mut self.slots[id.0 as usize];
        source.entries -= 1;
        source.sums.freed += 1;
        source.lifetimes.ended(lifetime_ns);
        let whose = (source.netns, source.src);
        self.queue_if_idle(id.0);
        whose
    }

    /// Counts an entry, freed just now, whose packet a rule dropped before it was confirmed.
    pub fn unconfirmed(&mut self, id: SourceId) {
        self.slots[id.0 as usize].sums.unconfirmed += 1;
    }

    /// Counts a refusal; false if the ledger had counted it before its record came.
    pub fn refused(&mut self, netns: u32, src: IpAddr, ktime_ns: u64) -> bool {
        let at = self.find_or_insert(netns, src);
        let source = &mut self.slots[at as usize];
        let counts = ktime_ns > source.ledger_ktime_ns;
        source.sums.refused = source.sums.refused.saturating_add(counts.into());
        self.queue_if_idle(at);
        counts
    }

    /// Raises a source's refusals to what the ledger says, if that is more; by how many that were not counted.
    pub fn refused_in_all(&mut self, netns: u32, src: IpAddr, ledger: &Refusals) -> u64 {
        let at = self.find_or_insert(netns, src);
        let source = &mut self.slots[at as usize];
        let raised = ledger.count.saturating_sub(source.sums.refused);
        if ledger.count >= source.sums.refused {
            source.ledger_ktime_ns = ledger.last_ktime_ns;
        }
        source.sums.refused += raised;
        // Perhaps it was dropped before and its former refusals are there: none may be counted twice.
        let returned = raised.min(self.dropped.refused);
        self.dropped.refused -= returned;
        self.queue_if_idle(at);
        raised - returned
    }

    /// Counts what befell nobody knows whom, and no ledger counts.
    pub fn unknown(&mut self, sums: &Sums) {
        self.unknown.add(sums);
    }

    /// Counts an eviction; the victim's entry stays until it is freed.
    pub fn evicted(&mut self, netns: u32, src: IpAddr) {
        let at = self.find_or_insert(netns, src);
        self.slots[at as usize].sums.evicted += 1;
        self.queue_if_idle(at);
    }

    /// Counts a failed insertion; the entry stays until it is freed.
    pub fn failed(&mut self, netns: u32, src: IpAddr) {
        let at = self.find_or_insert(netns, src);
        self.slots[at as usize].sums.failed += 1;
        self.queue_if_idle(at);
    }

    /// Counts what befell a source, and no ledger has counted.
    pub fn befell(&mut self, netns: u32, src: IpAddr, sums: &Sums) {
        let at = self.find_or_insert(netns, src);
        self.slots[at as usize].sums.add(sums);
        self.queue_if_idle(at);
    }

    /// Sets what a recording says of a source. Its rate is told in new entries per `rate_ns`, over the time since it was
    /// listed before, or since counting began.
    pub fn listed(&mut self, netns: u32, src: IpAddr, said: &SourceSums, since_ktime_ns: u64, rate_ns: u64) {
        let at = self.find_or_insert(netns, src);
        let (source, aside) = (&mut self.slots[at as usize], &mut self.aside[at as usize]);
        let SourceSums { ktime_ns, entries, sums, lifetimes } = *said;
        let over_ns = ktime_ns.saturating_sub(aside.listed_ktime_ns.max(since_ktime_ns)).max(1);
        let new = u128::from(sums.new.saturating_sub(aside.new_before));
        aside.new_in_interval =
            (new * u128::from(rate_ns) / u128::from(over_ns)).try_into().unwrap_or(u64::MAX);
        (aside.new_before, aside.listed_ktime_ns) = (sums.new, ktime_ns);
        (source.entries, source.sums, source.lifetimes) = (entries, sums, lifetimes);
        self.queue_if_idle(at);
    }

    /// A recording no longer lists a source: it holds little or nothing.
    pub fn unlisted(&mut self, netns: u32, src: IpAddr) {
        if let Some(SourceId(at)) = self.find(netns, src) {
            self.slots[at as usize].entries = 0;
            self.aside[at as usize].new_in_interval = 0;
            self.queue_if_idle(at);
        }
    }

    /// No source holds anything any more; no sum says that it was freed.
    pub fn release_all(&mut self) {
        for at in 0..self.slots.len() {
            if std::mem::take(&mut self.slots[at].entries) > 0 {
                self.queue_if_idle(at as u32);
            }
        }
    }

    /// A network namespace is gone: drops its sources, but for those that hold entries; how many.
    pub fn retire(&mut self, netns: u32) -> usize {
        let gone = |source: &Source| source.netns == netns && source.entries == 0;
        let dropped: Vec<u32> =
            self.index.iter().copied().filter(|at| gone(&self.slots[*at as usize])).collect();
        let slots = &self.slots;
        self.idle.retain(|at| !gone(&slots[*at as usize]));
        dropped.iter().for_each(|at| self.drop_source(*at));
        dropped.len()
    }

    /// Which ids name sources of a network namespace, by their number.
    pub fn of_netns(&self, netns: u32) -> Members {
        let mut members = vec![false; self.slots.len()];
        self.iter_ids().for_each(|(id, source)| members[id.index()] = source.netns == netns);
        Members(members)
    }

    /// More than any id's place.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The id of a source, if it is tracked.
    pub fn find(&self, netns: u32, src: IpAddr) -> Option<SourceId> {
        let same = |at: &u32| {
            let source = &self.slots[*at as usize];
            source.netns == netns && source.src == src
        };
        self.index.find(self.hash(netns, src), same).map(|at| SourceId(*at))
    }

    /// Hands out what stands in every slot, in order; what is left in those that are vacant holds nothing.
    pub fn each_aside(&mut self, mut each: impl FnMut(SourceId, &Source, &mut Aside)) {
        for ((at, source), aside) in (0u32..).zip(&self.slots).zip(&mut self.aside) {
            each(SourceId(at), source, aside);
        }
    }

    /// What is looked at once an interval.
    pub fn aside(&self, id: SourceId) -> &Aside {
        &self.aside[id.index()]
    }

    /// The source an entry names.
    pub fn get(&self, id: SourceId) -> &Source {
        &self.slots[id.0 as usize]
    }

    /// Every source tracked, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.iter_ids().map(|(_, source)| source)
    }

    /// Every source tracked with its id, in no order.
    // By slot, not by index: that would be one cache miss each.
    pub fn iter_ids(&self) -> impl Iterator<Item = (SourceId, &Source)> {
        let slots = (0u32..).zip(&self.slots).zip(&self.aside);
        slots.filter(|(_, aside)| aside.tracked).map(|((at, source), _)| (SourceId(at), source))
    }

    /// What the sources no longer tracked did, and what befell nobody knows whom.
    pub fn other(&self) -> Sums {
        let mut other = self.dropped;
        other.add(&self.unknown);
        other
    }

    /// How many are tracked.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Ends an interval and begins the next.
    pub fn end_interval(&mut self) {
        for (source, aside) in self.slots.iter().zip(&mut self.aside) {
            aside.new_in_interval = source.sums.new.saturating_sub(aside.new_before);
            aside.new_before = source.sums.new;
        }
    }

    fn hash(&self, netns: u32, src: IpAddr) -> u64 {
        hash(&self.hasher, netns, src)
    }

    // Inlined for `new_entry`.
    #[inline(always)]
    fn find_or_insert(&mut self, netns: u32, src: IpAddr) -> u32 {
        let hash = self.hash(netns, src);
        let slots = &self.slots;
        let same = |at: &u32| {
            let source = &slots[*at as usize];
            source.netns == netns && source.src == src
        };
        match self.index.find(hash, same) {
            Some(at) => *at,
            None => self.insert(hash, netns, src),
        }
    }

    #[cold]
    fn insert(&mut self, hash: u64, netns: u32, src: IpAddr) -> u32 {
        self.make_room();
        let source = Source {
            netns,
            src,
            entries: 0,
            sums: Sums::default(),
            lifetimes: Lifetimes::default(),
            ledger_ktime_ns: 0,
            minute: Minute::default(),
            queued: false,
            stirred: false,
        };
        let at = match self.vacant.pop() {
            Some(at) => {
                self.slots[at as usize] = source;
                self.aside[at as usize] = TAKEN;
                at
            }
            None => {
                self.slots.push(source);
                self.aside.push(TAKEN);
                u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 sources fit in memory")
            }
        };
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.index.insert_unique(hash, at, |at| {
            let source = &slots[*at as usize];
            self::hash(hasher, source.netns, source.src)
        });
        at
    }

    fn queue_if_idle(&mut self, at: u32) {
        let source = &mut self.slots[at as usize];
        source.stirred = source.queued;
        if source.entries == 0 && !source.queued {
            source.queued = true;
            self.idle.push_back(at);
        }
    }

    /// Drops the source that has been idle longest, until there is room for one more or none is idle.
    fn make_room(&mut self) {
        while self.index.len() >= self.max {
            let Some(at) = self.idle.pop_front() else { return };
            let source = &mut self.slots[at as usize];
            if source.entries > 0 {
                source.queued = false;
            } else if source.stirred {
                source.stirred = false;
                self.idle.push_back(at);
            } else {
                self.drop_source(at);
            }
        }
    }

    fn drop_source(&mut self, at: u32) {
        let Source { netns, src, sums, .. } = self.slots[at as usize];
        self.dropped.add(&sums);
        if let Ok(found) = self.index.find_entry(self.hash(netns, src), |other| *other == at) {
            found.remove();
        }
        self.aside[at as usize].tracked = false;
        self.vacant.push(at);
    }
}

/// Seeded at random: the addresses are the attacker's to choose.
fn hash(hasher: &DefaultHashBuilder, netns: u32, src: IpAddr) -> u64 {
    let bits = match src {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    hasher.hash_one((bits, netns))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn tracked(sources: &Sources) -> Vec<IpAddr> {
        let mut tracked: Vec<_> = sources.iter().map(|source| source.src).collect();
        tracked.sort();
        tracked
    }

    #[test]
    fn the_longest_idle_leaves_first_and_holders_never() {
        let mut sources = Sources::new(3);
        let holder = sources.new_entry(1, address(1), 0);
        sources.refused(1, address(2), 1);
        sources.refused(1, address(3), 1);
        sources.refused(1, address(2), 1); // stirs again, so 3 has been idle longest
        sources.refused(1, address(4), 1);
        assert_eq!(tracked(&sources), [address(1), address(2), address(4)]);
        assert_eq!(sources.other(), Sums { refused: 1, ..Sums::default() });

        for last in 5..9 {
            sources.new_entry(1, address(last), 0);
        }
        assert_eq!(tracked(&sources), [1, 5, 6, 7, 8].map(address), "holders may exceed the maximum");

        sources.freed(holder, None);
        sources.refused(1, address(9), 1);
        assert!(!tracked(&sources).contains(&address(1)));
        assert_eq!(sources.other(), Sums { new: 1, freed: 1, refused: 4, ..Sums::default() });
    }

    #[test]
    fn the_ledger_counts_each_refusal_once() {
        let mut sources = Sources::new(1);
        let ledger = |count, last_ktime_ns| Refusals { count, first_ktime_ns: 1, last_ktime_ns };
        assert!(sources.refused(1, address(1), 10));
        assert_eq!(sources.refused_in_all(1, address(1), &ledger(5, 50)), 4);
        assert!(!sources.refused(1, address(1), 50), "its record came after the ledger was read");
        assert!(sources.refused(1, address(1), 51));
        assert_eq!(
            sources.refused_in_all(1, address(1), &ledger(2, 90)),
            0,
            "the kernel had dropped its line"
        );
        assert!(sources.refused(1, address(1), 80));

        sources.unknown(&Sums { refused: 1, ..Sums::default() });
        assert!(sources.refused(1, address(2), 100), "the first source is dropped");
        assert_eq!(sources.other().refused, 8);
        // Now the second is dropped, and whose of the eight were the first's is not known: rather one too few.
        assert_eq!(sources.refused_in_all(1, address(1), &ledger(9, 200)), 1);
        let all: u64 = sources.iter().map(|source| source.sums.refused).sum();
        assert_eq!((all, sources.other().refused), (9, 1));
    }

    #[test]
    fn the_same_address_in_two_namespaces_is_two_sources() {
        // Many, for else their hashes alone would tell them apart.
        let mut sources = Sources::new(5000);
        for netns in 0..5000 {
            let id = sources.new_entry(netns, address(1), 0);
            assert_eq!(sources.get(id).netns, netns);
        }
        assert_eq!(sources.len(), 5000);
    }

    #[derive(Clone, Debug)]
    enum Act {
        New(u8),
        Freed(u8),
        Refused(u8),
        Evicted(u8),
        Failed(u8),
        Found(u8),
        Retired,
        Released,
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = (0u8..40, 0u8..12).prop_map(|(act, last)| match act {
            0..10 => Act::New(last),
            10..20 => Act::Freed(last),
            20..26 => Act::Refused(last),
            26..30 => Act::Evicted(last),
            30..34 => Act::Failed(last),
            34..38 => Act::Found(last),
            38 => Act::Retired,
            _ => Act::Released,
        });
        prop::collection::vec(act, 0..300)
    }

    proptest! {
        #[test]
        fn sums_add_up_and_holders_stay(acts in acts(), max in 1usize..8) {
            let mut sources = Sources::new(max);
            let mut held: HashMap<u8, Vec<SourceId>> = HashMap::new();
            let (mut total, mut most_holders) = (Sums::default(), 0);
            for act in acts {
                match act {
                    Act::New(last) => {
                        held.entry(last).or_default().push(sources.new_entry(1, address(last), 0));
                        total.new += 1;
                    }
                    Act::Freed(last) => {
                        if let Some(id) = held.entry(last).or_default().pop() {
                            prop_assert_eq!(sources.freed(id, None), (1, address(last)));
                            total.freed += 1;
                        }
                    }
                    Act::Refused(last) => {
                        sources.refused(1, address(last), 1);
                        total.refused += 1;
                    }
                    Act::Evicted(last) => {
                        sources.evicted(1, address(last));
                        total.evicted += 1;
                    }
                    Act::Failed(last) => {
                        sources.failed(1, address(last));
                        total.failed += 1;
                    }
                    Act::Found(last) => {
                        held.entry(last).or_default().push(sources.found_entry(1, address(last), last > 5));
                        total.new += u64::from(last > 5);
                    }
                    Act::Retired => {
                        sources.retire(2);
                        sources.retire(1);
                        prop_assert!(sources.iter().all(|source| source.entries > 0));
                    }
                    Act::Released => {
                        sources.release_all();
                        held.clear();
                    }
                }
                let mut sum = sources.other();
                sources.iter().for_each(|source| sum.add(&source.sums));
                prop_assert_eq!(sum, total);
                let holders = held.values().filter(|ids| !ids.is_empty()).count();
                most_holders = most_holders.max(holders);
                prop_assert!(sources.len() <= max.max(most_holders + 1), "{} of {}", sources.len(), max);
                for (last, ids) in &held {
                    let entries: u32 = sources.iter().filter(|s| s.src == address(*last)).map(|s| s.entries).sum();
                    prop_assert_eq!(entries as usize, ids.len());
                    prop_assert!(ids.iter().all(|id| sources.get(*id).src == address(*last)));
                }
            }
        }
    }
}
