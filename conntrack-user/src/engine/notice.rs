//! What there is to say about one batch: one notice per thing that happened, each with the kernel's stamp.

use conntrack_common::{Cause, End, InsertCause};

use super::account::AuditReport;
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
    /// An entry was not inserted, and its packet dropped.
    InsertFailed(Failure),
    /// The rings had no room, or calls were not caught, since this was last said.
    Lost(Lost),
    /// An audit is over.
    Audited(Audited),
    /// conntrack is gone, or is there again.
    Gap(Gap),
    /// The kernel's statistics moved where nothing else tells of whom.
    Counted(Counted),
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
    /// How long it had lived, if that is known.
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

/// An entry that was known was freed.
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
    /// How long it lived, if that is known.
    pub lifetime_ns: Option<u64>,
    /// How it ended.
    pub end: End,
}

impl Freed {
    /// The end as it is written in every format.
    pub const fn end_str(&self) -> &'static str {
        match self.end {
            End::Other => "other",
            End::Evicted => "evicted",
            End::NotInserted => "not_inserted",
        }
    }
}

/// An entry was not inserted into the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When that was decided.
    pub ktime_ns: u64,
    /// Why.
    pub cause: InsertCause,
    /// The entry: its original direction.
    pub connection: Connection,
    /// Its reply direction: after source NAT its destination is the address and port that NAT chose.
    pub reply: Connection,
    /// Its status bits.
    pub status: Status,
}

impl Failure {
    /// The cause as it is written in every format.
    pub const fn cause_str(&self) -> &'static str {
        match self.cause {
            InsertCause::Clash => "clash",
            InsertCause::ChainTooLong => "chain_too_long",
            InsertCause::NatPorts => "nat_ports",
            InsertCause::Dying => "dying",
        }
    }
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

/// An audit is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audited {
    /// What it came to.
    pub report: AuditReport,
    /// Whether it was given up and proves nothing.
    pub abandoned: bool,
}

impl Audited {
    /// Whether it says more than that all was in order, as expected.
    pub fn is_news(&self) -> bool {
        use conntrack_common::AuditTrigger::{Asked, Interval};
        let expected = matches!(self.report.trigger, Interval | Asked);
        self.abandoned || !expected || self.report.repaired.total() > 0
    }
}

/// conntrack is gone with all its entries, or is there again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When that was noticed.
    pub ktime_ns: u64,
    /// When it was found gone.
    pub from_ktime_ns: u64,
    /// Whether it is there again.
    pub over: bool,
}

impl Gap {
    /// How long it has lasted.
    pub const fn length_ns(&self) -> u64 {
        self.ktime_ns.saturating_sub(self.from_ktime_ns)
    }
}

/// What the kernel's statistics added since they were last read, of nobody knows whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// When they were read.
    pub ktime_ns: u64,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Allocations refused.
    pub refused: u64,
    /// Entries evicted.
    pub evicted: u64,
    /// Entries not inserted.
    pub failed: u64,
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
            Self::InsertFailed(failure) => failure.ktime_ns,
            Self::Lost(lost) => lost.ktime_ns,
            Self::Audited(audited) => audited.report.ended_ktime_ns,
            Self::Gap(gap) => gap.ktime_ns,
            Self::Counted(counted) => counted.ktime_ns,
        }
    }

    /// Whether a filter lets it through. Edges and statistics are asked for their namespace only; what was lost,
    /// audits and gaps concern everyone; a connection nobody caught matches only the filter that asks for nothing. An eviction goes by
    /// its victim. New, refused and failed entries have no mark yet, which is mark 0.
    pub fn passes(&self, filter: &Filter) -> bool {
        match self {
            Self::Edge { netns, .. } => filter.matches_netns(*netns),
            Self::Refused(Refusal { connection: Some(connection), .. }) => filter.matches(connection, 0),
            Self::Refused(Refusal { connection: None, .. }) => filter.is_empty(),
            Self::Evicted(eviction) => filter.matches(&eviction.victim, eviction.mark),
            Self::New { connection, .. } => filter.matches(connection, 0),
            Self::Free(freed) => filter.matches(&freed.connection, freed.mark),
            Self::InsertFailed(failure) => filter.matches(&failure.connection, 0),
            Self::Counted(counted) => filter.matches_netns(counted.netns),
            Self::Lost(_) | Self::Audited(_) | Self::Gap(_) => true,
        }
    }
}
