//! What `report -o json` writes, and the HTML page carries: one object.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use super::{Connection, Holders, Ranking, SourceEvents};
use crate::output::time::Rfc3339;

/// An instant by both clocks.
#[derive(Debug, Serialize)]
pub struct Instant {
    /// Wall clock.
    pub time: Rfc3339,
    /// CLOCK_MONOTONIC.
    pub ktime_ns: u64,
}

/// A number for each cause that has any; docs/causes.md has the names.
pub type ByCause = BTreeMap<&'static str, u64>;

/// `ctwatch report`
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was asked for.
    pub narrow: Narrow,
    /// First time known; null if there is none.
    pub first: Option<Instant>,
    /// Last time known.
    pub last: Option<Instant>,
    /// How well it is known.
    pub known: Known,
    /// Sums.
    pub totals: ReportTotals,
    /// Who suffered.
    pub sources: Listed<SourceRow>,
    /// Whom connections were refused to.
    pub destinations: Destinations,
    /// What happened, one by one.
    pub incidents: Ends<Incident>,
    /// How full each namespace was.
    pub timelines: Vec<Timeline>,
    /// Namespaces that have none, because there were too many.
    pub timelines_left_out: u64,
    /// Saturations.
    pub episodes: Ends<ReportEpisode>,
    /// Who held the table over time.
    pub holders: HoldersOverTime,
    /// Why sources held what they held.
    pub occupancy: Vec<Occupancy>,
}

/// What was asked for.
#[derive(Debug, Serialize)]
pub struct Narrow {
    /// From this time on; null for the beginning.
    pub since: Option<Rfc3339>,
    /// Before this time; null for the end.
    pub until: Option<Rfc3339>,
    /// Networks of sources; empty for all.
    pub src: Vec<String>,
    /// Network namespaces; empty for all.
    pub netns: Vec<u32>,
    /// Causes; empty for all.
    pub cause: Vec<&'static str>,
}

/// How well it is known.
#[derive(Debug, Serialize)]
pub struct Known {
    /// Attachments.
    pub sessions: Vec<Session>,
    /// Attachments beyond those.
    pub sessions_left_out: u64,
    /// Times of which nothing is known, or not all.
    pub missing: Vec<Missing>,
    /// Such times beyond those.
    pub missing_left_out: u64,
    /// When the wall clock was set.
    pub clock_steps: Vec<ClockStep>,
    /// Such steps beyond those.
    pub clock_steps_left_out: u64,
    /// Calls the kernel told no program of.
    pub missed: u64,
    /// Records that could not be read.
    pub unreadable: u64,
    /// Audits made.
    pub audits: Audits,
    /// Kernel settings.
    pub settings: Vec<Setting>,
    /// Names of network namespaces by inode number.
    pub names: BTreeMap<u32, String>,
}

/// One attachment.
#[derive(Debug, Serialize)]
pub struct Session {
    /// Names it.
    pub session: String,
    /// Host name.
    pub host: String,
    /// Kernel release.
    pub kernel: String,
    /// Names the boot.
    pub boot_id: String,
    /// Version of ctwatch that recorded.
    pub program: String,
    /// Files read.
    pub files: u64,
    /// Whether every entry is recorded.
    pub entries: bool,
    /// The backend attached.
    pub backend: String,
    /// Why not a better one, and what this one cannot do.
    pub degradations: Vec<String>,
    /// First time known.
    pub first: Instant,
    /// Last time known.
    pub last: Instant,
    /// Whether it ended as it should.
    pub ended: bool,
}

/// A time of which nothing is known, or not all.
#[derive(Debug, Serialize)]
pub struct Missing {
    /// `damage`, `behind`, `unwritten`, `gap`, `not_recording`, `no_file`.
    pub why: &'static str,
    /// Known until then; null if that is not known.
    pub from: Option<Instant>,
    /// Known again from then on; null if that is not known.
    pub until: Option<Instant>,
    /// Bytes not written or not readable.
    pub bytes: u64,
    /// Refused meanwhile, by the sums.
    pub refused: u64,
    /// Evicted meanwhile, by the sums.
    pub evicted: u64,
    /// Not inserted meanwhile, by the sums.
    pub failed: u64,
}

/// The wall clock was set.
#[derive(Debug, Serialize)]
pub struct ClockStep {
    /// When, by the clock after.
    #[serde(flatten)]
    pub at: Instant,
    /// By how much.
    pub by_ns: i64,
}

/// Audits made.
#[derive(Debug, Serialize)]
pub struct Audits {
    /// Those that came to their end.
    pub ended: u64,
    /// Those given up.
    pub abandoned: u64,
    /// Entries put right.
    pub repaired: u64,
    /// The end of the last.
    pub last: Option<Instant>,
}

/// A kernel setting.
#[derive(Debug, Serialize)]
pub struct Setting {
    /// Network namespace it was read in.
    pub netns: u32,
    /// Name without `nf_conntrack_`.
    pub name: String,
    /// Last value; times are seconds.
    pub value: u64,
    /// How often it changed.
    pub changes: u64,
}

/// Sums of the time looked at.
#[derive(Debug, Serialize)]
pub struct ReportTotals {
    /// Allocations refused.
    pub refused: u64,
    /// Entries evicted.
    pub evicted: u64,
    /// Entries not inserted.
    pub failed: u64,
    /// Entries allocated; null under `--src`.
    pub new: Option<u64>,
    /// Entries freed; null under `--src`.
    pub freed: Option<u64>,
    /// By cause.
    pub by_cause: ByCause,
    /// Of these, told one by one.
    pub told: ByCause,
    /// Of these, told as sums per second and source.
    pub summed: ByCause,
    /// Of these, only counted.
    pub counted: ByCause,
    /// Clashes resolved: no packet was dropped.
    pub clash_resolved: u64,
    /// Records of entries the rings had no room for.
    pub lost_entries: u64,
    /// Records of incidents the rings had no room for.
    pub lost_incidents: u64,
    /// Returns whose call was not caught.
    pub unmatched: u64,
    /// First and last of each class.
    #[serde(flatten)]
    pub spans: Spans,
}

/// First and last of each class; null if there was none.
#[derive(Debug, Serialize)]
pub struct Spans {
    /// The first refusal.
    pub first_refused: Option<Instant>,
    /// The last refusal.
    pub last_refused: Option<Instant>,
    /// The first eviction.
    pub first_evicted: Option<Instant>,
    /// The last eviction.
    pub last_evicted: Option<Instant>,
    /// The first failed insertion.
    pub first_failed: Option<Instant>,
    /// The last failed insertion.
    pub last_failed: Option<Instant>,
}

/// Rows, heaviest first, and what they leave.
#[derive(Debug, Serialize)]
pub struct Listed<T> {
    /// The heaviest.
    pub top: Vec<T>,
    /// The rest, those without a known source included.
    pub other: ByCause,
    /// How many there are, at least.
    pub distinct: u64,
}

/// What befell a source.
#[derive(Debug, Serialize)]
pub struct SourceRow {
    /// Address.
    pub src: IpAddr,
    /// Network namespace.
    pub netns: u32,
    /// Its connections refused.
    pub refused: u64,
    /// Its entries evicted.
    pub evicted: u64,
    /// Its entries not inserted.
    pub failed: u64,
    /// The same by cause.
    pub by_cause: ByCause,
    /// When first.
    pub first: Option<Instant>,
    /// When last.
    pub last: Option<Instant>,
}

/// Whom connections were refused to.
#[derive(Debug, Serialize)]
pub struct Destinations {
    /// Heaviest first.
    pub top: Vec<DestinationRow>,
    /// To others.
    pub other: u64,
    /// Refusals not told one by one.
    pub unknown: u64,
}

/// A destination.
#[derive(Debug, Serialize)]
pub struct DestinationRow {
    /// Address.
    pub dst: IpAddr,
    /// Protocol.
    pub proto: String,
    /// Port; 0 where the protocol has none.
    pub dport: u16,
    /// Connections refused.
    pub refused: u64,
}

/// The first and the last of a list.
#[derive(Debug, Serialize)]
pub struct Ends<T> {
    /// How many there are.
    pub total: u64,
    /// The first, oldest first.
    pub first: Vec<T>,
    /// How many are left out after those.
    pub left_out: u64,
    /// The last, oldest first.
    pub last: Vec<T>,
}

/// A refusal, an eviction or a failed insertion, or many.
#[derive(Debug, Serialize)]
pub struct Incident {
    /// `refused`, `evicted` or `failed`.
    pub kind: &'static str,
    /// When; of many, the last.
    #[serde(flatten)]
    pub at: Instant,
    /// Network namespace; 0 if it was not caught.
    pub netns: u32,
    /// Why.
    pub cause: &'static str,
    /// The connection; absent if it was not caught, and of many.
    #[serde(flatten)]
    pub connection: Option<Connection>,
    /// Of a failed insertion, the reply direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<Connection>,
    /// Of many only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summed: Option<Summed>,
    /// `nf_conntrack_count`; null if not known.
    pub count: Option<u32>,
    /// `nf_conntrack_max`; null if not known.
    pub max: Option<u32>,
    /// Around an instant: how long after it (before it, if negative).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distance_ns: Option<i64>,
}

/// What stands for many.
#[derive(Debug, Serialize)]
pub struct Summed {
    /// How many.
    pub events: u64,
    /// When the first was.
    pub first: Instant,
    /// Their source; null if it was not caught.
    pub src: Option<IpAddr>,
}

/// A namespace over time, as columns of the same length.
#[derive(Debug, Serialize)]
pub struct Timeline {
    /// Network namespace.
    pub netns: u32,
    /// Its name.
    pub name: Option<String>,
    /// Its state in the end.
    pub state: &'static str,
    /// Length of a point in seconds.
    pub point_s: u64,
    /// Oldest first. Where a time has no point, nothing moved, or it is missing.
    pub points: Points,
}

/// Columns of a timeline.
#[derive(Debug, Default, Serialize)]
pub struct Points {
    /// When each begins.
    pub time: Vec<Rfc3339>,
    /// The worst state in it.
    pub state: Vec<&'static str>,
    /// The highest count in it.
    pub peak: Vec<Option<u32>>,
    /// The last count in it.
    pub count: Vec<Option<u32>>,
    /// The limit.
    pub max: Vec<Option<u32>>,
    /// Entries allocated in it.
    pub new: Vec<u64>,
    /// Entries freed.
    pub freed: Vec<u64>,
    /// Allocations refused.
    pub refused: Vec<u64>,
    /// Entries evicted.
    pub evicted: Vec<u64>,
    /// Entries not inserted.
    pub failed: Vec<u64>,
    /// Entries freed unconfirmed though nothing failed.
    pub unconfirmed: Vec<u64>,
    /// The most new entries within one second.
    pub most_new: Vec<u64>,
    /// The most refused within one second.
    pub most_refused: Vec<u64>,
    /// The most evicted within one second.
    pub most_evicted: Vec<u64>,
    /// The most not inserted within one second.
    pub most_failed: Vec<u64>,
}

/// One saturation.
#[derive(Debug, Serialize)]
pub struct ReportEpisode {
    /// Network namespace.
    pub netns: u32,
    /// `evicting` or `refusing`.
    pub began: &'static str,
    /// The first eviction or refusal.
    pub start: Rfc3339,
    /// The same by the kernel.
    pub start_ktime_ns: u64,
    /// Whether it began before anything is known of it.
    pub began_before: bool,
    /// The recovery; null if none is known.
    pub end: Option<Rfc3339>,
    /// The same by CLOCK_MONOTONIC.
    pub end_ktime_ns: Option<u64>,
    /// The last that is known of it.
    pub last: Instant,
    /// Count at the start.
    pub count: Option<u32>,
    /// Limit at the start.
    pub max: Option<u32>,
    /// The highest count.
    pub peak: Option<u32>,
    /// Allocations refused.
    pub refused: u64,
    /// Entries evicted.
    pub evicted: u64,
    /// Entries not inserted.
    pub failed: u64,
    /// The same by cause.
    pub by_cause: ByCause,
    /// Of these, only counted: in no victim's number.
    pub counted: u64,
    /// First and last of each class.
    #[serde(flatten)]
    pub spans: Spans,
    /// The first refusal told by itself.
    pub first_refusal: Option<Incident>,
    /// Who held the table when it began; null if no picture is known.
    pub holders: Option<Holders>,
    /// Who suffered.
    pub victims: ReportVictims,
}

/// Who suffered in an episode.
#[derive(Debug, Serialize)]
pub struct ReportVictims {
    /// Sources refused.
    pub refused: Ranking<SourceEvents>,
    /// Sources evicted.
    pub evicted: Ranking<SourceEvents>,
    /// Whom connections were refused to, as far as told one by one.
    pub destinations: Ranking<DestinationRow>,
}

/// Who held the table over time, as columns of the same length.
#[derive(Debug, Serialize)]
pub struct HoldersOverTime {
    /// When.
    pub time: Vec<Rfc3339>,
    /// Those that held most over the whole time.
    pub series: Vec<HolderSeries>,
    /// Entries of all others; null under a filter.
    pub other: Vec<Option<u64>>,
}

/// One holder over time.
#[derive(Debug, Serialize)]
pub struct HolderSeries {
    /// Address.
    pub src: IpAddr,
    /// Network namespace.
    pub netns: u32,
    /// Entries held; null where it was not among the first.
    pub entries: Vec<Option<u32>>,
    /// New entries per second since the time before.
    pub new_per_s: Vec<Option<f64>>,
}

/// What a source held, and why.
#[derive(Debug, Serialize)]
pub struct Occupancy {
    /// Address.
    pub src: IpAddr,
    /// Network namespace.
    pub netns: u32,
    /// New entries per second.
    pub new_per_s: f64,
    /// How long its entries lived; null if none ended.
    pub mean_lifetime_s: Option<f64>,
    /// Rate times lifetime.
    pub expected: Option<f64>,
    /// Entries held on average.
    pub held: f64,
    /// The most it held.
    pub most: u32,
    /// Over how long.
    pub seconds: f64,
}

/// `ctwatch report --at`
#[derive(Debug, Serialize)]
pub struct Around {
    /// The instant.
    pub at: Rfc3339,
    /// So long before and after it.
    pub window_s: f64,
    /// Whether it was recorded.
    pub recorded: bool,
    /// Missing times that touch the window.
    pub missing: Vec<Missing>,
    /// Namespaces at the instant.
    pub netns: Vec<Standing>,
    /// Edges within the window.
    pub edges: Vec<EdgeAround>,
    /// Refused within the window.
    pub refused: u64,
    /// Evicted within the window.
    pub evicted: u64,
    /// Not inserted within the window.
    pub failed: u64,
    /// By cause.
    pub by_cause: ByCause,
    /// The nearest, oldest first.
    pub incidents: Vec<Incident>,
    /// Those further before.
    pub left_out_before: u64,
    /// Those further after.
    pub left_out_after: u64,
    /// Whom it befell.
    pub sources: Ranking<SourceEvents>,
    /// Who held the table; null if not known.
    pub holders: Option<HoldersThen>,
}

/// A namespace at an instant.
#[derive(Debug, Serialize)]
pub struct Standing {
    /// Network namespace.
    pub netns: u32,
    /// Its name.
    pub name: Option<String>,
    /// Its state.
    pub state: &'static str,
    /// Since when; null if it was so already where reading began.
    pub since: Option<Instant>,
    /// `nf_conntrack_count` as last told before.
    pub count: Option<u32>,
    /// `nf_conntrack_max` likewise.
    pub max: Option<u32>,
    /// When that was.
    pub level_at: Instant,
}

/// An edge near an instant.
#[derive(Debug, Serialize)]
pub struct EdgeAround {
    /// When.
    #[serde(flatten)]
    pub at: Instant,
    /// Network namespace.
    pub netns: u32,
    /// The state from then on.
    pub state: &'static str,
    /// The state before.
    pub was: &'static str,
    /// How long after the instant.
    pub distance_ns: i64,
}

/// Who held the table at the last interval before an instant.
#[derive(Debug, Serialize)]
pub struct HoldersThen {
    /// When.
    #[serde(flatten)]
    pub at: Instant,
    /// Heaviest first.
    pub top: Vec<HolderThen>,
    /// Entries of all others; null under a filter.
    pub other: Option<u64>,
}

/// A source and what it held.
#[derive(Debug, Serialize)]
pub struct HolderThen {
    /// Address.
    pub src: IpAddr,
    /// Network namespace.
    pub netns: u32,
    /// Entries.
    pub entries: u32,
}
