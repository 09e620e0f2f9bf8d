//! What a recording tells when it is read from end to end: sums, episodes, holders, victims, and which times nobody
//! knows anything of.
//!
//! A [`Builder`] is fed with the records of a recording in their order, one by one; what a [`Narrow`] leaves out is
//! not counted. Memory is bounded whatever the recording's length: details are kept up to a number that each table
//! names, and what is left out is counted beside it. Sums come from two accounts that are laid beside each other:
//! incidents told one by one (or summed per second under a flood), exact to the nanosecond; and sums *so far*, which the
//! kernel and the engine keep and a recording repeats, so that what was lost on the way still counts.

mod around;
mod builder;
mod causes;
mod episodes;
mod incident;
mod known;
mod occupancy;
mod picture;
mod sofar;
mod sources;
mod timeline;

use std::net::IpAddr;

use ipnet::IpNet;

use super::batch::WallClock;

pub use around::{Around, At, HeldThen, LEAD_NS, Standing};
pub use builder::{Builder, Told};
pub use causes::{ByCause, Cause, Class};
pub use episodes::{ReportEpisode, Victims};
pub use incident::{Incident, Kept};
pub use known::{Audits, ClockStep, FileHead, Known, Missing, MissingKind, NamedSetting, Session};
pub use occupancy::{HolderSeries, HoldersOverTime, Occupancy};
pub use sources::{ClassSpan, Destination, SourceRow, Sources};
pub use timeline::{Point, Timeline, state};

/// An instant by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Nanoseconds since the Unix epoch, by the wall clock of the time.
    pub unix_ns: i64,
    /// CLOCK_MONOTONIC of its boot.
    pub ktime_ns: u64,
}

impl Moment {
    /// A monotonic time under a wall clock. What does not fit 64 bits is the year 2262.
    pub fn at(wall: WallClock, ktime_ns: u64) -> Self {
        let unix_ns = i64::try_from(wall.unix_ns(ktime_ns)).unwrap_or(i64::MAX);
        Self { unix_ns, ktime_ns }
    }
}

/// What is looked at. None asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrow {
    /// From this time on, nanoseconds since the Unix epoch.
    pub since_unix_ns: Option<i64>,
    /// Before this time.
    pub until_unix_ns: Option<i64>,
    /// Sources within one of these networks; empty for all.
    pub src: Vec<IpNet>,
    /// These network namespaces by inode number; empty for all.
    pub netns: Vec<u32>,
    /// These causes; empty for all.
    pub cause: Vec<Cause>,
}

impl Narrow {
    /// Whether a time is within.
    pub fn time(&self, unix_ns: i64) -> bool {
        self.since_unix_ns.is_none_or(|since| since <= unix_ns)
            && self.until_unix_ns.is_none_or(|until| unix_ns < until)
    }

    /// Whether a network namespace is looked at.
    pub fn netns(&self, netns: u32) -> bool {
        self.netns.is_empty() || self.netns.contains(&netns)
    }

    /// Whether a source is looked at; one that was not caught only if all are.
    pub fn source(&self, src: Option<IpAddr>) -> bool {
        self.src.is_empty() || src.is_some_and(|src| self.src.iter().any(|net| net.contains(&src)))
    }

    /// Whether a cause is looked at.
    pub fn cause(&self, cause: Cause) -> bool {
        self.cause.is_empty() || self.cause.contains(&cause)
    }

    /// Whether an incident is looked at.
    pub fn incident(&self, incident: &Incident) -> bool {
        self.time(incident.at.unix_ns)
            && self.netns(incident.netns)
            && self.source(incident.src)
            && self.cause(incident.cause)
    }

    /// Whether sums of whole namespaces count what incidents count.
    fn takes_sums(&self) -> bool {
        self.src.is_empty() && self.cause.is_empty()
    }
}

/// Sums of the time looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// By cause; the sum of the next three.
    pub by_cause: ByCause,
    /// Of these: told one by one.
    pub told: ByCause,
    /// Of these: told as sums per second and source, because they were too many.
    pub summed: ByCause,
    /// Of these: only counted. The rings or the recorder had no room for their records.
    pub counted: ByCause,
    /// Entries allocated; None under a filter that such sums do not know.
    pub new: Option<u64>,
    /// Entries freed; None likewise.
    pub freed: Option<u64>,
    /// Clashes resolved: no packet was dropped.
    pub clash_resolved: u64,
    /// Records the entries ring had no room for.
    pub lost_entries: u64,
    /// Records the incidents ring had no room for.
    pub lost_incidents: u64,
    /// Returns whose call was not caught.
    pub unmatched: u64,
    /// First and last refusal, eviction and failure.
    pub spans: [ClassSpan; 3],
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// What was asked for.
    pub narrow: Narrow,
    /// First and last time that is known; None of an empty recording.
    pub span: Option<(Moment, Moment)>,
    /// What is known, and how well.
    pub known: Known,
    /// Sums.
    pub totals: Totals,
    /// Who suffered: sources refused, evicted, or not inserted, heaviest first.
    pub sources: Sources,
    /// Whom connections were refused to.
    pub destinations: Vec<(Destination, u64)>,
    /// Refusals to others.
    pub destinations_other: u64,
    /// Refusals whose destination is not known: they were not told one by one.
    pub destinations_unknown: u64,
    /// Refusals, evictions and failures, the first and the last.
    pub incidents: Kept<Incident>,
    /// How full each namespace was, and what happened in it.
    pub timelines: Vec<Timeline>,
    /// Namespaces that have none, because there were too many.
    pub timelines_left_out: u64,
    /// Saturations, oldest first.
    pub episodes: Kept<ReportEpisode>,
    /// Who held the table.
    pub holders: HoldersOverTime,
    /// What sources held, explained by how fast they open connections and how long those live.
    pub occupancy: Vec<Occupancy>,
}

impl Report {
    /// A namespace's name, if the recording told one.
    pub fn netns_name(&self, netns: u32) -> Option<&str> {
        self.known.names.get(&netns).map(String::as_str)
    }
}

#[cfg(test)]
pub(crate) mod tests;
