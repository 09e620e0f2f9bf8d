//! Episodes, and what they froze: who held the table, and who suffered.

use std::net::IpAddr;

use serde::Serialize;

use super::Refused;
use crate::output::time::Rfc3339;

/// One saturation of one network namespace.
#[derive(Debug, Serialize)]
pub struct Episode {
    /// Network namespace.
    pub netns: u32,
    /// `evicting` or `refusing`.
    pub began: &'static str,
    /// The first eviction or refusal.
    pub start: Rfc3339,
    /// The same by the kernel.
    pub start_ktime_ns: u64,
    /// The recovery; null while it lasts.
    pub end: Option<Rfc3339>,
    /// The same by CLOCK_MONOTONIC.
    pub end_ktime_ns: Option<u64>,
    /// `nf_conntrack_count` at the start; null if not known.
    pub count: Option<u32>,
    /// `nf_conntrack_max` at the start; null if not known.
    pub max: Option<u32>,
    /// Allocations refused.
    pub refused: u64,
    /// The same by cause.
    pub refused_by_cause: Causes,
    /// The first refusal; null if there was none.
    pub first_refused: Option<Refused>,
    /// When the last refusal was.
    pub last_refused: Option<Rfc3339>,
    /// The same by the kernel.
    pub last_refused_ktime_ns: Option<u64>,
    /// Entries evicted.
    pub evicted: u64,
    /// Who held the table.
    pub holders: Holders,
    /// Who suffered.
    pub victims: Victims,
}

/// Refusals by cause.
#[derive(Debug, Serialize)]
pub struct Causes {
    /// The table was full.
    pub table_full: u64,
    /// There was no memory.
    pub no_memory: u64,
    /// ctnetlink or a BPF kfunc asked, not a packet.
    pub ctnetlink: u64,
}

/// Who held the table; counts are entries.
#[derive(Debug, Serialize)]
pub struct Holders {
    /// When: at the start, or as soon as all entries were known if that was later.
    pub ktime_ns: u64,
    /// In total.
    pub entries: u64,
    /// By source address.
    pub sources: Ranking<SourceEntries>,
    /// By source network, /24 or /64.
    pub prefixes: Ranking<PrefixEntries>,
    /// By destination address.
    pub destinations: Ranking<DestinationEntries>,
    /// By protocol and destination port.
    pub ports: Ranking<PortEntries>,
    /// By protocol.
    pub protocols: Ranking<ProtoEntries>,
    /// By age.
    pub ages: Vec<AgeEntries>,
    /// Entries whose age is not known.
    pub age_unknown: u64,
    /// New entries by source over the time before.
    pub arrivals: Ranking<Arrivals>,
    /// How long that time was: about a minute.
    pub arrivals_window_s: f64,
}

/// Who suffered; counts are events.
#[derive(Debug, Serialize)]
pub struct Victims {
    /// Sources refused.
    pub refused: Ranking<SourceEvents>,
    /// Sources evicted.
    pub evicted: Ranking<SourceEvents>,
}

/// The heaviest rows, and what all others amount to.
#[derive(Debug, Serialize)]
pub struct Ranking<T> {
    /// Heaviest first.
    pub top: Vec<T>,
    /// The rest.
    pub other: u64,
}

/// A source address and a number of entries.
#[derive(Debug, PartialEq, Serialize)]
pub struct SourceEntries {
    /// Address.
    pub src: IpAddr,
    /// How many.
    pub entries: u64,
}

/// A source address and how often it befell it.
#[derive(Debug, Serialize)]
pub struct SourceEvents {
    /// Address.
    pub src: IpAddr,
    /// How often.
    pub events: u64,
}

/// A source network and a number of entries.
#[derive(Debug, Serialize)]
pub struct PrefixEntries {
    /// Network.
    pub prefix: String,
    /// How many.
    pub entries: u64,
}

/// A destination address and a number of entries.
#[derive(Debug, Serialize)]
pub struct DestinationEntries {
    /// Address.
    pub dst: IpAddr,
    /// How many.
    pub entries: u64,
}

/// A destination port and a number of entries.
#[derive(Debug, Serialize)]
pub struct PortEntries {
    /// Protocol.
    pub proto: String,
    /// Port; see [`Connection`].
    pub dport: u16,
    /// How many.
    pub entries: u64,
}

/// A protocol and a number of entries.
#[derive(Debug, Serialize)]
pub struct ProtoEntries {
    /// Protocol.
    pub proto: String,
    /// How many.
    pub entries: u64,
}

/// An age and a number of entries.
#[derive(Debug, Serialize)]
pub struct AgeEntries {
    /// Younger than this (and older than the row before); null for the oldest.
    pub under_s: Option<u64>,
    /// How many.
    pub entries: u64,
}

/// A source address and its new entries.
#[derive(Debug, Serialize)]
pub struct Arrivals {
    /// Address.
    pub src: IpAddr,
    /// New entries.
    pub new: u64,
    /// The same per second.
    pub new_per_s: f64,
}
