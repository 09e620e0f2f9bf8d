//! What a view asks the engine for: which table, sorted how, of what, and whom to look at closely.

use std::net::IpAddr;

use super::filter::Filter;

/// A table that a view shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum View {
    /// By source address.
    #[default]
    Sources,
    /// By source network of a given length.
    Prefixes,
    /// By original destination address.
    Destinations,
    /// By protocol and destination port.
    Ports,
    /// By protocol and state, as the last audit saw it.
    States,
    /// By network namespace.
    Netns,
    /// By cause of what was refused, cut off or not inserted: [`Snapshot::causes`](super::snapshot::Snapshot::causes).
    Causes,
    /// Saturations: [`Snapshot::episodes`](super::snapshot::Snapshot::episodes).
    Episodes,
}

impl View {
    /// All, in the order of their number keys.
    pub const ALL: [Self; 8] = [
        Self::Sources,
        Self::Prefixes,
        Self::Destinations,
        Self::Ports,
        Self::States,
        Self::Netns,
        Self::Causes,
        Self::Episodes,
    ];

    /// As it is written in every format and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sources => "sources",
            Self::Prefixes => "prefixes",
            Self::Destinations => "destinations",
            Self::Ports => "ports",
            Self::States => "states",
            Self::Netns => "netns",
            Self::Causes => "causes",
            Self::Episodes => "episodes",
        }
    }

    /// Whether it shows [`Snapshot::table`](super::snapshot::Snapshot::table).
    pub const fn has_table(self) -> bool {
        !matches!(self, Self::Causes | Self::Episodes)
    }
}

/// A column to sort by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Column {
    /// What the row is about.
    Key,
    /// Entries held, and thereby the share of all.
    #[default]
    Entries,
    /// New entries per second.
    New,
    /// Allocations refused.
    Refused,
    /// Entries evicted.
    Evicted,
    /// Entries not inserted.
    Failed,
    /// Entries freed unconfirmed though nothing failed: a rule dropped their packet.
    Unconfirmed,
    /// Mean lifetime of the entries that ended.
    Lifetime,
    /// Age of the oldest entry.
    Oldest,
}

impl Column {
    /// All, in the order they stand.
    pub const ALL: [Self; 9] = [
        Self::Key,
        Self::Entries,
        Self::New,
        Self::Refused,
        Self::Evicted,
        Self::Failed,
        Self::Unconfirmed,
        Self::Lifetime,
        Self::Oldest,
    ];

    /// As it is written on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Entries => "entries",
            Self::New => "new",
            Self::Refused => "refused",
            Self::Evicted => "evicted",
            Self::Failed => "failed",
            Self::Unconfirmed => "unconfirmed",
            Self::Lifetime => "lifetime",
            Self::Oldest => "oldest",
        }
    }
}

/// The order of a table. Numbers stand greatest first and keys least first, unless `reverse`; rows whose value is
/// not known stand last either way. Of equals those come first that suffered more (refused and evicted), then in the
/// order of their keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sort {
    /// By what.
    pub column: Column,
    /// The other way round.
    pub reverse: bool,
}

/// How many leading bits of a source address make its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixLengths {
    /// Of an IPv4 address, up to 32.
    pub v4: u8,
    /// Of an IPv6 address, up to 128.
    pub v6: u8,
}

impl Default for PrefixLengths {
    fn default() -> Self {
        Self { v4: 24, v6: 64 }
    }
}

/// A source looked at closely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Focus {
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Its address.
    pub src: IpAddr,
}

/// Everything a view asks for. It stands until the next is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// The table.
    pub view: View,
    /// Its order.
    pub sort: Sort,
    /// Which entries and incidents are in it. Totals and gauges are never filtered. Entries that live are not asked
    /// for their marks, which so are taken for 0, in the table and in whatever is counted for it.
    pub filter: Filter,
    /// What a prefix is.
    pub prefix: PrefixLengths,
    /// Rows at most.
    pub rows: usize,
    /// The source looked at closely, if any.
    pub focus: Option<Focus>,
    /// The network namespace whose history is asked for; the worst one if none is named.
    pub netns: Option<u32>,
}

impl Query {
    /// Whether it shows what only audits see: the states of entries.
    pub fn needs_audits(&self) -> bool {
        self.view == View::States || self.focus.is_some()
    }
}
