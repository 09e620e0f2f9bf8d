//! A scenario file: who does what to a gateway, phase by phase, and which states that must lead to.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// The one scenario there is, so that a test binary carries it wherever it runs.
const HOG: &str = include_str!("../scenarios/hog.toml");

/// The whole of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is about.
    pub title: String,
    /// `nf_conntrack_max` while it lasts.
    pub max: u32,
    /// `nf_conntrack_buckets` while it lasts.
    pub buckets: u32,
    /// How long an entry lives that is never answered, in seconds.
    pub unanswered: u32,
    /// The ordinary clients.
    pub users: Users,
    /// What happens, in order.
    #[serde(rename = "phase")]
    pub phases: Vec<Phase>,
}

/// Clients that go on through every phase.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Users {
    /// How many.
    pub sources: u32,
    /// Connections per second, of all together.
    pub rate: u64,
}

/// A stretch of time in which the hog does one thing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// A word for it.
    pub name: String,
    /// A heading for it.
    pub title: String,
    /// A sentence for it.
    pub says: String,
    /// How long it takes, in seconds.
    pub seconds: f64,
    /// Connections the hog holds open at its end; as many as before if absent.
    pub hold: Option<u32>,
    /// Unanswered connections per second the hog opens besides.
    pub scan: Option<u64>,
    /// The states of the table that are entered in it, in this order among others.
    pub reaches: Vec<String>,
}

impl Scenario {
    /// One client takes the whole table.
    pub fn hog() -> Result<Self> {
        Self::parse(HOG).context("scenarios/hog.toml")
    }

    /// Reads one.
    pub fn parse(text: &str) -> Result<Self> {
        let scenario: Self = toml::from_str(text)?;
        ensure!(scenario.users.sources > 0 && scenario.users.rate > 0, "there are no users");
        for phase in &scenario.phases {
            ensure!(phase.seconds > 0.0, "phase {} takes no time", phase.name);
        }
        Ok(scenario)
    }

    /// All states that must be entered, in order.
    pub fn states(&self) -> Vec<&str> {
        self.phases.iter().flat_map(|phase| &phase.reaches).map(String::as_str).collect()
    }
}

impl Phase {
    /// How long it takes.
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}
