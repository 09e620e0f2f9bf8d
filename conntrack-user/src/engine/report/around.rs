//! What conntrack did around an instant.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use super::timeline;
use super::{ByCause, Class, FileHead, Incident, Known, MissingKind, Moment, Narrow};
use crate::engine::batch::WallClock;
use crate::engine::decode::Record;
use crate::engine::gauge::Level;
use crate::engine::recorded::{Holder, Recorded};
use crate::engine::saturation::State;
use crate::engine::tally::{Ranking, Tally};
use crate::engine::tuple::address;

/// How long before an instant reading must begin: state and level of a quiet namespace are recorded once a minute.
pub const LEAD_NS: u64 = 150_000_000_000;

/// Sources told apart.
const SOURCES: usize = 4096;

/// Edges listed.
const EDGES: usize = 1000;

/// Sources listed.
const ROWS: usize = 10;

/// A namespace at the instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Inode number.
    pub netns: u32,
    /// The state then.
    pub state: State,
    /// Since when, if the edge was read.
    pub since: Option<Moment>,
    /// Count and limit as last told before.
    pub level: Level,
    /// When that was.
    pub level_at: Moment,
}

/// What is known around an instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Around {
    /// The instant, nanoseconds since the Unix epoch.
    pub at_unix_ns: i64,
    /// So long before and after it is looked at.
    pub window_ns: u64,
    /// Whether any of it was recorded.
    pub recorded: bool,
    /// Missing times that touch the window.
    pub known: Known,
    /// Namespaces at the instant.
    pub standing: Vec<Standing>,
    /// Edges within the window: namespace, from and to.
    pub edges: Vec<(Moment, u32, State, State)>,
    /// What happened within the window, by cause.
    pub by_cause: ByCause,
    /// The incidents nearest to the instant, in the order of time.
    pub incidents: Vec<Incident>,
    /// Those further away that are left out: before and after.
    pub left_out: [u64; 2],
    /// Whom it befell.
    pub sources: Ranking<IpAddr>,
    /// Who held most entries at the last interval before.
    pub holders: Option<HeldThen>,
}

/// Who held most entries at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldThen {
    /// When.
    pub at: Moment,
    /// Network namespace, source and entries, heaviest first.
    pub rows: Vec<(u32, IpAddr, u32)>,
    /// Entries of all others; None under a filter.
    pub other: Option<u64>,
}

/// Looks at an instant.
pub struct At {
    narrow: Narrow,
    around: Around,
    limit: usize,
    wall: WallClock,
    before: VecDeque<Incident>,
    after: Vec<Incident>,
    standing: BTreeMap<u32, Standing>,
    sources: Tally<IpAddr>,
    begun: Vec<(u32, IpAddr, u32)>,
    span: Option<(i64, i64)>,
}

impl At {
    /// Lists up to `limit` incidents. Times in `narrow` are not looked at.
    pub fn new(at_unix_ns: i64, window_ns: u64, limit: usize, narrow: Narrow) -> Self {
        let window = i64::try_from(window_ns).unwrap_or(i64::MAX);
        let narrow = Narrow {
            since_unix_ns: Some(at_unix_ns.saturating_sub(window)),
            // The last nanosecond belongs to it.
            until_unix_ns: Some(at_unix_ns.saturating_add(window).saturating_add(1)),
            ..narrow
        };
        let around = Around {
            at_unix_ns,
            window_ns,
            recorded: false,
            known: Known::default(),
            standing: Vec::new(),
            edges: Vec::new(),
            by_cause: ByCause::default(),
            incidents: Vec::new(),
            left_out: [0; 2],
            sources: Ranking::default(),
            holders: None,
        };
        Self {
            narrow,
            around,
            limit,
            wall: WallClock::default(),
            before: VecDeque::new(),
            after: Vec::new(),
            standing: BTreeMap::new(),
            sources: Tally::new(SOURCES),
            begun: Vec::new(),
            span: None,
        }
    }

    /// A file begins.
    pub fn file(&mut self, head: &FileHead) {
        if self.around.known.file(head) {
            self.standing.clear();
            self.cover(Moment::at(head.wall, head.began_ktime_ns));
        }
        self.wall = head.wall;
    }

    /// A block begins, with the wall clock of its time.
    pub fn wall(&mut self, wall: WallClock) {
        self.wall = wall;
    }

    /// The same as [`Builder::damage`](super::Builder::damage).
    pub fn damage(&mut self, after_ktime_ns: Option<u64>, before_ktime_ns: Option<u64>, bytes: u64) {
        let at = |ktime_ns: Option<u64>| ktime_ns.map(|ktime_ns| Moment::at(self.wall, ktime_ns));
        let (from, until) = (at(after_ktime_ns), at(before_ktime_ns));
        self.around.known.missing(MissingKind::Damage, from, until, bytes);
    }

    /// A record that cannot be read.
    pub fn unreadable(&mut self) {
        self.around.known.unreadable += 1;
    }

    /// Takes the next record.
    pub fn feed(&mut self, record: Record<'_>) {
        let at = Moment::at(self.wall, record.ktime_ns());
        match record {
            Record::New(_) | Record::Free(_) | Record::Seen(_) | Record::Audit(_) => return,
            Record::NetnsName(record) => self.around.known.name(&record.get()),
            Record::Gap(record) => {
                self.around.known.gap(&record.get(), self.wall);
                self.standing.clear();
            }
            Record::Count(record) => {
                let record = record.get();
                self.level(at, record.netns, Level::new(record.count, record.max));
            }
            Record::Recorded(recorded) => self.recorded(at, recorded),
            _ => {}
        }
        if let Some(incident) = Incident::read(record, self.wall) {
            self.incident(incident);
        }
        self.cover(at);
    }

    fn recorded(&mut self, at: Moment, record: Recorded<'_>) {
        match record {
            Recorded::Drain(record) => {
                let record = record.get();
                self.wall = WallClock { offset_ns: record.wall_offset_ns };
                self.around.known.wall(self.wall, record.ktime_ns);
            }
            Recorded::NetnsSecond(record) => {
                let record = record.get();
                self.level(at, record.netns, Level::new(record.count, record.max));
                self.state(at, record.netns, timeline::state(record.state), false);
            }
            Recorded::Crossed(record) => {
                let record = record.get();
                let (was, state) = (timeline::state(record.was), timeline::state(record.state));
                self.level(at, record.netns, Level::new(record.count, record.max));
                self.state(at, record.netns, state, true);
                let room = self.around.edges.len() < EDGES;
                if room && self.narrow.netns(record.netns) && self.narrow.time(at.unix_ns) {
                    self.around.edges.push((at, record.netns, was, state));
                }
            }
            Recorded::Holder(record) => self.holder(at, &record.get()),
            Recorded::Unrecorded(record) => self.around.known.unrecorded(&record.get(), self.wall),
            Recorded::Text(record) => self.around.known.text(&record.get()),
            _ => {}
        }
    }

    fn cover(&mut self, at: Moment) {
        let (first, last) = self.span.get_or_insert((at.unix_ns, at.unix_ns));
        (*first, *last) = ((*first).min(at.unix_ns), (*last).max(at.unix_ns));
        self.around.known.seen(at);
    }

    /// What was told before the instant holds at it.
    fn standing(&mut self, at: Moment, netns: u32) -> Option<&mut Standing> {
        if at.unix_ns > self.around.at_unix_ns || netns == 0 || !self.narrow.netns(netns) {
            return None;
        }
        let new = Standing { netns, state: State::Ok, since: None, level: Level::default(), level_at: at };
        Some(self.standing.entry(netns).or_insert(new))
    }

    fn level(&mut self, at: Moment, netns: u32, level: Level) {
        if let Some(standing) = self.standing(at, netns)
            && at >= standing.level_at
            && level.count.is_some()
        {
            (standing.level, standing.level_at) = (level.or(standing.level), at);
        }
    }

    fn state(&mut self, at: Moment, netns: u32, state: State, edge: bool) {
        let Some(standing) = self.standing(at, netns) else { return };
        if edge {
            (standing.state, standing.since) = (state, Some(at));
        } else if standing.state != state {
            (standing.state, standing.since) = (state, None);
        }
    }

    fn incident(&mut self, incident: Incident) {
        // The count at an eviction still has the victim, and already the newcomer.
        if incident.class == Class::Refused {
            self.level(incident.at, incident.netns, incident.level);
        }
        if !self.narrow.incident(&incident) {
            return;
        }
        self.around.by_cause.add(incident.cause, incident.count);
        match incident.src {
            Some(src) => self.sources.add(src, incident.count),
            None => self.sources.add_other(incident.count),
        }
        // Drains are in the order of time, what is in one nearly: the nearest are sorted out as they come.
        if incident.at.unix_ns <= self.around.at_unix_ns {
            let place = self.before.partition_point(|it| it.at <= incident.at);
            self.before.insert(place, incident);
            if self.before.len() > self.limit {
                let left_out = self.before.pop_front().map_or(0, |it| it.count);
                self.around.left_out[0] += left_out;
            }
        } else {
            let place = self.after.partition_point(|it| it.at <= incident.at);
            self.after.insert(place, incident);
            if self.after.len() > self.limit {
                self.around.left_out[1] += self.after.pop().map_or(0, |it| it.count);
            }
        }
    }

    fn holder(&mut self, at: Moment, record: &Holder) {
        if at.unix_ns > self.around.at_unix_ns {
            return;
        }
        if record.rank == Holder::OTHER {
            let all = self.narrow.netns.is_empty() && self.narrow.src.is_empty();
            let other = all.then_some(record.entries.into());
            self.around.holders = Some(HeldThen { at, rows: std::mem::take(&mut self.begun), other });
            return;
        }
        let src = address(record.l3num, record.src);
        if record.rank == 0 {
            self.begun.clear();
        }
        if self.narrow.netns(record.netns) && self.narrow.source(Some(src)) {
            self.begun.push((record.netns, src, record.entries));
        }
    }

    /// What is known.
    pub fn finish(self) -> Around {
        let mut around = self.around;
        // Half of the limit on either side, and what one side does not need is the other's.
        let half = self.limit / 2;
        let mut before = Vec::from(self.before);
        let mut after = self.after;
        let of_before = self.limit - half.min(after.len());
        let surplus = before.len().saturating_sub(of_before);
        around.left_out[0] += before.drain(..surplus).map(|it| it.count).sum::<u64>();
        let of_after = (self.limit - before.len()).min(after.len());
        around.left_out[1] += after.drain(of_after..).map(|it| it.count).sum::<u64>();
        around.incidents = before.into_iter().chain(after).collect();
        around.sources = self.sources.ranking(ROWS);
        around.standing = self.standing.into_values().collect();
        let at = around.at_unix_ns;
        around.recorded = self.span.is_some_and(|(first, last)| (first..=last).contains(&at));
        let (since, until) = (self.narrow.since_unix_ns, self.narrow.until_unix_ns);
        around.known.missing.retain(|it| {
            it.from.zip(until).is_none_or(|(from, until)| from.unix_ns < until)
                && it.until.zip(since).is_none_or(|(until, since)| until.unix_ns >= since)
        });
        around
    }
}
