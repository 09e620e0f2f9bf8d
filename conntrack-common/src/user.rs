//! aya's promise that a type is plain bytes, for those that cross in maps and globals.
#![expect(unsafe_code, reason = "aya::Pod is an unsafe trait and the orphan rule wants its impls here")]

use crate::{CensusRun, PerCpu, RefusalKey, Refusals, Settings, Suspects, Walk};

// SAFETY: each is repr(C), Copy, without padding (sizes asserted) and valid for every bit pattern.
unsafe impl aya::Pod for PerCpu {}
// SAFETY: as above.
unsafe impl aya::Pod for RefusalKey {}
// SAFETY: as above.
unsafe impl aya::Pod for Refusals {}
// SAFETY: as above.
unsafe impl aya::Pod for Settings {}
// SAFETY: as above.
unsafe impl aya::Pod for CensusRun {}
// SAFETY: as above.
unsafe impl aya::Pod for Suspects {}
// SAFETY: as above.
unsafe impl aya::Pod for Walk {}
