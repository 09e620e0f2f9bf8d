//! The JSON that ctwatch writes, field by field. Names are stable: fields may be added, never renamed.
//!
//! `time`, `since`, `start`, `end` are RFC 3339 in UTC with nanoseconds; the `ktime_ns` beside each is
//! CLOCK_MONOTONIC of the kernel's stamp. `netns` is the inode number of a network namespace.

mod episode;
mod http;
pub mod report;
mod top;
mod what_if;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use super::time::Rfc3339;

pub use episode::*;
pub use http::*;
pub use top::*;
pub use what_if::*;

/// One line of `watch -o json`; `kind` tells which.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    /// The first line.
    Attached(Attached),
    /// A network namespace changed its state.
    Edge(Edge),
    /// An allocation failed.
    Refused(Refused),
    /// `early_drop` freed an entry (with `-v`).
    #[serde(rename = "evicted")]
    EvictedOne(EvictedOne),
    /// `early_drop` freed entries of one namespace within one second.
    #[serde(rename = "evicted")]
    EvictedMany(EvictedMany),
    /// An entry was allocated (with `--all`).
    New(New),
    /// An entry was freed (with `--all`).
    Free(Free),
    /// An entry was not inserted, and its packet dropped.
    Failed(Failed),
    /// Events were lost or calls not caught since the last such line.
    Lost(Lost),
    /// An audit is over.
    Audit(Audited),
    /// conntrack is gone, or is there again.
    Gap(Gap),
    /// The kernel's statistics moved where nothing else tells of whom.
    Counted(Counted),
    /// Of a recording: incidents that it does not have one by one.
    Summed(Summed),
    /// Of a recording: a time that it does not have.
    Unrecorded(Unrecorded),
    /// The last line.
    Summary(Box<Summary>),
}

/// When and where.
#[derive(Debug, Serialize)]
pub struct Head {
    /// Wall clock.
    pub time: Rfc3339,
    /// CLOCK_MONOTONIC, stamped by the kernel.
    pub ktime_ns: u64,
    /// Network namespace; null where a line concerns all.
    pub netns: Option<u32>,
}

/// The original tuple.
#[derive(Debug, PartialEq, Serialize)]
pub struct Connection {
    /// Protocol: its lower-case name, or its number as a string.
    pub proto: String,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port, ICMP identifier, GRE key.
    pub sport: u16,
    /// Destination port, ICMP `type << 8 | code`, GRE key.
    pub dport: u16,
    /// Conntrack zone.
    pub zone: u16,
    /// ICMP only: type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// ICMP only: code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<u8>,
    /// ICMP only: identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_id: Option<u16>,
}

/// `kind: attached`
#[derive(Debug, Serialize)]
pub struct Attached {
    /// When; concerns all namespaces.
    #[serde(flatten)]
    pub head: Head,
    /// The backend attached.
    pub backend: String,
    /// Why not a better one, and what this one cannot do.
    pub degradations: Vec<String>,
}

/// `kind: edge`
#[derive(Debug, Serialize)]
pub struct Edge {
    /// When and where.
    #[serde(flatten)]
    pub head: Head,
    /// `ok`, `pressure`, `evicting`, `refusing` or `recovered`.
    pub state: &'static str,
    /// The state before.
    pub was: &'static str,
    /// `nf_conntrack_count`; null if not known.
    pub count: Option<u32>,
    /// `nf_conntrack_max`; null if not known.
    pub max: Option<u32>,
}

/// `kind: refused`
#[derive(Debug, Serialize)]
pub struct Refused {
    /// When and where.
    #[serde(flatten)]
    pub head: Head,
    /// `table_full`, `no_memory` or `ctnetlink`.
    pub cause: &'static str,
    /// Who was refused; absent if the call's arguments were not caught.
    #[serde(flatten)]
    pub connection: Option<Connection>,
    /// `nf_conntrack_count`; null if not readable.
    pub count: Option<u32>,
    /// `nf_conntrack_max`; null if not readable.
    pub max: Option<u32>,
}

/// `kind: evicted`, one entry
#[derive(Debug, Serialize)]
pub struct EvictedOne {
    /// When and where.
    #[serde(flatten)]
    pub head: Head,
    /// Who was evicted.
    #[serde(flatten)]
    pub connection: Connection,
    /// How long the entry had lived; null if that is not known.
    pub age_ns: Option<u64>,
    /// IPS_ASSURED.
    pub assured: bool,
    /// IPS_SEEN_REPLY.
    pub seen_reply: bool,
    /// Its mark.
    pub mark: u32,
    /// The connection that lives because of it; null if that was not seen.
    #[serde(rename = "for")]
    pub for_whom: Option<Connection>,
}

/// `kind: evicted`, many entries
#[derive(Debug, Serialize)]
pub struct EvictedMany {
    /// When the last of them was, and where.
    #[serde(flatten)]
    pub head: Head,
    /// How many.
    pub entries: u64,
    /// When the first of them was.
    pub first_ktime_ns: u64,
    /// The sources that lost most.
    pub sources: Vec<SourceEntries>,
    /// Entries of all other sources.
    pub other: u64,
}

/// `kind: new`
#[derive(Debug, Serialize)]
pub struct New {
    /// When and where.
    #[serde(flatten)]
    pub head: Head,
    /// The entry.
    #[serde(flatten)]
    pub connection: Connection,
}

/// `kind: free`
#[derive(Debug, Serialize)]
pub struct Free {
    /// When and where.
    #[serde(flatten)]
    pub head: Head,
    /// The entry.
    #[serde(flatten)]
    pub connection: Connection,
    /// How long it lived; null if that is not known.
    pub lifetime_ns: Option<u64>,
    /// IPS_ASSURED.
    pub assured: bool,
    /// IPS_SEEN_REPLY.
    pub seen_reply: bool,
    /// IPS_CONFIRMED.
    pub confirmed: bool,
    /// Whether `early_drop` freed it.
    pub evicted: bool,
    /// `other`, `evicted` or `not_inserted`.
    pub end: &'static str,
    /// Its mark; 0 unless marks are read.
    pub mark: u32,
    /// The TCP state it ended in, as `conntrack -L` names it; absent of other protocols and where it was not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_state: Option<&'static str>,
}

/// `kind: failed`
#[derive(Debug, Serialize)]
pub struct Failed {
    /// When and where.
    #[serde(flatten)]
    pub head: Head,
    /// `clash`, `chain_too_long`, `nat_ports` or `dying`.
    pub cause: &'static str,
    /// The entry.
    #[serde(flatten)]
    pub connection: Connection,
    /// Its reply direction: after source NAT `dst` and `dport` are what NAT chose.
    pub reply: Connection,
}

/// `kind: audit`
#[derive(Debug, Serialize)]
pub struct Audited {
    /// When it ended; concerns all namespaces.
    #[serde(flatten)]
    pub head: Head,
    /// Whether it was given up and proves nothing.
    pub abandoned: bool,
    /// What it came to.
    #[serde(flatten)]
    pub audit: Audit,
}

/// An audit that is over.
#[derive(Debug, Serialize)]
pub struct Audit {
    /// 1 for the first, and so on.
    pub number: u32,
    /// `attached`, `interval`, `lost` or `missed`.
    pub trigger: &'static str,
    /// When it began.
    pub began: Rfc3339,
    /// The same by CLOCK_MONOTONIC.
    pub began_ktime_ns: u64,
    /// How long it took.
    pub duration_ns: u64,
    /// Entries in the live table when it ended.
    pub entries: u64,
    /// What it repaired.
    pub repaired: Repaired,
    /// Buckets walked.
    pub buckets: u64,
    /// Times the walk began anew because the table was resized.
    pub restarts: u32,
    /// Buckets whose chain was too long to be walked to its end.
    pub cut_short: u32,
}

/// Entries that audits put right.
#[derive(Debug, Serialize)]
pub struct Repaired {
    /// Entries whose allocation was lost or missed.
    pub added: u64,
    /// Entries whose end was lost or missed.
    pub removed: u64,
    /// Entries at whose address another was found.
    pub replaced: u64,
}

/// `kind: gap`
#[derive(Debug, Serialize)]
pub struct Gap {
    /// When that was noticed; concerns all namespaces.
    #[serde(flatten)]
    pub head: Head,
    /// False: conntrack is gone with all entries. True: it is there again, and counted anew.
    pub over: bool,
    /// When it was found gone.
    pub from_ktime_ns: u64,
    /// How long that is ago.
    pub duration_ns: u64,
}

/// `kind: counted`
#[derive(Debug, Serialize)]
pub struct Counted {
    /// When the statistics were read, and where.
    #[serde(flatten)]
    pub head: Head,
    /// Allocations refused since they were last read.
    pub refused: u64,
    /// Entries evicted since then.
    pub evicted: u64,
    /// Entries not inserted since then.
    pub failed: u64,
}

/// `kind: summed`
#[derive(Debug, Serialize)]
pub struct Summed {
    /// When the last of them was, and where.
    #[serde(flatten)]
    pub head: Head,
    /// `refused`, `evicted` or `failed`.
    pub of: &'static str,
    /// As in a line of that kind; null for evictions.
    pub cause: Option<&'static str>,
    /// Source, of a victim for evictions; null if it was not caught.
    pub src: Option<IpAddr>,
    /// How many.
    pub incidents: u64,
    /// When the first of them was.
    pub first_ktime_ns: u64,
    /// `nf_conntrack_count` at the last; null if not readable.
    pub count: Option<u32>,
    /// `nf_conntrack_max` at the last; null if not readable.
    pub max: Option<u32>,
}

/// `kind: unrecorded`
#[derive(Debug, Serialize)]
pub struct Unrecorded {
    /// From when on all was recorded again; concerns all namespaces.
    #[serde(flatten)]
    pub head: Head,
    /// `behind` (the recorder), `unwritten` (the file), `damaged` (the file) or `other`.
    pub reason: &'static str,
    /// Until then all had been recorded.
    pub from_ktime_ns: u64,
    /// How long nothing was.
    pub duration_ns: u64,
    /// Drains of the rings left out; 0 if that is not known.
    pub drains: u64,
    /// Bytes of records left out, or of the file that cannot be read.
    pub bytes: u64,
}

/// `kind: lost`
#[derive(Debug, Serialize)]
pub struct Lost {
    /// When that was noticed; concerns all namespaces.
    #[serde(flatten)]
    pub head: Head,
    /// Records of new and freed entries lost.
    pub entries: u64,
    /// Records of refusals and evictions lost.
    pub incidents: u64,
    /// Returns whose call was not caught.
    pub unmatched: u64,
}

/// `kind: summary`
#[derive(Debug, Serialize)]
pub struct Summary {
    /// When; concerns all namespaces.
    #[serde(flatten)]
    pub head: Head,
    /// When counting began.
    pub since: Rfc3339,
    /// Sums since then.
    #[serde(flatten)]
    pub totals: Totals,
    /// The backend attached.
    pub backend: String,
    /// Why not a better one, and what this one cannot do.
    pub degradations: Vec<String>,
    /// Seen and missed.
    pub events: Events,
    /// The kernel's statistics beside what ctwatch counted.
    pub statistics: Vec<StatisticsRow>,
    /// Saturations, oldest first.
    pub episodes: Vec<Episode>,
}

/// Trust in numbers.
#[derive(Debug, Serialize)]
pub struct Events {
    /// Events applied.
    pub seen: u64,
    /// Events the rings had no room for.
    pub lost: u64,
    /// Events missed: as the kernel tells, and `unknown_free` and `overwritten`.
    pub missed: u64,
    /// How often the kernel skipped each program, as it tells.
    pub missed_by_program: BTreeMap<String, u64>,
    /// What audits put right.
    pub repaired: Repaired,
    /// Returns whose call was not caught.
    pub unmatched: u64,
    /// Records that could not be read.
    pub decode_errors: u64,
    /// Frees, before the first audit had ended, of entries not known: older than the attachment.
    pub older_free: u64,
    /// The same since then: their allocation was lost or missed.
    pub unknown_free: u64,
    /// Entries whose free was lost or missed, seen when their address was used again.
    pub overwritten: u64,
    /// Whether the first audit has ended, since when all entries are known.
    pub bootstrapped: bool,
    /// The last audit that came to its end; null if none did.
    pub last_audit: Option<Audit>,
    /// The last one since then that was given up; null if none was.
    pub abandoned_audit: Option<Audit>,
    /// When conntrack was away.
    pub gaps: Gaps,
    /// Of a recording: when nothing was recorded.
    pub unrecorded: NotRecorded,
}

/// Times when conntrack was away.
#[derive(Debug, Serialize)]
pub struct Gaps {
    /// How many.
    pub count: u64,
    /// How long in total, the present one included.
    pub duration_ns: u64,
    /// Whether it is away now.
    pub open: bool,
}

/// Times that a recording does not have.
#[derive(Debug, PartialEq, Serialize)]
pub struct NotRecorded {
    /// How many.
    pub count: u64,
    /// How long in total.
    pub duration_ns: u64,
}

/// The kernel's statistics of one network namespace beside what ctwatch counted.
#[derive(Debug, Serialize)]
pub struct StatisticsRow {
    /// Network namespace; null for the sum over all.
    pub netns: Option<u32>,
    /// Name; null if it has none.
    pub name: Option<String>,
    /// Both accounts.
    #[serde(flatten)]
    pub statistics: Statistics,
}

/// Two accounts of the same packets.
#[derive(Debug, Serialize)]
pub struct Statistics {
    /// As `conntrack -S` has them, since attach.
    pub kernel: Kernel,
    /// What ctwatch had counted when they were read.
    pub ctwatch: Ctwatch,
}

/// The kernel's account.
#[derive(Debug, Serialize)]
pub struct Kernel {
    /// Packets dropped.
    pub drop: u64,
    /// Entries evicted.
    pub early_drop: u64,
    /// Entries not inserted.
    pub insert_failed: u64,
    /// Chains too long.
    pub chaintoolong: u64,
    /// Clashes resolved.
    pub clash_resolve: u64,
    /// Packets that belong to no connection.
    pub invalid: u64,
}

/// Ours, summed as the kernel does.
#[derive(Debug, Serialize)]
pub struct Ctwatch {
    /// Packets refused, clashes lost, NAT ports exhausted.
    pub drop: u64,
    /// Entries evicted.
    pub early_drop: u64,
    /// Entries not inserted.
    pub insert_failed: u64,
    /// Chains too long.
    pub chaintoolong: u64,
    /// Clashes resolved; null but in the sum.
    pub clash_resolve: Option<u64>,
}

/// Sums since attach, as the kernel keeps them.
#[derive(Debug, Serialize)]
pub struct Totals {
    /// Entries allocated.
    pub new: u64,
    /// Entries freed.
    pub freed: u64,
    /// Allocations refused.
    pub refused: u64,
    /// The same by cause.
    pub refused_by_cause: Causes,
    /// Entries evicted.
    pub evicted: u64,
    /// Entries not inserted.
    pub failed: u64,
    /// The same by cause.
    pub failed_by_cause: FailedCauses,
    /// Clashes resolved: no packet was dropped.
    pub clash_resolved: u64,
    /// Entries freed unconfirmed though nothing failed: a rule dropped their packet.
    pub unconfirmed: u64,
    /// Events the rings had no room for.
    pub lost: u64,
    /// Returns whose call was not caught.
    pub unmatched: u64,
}

/// Failed insertions by cause.
#[derive(Debug, Serialize)]
pub struct FailedCauses {
    /// Another packet of the same connection was faster.
    pub clash: u64,
    /// A hash chain was too long.
    pub chain_too_long: u64,
    /// NAT found no free port.
    pub nat_ports: u64,
    /// The entry was killed before its first packet left.
    pub dying: u64,
    /// Only the kernel's statistics tell of them.
    pub unknown: u64,
}
