//! Metrics: what a scrape is made of. Names, help and units are declared in one place; docs/metrics.md is made of it.

mod own;

pub use own::{Durations, Hook, Own, Recording};

use crate::engine::snapshot::Snapshot;
use crate::engine::top_sources::TopSources;

/// All that is known at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Scrape {
    /// What the engine knows.
    pub snapshot: Snapshot,
    /// The sources that are named.
    pub sources: TopSources,
    /// What the daemon knows of itself.
    pub own: Own,
}
