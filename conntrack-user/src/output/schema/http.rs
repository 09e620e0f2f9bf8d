//! What only the daemon says: over HTTP, and to the program it runs on saturation.

use serde::Serialize;

use super::{Episode, Refused};
use crate::output::time::Rfc3339;

/// `/readyz`.
#[derive(Debug, Serialize)]
pub struct Ready {
    /// Whether the numbers are what they will be: attached, all entries known, and not old.
    pub ready: bool,
    /// What is missing for that, a sentence each.
    pub reasons: Vec<String>,
    /// The backend attached; null before.
    pub backend: Option<String>,
    /// Why not a better one, and what this one cannot do.
    pub degradations: Vec<String>,
    /// Whether the first audit has ended.
    pub bootstrapped: bool,
    /// When counting began; null before.
    pub since: Option<Rfc3339>,
    /// How old the numbers are; null before there are any.
    pub age_s: Option<f64>,
}

/// `/api/v1/refused`.
#[derive(Debug, Serialize)]
pub struct Refusals {
    /// Oldest first.
    pub refused: Vec<Refused>,
    /// Whether some that were asked for were there and are no longer kept.
    pub more_before: bool,
    /// Whether `limit` left out later ones.
    pub more_after: bool,
    /// When counting began: nothing is known before; null before it has begun.
    pub since: Option<Rfc3339>,
    /// Incidents since then that the ring had no room for: some of them may have been refusals.
    pub lost_incidents: u64,
}

/// What is wrong with a request.
#[derive(Debug, Serialize)]
pub struct Mistake {
    /// One sentence.
    pub error: String,
}

/// What the program run on saturation reads on its standard input.
#[derive(Debug, Serialize)]
pub struct Occasion {
    /// What happened: `evicting`, `refusing` or `recovered`.
    pub edge: &'static str,
    /// The name of the host.
    pub host: String,
    /// The network namespace's name; null if it has none.
    pub netns_name: Option<String>,
    /// The saturation as it is by now, with who held the table when it began.
    pub episode: Episode,
}
