//! Everything a view may show at one instant, immutable: made by the engine's owner, read by all outputs.

use std::net::IpAddr;
use std::sync::Arc;

use conntrack_common::Totals;

use super::account::Events;
use super::batch::WallClock;
pub use super::causes::CAUSES;
use super::causes::Causes;
use super::episode::Episode;
use super::gauge::Level;
use super::holders::AGE_BOUNDS_S;
use super::lifetimes::{Histogram, Lifetimes};
use super::notice::{Notice, Refusal};
use super::query::Focus;
use super::saturation::{State, Thresholds};
use super::sources::{Rates, Sums};
use super::state::EntryState;
use super::statistics::{Comparison, StatisticsRow};
use super::table::{Row, Table};
use super::tally::Ranking;
use super::tuple::Proto;

/// How the events were come by; the caller says, every output repeats it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// The backend attached.
    pub backend: String,
    /// Why not a better one, and what this one cannot do.
    pub degradations: Vec<String>,
}

/// That counting began, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// When.
    pub ktime_ns: u64,
    /// How to tell the wall clock then.
    pub wall: WallClock,
    /// Backend and degradations.
    pub trust: Trust,
}

/// The state of the world as the engine knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// When.
    pub ktime_ns: u64,
    /// How to tell the wall clock from monotonic times.
    pub wall: WallClock,
    /// When counting began.
    pub since_ktime_ns: u64,
    /// What the rates are over: the time since the snapshot before.
    pub interval_ns: u64,
    /// Backend and degradations.
    pub trust: Trust,
    /// When a table counts as full.
    pub thresholds: Thresholds,
    /// Seen, missed and repaired.
    pub events: Events,
    /// The kernel's sums, or the engine's where those are ahead.
    pub totals: Totals,
    /// Entries not inserted of no known cause: only the kernel's statistics tell of them. In no total.
    pub failed_unknown: u64,
    /// The kernel's own statistics beside what was counted here, where they were read: first the sum.
    pub statistics: Vec<StatisticsRow>,
    /// Entries in the live table.
    pub entries: u64,
    /// Every network namespace seen, worst first.
    pub netns: Vec<NetnsRow>,
    /// The table asked for. Empty for a view that has none.
    pub table: Table,
    /// What was refused, cut off or not inserted, by cause: all causes, in the order they are documented.
    pub causes: Vec<CauseRow>,
    /// The network namespace asked for, second by second, oldest first; and which one that is.
    pub history: History,
    /// What happened last and passes the filter, newest first: edges, refusals, evictions, failures, losses, gaps.
    pub recent: Vec<Notice>,
    /// The source looked at closely, if one was asked for.
    pub focus: Option<Close>,
    /// Episodes, oldest first; those that last are at the end.
    pub episodes: Vec<Arc<Episode>>,
}

/// One network namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct NetnsRow {
    /// Inode number.
    pub netns: u32,
    /// Its name, if the caller told one.
    pub name: Option<String>,
    /// The kernel's count and limit.
    pub level: Level,
    /// The state.
    pub state: State,
    /// Since when.
    pub since_ktime_ns: u64,
    /// Entries in the live table.
    pub entries: u64,
    /// Entries that the kernel may evict: not assured when the last audit saw them.
    pub evictable: u64,
    /// Entries that may be either: they came since the last audit.
    pub unseen: u64,
    /// Both accounts, if the kernel's statistics were read and are not all that is known.
    pub statistics: Option<Comparison>,
    /// What happened so far.
    pub sums: Sums,
    /// What of it has a cause, by cause; not all of it in the replay of a recording.
    pub causes: Causes,
    /// How long the entries that ended had lived.
    pub lifetimes: Lifetimes,
    /// How that is spread; not known in the replay of a recording without entries.
    pub histogram: Histogram,
    /// Episodes that have begun.
    pub episodes: u64,
    /// When the last of them did.
    pub last_episode_ktime_ns: Option<u64>,
    /// Whether it lasts.
    pub in_episode: bool,
    /// Per second over the interval.
    pub rates: Rates,
}

impl NetnsRow {
    /// Seconds until the limit at the present net rate, if it is being approached.
    pub fn seconds_to_full(&self) -> Option<f64> {
        let (count, max) = self.level.limited()?;
        let net = self.rates.new - self.rates.freed;
        (net > 0.0).then(|| f64::from(max.saturating_sub(count)) / net)
    }

    /// Whether so many entries are not known to be evictable or not that the number of those that are says little.
    pub fn is_blurred(&self) -> bool {
        self.unseen * 10 > self.entries
    }

    /// How many entries the kernel counts that the live table does not have, or has too many if negative.
    pub fn unaccounted(&self) -> Option<i64> {
        let count = self.level.count?;
        Some(i64::from(count).saturating_sub_unsigned(self.entries))
    }
}

/// What one cause did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CauseRow {
    /// Its name in every format; docs/causes.md explains it.
    pub cause: &'static str,
    /// Connections so far.
    pub total: u64,
    /// Per second over the interval.
    pub per_s: f64,
}

/// One network namespace, second by second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// Its inode number; 0 if there is none yet.
    pub netns: u32,
    /// Oldest first.
    pub seconds: Vec<Second>,
}

/// A second of a network namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Second {
    /// When it ended.
    pub ktime_ns: u64,
    /// Count and limit then.
    pub level: Level,
    /// What happened in it.
    pub sums: Sums,
}

/// One source looked at closely; all counts are entries.
#[derive(Clone, Debug, PartialEq)]
pub struct Close {
    /// Which.
    pub focus: Focus,
    /// Its row as in the table of sources.
    pub row: Row,
    /// By original destination address.
    pub destinations: Ranking<IpAddr>,
    /// By protocol and destination port.
    pub ports: Ranking<(Proto, u16)>,
    /// By protocol and state, as the last audit saw it.
    pub states: Ranking<EntryState>,
    /// By age, under each of [`AGE_BOUNDS_S`](super::holders::AGE_BOUNDS_S) and over the last.
    pub ages: [u64; AGE_BOUNDS_S.len() + 1],
    /// Those whose age is not known: they are older than the attachment.
    pub age_unknown: u64,
    /// New entries per second over the last minute, or since the attachment.
    pub arrivals_per_s: f64,
    /// Its last refusals, newest first.
    pub refusals: Vec<Refusal>,
}

impl Close {
    /// Rate times lifetime: the entries it would hold if it went on like this. None before any has ended.
    pub fn occupancy(&self) -> Option<f64> {
        Some(self.arrivals_per_s * self.row.mean_lifetime_ns? as f64 / 1e9)
    }
}

/// The closing account of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// When.
    pub ktime_ns: u64,
    /// How to tell the wall clock from monotonic times.
    pub wall: WallClock,
    /// When counting began.
    pub since_ktime_ns: u64,
    /// Backend and degradations.
    pub trust: Trust,
    /// Seen, missed and repaired.
    pub events: Events,
    /// The kernel's sums, or the engine's where those are ahead.
    pub totals: Totals,
    /// Entries not inserted of no known cause: only the kernel's statistics tell of them. In no total.
    pub failed_unknown: u64,
    /// The kernel's own statistics beside what was counted here, where they were read: first the sum.
    pub statistics: Vec<StatisticsRow>,
    /// Episodes, oldest first; those that last are at the end.
    pub episodes: Vec<Arc<Episode>>,
}

/// Every cause, by its name in docs/causes.md.
pub fn causes(totals: &Totals, failed_unknown: u64) -> [(&'static str, u64); CAUSES] {
    Causes::of(totals, failed_unknown).named()
}

/// Totals the way sources are summed.
pub(super) fn sums(totals: &Totals, failed_unknown: u64) -> Sums {
    Sums {
        new: totals.new,
        freed: totals.freed,
        refused: totals.refused(),
        evicted: totals.evicted,
        failed: totals.insert_failed().saturating_add(failed_unknown),
        unconfirmed: totals.unconfirmed,
    }
}

/// Two accounts of the same events, neither ahead of the truth: whatever more either has, happened.
pub(super) fn greater(one: &Totals, two: &Totals) -> Totals {
    let Totals {
        new,
        freed,
        refused_table_full,
        refused_no_memory,
        refused_ctnetlink,
        evicted,
        failed_clash,
        failed_chain_too_long,
        failed_nat_ports,
        failed_dying,
        clash_resolved,
        unconfirmed,
        lost_entries,
        lost_incidents,
        unmatched,
    } = *one;
    Totals {
        new: new.max(two.new),
        freed: freed.max(two.freed),
        refused_table_full: refused_table_full.max(two.refused_table_full),
        refused_no_memory: refused_no_memory.max(two.refused_no_memory),
        refused_ctnetlink: refused_ctnetlink.max(two.refused_ctnetlink),
        evicted: evicted.max(two.evicted),
        failed_clash: failed_clash.max(two.failed_clash),
        failed_chain_too_long: failed_chain_too_long.max(two.failed_chain_too_long),
        failed_nat_ports: failed_nat_ports.max(two.failed_nat_ports),
        failed_dying: failed_dying.max(two.failed_dying),
        clash_resolved: clash_resolved.max(two.clash_resolved),
        unconfirmed: unconfirmed.max(two.unconfirmed),
        lost_entries: lost_entries.max(two.lost_entries),
        lost_incidents: lost_incidents.max(two.lost_incidents),
        unmatched: unmatched.max(two.unmatched),
    }
}
