//! What there is to say about one batch: one notice per thing that happened, each with the kernel's stamp.

use std::net::IpAddr;

use conntrack_common::{Cause, End, InsertCause};

use super::account::AuditReport;
use super::filter::Filter;
use super::gauge::Level;
use super::recorded;
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
    /// Of a recording: incidents that it does not have one by one.
    Summed(Summed),
    /// Of a recording: times that it does not have.
    Unrecorded(Unrecorded),
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
        refusal_cause_str(self.cause)
    }
}

const fn refusal_cause_str(cause: Cause) -> &'static str {
    match cause {
        Cause::TableFull => "table_full",
        Cause::NoMemory => "no_memory",
        Cause::Ctnetlink => "ctnetlink",
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
    /// The TCP state it ended in, by its number; None of another protocol, and unless the programs were told to read it.
    pub tcp_state: Option<u8>,
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
        failure_cause_str(self.cause)
    }
}

const fn failure_cause_str(cause: InsertCause) -> &'static str {
    match cause {
        InsertCause::Clash => "clash",
        InsertCause::ChainTooLong => "chain_too_long",
        InsertCause::NatPorts => "nat_ports",
        InsertCause::Dying => "dying",
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

/// What an incident is, and why it came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incident {
    /// An allocation failed.
    Refused(Cause),
    /// `early_drop` freed an entry.
    Evicted,
    /// An entry was not inserted.
    Failed(InsertCause),
}

impl Incident {
    /// As it is written in every format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Evicted => "evicted",
            Self::Failed(_) => "failed",
        }
    }

    /// The cause as it is written in every format, if there are several.
    pub const fn cause_str(self) -> Option<&'static str> {
        match self {
            Self::Refused(cause) => Some(refusal_cause_str(cause)),
            Self::Evicted => None,
            Self::Failed(cause) => Some(failure_cause_str(cause)),
        }
    }
}

/// So many incidents of one source within a second that a recording had no room for each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summed {
    /// When the last of them was.
    pub ktime_ns: u64,
    /// When the first of them was.
    pub first_ktime_ns: u64,
    /// Inode number of the network namespace; 0 if it was not caught.
    pub netns: u32,
    /// What they were.
    pub of: Incident,
    /// How many.
    pub count: u64,
    /// The source (of a victim, for evictions), if it was caught.
    pub src: Option<IpAddr>,
    /// Count and limit at the last of them.
    pub level: Level,
}

/// A time of which a recording has nothing, though the run went on. Sums after it are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unrecorded {
    /// From then on all was recorded again.
    pub ktime_ns: u64,
    /// Until then all had been.
    pub from_ktime_ns: u64,
    /// Why.
    pub reason: UnrecordedReason,
    /// Drains left out; 0 if that is not known.
    pub drains: u64,
    /// Bytes of records left out, or of the file that cannot be read.
    pub bytes: u64,
}

/// Why a recording has nothing of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnrecordedReason {
    /// The recorder fell behind.
    Behind,
    /// The file could not be written.
    Unwritten,
    /// The file is damaged.
    Damaged,
    /// One that this version does not know.
    Other,
}

impl UnrecordedReason {
    /// As it is written in every format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Behind => "behind",
            Self::Unwritten => "unwritten",
            Self::Damaged => "damaged",
            Self::Other => "other",
        }
    }
}

impl From<u8> for UnrecordedReason {
    fn from(number: u8) -> Self {
        match number {
            recorded::Unrecorded::QUEUE_FULL => Self::Behind,
            recorded::Unrecorded::NOT_WRITTEN => Self::Unwritten,
            recorded::Unrecorded::DAMAGED => Self::Damaged,
            _ => Self::Other,
        }
    }
}

impl Unrecorded {
    /// How long it was.
    pub const fn length_ns(&self) -> u64 {
        self.ktime_ns.saturating_sub(self.from_ktime_ns)
    }
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
            Self::Summed(summed) => summed.ktime_ns,
            Self::Unrecorded(unrecorded) => unrecorded.ktime_ns,
        }
    }

    /// Whether a filter lets it through. Edges and statistics are asked for their namespace only; what was lost
    /// or not recorded, audits and gaps concern everyone; what was summed goes by its source; a connection nobody caught matches only the filter that asks for nothing. An eviction goes by
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
            Self::Summed(Summed { src: Some(src), netns, .. }) => {
                filter.beyond_sources().is_none() && filter.matches_source(*netns, *src)
            }
            Self::Summed(Summed { src: None, .. }) => filter.is_empty(),
            Self::Lost(_) | Self::Audited(_) | Self::Gap(_) | Self::Unrecorded(_) => true,
        }
    }
}
