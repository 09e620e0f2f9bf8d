//! What one drain of the rings hands to the engine, and to a recorder before it.

use std::sync::Arc;

use bytes::Bytes;
use conntrack_common::Totals;

use super::snapshot::Trust;

/// One drain of both rings. Records follow each other without framing: the first byte of each is its kind,
/// which fixes its size; all sizes are multiples of eight.
#[derive(Clone, Debug)]
pub struct Batch {
    /// CLOCK_MONOTONIC, in nanoseconds: nothing that was stamped before comes in a later batch,
    /// but perhaps the `Free` of an evicted entry, which has the stamp of its `Evicted`.
    pub ktime_ns: u64,
    /// How to tell the wall clock from `ktime_ns` at that time.
    pub wall: WallClock,
    /// What happens to entries, in order: `New`, `Free`, `Seen`, and the steps of audits between them.
    pub entries: Bytes,
    /// Everything else, in no order; but no later batch has an incident that was stamped before one of these.
    pub incidents: Bytes,
    /// The kernel's sums since attach, when they were read with this drain (a few times a second).
    pub totals: Option<Totals>,
    /// Backend and degradations, when they have changed.
    pub trust: Option<Arc<Trust>>,
}

/// CLOCK_REALTIME minus CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WallClock {
    /// Nanoseconds to add to a monotonic time.
    pub offset_ns: i64,
}

impl WallClock {
    /// Nanoseconds since the Unix epoch at a monotonic time.
    pub fn unix_ns(self, ktime_ns: u64) -> i128 {
        i128::from(ktime_ns) + i128::from(self.offset_ns)
    }
}
