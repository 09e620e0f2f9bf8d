//! Feeds the records of a recording, in their order, to everything that makes a report of them.

use std::collections::{BTreeMap, BTreeSet};

use conntrack_common::{Gap, Totals as KernelTotals};

use super::episodes::{self, Episodes};
use super::occupancy::Holding;
use super::picture::Pictures;
use super::sofar::SoFar;
use super::sources::Suffering;
use super::timeline::{Line, NAMESPACES};
use super::{
    ByCause, Cause, Class, Destination, FileHead, Incident, Kept, Known, MissingKind, Moment, Narrow, Report,
    Totals,
};
use crate::engine::batch::WallClock;
use crate::engine::decode::Record;
use crate::engine::gauge::Level;
use crate::engine::holders::Holders;
use crate::engine::recorded::{Crossed, Ended, Holder, NetnsSecond, Recorded};
use crate::engine::sources::Sums;
use crate::engine::tally::Tally;

/// Incidents kept at each end.
const INCIDENTS: usize = 500;

/// Destinations told apart.
const DESTINATIONS: usize = 16_384;

/// Destinations listed.
const DESTINATION_ROWS: usize = 100;

/// The kernel's sums beside what was told one by one: the causes that incidents have, then the rest.
const KERNEL: usize = 15;
/// Where in those `new` is, and what follows it.
const NEW: usize = 9;

/// What a table of everything has a row of, as it is read.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// An incident that is looked at; in the order of time within its drain.
    Incident(&'a Incident),
    /// A second of a namespace that is looked at.
    Second {
        /// When it ended.
        at: Moment,
        /// Its row.
        row: &'a NetnsSecond,
        /// What happened since the row before.
        sums: &'a Sums,
    },
}

/// Makes a [`Report`].
pub struct Builder {
    narrow: Narrow,
    wall: WallClock,
    known: Known,
    /// Whether the session is known from its beginning.
    complete: bool,
    kernel: SoFar<KERNEL>,
    netns: BTreeMap<u32, Netns>,
    /// What namespaces had that are gone.
    gone: Sums,
    /// What was only counted in namespaces of the session: in the order of their sums.
    in_netns: [u64; 6],
    totals: Totals,
    /// What is missing of sessions that are over: by the kernel's sums, and by those of namespaces.
    missing: ByCause,
    missing_in_netns: [u64; 3],
    new_freed: [u64; 2],
    unconfirmed: u64,
    suffering: Suffering,
    destinations: Tally<Destination>,
    destinations_unknown: u64,
    incidents: Kept<Incident>,
    lines: BTreeMap<u32, Line>,
    lines_left_out: BTreeSet<u32>,
    episodes: Episodes,
    holding: Holding,
    pictures: Pictures,
    pending: Vec<Pending>,
    span: Option<(Moment, Moment)>,
}

/// One namespace of the session.
struct Netns {
    /// Refused, evicted, failed; then new, freed, unconfirmed.
    sums: SoFar<6>,
    last: Option<Sums>,
    /// How many missing times there were at the last row.
    missing_times: usize,
}

/// What one drain brought: within it records are in no order of time, and edges come last.
enum Pending {
    Crossed(Moment, Crossed),
    Incident(Incident),
    Second(Moment, NetnsSecond),
    Picture(Moment, u32, Holders),
}

impl Pending {
    /// By time; an edge comes before the incident that made it.
    fn order(&self) -> (u64, u8) {
        match self {
            Self::Crossed(at, _) => (at.ktime_ns, 0),
            Self::Incident(incident) => (incident.at.ktime_ns, 1),
            Self::Second(at, _) => (at.ktime_ns, 2),
            Self::Picture(at, ..) => (at.ktime_ns, 3),
        }
    }
}

impl Builder {
    /// Looks at what `narrow` leaves.
    pub fn new(narrow: Narrow) -> Self {
        Self {
            narrow,
            wall: WallClock::default(),
            known: Known::default(),
            complete: false,
            kernel: SoFar::new(false, 0),
            netns: BTreeMap::new(),
            gone: Sums::default(),
            in_netns: [0; 6],
            totals: Totals::default(),
            missing: ByCause::default(),
            missing_in_netns: [0; 3],
            new_freed: [0; 2],
            unconfirmed: 0,
            suffering: Suffering::default(),
            destinations: Tally::new(DESTINATIONS),
            destinations_unknown: 0,
            incidents: Kept::new(INCIDENTS),
            lines: BTreeMap::new(),
            lines_left_out: BTreeSet::new(),
            episodes: Episodes::new(),
            holding: Holding::new(),
            pictures: Pictures::default(),
            pending: Vec::new(),
            span: None,
        }
    }

    /// A file begins, of the same session or another. `whole` unless reading begins somewhere in it.
    pub fn file(&mut self, head: &FileHead, whole: bool) {
        self.settle(&mut |_| {});
        if self.known.file(head) {
            self.end_session();
            self.complete = whole && head.sequence <= 1;
            self.kernel = SoFar::new(self.complete, 0);
        }
        self.wall(head.wall, head.since_ktime_ns);
    }

    /// A block begins, with the wall clock of its time.
    pub fn wall(&mut self, wall: WallClock, ktime_ns: u64) {
        self.known.wall(wall, ktime_ns);
        self.wall = wall;
    }

    /// Bytes of the file cannot be read: what happened between these times is not known.
    pub fn damage(&mut self, after_ktime_ns: Option<u64>, before_ktime_ns: Option<u64>, bytes: u64) {
        let at = |ktime_ns: Option<u64>| ktime_ns.map(|ktime_ns| Moment::at(self.wall, ktime_ns));
        let (from, until) = (at(after_ktime_ns), at(before_ktime_ns));
        self.known.missing(MissingKind::Damage, from, until, bytes);
    }

    /// A record that cannot be read: nothing after it in its block can.
    pub fn unreadable(&mut self) {
        self.known.unreadable += 1;
    }

    /// Takes the next record. `tell` gets the rows of tables that have everything.
    pub fn feed(&mut self, record: Record<'_>, tell: &mut impl FnMut(Told<'_>)) {
        match record {
            Record::New(_) | Record::Free(_) | Record::Seen(_) | Record::Audit(_) => return,
            Record::Recorded(Recorded::Drain(drain)) => {
                self.settle(tell);
                let drain = drain.get();
                self.wall(WallClock { offset_ns: drain.wall_offset_ns }, drain.ktime_ns);
            }
            Record::Recorded(recorded) => self.recorded(recorded),
            Record::NetnsName(record) => self.known.name(&record.get()),
            Record::Missed(record) => self.known.missed(&record.get()),
            Record::Gap(record) => self.gap(&record.get(), tell),
            _ => {}
        }
        if let Some(incident) = Incident::read(record, self.wall) {
            self.pending.push(Pending::Incident(incident));
        }
        self.seen(Moment::at(self.wall, record.ktime_ns()));
    }

    fn recorded(&mut self, record: Recorded<'_>) {
        let wall = self.wall;
        match record {
            Recorded::Counters(record) => {
                let record = record.get();
                let at = Moment::at(wall, record.ktime_ns);
                let [before, after] = self.window(at);
                self.kernel.read(at, kernel(&record.totals), before, after);
            }
            Recorded::NetnsSecond(record) => {
                let record = record.get();
                self.pending.push(Pending::Second(Moment::at(wall, record.ktime_ns), record));
            }
            Recorded::Holder(record) => self.holder(&record.get()),
            Recorded::Holding(record) => {
                let record = record.get();
                if let Some((netns, holders)) = self.pictures.add(&record) {
                    let at = Moment::at(wall, record.ktime_ns);
                    self.pending.push(Pending::Picture(at, netns, holders));
                }
            }
            Recorded::Crossed(record) => {
                let record = record.get();
                self.pending.push(Pending::Crossed(Moment::at(wall, record.ktime_ns), record));
            }
            Recorded::AuditDone(record) => self.known.audit(&record.get(), wall),
            Recorded::Unrecorded(record) => {
                let record = record.get();
                self.known.unrecorded(&record, wall);
            }
            Recorded::Text(record) => self.known.text(&record.get()),
            Recorded::Setting(record) => self.known.setting(&record.get(), wall),
            Recorded::Ended(record) => {
                if let Some(session) = self.known.sessions.last_mut() {
                    session.ended = record.get().reason == Ended::RUN_ENDED;
                }
            }
            Recorded::Drain(_) | Recorded::Summed(_) => {}
        }
    }

    /// Whether a reading of that time comes before the window, and whether it is the first after it.
    fn window(&self, at: Moment) -> [bool; 2] {
        let Narrow { since_unix_ns, until_unix_ns, .. } = self.narrow;
        [
            since_unix_ns.is_some_and(|since| at.unix_ns <= since),
            until_unix_ns.is_some_and(|until| at.unix_ns >= until),
        ]
    }

    fn seen(&mut self, at: Moment) {
        self.known.seen(at);
        if self.narrow.time(at.unix_ns) {
            let (first, last) = self.span.get_or_insert((at, at));
            (*first, *last) = ((*first).min(at), (*last).max(at));
        }
    }

    /// Told, whether it is looked at or not: the sums so far are compared with all of them.
    fn told(&mut self, incident: &Incident) {
        if (incident.cause as usize) < NEW {
            self.kernel.tell(incident.cause as usize, incident.count, incident.at.ktime_ns);
        }
        let (complete, times) = (self.complete, self.known.missing.len());
        let netns = self.netns.entry(incident.netns).or_insert_with(|| Netns::new(complete, times));
        netns.sums.tell(incident.class as usize, incident.count, incident.at.ktime_ns);
    }

    /// A row's sums so far. Those of no namespace have in them what namespaces had that are gone, and was told of those.
    fn netns_sums(&mut self, at: Moment, record: &NetnsSecond) -> NetnsSecond {
        let record = if record.netns == 0 { without(record, &self.gone) } else { *record };
        let [before, after] = self.window(at);
        let (complete, times) = (self.complete, self.known.missing.len());
        let netns = self.netns.entry(record.netns).or_insert_with(|| Netns::new(complete, times));
        let Sums { new, freed, refused, evicted, failed, unconfirmed } = sums(&record);
        netns.sums.read(at, [refused, evicted, failed, new, freed, unconfirmed], before, after);
        record
    }

    /// A namespace is gone. Another may have its number later.
    fn end_netns(&mut self, inum: u32, netns: Netns) {
        let (missing, growths) = netns.sums.finish();
        if self.narrow.netns(inum) {
            self.in_netns = std::array::from_fn(|at| self.in_netns[at].saturating_add(missing[at]));
            self.episodes.counted(inum, &growths, &self.narrow);
        }
    }

    fn holder(&mut self, record: &Holder) {
        let at = Moment::at(self.wall, record.ktime_ns);
        if self.narrow.time(at.unix_ns) {
            self.holding.row(at, record, &self.narrow);
        }
    }

    fn gap(&mut self, record: &Gap, tell: &mut impl FnMut(Told<'_>)) {
        self.settle(tell);
        self.known.gap(record, self.wall);
        self.episodes.cut_off(&self.narrow);
    }

    /// A drain is complete: what it brought is applied in the order of time.
    fn settle(&mut self, tell: &mut impl FnMut(Told<'_>)) {
        let mut pending = std::mem::take(&mut self.pending);
        pending.sort_by_key(Pending::order);
        for it in pending.drain(..) {
            match it {
                Pending::Crossed(at, record) => self.crossed(at, &record),
                Pending::Incident(incident) => {
                    self.told(&incident);
                    if self.narrow.incident(&incident) {
                        self.incident(&incident);
                        tell(Told::Incident(&incident));
                    }
                }
                Pending::Second(at, record) => {
                    let record = self.netns_sums(at, &record);
                    self.second(at, &record, tell);
                    if record.state == NetnsSecond::GONE
                        && let Some(netns) = self.netns.remove(&record.netns)
                    {
                        self.gone.add(&sums(&record));
                        self.end_netns(record.netns, netns);
                    }
                }
                Pending::Picture(_, netns, holders) => self.episodes.picture(netns, holders),
            }
        }
        self.pending = pending;
    }

    fn crossed(&mut self, at: Moment, record: &Crossed) {
        self.episodes.crossed(at, record, &self.narrow);
        if self.narrow.netns(record.netns) && self.narrow.time(at.unix_ns) {
            let state = super::timeline::state(record.state);
            let level = Level::new(record.count, record.max);
            if let Some(line) = self.line(record.netns) {
                line.edge(at, state, level);
            }
        }
    }

    fn incident(&mut self, incident: &Incident) {
        let told = if incident.summed { &mut self.totals.summed } else { &mut self.totals.told };
        told.add(incident.cause, incident.count);
        self.totals.spans[incident.class as usize].add(incident);
        self.suffering.add(incident);
        if incident.class == Class::Refused {
            match episodes::destination(incident) {
                Some(destination) => self.destinations.add(destination, incident.count),
                None => self.destinations_unknown += incident.count,
            }
        }
        self.incidents.push(*incident);
        self.episodes.incident(incident);
        if !self.narrow.takes_sums()
            && let Some(line) = self.line(incident.netns)
        {
            line.incident(incident);
        }
    }

    fn line(&mut self, netns: u32) -> Option<&mut Line> {
        if netns == 0 {
            return None;
        }
        if self.lines.len() >= NAMESPACES && !self.lines.contains_key(&netns) {
            self.lines_left_out.insert(netns);
            return None;
        }
        Some(self.lines.entry(netns).or_insert_with(|| Line::new(netns)))
    }

    fn second(&mut self, at: Moment, record: &NetnsSecond, tell: &mut impl FnMut(Told<'_>)) {
        let (complete, times) = (self.complete, self.known.missing.len());
        let netns = self.netns.entry(record.netns).or_insert_with(|| Netns::new(complete, times));
        let mut since = netns.since_last(record);
        let after_missing = std::mem::replace(&mut netns.missing_times, times) != times;
        if !self.narrow.netns(record.netns) || !self.narrow.time(at.unix_ns.saturating_sub(1)) {
            // Episodes reach beyond the window, and who knows them all knows how each began.
            return self.episodes.second(at, record);
        }
        self.episodes.second(at, record);
        if after_missing && let Some(missing) = self.known.missing.last_mut() {
            // Nobody knows when it was: it is no peak of the second after.
            missing.refused += since.refused;
            missing.evicted += since.evicted;
            missing.failed += since.failed;
            since = Sums::default();
        }
        if !self.narrow.takes_sums() {
            since = Sums { refused: 0, evicted: 0, failed: 0, ..since };
        }
        tell(Told::Second { at, row: record, sums: &since });
        if let Some(line) = self.line(record.netns) {
            line.second(at, record, &since);
        }
    }

    /// What sums tell of a session, once it is over.
    fn end_session(&mut self) {
        let (kernel, _) = std::mem::replace(&mut self.kernel, SoFar::new(false, 0)).finish();
        for cause in &Cause::ALL[..8] {
            self.missing.add(*cause, kernel[*cause as usize]);
        }
        let [new, freed, clash_resolved, lost_entries, lost_incidents, unmatched] =
            std::array::from_fn(|at| kernel[NEW + at]);
        self.totals.clash_resolved += clash_resolved;
        self.totals.lost_entries += lost_entries;
        self.totals.lost_incidents += lost_incidents;
        self.totals.unmatched += unmatched;
        self.episodes.cut_off(&self.narrow);
        for (inum, netns) in std::mem::take(&mut self.netns) {
            self.end_netns(inum, netns);
        }
        self.gone = Sums::default();
        let [refused, evicted, failed, netns_new, netns_freed, netns_unconfirmed] =
            std::mem::take(&mut self.in_netns);
        for (sum, more) in self.missing_in_netns.iter_mut().zip([refused, evicted, failed]) {
            *sum += more;
        }
        let all = self.narrow.netns.is_empty();
        let either = |kernel: u64, netns: u64| if all { kernel.max(netns) } else { netns };
        self.new_freed[0] += either(new, netns_new);
        self.new_freed[1] += either(freed, netns_freed);
        self.unconfirmed += either(kernel[8], netns_unconfirmed);
        self.holding.new_session();
    }

    /// What was only counted, as far as it passes the filters.
    fn counted(&self) -> ByCause {
        let mut counted = ByCause::default();
        if !self.narrow.src.is_empty() {
            return counted;
        }
        if self.narrow.netns.is_empty() {
            counted = self.missing;
        }
        for (class, in_netns) in Class::ALL.into_iter().zip(self.missing_in_netns) {
            let more = in_netns.saturating_sub(counted.class(class));
            counted.add(Cause::unknown_of(class), more);
        }
        counted.add(Cause::Unconfirmed, self.unconfirmed);
        let mut asked = ByCause::default();
        for (cause, count) in counted.iter().filter(|(cause, _)| self.narrow.cause(*cause)) {
            asked.add(cause, count);
        }
        asked
    }

    /// All of it. `tell` gets what the last drain brought.
    pub fn finish(mut self, tell: &mut impl FnMut(Told<'_>)) -> Report {
        self.settle(tell);
        self.end_session();
        let counted = self.counted();
        let mut totals = self.totals;
        totals.by_cause.add_all(&totals.told.clone());
        totals.by_cause.add_all(&totals.summed.clone());
        totals.by_cause.add_all(&counted);
        totals.counted = counted;
        if self.narrow.src.is_empty() {
            totals.new = Some(self.new_freed[0]);
            totals.freed = Some(self.new_freed[1]);
        }
        let destinations = self.destinations.ranking(DESTINATION_ROWS);
        let (holders, occupancy) = self.holding.finish(&self.narrow);
        Report {
            span: self.span,
            sources: self.suffering.ranked(&totals.by_cause),
            destinations: destinations.top,
            destinations_other: destinations.other,
            destinations_unknown: self.destinations_unknown + counted.class(Class::Refused),
            incidents: self.incidents,
            timelines: self.lines.into_values().map(Line::finish).collect(),
            timelines_left_out: self.lines_left_out.len() as u64,
            episodes: self.episodes.finish(&self.narrow),
            holders,
            occupancy,
            known: self.known,
            narrow: self.narrow,
            totals,
        }
    }
}

impl Netns {
    fn new(complete: bool, missing_times: usize) -> Self {
        Self {
            sums: SoFar::new(complete, Class::ALL.len()),
            last: complete.then(Sums::default),
            missing_times,
        }
    }

    /// What came since the row before; nothing if there is none.
    fn since_last(&mut self, record: &NetnsSecond) -> Sums {
        let now = sums(record);
        let before = self.last.replace(now);
        before.map_or_else(Sums::default, |before| now.since(&before))
    }
}

/// What a row says that happened so far.
fn sums(record: &NetnsSecond) -> Sums {
    let &NetnsSecond { new, freed, refused, evicted, failed, unconfirmed, .. } = record;
    Sums { new, freed, refused, evicted, failed, unconfirmed }
}

/// A row without what others have told.
fn without(record: &NetnsSecond, others: &Sums) -> NetnsSecond {
    let Sums { new, freed, refused, evicted, failed, unconfirmed } = sums(record).since(others);
    NetnsSecond { new, freed, refused, evicted, failed, unconfirmed, ..*record }
}

/// The kernel's sums in the order of [`Cause`], `Failed` left out; then those that have no incidents.
fn kernel(totals: &KernelTotals) -> [u64; KERNEL] {
    let &KernelTotals {
        new,
        freed,
        refused_table_full,
        refused_no_memory,
        refused_ctnetlink,
        evicted,
        failed_clash,
        failed_chain_too_long,
        failed_nat_ports,
        failed_dying,
        clash_resolved,
        unconfirmed,
        lost_entries,
        lost_incidents,
        unmatched,
    } = totals;
    [
        refused_table_full,
        refused_no_memory,
        refused_ctnetlink,
        evicted,
        failed_clash,
        failed_chain_too_long,
        failed_nat_ports,
        failed_dying,
        unconfirmed,
        new,
        freed,
        clash_resolved,
        lost_entries,
        lost_incidents,
        unmatched,
    ]
}
