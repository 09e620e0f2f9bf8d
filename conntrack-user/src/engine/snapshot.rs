//! Everything a view may show at one instant, immutable: made by the engine's owner, read by all outputs.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;

use conntrack_common::Totals;

use super::account::Events;
use super::batch::WallClock;
use super::episode::Episode;
use super::filter::Filter;
use super::gauge::Level;
use super::saturation::State;
use super::sources::{Rates, Source, Sources, Sums, per_second};
use super::statistics::{Comparison, StatisticsRow};
use super::tally::keep_top;

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
    /// The sources with the most entries among those the filter lets through.
    pub sources: Vec<SourceRow>,
    /// What is needed to make `sources` add up to `entries` and `totals`.
    pub other: Other,
    /// Sources tracked.
    pub tracked_sources: usize,
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
    /// Both accounts, if the kernel's statistics were read and are not all that is known.
    pub statistics: Option<Comparison>,
    /// What happened so far.
    pub sums: Sums,
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

    /// How many entries the kernel counts that the live table does not have, or has too many if negative.
    pub fn unaccounted(&self) -> Option<i64> {
        let count = self.level.count?;
        Some(i64::from(count).saturating_sub_unsigned(self.entries))
    }
}

/// One source.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceRow {
    /// Its address.
    pub src: IpAddr,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Entries it holds.
    pub entries: u32,
    /// What happened so far.
    pub sums: Sums,
    /// New entries per second over the interval.
    pub new_per_s: f64,
}

/// All that no listed source accounts for: sources below the cut, sources no longer tracked, what befell nobody
/// knows whom, frees of unknown entries, and events that were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Other {
    /// Entries held.
    pub entries: u64,
    /// What happened so far.
    pub sums: Sums,
    /// New entries per second over the interval, of those that were seen.
    pub new_per_s: f64,
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

/// The first `k` sources by entries that a filter lets through; equals by what they suffered, then by address.
pub(super) fn top_sources(sources: &Sources, k: usize, filter: &Filter, interval_ns: u64) -> Vec<SourceRow> {
    let mut top: Vec<&Source> = sources.iter().filter(|s| filter.matches_source(s.netns, s.src)).collect();
    keep_top(&mut top, k, |source| {
        let suffered = source.sums.refused.saturating_add(source.sums.evicted);
        (Reverse(source.entries), Reverse(suffered), source.netns, source.src)
    });
    let row = |source: &Source| SourceRow {
        src: source.src,
        netns: source.netns,
        entries: source.entries,
        sums: source.sums,
        new_per_s: per_second(source.sums.new.saturating_sub(source.new_before), interval_ns),
    };
    top.into_iter().map(row).collect()
}

/// What the rows leave of the entries and the totals. The ledger, and what audits found, may be ahead of sums that
/// the kernel read a moment earlier.
pub(super) fn other(
    entries: u64,
    totals: &Sums,
    new_in_interval: u64,
    interval_ns: u64,
    rows: &[SourceRow],
) -> Other {
    let mut listed = Sums::default();
    rows.iter().for_each(|row| listed.add(&row.sums));
    let new_per_s: f64 = rows.iter().map(|row| row.new_per_s).sum();
    Other {
        entries: entries.saturating_sub(rows.iter().map(|row| u64::from(row.entries)).sum()),
        sums: Sums {
            new: totals.new.saturating_sub(listed.new),
            freed: totals.freed.saturating_sub(listed.freed),
            refused: totals.refused.saturating_sub(listed.refused),
            evicted: totals.evicted.saturating_sub(listed.evicted),
            failed: totals.failed.saturating_sub(listed.failed),
            unconfirmed: totals.unconfirmed.saturating_sub(listed.unconfirmed),
        },
        new_per_s: (per_second(new_in_interval, interval_ns) - new_per_s).max(0.0),
    }
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
