//! The engine: applies batches to the live table, the sums and the states, and says what happened.

mod audit;
mod giving;
mod incidents;
mod listed;
mod naming;
mod netns;
mod readings;
mod recorded;
mod views;

use std::collections::VecDeque;
use std::sync::Arc;

use conntrack_common::{End, Free, New, Totals};

use super::account::Events;
use super::batch::{Batch, WallClock};
use super::breakdown::{Breakdowns, What};
use super::decode::{DecodeError, Merged, Record, Records};
use super::episode::{Episode, Open};
use super::held::Held;
use super::holders::Holders;
use super::live::{self, Entry, Live};
use super::notice::{Freed, Notice};
use super::pass::Passes;
use super::query::Query;
use super::recent::Recent;
use super::saturation::{Edge, Saturation, State, Thresholds};
use super::snapshot::{self, Summary, Trust};
use super::sources::Sources;
use super::tuple::{Connection, Status};
use audit::Audits;
use giving::Digest;
use listed::Listed;
use netns::Namespaces;
use readings::Before;
use recorded::Replayed;
use views::Interval;

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
    /// Whether history and recent incidents are kept for a live view.
    pub live_view: bool,
    /// Whether it is kept what a recording has beside the records of the rings.
    pub for_recording: bool,
    /// Whether this is the replay of a recording without entries: what is recorded instead of them is taken for granted.
    pub recorded: bool,
}

impl Config {
    /// The defaults.
    pub fn new(since_ktime_ns: u64, wall: WallClock, trust: Trust) -> Self {
        let thresholds = Thresholds::default();
        Self {
            since_ktime_ns,
            wall,
            trust,
            thresholds,
            max_sources: 65_536,
            max_episodes: 32,
            live_view: false,
            for_recording: false,
            recorded: false,
        }
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
    /// Failed insertions of which the statistics do not tell the cause.
    failed_unknown: u64,
    events: Events,
    audits: Audits,
    listed: Listed,
    before: Before,
    past: VecDeque<Arc<Episode>>,
    interval: Interval,
    query: Query,
    passes: Passes,
    breakdowns: Breakdowns,
    recent: Recent,
    digest: Digest,
    replayed: Replayed,
    /// From when on the running second is over, if seconds are kept.
    second_over: u64,
}

impl Engine {
    /// An engine that has seen nothing.
    pub fn new(config: Config) -> Self {
        let second_over = config.second_over(config.since_ktime_ns);
        Self {
            ktime_ns: config.since_ktime_ns,
            wall: config.wall,
            live: Live::default(),
            sources: Sources::new(config.max_sources),
            netns: Namespaces::new(if config.recorded {
                Saturation::replayed(config.since_ktime_ns)
            } else {
                Saturation::new(config.thresholds, config.since_ktime_ns)
            }),
            held: Held::default(),
            next_deadline: second_over,
            own: Totals::default(),
            kernel: Totals::default(),
            failed_unknown: 0,
            events: Events::default(),
            audits: Audits::default(),
            listed: Listed::default(),
            before: Before::default(),
            past: VecDeque::new(),
            interval: Interval::began(config.since_ktime_ns),
            query: Query::default(),
            passes: Passes::default(),
            breakdowns: Breakdowns::default(),
            recent: Recent::new(config.live_view),
            digest: Digest::new(config.for_recording),
            replayed: Replayed::default(),
            second_over,
            config,
        }
    }

    /// Applies one drain of the rings and tells what happened, in the order of time but for evictions, which
    /// wait up to a second to be told for whom.
    ///
    /// Time is taken to have reached `batch.ktime_ns`.
    pub fn apply(&mut self, batch: &Batch, mut tell: impl FnMut(Notice)) {
        let mut recent = std::mem::take(&mut self.recent);
        let tell = &mut |notice| {
            recent.note(&notice);
            tell(notice);
        };
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
        if self.config.recorded && batch.ktime_ns.saturating_add(1) >= self.second_over {
            self.end_second(batch.ktime_ns.saturating_add(1));
        }
        self.held.expire(batch.ktime_ns, |eviction| tell(Notice::Evicted(eviction)));
        if let Some(totals) = &batch.totals {
            self.reconcile(totals, tell);
        }
        self.recent = recent;
    }

    /// Tells the evictions that still wait to learn for whom. To be called before the end.
    pub fn flush(&mut self, mut tell: impl FnMut(Notice)) {
        let recent = &mut self.recent;
        self.held.expire(u64::MAX, |eviction| {
            let notice = Notice::Evicted(eviction);
            recent.note(&notice);
            tell(notice);
        });
    }

    /// Takes note of another backend or degradation.
    pub fn set_trust(&mut self, trust: Trust) {
        self.config.trust = trust;
    }

    /// Gives a network namespace a name.
    pub fn name_netns(&mut self, netns: u32, name: String) {
        self.netns.name(netns, name);
    }

    /// The live table.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// The sources.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// The account of the run so far.
    pub fn summary(&self) -> Summary {
        let totals = self.totals();
        Summary {
            ktime_ns: self.ktime_ns,
            wall: self.wall,
            since_ktime_ns: self.config.since_ktime_ns,
            trust: self.config.trust.clone(),
            events: self.events.clone(),
            totals,
            failed_unknown: self.failed_unknown,
            statistics: self.netns.statistics(totals.clash_resolved),
            episodes: self.episodes(),
        }
    }

    /// The saturation of a network namespace that lasts, else the last one.
    pub fn last_episode(&self, netns: u32) -> Option<Arc<Episode>> {
        self.episodes().into_iter().rev().find(|episode| episode.netns == netns)
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
                Record::Seen(record) => self.live.get(record.get().ct).is_some(),
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
            Record::Seen(record) => self.seen(&record.get()),
            Record::Audit(record) => self.audit(&record.get(), tell),
            Record::InsertFailed(record) => self.insert_failed(&record.get(), tell),
            Record::Census(record) => self.census(&record.get()),
            Record::Stats(record) => self.statistics(&record.get(), tell),
            Record::Missed(record) => self.missed(&record.get()),
            Record::NetnsName(record) => self.netns_name(&record.get()),
            Record::Gap(record) => self.gap(&record.get(), tell),
            Record::Recorded(record) => self.recorded(record, tell),
        }
    }

    fn new_entry(&mut self, record: &New, tell: &mut impl FnMut(Notice)) {
        let New { kind: _, may_be_seen: _, zone, netns, ktime_ns, ct, ref tuple } = *record;
        let connection = Connection::new(netns, zone, tuple);
        self.events.seen += 1;
        self.own.new += 1;
        self.break_down(&connection, What::New);
        let source = self.sources.new_entry(netns, connection.src, ktime_ns);
        if let Some(old) = self.live.insert(ct, Entry::new(&connection, source, ktime_ns)) {
            self.known_already(record, &old);
        }
        if self.live.listed() > 0 || self.listed.is_matching() {
            self.told_beside_list(record, &connection);
        }
        let edge = self.netns.get(netns).born(ktime_ns);
        tell(Notice::New { ktime_ns, connection });
        self.edge(netns, edge, tell);
    }

    fn freed(&mut self, record: &Free, tell: &mut impl FnMut(Notice)) {
        let Free { kind: _, end: _, status, mark, ktime_ns, ct } = *record;
        let (end, status) = (record.end().unwrap_or(End::Other), Status(status.into()));
        let unconfirmed = end == End::Other && !status.confirmed();
        self.events.seen += 1;
        self.own.freed += 1;
        self.own.unconfirmed += u64::from(unconfirmed);
        let Some(entry) = self.live.remove(ct) else {
            return self.freed_of_nobody();
        };
        let lifetime_ns = entry.age_ns(ktime_ns);
        let (netns, src) = self.sources.freed(entry.source, lifetime_ns);
        if unconfirmed {
            self.unconfirmed(netns, entry.source);
        }
        if self.breakdowns.are_on() {
            self.breakdowns.count(entry.connection(netns, src), What::Freed { lifetime_ns, unconfirmed });
        }
        let edge = self.netns.get(netns).freed(ktime_ns, lifetime_ns);
        tell(Notice::Free(Freed {
            ktime_ns,
            connection: entry.connection(netns, src),
            status,
            mark,
            lifetime_ns,
            end,
            tcp_state: record.tcp_state(),
        }));
        self.edge(netns, edge, tell);
    }

    /// Time has come so far.
    #[inline]
    fn pass(&mut self, ktime_ns: u64, tell: &mut impl FnMut(Notice)) {
        self.ktime_ns = self.ktime_ns.max(ktime_ns);
        if ktime_ns >= self.next_deadline {
            self.pass_deadlines(ktime_ns, tell);
        }
    }

    /// Counts what happened to a connection by the groups that are asked for, if any are.
    #[inline(always)]
    fn break_down(&mut self, connection: &Connection, what: What) {
        if self.breakdowns.are_on() {
            self.breakdowns.count(*connection, what);
        }
    }

    /// Ends the second that is over, and lets every deadline up to now run out, the earliest first: those in that
    /// second before its end.
    #[cold]
    fn pass_deadlines(&mut self, ktime_ns: u64, tell: &mut impl FnMut(Notice)) {
        if ktime_ns >= self.second_over {
            self.expire_deadlines(self.second_over, tell);
            self.end_second(ktime_ns);
        }
        self.expire_deadlines(ktime_ns, tell);
        self.next_deadline = self.next_deadline.min(self.second_over);
    }

    fn expire_deadlines(&mut self, ktime_ns: u64, tell: &mut impl FnMut(Notice)) {
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
        self.begin_or_end_episode(netns, &edge);
        if let Some(deadline) = self.netns.get(netns).deadline() {
            self.next_deadline = self.next_deadline.min(deadline);
        }
        tell(Notice::Edge { netns, edge });
    }

    fn begin_or_end_episode(&mut self, netns: u32, edge: &Edge) {
        match edge.state {
            State::Evicting | State::Refusing => self.open_episode(netns, edge),
            State::Recovered => self.close_episode(netns, edge.ktime_ns),
            State::Ok | State::Pressure => {}
        }
    }

    fn open_episode(&mut self, netns: u32, edge: &Edge) {
        if self.netns.get(netns).open.is_none() {
            let (ktime_ns, since) = (edge.ktime_ns, self.config.since_ktime_ns);
            let holders = match self.config.recorded {
                // The recording has it: it comes next.
                true => Holders { ktime_ns, ..Holders::default() },
                false => Holders::freeze(netns, ktime_ns, since, &self.live, &self.sources),
            };
            self.digest.picture(netns, &holders);
            let it = self.netns.get(netns);
            it.open = Some(Box::new(Open::new(netns, edge, holders)));
            it.episodes += 1;
            it.last_episode_ktime_ns = Some(ktime_ns);
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

    #[cold]
    fn undecodable(&mut self, error: DecodeError) {
        self.events.decode_errors += 1;
        self.events.first_decode_error.get_or_insert(error);
    }
}

#[cfg(test)]
mod tests;
