//! What the eBPF programs and ctwatch say to each other, and nothing else: records of the two rings,
//! values of the maps, and the settings the loader writes before load.
//!
//! Every type is `#[repr(C)]` without padding and its size is asserted, so both sides read the same bytes.

#![no_std]

mod record;
mod run;
mod settings;
mod survey;
mod totals;

pub use record::{Cause, End, Evicted, Free, InsertCause, InsertFailed, Kind, New, Refused, RoomMade, Tuple};
pub use run::{CensusRun, HEADS, Progress, SUSPECTS, SUSPECTS_UNROLLED, Suspects, Walk};
pub use settings::{ABSENT, ENTRY_BYTES, Settings};
pub use survey::{
    Audit, AuditPhase, AuditTrigger, Census, Count, Gap, Ledger, Missed, NetnsName, Seen, Stats,
};
pub use totals::{EarlyDrop, Insertion, PerCpu, RefusalKey, Refusals, Totals};

#[cfg(feature = "user")]
mod user;
