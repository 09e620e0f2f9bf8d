//! How far the numbers can be trusted: what was seen, what was missed, what audits found and repaired. Every
//! output repeats it.

use std::collections::BTreeMap;

use conntrack_common::AuditTrigger;

use super::decode::DecodeError;
use super::notice;

/// How many events were seen, and what went wrong with others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// `New`, `Free`, `Refused`, `Evicted` and `InsertFailed` records applied.
    pub seen: u64,
    /// Streams given up because of bytes that are no record, and records without sense.
    pub decode_errors: u64,
    /// The first of the former, for the log.
    pub first_decode_error: Option<DecodeError>,
    /// Frees of entries not in the live table before the first audit had ended: older than the attachment.
    pub older_free: u64,
    /// The same since then: their `New` was missed.
    pub unknown_free: u64,
    /// Entries replaced at their address by a `New`: their `Free` was missed.
    pub overwritten: u64,
    /// How often the kernel says it skipped each program.
    pub missed_by_program: BTreeMap<String, u64>,
    /// What audits mended.
    pub repaired: Repaired,
    /// Whether the first audit has ended, since when the live table is complete.
    pub bootstrapped: bool,
    /// The last audit that came to its end.
    pub last_audit: Option<AuditReport>,
    /// The audit after it that did not, if one was given up since.
    pub abandoned: Option<AuditReport>,
    /// When conntrack was away.
    pub gaps: Gaps,
    /// Of a recording: when nothing was recorded.
    pub unrecorded: Unrecorded,
}

impl Events {
    /// Events missed: as the kernel tells, and as the live table shows. One may be in both.
    pub fn missed(&self) -> u64 {
        let told = self.missed_by_program.values().fold(0, |sum: u64, missed| sum.saturating_add(*missed));
        told.saturating_add(self.unknown_free).saturating_add(self.overwritten)
    }
}

/// Entries of the live table that audits put right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Found in the kernel's table only: their `New` was lost or missed.
    pub added: u64,
    /// Found in the live table only: their `Free` was lost or missed.
    pub removed: u64,
    /// Found to be another connection: the `Free` of the old and the `New` of the new were.
    pub replaced: u64,
}

impl Repaired {
    /// All of them.
    pub fn total(self) -> u64 {
        self.added.saturating_add(self.removed).saturating_add(self.replaced)
    }

    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        self.added = self.added.saturating_add(other.added);
        self.removed = self.removed.saturating_add(other.removed);
        self.replaced = self.replaced.saturating_add(other.replaced);
    }

    /// What came since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            added: self.added.saturating_sub(earlier.added),
            removed: self.removed.saturating_sub(earlier.removed),
            replaced: self.replaced.saturating_sub(earlier.replaced),
        }
    }
}

/// An audit that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditReport {
    /// 1 for the first, and so on.
    pub number: u32,
    /// Why it was made.
    pub trigger: AuditTrigger,
    /// When it began.
    pub began_ktime_ns: u64,
    /// When it ended or was given up.
    pub ended_ktime_ns: u64,
    /// Entries in the live table then.
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

impl AuditReport {
    /// The trigger as it is written in every format.
    pub const fn trigger_str(&self) -> &'static str {
        match self.trigger {
            AuditTrigger::Attached => "attached",
            AuditTrigger::Interval => "interval",
            AuditTrigger::Lost => "lost",
            AuditTrigger::Missed => "missed",
            AuditTrigger::Asked => "asked",
        }
    }

    /// How long it took.
    pub const fn length_ns(&self) -> u64 {
        self.ended_ktime_ns.saturating_sub(self.began_ktime_ns)
    }
}

/// Times when conntrack was away (its module was unloaded) and nothing could be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// How many.
    pub count: u64,
    /// How long those that are over lasted in total.
    pub duration_ns: u64,
    /// Since when the present one lasts.
    pub since_ktime_ns: Option<u64>,
}

/// Times of which a recording has nothing, though the run went on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unrecorded {
    /// How many.
    pub count: u64,
    /// How long they were in total.
    pub duration_ns: u64,
}

impl Unrecorded {
    /// Another.
    pub fn add(&mut self, one: &notice::Unrecorded) {
        self.count += 1;
        self.duration_ns = self.duration_ns.saturating_add(one.length_ns());
    }
}
