//! The engine: applies batches to the live table, the sums and the states, and says what happened.

mod netns;

use std::collections::VecDeque;
use std::sync::Arc;

use conntrack_common::{
    Cause, Count, End, Evicted, Free, Ledger, New, RefusalKey, Refused, RoomMade, Totals, Tuple,
};

use super::batch::{Batch, WallClock};
use super::decode::{DecodeError, Merged, Record, Records};
use super::episode::{Episode, Open};
use super::filter::Filter;
use super::gauge::Level;
use super::held::Held;
use super::holders::Holders;
use super::live::{self, Entry, Live};
use super::notice::{Eviction, Freed, Lost, Notice, Refusal};
use super::saturation::{Edge, State, Thresholds};
use super::snapshot::{self, Events, Snapshot, Summary, Trust};
use super::sources::Sources;
use super::tuple::{Connection, Status, address};
use netns::Namespaces;

/// What an engine is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// When the programs were attached.
    pub since_ktime_ns: u64,
    /// How to tell the wall clock then.
    pub wall: WallClock,
    /// By what backend, and what it lacks.
    pub trust: Trust,
    /// When a table counts as full.
    pub thresholds: Thresholds,
    /// Sources tracked at most, but never fewer than hold entries.
    pub max_sources: usize,
    /// Past episodes kept at most.
    pub max_episodes: usize,
}

impl Config {
    /// The defaults.
    pub fn new(since_ktime_ns: u64, wall: WallClock, trust: Trust) -> Self {
        let thresholds = Thresholds::default();
        Self { since_ktime_ns, wall, trust, thresholds, max_sources: 65_536, max_episodes: 32 }
    }
}

/// Records looked ahead at a time.
const AHEAD: usize = 32;

/// The one owner of all state. Pure: it knows only the bytes and times it is given.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    ktime_ns: u64,
    wall: WallClock,
    live: Live,
    sources: Sources,
    netns: Namespaces,
    held: Held,
    /// No namespace's deadline is before this, so most records need not look.
    next_deadline: u64,
    /// What the records say.
    own: Totals,
    /// What the kernel's sums said last.
    kernel: Totals,
    events: Events,
    past: VecDeque<Arc<Episode>>,
    interval_start: u64,
    new_before: u64,
}

impl Engine {
    /// An engine that has seen nothing.
    pub fn new(config: Config) -> Self {
        Self {
            ktime_ns: config.since_ktime_ns,
            wall: config.wall,
            live: Live::default(),
            sources: Sources::new(config.max_sources),
            netns: Namespaces::new(config.thresholds, config.since_ktime_ns),
            held: Held::default(),
            next_deadline: u64::MAX,
            own: Totals::default(),
            kernel: Totals::default(),
            events: Events::default(),
            past: VecDeque::new(),
            interval_start: config.since_ktime_ns,
            new_before: 0,
            config,
        }
    }

    /// Applies one drain of the rings and tells what happened, in the order of time but for evictions, which
    /// wait up to a second to be told for whom.
    ///
    /// Time is taken to have reached `batch.ktime_ns`: no record still unread may be older by more than
    /// the few microseconds between stamp and commit, else a calm is seen that was none.
    pub fn apply(&mut self, batch: &Batch, mut tell: impl FnMut(Notice)) {
        let tell = &mut tell;
        self.wall = batch.wall;
        if let Some(trust) = &batch.trust {
            self.set_trust(Trust::clone(trust));
        }
        let mut records = Merged::new(&batch.entries, &batch.incidents);
        while !records.is_empty() {
            if self.live.len() > live::CACHED {
                self.look_ahead(records.entries_ahead());
            }
            for record in records.by_ref().take(AHEAD) {
                match record {
                    Ok(record) => self.record(record, tell),
                    Err(error) => self.undecodable(error),
                }
            }
        }
        self.pass(batch.ktime_ns, tell);
        self.held.expire(batch.ktime_ns, |eviction| tell(Notice::Evicted(eviction)));
        if let Some(totals) = &batch.totals {
            self.reconcile(totals, tell);
        }
    }

    /// Tells the evictions that still wait to learn for whom. To be called before the end.
    pub fn flush(&mut self, mut tell: impl FnMut(Notice)) {
        self.held.expire(u64::MAX, |eviction| tell(Notice::Evicted(eviction)));
    }

    /// Takes note of another backend or degradation.
    pub fn set_trust(&mut self, trust: Trust) {
        self.config.trust = trust;
    }

    /// Gives a network namespace a name.
    pub fn name_netns(&mut self, netns: u32, name: String) {
        self.netns.name(netns, name);
    }

    /// To come.
    pub fn suspects(&mut self) -> Option<Vec<u64>> {
        None
    }

    /// To come.
    pub fn wants_audit(&mut self) -> bool {
        false
    }

    /// To come.
    pub fn bootstrapped(&self) -> bool {
        true
    }

    /// The live table.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// The sources.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// The state of the world with the top `k` sources that `filter` lets through. Rates are over the time
    /// since the last snapshot, and this one begins the next interval.
    pub fn snapshot(&mut self, k: usize, filter: &Filter) -> Snapshot {
        let interval_ns = self.ktime_ns.saturating_sub(self.interval_start);
        let (totals, entries) = (self.totals(), self.live.len() as u64);
        let sources = snapshot::top_sources(&self.sources, k, filter, interval_ns);
        let new = self.own.new - self.new_before;
        let snapshot = Snapshot {
            ktime_ns: self.ktime_ns,
            wall: self.wall,
            since_ktime_ns: self.config.since_ktime_ns,
            interval_ns,
            trust: self.config.trust.clone(),
            events: self.events,
            totals,
            entries,
            netns: self.netns.rows(interval_ns),
            other: snapshot::other(entries, &totals, new, interval_ns, &sources),
            sources,
            tracked_sources: self.sources.len(),
            episodes: self.episodes(),
        };
        self.begin_interval();
        snapshot
    }

    /// The account of the run so far.
    pub fn summary(&self) -> Summary {
        Summary {
            ktime_ns: self.ktime_ns,
            wall: self.wall,
            since_ktime_ns: self.config.since_ktime_ns,
            trust: self.config.trust.clone(),
            events: self.events,
            totals: self.totals(),
            episodes: self.episodes(),
        }
    }

    fn begin_interval(&mut self) {
        self.interval_start = self.ktime_ns;
        self.new_before = self.own.new;
        self.sources.begin_interval();
        self.netns.begin_interval();
    }

    fn totals(&self) -> Totals {
        snapshot::greater(&self.own, &self.kernel)
    }

    fn episodes(&self) -> Vec<Arc<Episode>> {
        let open = self.netns.iter().filter_map(|netns| netns.open.as_ref());
        let mut open: Vec<_> = open.map(|open| Arc::new(open.episode(None))).collect();
        open.sort_by_key(|episode| (episode.start_ktime_ns, episode.netns));
        self.past.iter().cloned().chain(open).collect()
    }

    /// Looks the next entries up before their turn. A large live table is not in the caches; look-ups that
    /// do not wait for each other miss them side by side, and the real ones then find all close by.
    fn look_ahead(&self, entries: Records<'_>) {
        for record in entries.take(AHEAD).flatten() {
            let found = match record {
                Record::New(record) => self.live.get(record.get().ct).is_some(),
                Record::Free(record) => self.live.get(record.get().ct).is_some(),
                _ => false,
            };
            std::hint::black_box(found);
        }
    }

    #[inline]
    fn record(&mut self, record: Record<'_>, tell: &mut impl FnMut(Notice)) {
        let ktime_ns = record.ktime_ns();
        self.pass(ktime_ns, tell);
        match record {
            Record::New(record) => self.new_entry(&record.get(), tell),
            Record::Free(record) => self.freed(&record.get(), tell),
            Record::Refused(record) => self.refused(&record.get(), tell),
            Record::Evicted(record) => self.evicted(&record.get(), tell),
            Record::RoomMade(record) => self.room_made(&record.get(), tell),
            Record::Count(record) => self.count(&record.get(), tell),
            Record::Ledger(record) => self.ledger(&record.get()),
            Record::Seen(_)
            | Record::Audit(_)
            | Record::InsertFailed(_)
            | Record::Census(_)
            | Record::Stats(_)
            | Record::Missed(_)
            | Record::NetnsName(_)
            | Record::Gap(_) => {}
        }
    }

    fn new_entry(&mut self, record: &New, tell: &mut impl FnMut(Notice)) {
        let New { kind: _, may_be_seen: _, zone, netns, ktime_ns, ct, ref tuple } = *record;
        let connection = Connection::new(netns, zone, tuple);
        self.events.seen += 1;
        self.own.new += 1;
        let source = self.sources.new_entry(netns, connection.src, ktime_ns);
        if let Some(old) = self.live.insert(ct, Entry::new(&connection, source, ktime_ns)) {
            self.overwritten(&old);
        }
        let edge = self.netns.get(netns).born(ktime_ns);
        tell(Notice::New { ktime_ns, connection });
        self.edge(netns, edge, tell);
    }

    /// The kernel has reused the address, so the old entry was freed unseen.
    #[cold]
    fn overwritten(&mut self, old: &Entry) {
        self.events.overwritten += 1;
        self.own.freed += 1;
        self.sources.freed(old.source);
        self.netns.get(old.netns).freed_unseen();
    }

    fn freed(&mut self, record: &Free, tell: &mut impl FnMut(Notice)) {
        let Free { kind: _, end, status, mark, ktime_ns, ct } = *record;
        self.events.seen += 1;
        self.own.freed += 1;
        let Some(entry) = self.live.remove(ct) else {
            self.events.unknown_free += 1;
            return;
        };
        let src = self.sources.freed(entry.source);
        let edge = self.netns.get(entry.netns).freed(ktime_ns);
        tell(Notice::Free(Freed {
            ktime_ns,
            connection: entry.connection(src),
            status: Status(status.into()),
            mark,
            lifetime_ns: ktime_ns.saturating_sub(entry.born_ktime_ns),
            evicted: end == End::Evicted as u8,
        }));
        self.edge(entry.netns, edge, tell);
    }

    fn refused(&mut self, record: &Refused, tell: &mut impl FnMut(Notice)) {
        let Refused { kind: _, cause, zone, netns, ktime_ns, count, max, ref tuple } = *record;
        let Some(cause) = Cause::from_byte(cause) else {
            self.events.decode_errors += 1;
            return;
        };
        self.events.seen += 1;
        match cause {
            Cause::TableFull => self.own.refused_table_full += 1,
            Cause::NoMemory => self.own.refused_no_memory += 1,
            Cause::Ctnetlink => self.own.refused_ctnetlink += 1,
        }
        let caught = netns != 0 && *tuple != Tuple::ZERO;
        let connection = caught.then(|| Connection::new(netns, zone, tuple));
        let refusal = Refusal { ktime_ns, netns, cause, connection, level: Level::new(count, max) };
        let counts = match &refusal.connection {
            Some(connection) => self.sources.refused(netns, connection.src, ktime_ns),
            None => self.sources.refused_unknown(),
        };
        if netns != 0 {
            self.refused_in(netns, &refusal, counts, tell);
        }
        tell(Notice::Refused(refusal));
    }

    fn refused_in(&mut self, netns: u32, refusal: &Refusal, counts: bool, tell: &mut impl FnMut(Notice)) {
        let it = self.netns.get(netns);
        it.sums.refused = it.sums.refused.saturating_add(counts.into());
        let edge = match refusal.cause {
            Cause::TableFull => it.refused(refusal),
            // Not the table's fault: no state of it.
            Cause::NoMemory | Cause::Ctnetlink => it.observed(refusal.ktime_ns, refusal.level),
        };
        self.edge(netns, edge, tell);
        if let Some(open) = &mut self.netns.get(netns).open {
            open.refused(refusal);
        }
    }

    fn evicted(&mut self, record: &Evicted, tell: &mut impl FnMut(Notice)) {
        let &Evicted { zone, netns, ktime_ns, count, max, ct, ref tuple, status, mark, hash, .. } = record;
        let victim = Connection::new(netns, zone, tuple);
        let level = Level::new(count, max);
        self.events.seen += 1;
        self.own.evicted += 1;
        self.sources.evicted(netns, victim.src);
        let edge = self.netns.get(netns).evicted(ktime_ns, level);
        self.edge(netns, edge, tell);
        if let Some(open) = &mut self.netns.get(netns).open {
            open.evicted(victim.src);
        }
        let age_ns = self.born(ct, &victim).map(|born| ktime_ns.saturating_sub(born));
        let status = Status(status);
        let eviction = Eviction { ktime_ns, victim, age_ns, status, mark, level, for_whom: None };
        if let Some(oldest) = self.held.push(hash, eviction) {
            tell(Notice::Evicted(oldest));
        }
    }

    /// When a connection's entry was allocated. Where the entries ring lags behind, its address may still hold
    /// the entry before.
    fn born(&self, ct: u64, connection: &Connection) -> Option<u64> {
        let entry = self.live.get(ct)?;
        let src = self.sources.get(entry.source).src;
        (entry.connection(src) == *connection).then_some(entry.born_ktime_ns)
    }

    fn room_made(&mut self, record: &RoomMade, tell: &mut impl FnMut(Notice)) {
        let newcomer = Connection::new(record.netns, record.zone, &record.tuple);
        self.held.claim(record.hash, newcomer, |eviction| tell(Notice::Evicted(eviction)));
    }

    fn count(&mut self, record: &Count, tell: &mut impl FnMut(Notice)) {
        let level = Level::new(record.count, record.max);
        let edge = self.netns.get(record.netns).observed(record.ktime_ns, level);
        self.edge(record.netns, edge, tell);
    }

    /// Makes good what lost incidents left out of a source's sums. That they were lost is told by the totals.
    fn ledger(&mut self, record: &Ledger) {
        let RefusalKey { netns, l3num, src } = record.key;
        if netns == 0 {
            return;
        }
        let missed = self.sources.refused_in_all(netns, address(l3num, src), &record.refusals);
        let sums = &mut self.netns.get(netns).sums;
        sums.refused = sums.refused.saturating_add(missed);
    }

    /// Time has come so far.
    #[inline]
    fn pass(&mut self, ktime_ns: u64, tell: &mut impl FnMut(Notice)) {
        self.ktime_ns = self.ktime_ns.max(ktime_ns);
        if ktime_ns >= self.next_deadline {
            self.pass_deadlines(ktime_ns, tell);
        }
    }

    /// Lets every deadline up to now run out, the earliest first.
    #[cold]
    fn pass_deadlines(&mut self, ktime_ns: u64, tell: &mut impl FnMut(Notice)) {
        while ktime_ns >= self.next_deadline {
            let deadlines = self.netns.iter().filter_map(|it| Some((it.deadline()?, it.inum)));
            let Some((deadline, netns)) = deadlines.min() else {
                self.next_deadline = u64::MAX;
                return;
            };
            self.next_deadline = deadline;
            if deadline <= ktime_ns {
                let edge = self.netns.get(netns).expire();
                self.edge(netns, edge, tell);
            }
        }
    }

    #[inline]
    fn edge(&mut self, netns: u32, edge: Option<Edge>, tell: &mut impl FnMut(Notice)) {
        if let Some(edge) = edge {
            self.crossed(netns, edge, tell);
        }
    }

    #[cold]
    fn crossed(&mut self, netns: u32, edge: Edge, tell: &mut impl FnMut(Notice)) {
        match edge.state {
            State::Evicting | State::Refusing => self.open_episode(netns, &edge),
            State::Recovered => self.close_episode(netns, edge.ktime_ns),
            State::Ok | State::Pressure => {}
        }
        if let Some(deadline) = self.netns.get(netns).deadline() {
            self.next_deadline = self.next_deadline.min(deadline);
        }
        tell(Notice::Edge { netns, edge });
    }

    fn open_episode(&mut self, netns: u32, edge: &Edge) {
        if self.netns.get(netns).open.is_none() {
            let since = self.config.since_ktime_ns;
            let holders = Holders::freeze(netns, edge.ktime_ns, since, &self.live, &self.sources);
            self.netns.get(netns).open = Some(Box::new(Open::new(netns, edge, holders)));
        }
    }

    fn close_episode(&mut self, netns: u32, ktime_ns: u64) {
        if let Some(open) = self.netns.get(netns).open.take() {
            self.past.push_back(Arc::new(open.episode(Some(ktime_ns))));
            if self.past.len() > self.config.max_episodes {
                self.past.pop_front();
            }
        }
    }

    fn reconcile(&mut self, totals: &Totals, tell: &mut impl FnMut(Notice)) {
        let before = std::mem::replace(&mut self.kernel, *totals);
        let lost = Lost {
            ktime_ns: self.ktime_ns,
            entries: totals.lost_entries.saturating_sub(before.lost_entries),
            incidents: totals.lost_incidents.saturating_sub(before.lost_incidents),
            unmatched: totals.unmatched.saturating_sub(before.unmatched),
        };
        if lost.entries + lost.incidents + lost.unmatched > 0 {
            tell(Notice::Lost(lost));
        }
    }

    #[cold]
    fn undecodable(&mut self, error: DecodeError) {
        self.events.decode_errors += 1;
        self.events.first_decode_error.get_or_insert(error);
    }
}

#[cfg(test)]
mod tests;
