//! What the eBPF programs and ctwatch say to each other, and nothing else: records of the two rings,
//! values of the maps, and the settings the loader writes before load.
//!
//! Every type is `#[repr(C)]` without padding and its size is asserted, so both sides read the same bytes.

#![no_std]

mod record;
mod settings;
mod totals;

pub use record::{Cause, Count, Evicted, Free, Kind, Ledger, New, Refused, RoomMade, Tuple};
pub use settings::{ABSENT, Settings};
pub use totals::{EarlyDrop, PerCpu, RefusalKey, Refusals, Totals};

#[cfg(feature = "user")]
mod user;
