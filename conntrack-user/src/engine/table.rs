//! A table of groups of entries: what each holds, what happened to it, how long its entries live.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::query::View;
use super::sources::Sums;
use super::state::EntryState;
use super::tuple::Proto;

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A source address, and the inode number of its network namespace.
    Source(IpAddr, u32),
    /// A source network, in whatever namespace.
    Prefix(IpNet),
    /// An original destination address, in whatever namespace.
    Destination(IpAddr),
    /// A protocol and destination port, in whatever namespace; protocols without ports have port 0.
    Port(Proto, u16),
    /// A protocol and state.
    State(EntryState),
    /// A network namespace, by its inode number.
    Netns(u32),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(address, _) | Self::Destination(address) => address.fmt(f),
            Self::Prefix(network) => network.fmt(f),
            Self::Port(proto, port) if proto.has_ports() => f.pad(&format!("{proto} {port}")),
            Self::Port(proto, _) => proto.fmt(f),
            Self::State(state) => state.fmt(f),
            Self::Netns(inum) => inum.fmt(f),
        }
    }
}

/// One group of entries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// What it is about.
    pub key: Key,
    /// Entries it holds.
    pub entries: u64,
    /// New entries per second over the interval.
    pub new_per_s: f64,
    /// What happened since [`Table::since_ktime_ns`].
    pub sums: Sums,
    /// Of the entries that ended since then and whose age was known.
    pub mean_lifetime_ns: Option<u64>,
    /// Age of the oldest entry whose age is known.
    pub oldest_ns: Option<u64>,
}

/// Groups of entries in the order asked for, and what they leave of all.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// By what they are grouped.
    pub view: View,
    /// The first groups.
    pub rows: Vec<Row>,
    /// What is needed to make the rows add up to all entries and to the totals since `since_ktime_ns`.
    pub other: Other,
    /// How many groups there are, listed or not.
    pub groups: usize,
    /// Entries that the filter lets through.
    pub entries: u64,
    /// Since when the sums are counted: the attachment, or since this table was first asked for.
    pub since_ktime_ns: u64,
}

/// All that no listed row accounts for: groups below the cut, those that the filter leaves out, groups no longer
/// tracked, what befell nobody knows whom, frees of unknown entries, and events that were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Other {
    /// Entries held.
    pub entries: u64,
    /// What happened so far.
    pub sums: Sums,
    /// New entries per second over the interval, of those that were seen.
    pub new_per_s: f64,
}
