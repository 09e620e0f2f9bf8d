//! `top`: gauges, the table asked for, and what lies behind it.

use std::net::IpAddr;

use serde::Serialize;

use super::{
    AgeEntries, DestinationEntries, Episode, Events, Line, PortEntries, Ranking, Refused, Statistics,
    StatisticsRow, Totals,
};
use crate::output::time::Rfc3339;

/// `top -o json`, and what `w` writes in the live view.
#[derive(Debug, Serialize)]
pub struct Top {
    /// Wall clock.
    pub time: Rfc3339,
    /// CLOCK_MONOTONIC.
    pub ktime_ns: u64,
    /// When counting began.
    pub since: Rfc3339,
    /// What the rates are over.
    pub interval_s: f64,
    /// The backend attached.
    pub backend: String,
    /// Why not a better one, and what this one cannot do.
    pub degradations: Vec<String>,
    /// Seen and missed.
    pub events: Events,
    /// Entries held now, and sums since `since`.
    pub totals: TopTotals,
    /// Network namespaces, worst first.
    pub netns: Vec<Netns>,
    /// Which table follows: `sources`, `prefixes` and so on; its rows are under that name.
    pub by: &'static str,
    /// Its rows; none for a view that has none of its own.
    #[serde(flatten)]
    pub rows: Option<Rows>,
    /// How many rows there are, listed or not.
    pub groups: usize,
    /// Entries that the filter lets through.
    pub matching: u64,
    /// Since when the sums of the rows are counted: `since`, or since the table was first asked for.
    pub counted_since: Rfc3339,
    /// What the rows leave of the totals.
    pub other: Other,
    /// What was refused, cut off or not inserted, by cause.
    pub causes: Vec<Cause>,
    /// The source looked at closely; null unless one was asked for.
    pub focus: Option<Focus>,
    /// What happened last, newest first, as lines of `watch`.
    pub recent: Vec<Line>,
    /// The worst network namespace, or the one asked for, second by second; null before anything is known.
    pub history: Option<History>,
    /// The kernel's statistics beside what ctwatch counted.
    pub statistics: Vec<StatisticsRow>,
    /// Saturations, oldest first.
    pub episodes: Vec<Episode>,
}

/// [`Totals`] and what is held.
#[derive(Debug, Serialize)]
pub struct TopTotals {
    /// Entries in the live table.
    pub entries: u64,
    /// Sums.
    #[serde(flatten)]
    pub sums: Totals,
}

/// A row of `netns`.
#[derive(Debug, Serialize)]
pub struct Netns {
    /// Inode number.
    pub netns: u32,
    /// Name; null if it has none.
    pub name: Option<String>,
    /// `nf_conntrack_count`; null if not known.
    pub count: Option<u32>,
    /// `nf_conntrack_max`; null if not known.
    pub max: Option<u32>,
    /// State.
    pub state: &'static str,
    /// Since when.
    pub since: Rfc3339,
    /// Entries in the live table.
    pub entries: u64,
    /// `count` less `entries`; null if `count` is.
    pub unaccounted: Option<i64>,
    /// Entries not inserted since attach.
    pub failed: u64,
    /// Entries freed unconfirmed though nothing failed, since attach.
    pub unconfirmed: u64,
    /// Entries that the kernel may evict: not assured when the last audit saw them.
    pub evictable: u64,
    /// Entries that may be either: they came since the last audit.
    pub unseen: u64,
    /// The kernel's statistics beside ours; null if they were not read, or are all that is known.
    pub statistics: Option<Statistics>,
    /// New entries per second.
    pub new_per_s: f64,
    /// Entries freed per second.
    pub freed_per_s: f64,
    /// Allocations refused per second.
    pub refused_per_s: f64,
    /// Entries evicted per second.
    pub evicted_per_s: f64,
    /// Entries not inserted per second.
    pub failed_per_s: f64,
    /// Entries freed unconfirmed though nothing failed, per second.
    pub unconfirmed_per_s: f64,
    /// Until the limit at the present net rate; null if it is not being approached.
    pub seconds_to_full: Option<f64>,
}

/// The table asked for, under its own name.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rows {
    /// By source.
    Sources(Vec<Row<Source>>),
    /// By source network.
    Prefixes(Vec<Row<Prefix>>),
    /// By destination.
    Destinations(Vec<Row<Destination>>),
    /// By destination port.
    Ports(Vec<Row<Port>>),
    /// By protocol and state.
    States(Vec<Row<State>>),
    /// By network namespace.
    Namespaces(Vec<Row<Namespace>>),
}

/// A row: what it is about, and what happened to it since `counted_since`.
#[derive(Debug, Serialize)]
pub struct Row<K> {
    /// What it is about.
    #[serde(flatten)]
    pub key: K,
    /// Entries it holds.
    pub entries: u64,
    /// Sums; null where they are not known, as by state.
    #[serde(flatten)]
    pub sums: Option<Sums>,
    /// Mean lifetime of the entries that ended; null if none did whose age was known.
    pub mean_lifetime_s: Option<f64>,
    /// Age of the oldest entry; null if it is not known.
    pub oldest_s: Option<f64>,
}

/// What happened to the entries of a row.
#[derive(Debug, Serialize)]
pub struct Sums {
    /// Entries allocated.
    pub new: u64,
    /// The same per second.
    pub new_per_s: f64,
    /// Entries freed.
    pub freed: u64,
    /// Allocations refused.
    pub refused: u64,
    /// Entries evicted.
    pub evicted: u64,
    /// Entries not inserted.
    pub failed: u64,
    /// Entries freed unconfirmed though nothing failed.
    pub unconfirmed: u64,
}

/// A source.
#[derive(Debug, Serialize)]
pub struct Source {
    /// Address.
    pub src: IpAddr,
    /// Network namespace.
    pub netns: u32,
}

/// A source network.
#[derive(Debug, Serialize)]
pub struct Prefix {
    /// Network.
    pub prefix: String,
}

/// A destination.
#[derive(Debug, Serialize)]
pub struct Destination {
    /// Address.
    pub dst: IpAddr,
}

/// A destination port.
#[derive(Debug, Serialize)]
pub struct Port {
    /// Protocol.
    pub proto: String,
    /// Port; 0 where the protocol has none.
    pub dport: u16,
}

/// A network namespace.
#[derive(Debug, Serialize)]
pub struct Namespace {
    /// Its inode number; `netns` tells the rest.
    pub netns: u32,
}

/// A protocol and state.
#[derive(Debug, Serialize)]
pub struct State {
    /// Protocol.
    pub proto: String,
    /// By the names of `conntrack -L`; null where there is none.
    pub tcp_state: Option<&'static str>,
    /// Whether the kernel would not evict it; null where only the state is told, or nothing is known yet.
    pub assured: Option<bool>,
    /// Whether it had a reply; null likewise.
    pub seen_reply: Option<bool>,
}

/// What the rows leave of the totals: rows not listed, events that were lost or of nobody known.
#[derive(Debug, Serialize)]
pub struct Other {
    /// Entries held.
    pub entries: u64,
    /// What happened.
    #[serde(flatten)]
    pub sums: Sums,
}

/// What one cause did.
#[derive(Debug, Serialize)]
pub struct Cause {
    /// Its name.
    pub cause: &'static str,
    /// Connections.
    pub total: u64,
    /// The same per second.
    pub per_s: f64,
}

/// One source looked at closely; counts are entries.
#[derive(Debug, Serialize)]
pub struct Focus {
    /// Its row.
    #[serde(flatten)]
    pub row: Row<Source>,
    /// By destination address.
    pub destinations: Ranking<DestinationEntries>,
    /// By protocol and destination port.
    pub ports: Ranking<PortEntries>,
    /// By protocol and state.
    pub states: Ranking<StateEntries>,
    /// By age.
    pub ages: Vec<AgeEntries>,
    /// Entries whose age is not known.
    pub age_unknown: u64,
    /// New entries per second over the last minute.
    pub arrivals_per_s: f64,
    /// `arrivals_per_s` times `mean_lifetime_s`: the entries it comes to hold if it goes on like this.
    pub occupancy: Option<f64>,
    /// Its last refusals, newest first.
    pub refusals: Vec<Refused>,
}

/// A protocol and state, and a number of entries.
#[derive(Debug, Serialize)]
pub struct StateEntries {
    /// Which.
    #[serde(flatten)]
    pub state: State,
    /// How many.
    pub entries: u64,
}

/// A network namespace second by second.
#[derive(Debug, Serialize)]
pub struct History {
    /// Which.
    pub netns: u32,
    /// Oldest first; a second in which nothing was read is not there.
    pub seconds: Vec<Second>,
}

/// What happened in a second.
#[derive(Debug, Serialize)]
pub struct Second {
    /// When it ended.
    pub ktime_ns: u64,
    /// `nf_conntrack_count` then; null if not known.
    pub count: Option<u32>,
    /// `nf_conntrack_max` then; null if not known.
    pub max: Option<u32>,
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
    /// Entries freed unconfirmed though nothing failed.
    pub unconfirmed: u64,
}
