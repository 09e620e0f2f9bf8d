//! A network namespace over time, in at most so many points: the longer the span, the more seconds a point stands for,
//! and each keeps the highest of them.

use std::collections::BTreeMap;

use super::{Class, Incident, Moment};
use crate::engine::gauge::Level;
use crate::engine::recorded::NetnsSecond;
use crate::engine::saturation::State;
use crate::engine::sources::Sums;

/// Points kept of a namespace.
pub(super) const POINTS: usize = 2000;

/// Namespaces that have a timeline.
pub(super) const NAMESPACES: usize = 64;

const S: i64 = 1_000_000_000;

/// All seconds of a namespace that fall into one point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// When it begins, nanoseconds since the Unix epoch.
    pub unix_ns: i64,
    /// The highest count seen; None if none was.
    pub peak: Option<u32>,
    /// The last count seen.
    pub count: Option<u32>,
    /// The last limit seen.
    pub max: Option<u32>,
    /// The worst state.
    pub state: State,
    /// What happened.
    pub sums: Sums,
    /// The most of each within one second.
    pub most: Sums,
}

/// One namespace; a time without a point is one in which nothing moved, or one of those that are missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// Inode number.
    pub netns: u32,
    /// How long each point is.
    pub point_ns: i64,
    /// Oldest first.
    pub points: Vec<Point>,
    /// The state in the end.
    pub state: State,
}

/// A timeline being made.
#[derive(Debug)]
pub(super) struct Line {
    netns: u32,
    width_s: i64,
    points: BTreeMap<i64, Point>,
    state: State,
    /// The second that incidents fall into now, and how many did.
    running: (i64, Sums),
}

impl Line {
    pub fn new(netns: u32) -> Self {
        Self { netns, width_s: 1, points: BTreeMap::new(), state: State::Ok, running: (0, Sums::default()) }
    }

    /// A second ended.
    pub fn second(&mut self, at: Moment, row: &NetnsSecond, sums: &Sums) {
        let level = Level::new(row.count, row.max);
        self.state = state(row.state);
        let state = self.state;
        // It ended at the first nanosecond of the next.
        let point = self.point(at.unix_ns.saturating_sub(1));
        point.peak = point.peak.max(level.count).max((row.peak > 0).then_some(row.peak));
        point.count = level.count.or(point.count);
        point.max = level.max.or(point.max);
        point.state = point.state.max(state);
        add(point, sums);
        self.fit();
    }

    /// The state changed.
    pub fn edge(&mut self, at: Moment, state: State, level: Level) {
        self.state = state;
        let point = self.point(at.unix_ns);
        point.state = point.state.max(state);
        point.peak = point.peak.max(level.count);
        point.max = level.max.or(point.max);
        self.fit();
    }

    /// An incident, where they are counted rather than sums.
    pub fn incident(&mut self, incident: &Incident) {
        let mut sums = Sums::default();
        *match incident.class {
            Class::Refused => &mut sums.refused,
            Class::Evicted => &mut sums.evicted,
            Class::Failed => &mut sums.failed,
        } = incident.count;
        let second = incident.at.unix_ns.div_euclid(S);
        if self.running.0 != second {
            self.running = (second, Sums::default());
        }
        self.running.1.add(&sums);
        let running = self.running.1;
        let point = self.point(incident.at.unix_ns);
        point.sums.add(&sums);
        point.most = most(&point.most, &running);
        self.fit();
    }

    fn point(&mut self, unix_ns: i64) -> &mut Point {
        let width_ns = self.width_s * S;
        let at = unix_ns.div_euclid(width_ns);
        self.points.entry(at).or_insert_with(|| Point { unix_ns: at * width_ns, ..Point::default() })
    }

    fn fit(&mut self) {
        while self.points.len() > POINTS {
            self.width_s *= 2;
            let width_ns = self.width_s * S;
            let mut wider: BTreeMap<i64, Point> = BTreeMap::new();
            for (_, point) in std::mem::take(&mut self.points) {
                let at = point.unix_ns.div_euclid(width_ns);
                match wider.get_mut(&at) {
                    Some(first) => join(first, &point),
                    None => {
                        wider.insert(at, Point { unix_ns: at * width_ns, ..point });
                    }
                }
            }
            self.points = wider;
        }
    }

    pub fn finish(self) -> Timeline {
        Timeline {
            netns: self.netns,
            point_ns: self.width_s * S,
            points: self.points.into_values().collect(),
            state: self.state,
        }
    }
}

fn join(first: &mut Point, second: &Point) {
    first.peak = first.peak.max(second.peak);
    first.count = second.count.or(first.count);
    first.max = second.max.or(first.max);
    first.state = first.state.max(second.state);
    first.sums.add(&second.sums);
    first.most = most(&first.most, &second.most);
}

fn add(point: &mut Point, sums: &Sums) {
    point.sums.add(sums);
    point.most = most(&point.most, sums);
}

fn most(one: &Sums, two: &Sums) -> Sums {
    Sums {
        new: one.new.max(two.new),
        freed: one.freed.max(two.freed),
        refused: one.refused.max(two.refused),
        evicted: one.evicted.max(two.evicted),
        failed: one.failed.max(two.failed),
        unconfirmed: one.unconfirmed.max(two.unconfirmed),
    }
}

/// A state by its number; one that is not known is of a later version and shown as none.
pub fn state(number: u8) -> State {
    const STATES: [State; 5] =
        [State::Ok, State::Recovered, State::Pressure, State::Evicting, State::Refusing];
    STATES.into_iter().find(|state| *state as u8 == number).unwrap_or_default()
}
