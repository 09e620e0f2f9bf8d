//! Metrics: what a scrape is made of. Names, help and units are declared in one place ([`declared`]), of which
//! docs/metrics.md is made. [`families`] gives each declared metric its values, [`Exposition`] writes them.

pub mod declared;
pub mod documentation;
mod exposition;
mod families;
mod family;
mod own;
pub mod sample;

pub use exposition::Exposition;
pub use families::families;
pub use family::{Family, Kind, Metric, Sample, Spread, Value};
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
    /// What is shown besides.
    pub options: Options,
}

/// What is shown besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The metrics of node_exporter's `conntrack` collector, by its names: for dashboards that have them.
    pub node_exporter: bool,
}

#[cfg(test)]
mod tests;
