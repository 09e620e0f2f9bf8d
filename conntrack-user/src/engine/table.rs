//! A table of groups of entries: what each holds, what happened to it, how long its entries live.

use std::cmp::Reverse;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use ipnet::IpNet;

use super::query::{Column, Sort, View};
use super::sources::Sums;
use super::state::EntryState;
use super::tuple::Proto;

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// In as few words as there can be: of the passes over a large table this is a large part.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let bits = |address: &IpAddr| match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        match self {
            Self::Source(address, netns) => {
                state.write_u128(bits(address));
                state.write_u32(*netns);
            }
            Self::Prefix(network) => {
                state.write_u128(bits(&network.network()));
                state.write_u8(network.prefix_len());
            }
            Self::Destination(address) => state.write_u128(bits(address)),
            Self::Port(proto, port) => state.write_u32(u32::from(proto.0) << 16 | u32::from(*port)),
            Self::State(state_of) => state_of.hash(state),
            Self::Netns(netns) => state.write_u32(*netns),
        }
    }
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
    /// What happened since [`Table::since_ktime_ns`]; at the least, for a group that had to make room for others in
    /// the meantime. None of it is known by state.
    pub sums: Sums,
    /// Of the entries that ended since then and whose age was known.
    pub mean_lifetime_ns: Option<u64>,
    /// Age of the oldest entry whose age is known.
    pub oldest_ns: Option<u64>,
}

impl Row {
    /// Where it stands by a column that is not the key: first what is known, then the number, then who suffered.
    fn rank(&self, sort: Sort) -> Rank {
        let number = match sort.column {
            Column::Key => Some(0),
            Column::Entries => Some(self.entries),
            // Numbers that are not negative are in the order of their bits.
            Column::New => Some(self.new_per_s.to_bits()),
            Column::Refused => Some(self.sums.refused),
            Column::Evicted => Some(self.sums.evicted),
            Column::Failed => Some(self.sums.failed),
            Column::Unconfirmed => Some(self.sums.unconfirmed),
            Column::Lifetime => self.mean_lifetime_ns,
            Column::Oldest => self.oldest_ns,
        };
        let place = |number: u64| if sort.reverse { number } else { !number };
        let suffered = match sort.column {
            Column::Key => 0,
            _ => self.sums.refused.saturating_add(self.sums.evicted),
        };
        (number.is_none(), number.map_or(0, place), Reverse(suffered))
    }
}

type Rank = (bool, u64, Reverse<u64>);

/// The first `k` rows, in order.
pub(super) fn first(rows: &[Row], sort: Sort, k: usize) -> Vec<Row> {
    let by_key = |a: &Row, b: &Row| match (sort.column, sort.reverse) {
        (Column::Key, true) => b.key.cmp(&a.key),
        _ => a.key.cmp(&b.key),
    };
    // Ranks and references are a fifth of the rows: less to move.
    let mut ranked: Vec<_> = rows.iter().map(|row| (row.rank(sort), row)).collect();
    let order = |(rank, row): &(Rank, &Row), (other_rank, other): &(Rank, &Row)| {
        rank.cmp(other_rank).then_with(|| by_key(row, other))
    };
    if k < ranked.len() {
        ranked.select_nth_unstable_by(k, order);
        ranked.truncate(k);
    }
    ranked.sort_unstable_by(order);
    ranked.into_iter().map(|(_, row)| *row).collect()
}

/// Groups of entries in the order asked for, and what they leave of all.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// By what they are grouped.
    pub view: View,
    /// The first groups.
    pub rows: Vec<Row>,
    /// What is needed to make the rows add up to all entries and to the totals since `since_ktime_ns`; nothing if the
    /// rows have more, as they may where entries were freed since the pass that found them (see `entries`).
    pub other: Other,
    /// How many groups there are, listed or not.
    pub groups: usize,
    /// Entries that the filter lets through. What is not summed by source or namespace is as the pass over the live
    /// table found it, of which there is one in each interval: it may be more than there are by now.
    pub entries: u64,
    /// Since when the sums are counted: the attachment, or since this table was first asked for.
    pub since_ktime_ns: u64,
}

impl Table {
    /// The first `k` rows, and what they leave: of all entries, of what happened since then, and of the new per second.
    pub(super) fn new(view: View, rows: &[Row], sort: Sort, k: usize, all: &All) -> Self {
        let listed = first(rows, sort, k);
        Self {
            view,
            other: all.less(&listed),
            rows: listed,
            groups: rows.len(),
            entries: rows.iter().map(|row| row.entries).sum(),
            since_ktime_ns: all.since_ktime_ns,
        }
    }
}

/// What a table adds up to.
#[derive(Clone, Copy, Debug)]
pub(super) struct All {
    /// Entries held.
    pub entries: u64,
    /// What happened.
    pub sums: Sums,
    /// Since when.
    pub since_ktime_ns: u64,
    /// New entries per second.
    pub new_per_s: f64,
}

impl All {
    /// What the rows leave. The ledger, and what audits found, may be ahead of sums that the kernel read a moment
    /// earlier; entries that a pass counted may be gone since.
    fn less(&self, rows: &[Row]) -> Other {
        let mut listed = Sums::default();
        rows.iter().for_each(|row| listed.add(&row.sums));
        let new_per_s: f64 = rows.iter().map(|row| row.new_per_s).sum();
        Other {
            entries: self.entries.saturating_sub(rows.iter().map(|row| row.entries).sum()),
            sums: self.sums.since(&listed),
            new_per_s: (self.new_per_s - new_per_s).max(0.0),
        }
    }
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
