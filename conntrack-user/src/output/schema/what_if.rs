//! What would have been with other settings.

use serde::Serialize;

use crate::output::time::Rfc3339;

/// What `report --what-if -o json` writes.
#[derive(Debug, Serialize)]
pub struct WhatIf {
    /// What was set otherwise, as it was asked for.
    pub what_if: String,
    /// The first record.
    pub start: Rfc3339,
    /// The same by CLOCK_MONOTONIC.
    pub start_ktime_ns: u64,
    /// The last record.
    pub end: Rfc3339,
    /// The same by CLOCK_MONOTONIC.
    pub end_ktime_ns: u64,
    /// Until when peaks, means and losses are known: what shorter timeouts would have ended later was not freed yet at
    /// the end.
    pub known_until: Rfc3339,
    /// The same by CLOCK_MONOTONIC.
    pub known_until_ktime_ns: u64,
    /// Each network namespace that had entries or refusals.
    pub netns: Vec<WhatIfNetns>,
    /// Bytes of the table.
    pub memory: WhatIfMemory,
    /// What the prediction rests on.
    pub assumptions: Vec<String>,
    /// Why it is worth less than it could be.
    pub caveats: Vec<String>,
}

/// As it was, and as it would have been.
#[derive(Debug, Serialize)]
pub struct Both<T> {
    /// As it was.
    pub recorded: T,
    /// As it would have been.
    pub predicted: T,
}

/// A network namespace.
#[derive(Debug, Serialize)]
pub struct WhatIfNetns {
    /// Network namespace.
    pub netns: u32,
    /// Name; null if it has none.
    pub name: Option<String>,
    /// `nf_conntrack_max`; null if not known.
    pub max: Both<Option<u32>>,
    /// The most entries at once.
    pub peak: Both<WhatIfPeak>,
    /// Entries in the mean.
    pub mean_entries: Both<f64>,
    /// Allocations refused.
    pub refused: WhatIfLosses,
    /// Entries evicted.
    pub evicted: WhatIfLosses,
    /// What entries were there for.
    pub occupancy: WhatIfOccupancy,
    /// Entries there when the recording ended.
    pub alive: u64,
    /// Of those, the ones that a shorter timeout may have ended.
    pub alive_perhaps_gone: u64,
}

/// The most entries at once.
#[derive(Debug, Serialize)]
pub struct WhatIfPeak {
    /// How many.
    pub entries: u64,
    /// When it was first so; null if there never was one.
    pub time: Option<Rfc3339>,
    /// The same by CLOCK_MONOTONIC.
    pub ktime_ns: Option<u64>,
}

/// Refusals or evictions.
#[derive(Debug, Serialize)]
pub struct WhatIfLosses {
    /// As it was.
    pub recorded: u64,
    /// As it would have been.
    pub predicted: u64,
    /// What would not have happened.
    pub avoided: u64,
    /// What would have happened besides.
    pub caused: u64,
}

/// What entries were there for, in entries in the mean.
#[derive(Debug, Serialize)]
pub struct WhatIfOccupancy {
    /// Waiting for a timeout, by timeout, largest part first.
    pub waiting: Vec<WhatIfWaiting>,
    /// In use.
    pub active: f64,
    /// Their end is not known.
    pub unknown: f64,
}

/// Entries that one timeout held.
#[derive(Debug, Serialize)]
pub struct WhatIfWaiting {
    /// Its sysctl below `nf_conntrack_`.
    pub timeout: &'static str,
    /// Its values in seconds.
    pub seconds: Both<u64>,
    /// Entries that it ended.
    pub ended: u64,
    /// Entries in the mean that did nothing but wait for it.
    pub entries: f64,
}

/// What the table takes.
#[derive(Debug, Serialize)]
pub struct WhatIfMemory {
    /// Of one entry and what belongs to it.
    pub entry_bytes: u64,
    /// `nf_conntrack_buckets`; null if not known.
    pub buckets: Both<Option<u64>>,
    /// All peaks together, and the buckets.
    pub at_peak_bytes: Both<u64>,
    /// Entries up to the limit, and the buckets; null if the limit is not known.
    pub at_limit_bytes: Both<Option<u64>>,
}
