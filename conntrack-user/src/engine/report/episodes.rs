//! Saturations: from the edge to evicting or refusing to the recovery, with what happened between.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::sofar::Growth;
use super::timeline;
use super::{ByCause, Cause, Class, ClassSpan, Destination, Incident, Kept, Moment, Narrow};
use crate::engine::gauge::Level;
use crate::engine::holders::Holders;
use crate::engine::recorded::{Crossed, NetnsSecond};
use crate::engine::saturation::State;
use crate::engine::tally::{Ranking, Tally};

/// Episodes kept at each end.
const EACH: usize = 500;

/// Victims told apart in an episode that lasts.
const KEYS: usize = 4096;

/// Victims kept of each ranking.
const ROWS: usize = 10;

/// Who suffered in an episode.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Victims {
    /// Sources refused.
    pub refused: Ranking<IpAddr>,
    /// Sources whose entries were evicted.
    pub evicted: Ranking<IpAddr>,
    /// Whom connections were refused to, as far as they were told one by one.
    pub destinations: Ranking<Destination>,
}

/// One saturation of one network namespace; counts are those of incidents looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportEpisode {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// The first eviction or refusal; the first that is known of it if it began before.
    pub start: Moment,
    /// Whether it began before anything is known.
    pub began_before: bool,
    /// The recovery; None if the recording ends before, or it was cut off.
    pub end: Option<Moment>,
    /// The last that is known of it.
    pub last: Moment,
    /// How it began: evicting or refusing.
    pub began: State,
    /// Count and limit then.
    pub level: Level,
    /// The highest count seen.
    pub peak: Option<u32>,
    /// What happened, by cause.
    pub by_cause: ByCause,
    /// Of these, only counted, to the second: nobody told whom it befell.
    pub counted: u64,
    /// First and last refusal, eviction and failure.
    pub spans: [ClassSpan; 3],
    /// The first refusal that was told by itself.
    pub first_refused: Option<Incident>,
    /// Who held the table when it began, if a picture was taken.
    pub holders: Option<Holders>,
    /// Who suffered.
    pub victims: Victims,
}

#[derive(Debug)]
struct Open {
    episode: ReportEpisode,
    refused: Tally<IpAddr>,
    evicted: Tally<IpAddr>,
    destinations: Tally<Destination>,
}

impl Open {
    fn new(netns: u32, start: Moment, began: State, level: Level, began_before: bool) -> Self {
        let episode = ReportEpisode {
            netns,
            start,
            began_before,
            end: None,
            last: start,
            began,
            level,
            peak: level.count,
            by_cause: ByCause::default(),
            counted: 0,
            spans: Default::default(),
            first_refused: None,
            holders: None,
            victims: Victims::default(),
        };
        let (refused, evicted, destinations) = (Tally::new(KEYS), Tally::new(KEYS), Tally::new(KEYS));
        Self { episode, refused, evicted, destinations }
    }

    fn incident(&mut self, incident: &Incident) {
        let it = &mut self.episode;
        it.by_cause.add(incident.cause, incident.count);
        it.spans[incident.class as usize].add(incident);
        match incident.class {
            Class::Refused => {
                if it.first_refused.is_none_or(|first| incident.at < first.at) && !incident.summed {
                    it.first_refused = Some(*incident);
                }
                count(&mut self.refused, incident.src, incident.count);
                count(&mut self.destinations, destination(incident), incident.count);
            }
            Class::Evicted => count(&mut self.evicted, incident.src, incident.count),
            Class::Failed => {}
        }
    }

    fn finish(self, end: Option<Moment>) -> ReportEpisode {
        let victims = Victims {
            refused: self.refused.ranking(ROWS),
            evicted: self.evicted.ranking(ROWS),
            destinations: self.destinations.ranking(ROWS),
        };
        ReportEpisode { end, victims, ..self.episode }
    }
}

fn count<K: Copy + Eq + std::hash::Hash + Ord>(tally: &mut Tally<K>, key: Option<K>, count: u64) {
    match key {
        Some(key) => tally.add(key, count),
        None => tally.add_other(count),
    }
}

/// Whom a refused connection was opened to.
pub(super) fn destination(incident: &Incident) -> Option<Destination> {
    let connection = incident.connection?;
    let dport = if connection.proto.has_ports() { connection.dport } else { 0 };
    Some(Destination { dst: connection.dst, proto: connection.proto, dport })
}

/// Those that last, and those that are over.
#[derive(Debug)]
pub(super) struct Episodes {
    open: BTreeMap<u32, Open>,
    over: Kept<ReportEpisode>,
    /// Namespaces whose state is known since reading began.
    known: BTreeMap<u32, State>,
}

impl Episodes {
    pub fn new() -> Self {
        Self { open: BTreeMap::new(), over: Kept::new(EACH), known: BTreeMap::new() }
    }

    /// An edge.
    pub fn crossed(&mut self, at: Moment, record: &Crossed, narrow: &Narrow) {
        let (was, state) = (timeline::state(record.was), timeline::state(record.state));
        let level = Level::new(record.count, record.max);
        let before = self.known.insert(record.netns, state);
        if before.is_none() && was >= State::Evicting {
            self.begin(record.netns, at, was, Level::default(), true);
        }
        match state {
            State::Evicting | State::Refusing => self.begin(record.netns, at, state, level, false),
            State::Recovered | State::Ok => self.end(record.netns, Some(at), narrow),
            State::Pressure => {}
        }
        if let Some(open) = self.open.get_mut(&record.netns) {
            open.episode.last = open.episode.last.max(at);
            open.episode.peak = open.episode.peak.max(level.count);
        }
    }

    fn begin(&mut self, netns: u32, at: Moment, state: State, level: Level, before: bool) {
        self.open.entry(netns).or_insert_with(|| Open::new(netns, at, state, level, before));
    }

    fn end(&mut self, netns: u32, at: Option<Moment>, narrow: &Narrow) {
        let Some(open) = self.open.remove(&netns) else { return };
        let until = at.unwrap_or(open.episode.last);
        let overlaps = narrow.until_unix_ns.is_none_or(|end| open.episode.start.unix_ns < end)
            && narrow.since_unix_ns.is_none_or(|since| until.unix_ns >= since);
        if overlaps && narrow.netns(netns) {
            self.over.push(open.finish(at));
        }
    }

    /// conntrack went away, or another session begins: what lasts is over, nobody knows how.
    pub fn cut_off(&mut self, narrow: &Narrow) {
        let open: Vec<u32> = self.open.keys().copied().collect();
        open.into_iter().for_each(|netns| self.end(netns, None, narrow));
        self.known.clear();
    }

    /// A second ended.
    pub fn second(&mut self, at: Moment, row: &NetnsSecond) {
        let state = timeline::state(row.state);
        if self.known.insert(row.netns, state).is_none() && state >= State::Evicting {
            self.begin(row.netns, at, state, Level::new(row.count, row.max), true);
        }
        if let Some(open) = self.open.get_mut(&row.netns) {
            let it = &mut open.episode;
            it.last = it.last.max(at);
            it.peak =
                it.peak.max(Level::new(row.count, row.max).count).max(Some(row.peak).filter(|it| *it > 0));
        }
    }

    /// An incident that is looked at.
    pub fn incident(&mut self, incident: &Incident) {
        if let Some(open) = self.open.get_mut(&incident.netns) {
            open.incident(incident);
        }
    }

    /// Who held the table. The picture is of the episode that lasts, or has just ended.
    pub fn picture(&mut self, netns: u32, holders: Holders) {
        let of_netns = |it: &&mut ReportEpisode| it.netns == netns;
        let episode = match self.open.get_mut(&netns) {
            Some(open) => Some(&mut open.episode),
            None => self.over.latest_mut().find(of_netns),
        };
        if let Some(episode) = episode {
            episode.holders = Some(holders);
        }
    }

    /// What was only counted in a namespace, and when: it befell whom nobody knows.
    pub fn counted(&mut self, netns: u32, growths: &[Growth<6>], narrow: &Narrow) {
        /// A recovery comes this long after the last incident at the least, so that readings on both sides are far enough.
        const CALM_NS: i64 = 1_000_000_000;
        if !narrow.takes_sums() {
            return;
        }
        for growth in growths.iter().filter(|it| narrow.time(it.until.unix_ns)) {
            let (from, until) = (growth.from.unix_ns, growth.until.unix_ns);
            let during = |it: &&mut ReportEpisode| {
                let end = it.end.unwrap_or(it.last).unix_ns.saturating_add(CALM_NS);
                it.netns == netns && it.start.unix_ns <= until && end > from
            };
            let Some(episode) = self.over.latest_mut().find(during) else { continue };
            for class in Class::ALL {
                episode.by_cause.add(Cause::unknown_of(class), growth.by[class as usize]);
                episode.counted = episode.counted.saturating_add(growth.by[class as usize]);
            }
            episode.victims.refused.other += growth.by[Class::Refused as usize];
            episode.victims.evicted.other += growth.by[Class::Evicted as usize];
            episode.victims.destinations.other += growth.by[Class::Refused as usize];
        }
    }

    /// All of them. Those that last have no end.
    pub fn finish(mut self, narrow: &Narrow) -> Kept<ReportEpisode> {
        self.cut_off(narrow);
        self.over
    }
}
