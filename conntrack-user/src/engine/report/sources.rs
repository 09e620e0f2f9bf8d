//! Who suffered: sums by source in bounded memory, exact in total.

use std::cmp::Reverse;
use std::net::IpAddr;

use hashbrown::HashMap;

use super::{ByCause, Class, Incident, Moment};
use crate::engine::tally::keep_top;
use crate::engine::tuple::Proto;

/// Sources told apart while reading; beyond it the lighter half becomes `other`.
const KEYS: usize = 16_384;

/// Sources listed.
const ROWS: usize = 1000;

/// Whom a connection was opened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// Address.
    pub dst: IpAddr,
    /// Layer 4 protocol.
    pub proto: Proto,
    /// Port, where the protocol has them.
    pub dport: u16,
}

/// The first and the last of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassSpan {
    /// When the first was.
    pub first: Option<Moment>,
    /// When the last was.
    pub last: Option<Moment>,
}

impl ClassSpan {
    /// Takes one or many in. Incidents of two CPUs may come out of order.
    pub(super) fn add(&mut self, incident: &Incident) {
        self.first = Some(self.first.map_or(incident.first, |first| first.min(incident.first)));
        self.last = self.last.max(Some(incident.at));
    }
}

/// What befell one source.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceRow {
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Its address.
    pub src: IpAddr,
    /// How often, by cause.
    pub by_cause: ByCause,
    /// When first and last, of any class.
    pub span: ClassSpan,
}

/// Sources, heaviest first, and what is left of the totals.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sources {
    /// Those listed.
    pub top: Vec<SourceRow>,
    /// All others, and what nobody knows the source of.
    pub other: ByCause,
    /// How many sources were told apart, at least.
    pub distinct: u64,
}

/// Sums being made.
#[derive(Debug, Default)]
pub(super) struct Suffering {
    rows: HashMap<(u32, IpAddr), (ByCause, ClassSpan)>,
    given_up: u64,
}

impl Suffering {
    /// Counts one, or many of one source.
    pub fn add(&mut self, incident: &Incident) {
        let Some(src) = incident.src else { return };
        let row = self.rows.entry((incident.netns, src)).or_default();
        row.0.add(incident.cause, incident.count);
        row.1.add(incident);
        if self.rows.len() > KEYS {
            self.halve();
        }
    }

    fn halve(&mut self) {
        let mut totals: Vec<u64> = self.rows.values().map(|(by_cause, _)| by_cause.total()).collect();
        let middle = totals.len() / 2;
        let (_, median, _) = totals.select_nth_unstable(middle);
        let (median, mut surplus) = (*median, totals.len() - middle);
        let before = self.rows.len();
        self.rows.retain(|_, (by_cause, _)| {
            let total = by_cause.total();
            let goes = total < median || (total == median && surplus > 0);
            surplus = surplus.saturating_sub(usize::from(goes));
            !goes
        });
        self.given_up += (before - self.rows.len()) as u64;
    }

    /// The heaviest, and what they leave of the totals.
    pub fn ranked(self, totals: &ByCause) -> Sources {
        let distinct = self.rows.len() as u64 + self.given_up;
        let mut top: Vec<_> = self
            .rows
            .into_iter()
            .map(|((netns, src), (by_cause, span))| SourceRow { netns, src, by_cause, span })
            .collect();
        keep_top(&mut top, ROWS, |row| (Reverse(row.by_cause.total()), row.src, row.netns));
        let other = top.iter().fold(*totals, |left, row| left.without(&row.by_cause));
        Sources { top, other, distinct }
    }
}

impl SourceRow {
    /// How often of one class.
    pub fn of(&self, class: Class) -> u64 {
        self.by_cause.class(class)
    }
}
