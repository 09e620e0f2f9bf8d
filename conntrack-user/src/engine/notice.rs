//! What there is to say about one batch: one notice per thing that happened, each with the kernel's stamp.

use conntrack_common::Cause;

use super::filter::Filter;
use super::gauge::Level;
use super::saturation::Edge;
use super::tuple::{Connection, Status};

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A network namespace changed its state.
    Edge {
        /// Inode number of the network namespace.
        netns: u32,
        /// From what to what, and when.
        edge: Edge,
    },
    /// An allocation failed.
    Refused(Refusal),
    /// `early_drop` freed an entry.
    Evicted(Eviction),
    /// An entry was allocated.
    New {
        /// When.
        ktime_ns: u64,
        /// The entry.
        connection: Connection,
    },
    /// An entry was freed.
    Free(Freed),
    /// The rings had no room, or calls were not caught, since this was last said.
    Lost(Lost),
}

/// An allocation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// When it returned.
    pub ktime_ns: u64,
    /// Inode number of the network namespace; 0 if the call's arguments were not caught.
    pub netns: u32,
    /// Why.
    pub cause: Cause,
    /// The connection that was refused, if the call's arguments were caught.
    pub connection: Option<Connection>,
    /// Count and limit then.
    pub level: Level,
}

impl Refusal {
    /// The cause as it is written in every format.
    pub const fn cause_str(&self) -> &'static str {
        match self.cause {
            Cause::TableFull => "table_full",
            Cause::NoMemory => "no_memory",
            Cause::Ctnetlink => "ctnetlink",
        }
    }
}

/// `early_drop` freed an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// When.
    pub ktime_ns: u64,
    /// The entry.
    pub victim: Connection,
    /// How long it had lived, if its allocation was seen.
    pub age_ns: Option<u64>,
    /// Its status bits.
    pub status: Status,
    /// Its mark.
    pub mark: u32,
    /// Count (with victim and newcomer) and limit then.
    pub level: Level,
    /// The connection that lives because of it, if that was seen within a second.
    pub for_whom: Option<Connection>,
}

/// An entry was freed whose allocation was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freed {
    /// When.
    pub ktime_ns: u64,
    /// The entry.
    pub connection: Connection,
    /// Its status bits.
    pub status: Status,
    /// Its mark; 0 unless the programs were told to read it.
    pub mark: u32,
    /// How long it lived.
    pub lifetime_ns: u64,
    /// Whether `early_drop` freed it.
    pub evicted: bool,
}

/// Events that cannot be told, only counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// When that was noticed.
    pub ktime_ns: u64,
    /// Records the entries ring had no room for.
    pub entries: u64,
    /// Records the incidents ring had no room for.
    pub incidents: u64,
    /// Returns whose call was not caught.
    pub unmatched: u64,
}

impl Notice {
    /// When it happened.
    pub fn ktime_ns(&self) -> u64 {
        match self {
            Self::Edge { edge, .. } => edge.ktime_ns,
            Self::Refused(refusal) => refusal.ktime_ns,
            Self::Evicted(eviction) => eviction.ktime_ns,
            Self::New { ktime_ns, .. } => *ktime_ns,
            Self::Free(freed) => freed.ktime_ns,
            Self::Lost(lost) => lost.ktime_ns,
        }
    }

    /// Whether a filter lets it through. An edge is asked for its namespace only; what was lost concerns
    /// everyone; a connection nobody caught matches only the filter that asks for nothing. An eviction goes by
    /// its victim. New and refused entries have no mark yet, which is mark 0.
    pub fn passes(&self, filter: &Filter) -> bool {
        match self {
            Self::Edge { netns, .. } => filter.matches_netns(*netns),
            Self::Refused(Refusal { connection: Some(connection), .. }) => filter.matches(connection, 0),
            Self::Refused(Refusal { connection: None, .. }) => filter.is_empty(),
            Self::Evicted(eviction) => filter.matches(&eviction.victim, eviction.mark),
            Self::New { connection, .. } => filter.matches(connection, 0),
            Self::Free(freed) => filter.matches(&freed.connection, freed.mark),
            Self::Lost(_) => true,
        }
    }
}
