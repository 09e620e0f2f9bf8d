//! The few sources that metrics name, and all others together: which they are changes seldom, and what they are said to
//! have done adds up to the totals.
//!
//! A source matters if it is one of the heaviest by entries, by new ones in the last minute, or by refusals since the
//! last choice; of each kind a quarter of all names, rounded up, may matter at a time. One without a name must be
//! heavier by a tenth than one that has one. What matters gets a name as long as there are names; then it takes that
//! of the source which has not mattered longest, but only after ten minutes: so a flood from ever new addresses makes
//! as many series in ten minutes as there are names, and no more. Nobody loses a name that nobody needs.

mod shares;

use std::cmp::Reverse;
use std::net::IpAddr;

use hashbrown::{HashMap, HashSet};

use super::causes::{CAUSES, Causes};
use super::sources::{Source, SourceId, Sources, Sums};
use super::tally::keep_top;
use shares::Shares;

/// It is chosen this often.
const CHOICE_NS: u64 = 10_000_000_000;

/// A source keeps its name for so long after it last mattered.
const STAY_NS: u64 = 600_000_000_000;

/// Sources by name, heaviest first, and the rest of every namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopSources {
    /// Those that are named.
    pub named: Vec<NamedSource>,
    /// Of each namespace what is of no named source, by its inode number; of namespace 0 what is of no namespace.
    pub others: Vec<Others>,
    /// What each namespace did, in the same order; of namespace 0 what is of none.
    pub netns: Vec<NetnsTotals>,
    /// What namespaces did that are gone, all together.
    pub gone: NetnsTotals,
}

/// A source that is named.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedSource {
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Its address.
    pub src: IpAddr,
    /// Entries it holds.
    pub entries: u64,
    /// What happened since it is named: before, it was counted among the others.
    pub sums: Sums,
}

/// All sources of a namespace that are not named. Its sums never go back: what a source did while it was named is added
/// when it no longer is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Others {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Entries they hold.
    pub entries: u64,
    /// What happened so far.
    pub sums: Sums,
}

/// What happened in a namespace so far. Never goes back, and of all namespaces and those that are gone together is the
/// engine's totals: what
/// was counted as nobody's, because its record was lost, stays nobody's when an audit finds out whose it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetnsTotals {
    /// Inode number of the network namespace; 0 for none.
    pub netns: u32,
    /// Entries in the live table.
    pub entries: u64,
    /// Entries allocated.
    pub new: u64,
    /// Entries freed.
    pub freed: u64,
    /// What was not kept.
    pub causes: Causes,
}

/// Numbers of [`NetnsTotals`] that only grow.
const NUMBERS: usize = 2 + CAUSES;

impl NetnsTotals {
    fn numbers(&self) -> [u64; NUMBERS] {
        let causes = self.causes.numbers();
        std::array::from_fn(|at| match at {
            0 => self.new,
            1 => self.freed,
            _ => causes[at - 2],
        })
    }

    fn from_numbers(netns: u32, entries: u64, numbers: &[u64; NUMBERS]) -> Self {
        let causes = Causes::from_numbers(std::array::from_fn(|at| numbers[at + 2]));
        Self { netns, entries, new: numbers[0], freed: numbers[1], causes }
    }

    /// The way sources are summed.
    pub fn sums(&self) -> Sums {
        let Causes { evicted, clash, chain_too_long, nat_ports, dying, failed, unconfirmed, .. } =
            self.causes;
        let failed =
            [clash, chain_too_long, nat_ports, dying, failed].into_iter().fold(0, u64::saturating_add);
        Sums {
            new: self.new,
            freed: self.freed,
            refused: self.causes.refused(),
            evicted,
            failed,
            unconfirmed,
        }
    }
}

/// What the engine knows when it is asked.
pub(super) struct Known<'a> {
    pub(super) ktime_ns: u64,
    /// Of all namespaces, and of none.
    pub(super) totals: NetnsTotals,
    /// Each by itself.
    pub(super) netns: &'a [NetnsTotals],
    pub(super) sources: &'a Sources,
}

/// Chooses who is named, and keeps the sums that belong to names.
#[derive(Debug, Default)]
pub struct Chooser {
    named: Vec<Named>,
    next_choice: u64,
    /// Refusals of each source at the last choice, by the place of its id.
    refused_before: Vec<u64>,
    netns: Shares<u32, NUMBERS>,
    sources: HashMap<u32, Shares<IpAddr, SUMS>>,
}

#[derive(Debug)]
struct Named {
    netns: u32,
    src: IpAddr,
    /// What its source says.
    says: Sums,
    /// What it did since it is named, though its source may have been forgotten meanwhile.
    did: Sums,
    mattered_ktime_ns: u64,
}

impl Chooser {
    /// Nobody is named yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names at most `k` sources, chosen anew every ten seconds, and says what they and all others did.
    pub(super) fn top(&mut self, known: &Known<'_>, k: usize) -> TopSources {
        let alive: HashSet<u32> = known.netns.iter().map(|it| it.netns).collect();
        self.named.retain(|it| alive.contains(&it.netns));
        self.named.iter_mut().for_each(|it| it.catch_up(known.sources));
        if known.ktime_ns >= self.next_choice || self.named.len() > k {
            self.choose(known, k);
            self.next_choice = known.ktime_ns.saturating_add(CHOICE_NS);
        }
        let netns = self.netns_totals(known);
        self.sources.retain(|netns, _| alive.contains(netns));
        let mut named = Vec::with_capacity(self.named.len());
        let others = netns.iter().map(|it| self.divide(it, known.sources, &mut named)).collect();
        named.sort_by_key(|it: &NamedSource| (Reverse((it.entries, it.sums.refused)), it.netns, it.src));
        let gone = NetnsTotals::from_numbers(0, 0, &self.netns.gone());
        TopSources { named, others, netns, gone }
    }

    fn choose(&mut self, known: &Known<'_>, k: usize) {
        let now = known.ktime_ns;
        let mut mattering = self.mattering(known, k.div_ceil(4));
        for named in &mut self.named {
            if mattering.contains(&(named.netns, named.src)) {
                named.mattered_ktime_ns = now;
                mattering.retain(|it| *it != (named.netns, named.src));
            }
        }
        for (netns, src) in mattering {
            let is_named = self.named.iter().any(|it| (it.netns, it.src) == (netns, src));
            if !is_named && (self.named.len() < k || self.make_room(now)) {
                let says = known.sources.find(netns, src).map(|id| known.sources.get(id).sums);
                let says = says.unwrap_or_default();
                self.named.push(Named { netns, src, says, did: Sums::default(), mattered_ktime_ns: now });
            }
        }
        self.named.sort_by_key(|it| Reverse(it.mattered_ktime_ns));
        self.named.truncate(k);
        self.refused_before.resize(known.sources.slots(), 0);
        for (id, source) in known.sources.iter_ids() {
            self.refused_before[id.index()] = source.sums.refused;
        }
    }

    /// The heaviest of each kind, in turns, so that none crowds out another where names are few.
    fn mattering(&self, known: &Known<'_>, places: usize) -> Vec<(u32, IpAddr)> {
        let ids = self.named.iter().filter_map(|it| known.sources.find(it.netns, it.src));
        let mut is_named = vec![false; known.sources.slots()];
        ids.for_each(|id| is_named[id.index()] = true);
        let refused = |id: SourceId, source: &Source| {
            let before = self.refused_before.get(id.index()).copied().unwrap_or(0);
            source.sums.refused.saturating_sub(before)
        };
        let heaviest = |weight: &dyn Fn(SourceId, &Source) -> u64| {
            let tenths = |id: SourceId| if is_named[id.index()] { 11 } else { 10 };
            let favoured = |id: SourceId, weight: u64| weight.saturating_mul(tenths(id));
            let rows =
                known.sources.iter_ids().map(|(id, it)| (favoured(id, weight(id, it)), it.netns, it.src));
            let mut rows: Vec<_> = rows.filter(|(weight, ..)| *weight > 0).collect();
            keep_top(&mut rows, places, |(weight, netns, src)| (Reverse(*weight), *netns, *src));
            rows
        };
        let kinds = [
            heaviest(&|_, it| it.entries.into()),
            heaviest(&|_, it| it.minute.count(known.ktime_ns)),
            heaviest(&refused),
        ];
        let alive = |netns: &u32| known.netns.iter().any(|it| it.netns == *netns);
        let in_turns = (0..places).flat_map(|at| kinds.iter().filter_map(move |kind| kind.get(at)));
        in_turns.map(|(_, netns, src)| (*netns, *src)).filter(|(netns, _)| alive(netns)).collect()
    }

    /// Takes the name of the source that has not mattered longest, if that is long enough.
    fn make_room(&mut self, now: u64) -> bool {
        let longest = (0..self.named.len()).min_by_key(|at| self.named[*at].mattered_ktime_ns);
        let stayed = |at: &usize| now.saturating_sub(self.named[*at].mattered_ktime_ns) >= STAY_NS;
        longest.filter(stayed).map(|at| self.named.swap_remove(at)).is_some()
    }

    fn netns_totals(&mut self, known: &Known<'_>) -> Vec<NetnsTotals> {
        let parts = known.netns.iter().map(|it| (it.netns, it.numbers()));
        self.netns.divide(known.totals.numbers(), parts);
        let each = known
            .netns
            .iter()
            .map(|it| NetnsTotals::from_numbers(it.netns, it.entries, &self.netns.of(&it.netns)));
        let mut all: Vec<_> =
            [NetnsTotals::from_numbers(0, 0, &self.netns.nobody())].into_iter().chain(each).collect();
        all.sort_by_key(|it| it.netns);
        all
    }

    /// Divides what happened in a namespace between those who are named and the others.
    fn divide(&mut self, netns: &NetnsTotals, sources: &Sources, into: &mut Vec<NamedSource>) -> Others {
        let named = || self.named.iter().filter(|it| it.netns == netns.netns);
        let shares = self.sources.entry(netns.netns).or_default();
        shares.divide(numbers(&netns.sums()), named().map(|it| (it.src, numbers(&it.did))));
        let mut entries = netns.entries;
        for it in named() {
            let held = sources.find(it.netns, it.src).map_or(0, |id| u64::from(sources.get(id).entries));
            entries = entries.saturating_sub(held);
            let sums = sums(&shares.of(&it.src));
            into.push(NamedSource { netns: it.netns, src: it.src, entries: held, sums });
        }
        let mut others = sums(&shares.nobody());
        others.add(&sums(&shares.gone()));
        Others { netns: netns.netns, entries, sums: others }
    }
}

impl Named {
    fn catch_up(&mut self, sources: &Sources) {
        let Some(id) = sources.find(self.netns, self.src) else {
            // Dropped while idle: should it come again, it begins with nothing.
            self.says = Sums::default();
            return;
        };
        let says = sources.get(id).sums;
        self.did.add(&says.since(&self.says));
        self.says = says;
    }
}

/// Numbers of [`Sums`].
const SUMS: usize = 6;

fn numbers(sums: &Sums) -> [u64; SUMS] {
    let Sums { new, freed, refused, evicted, failed, unconfirmed } = *sums;
    [new, freed, refused, evicted, failed, unconfirmed]
}

fn sums(numbers: &[u64; SUMS]) -> Sums {
    let [new, freed, refused, evicted, failed, unconfirmed] = *numbers;
    Sums { new, freed, refused, evicted, failed, unconfirmed }
}

#[cfg(test)]
mod tests;
