//! Reads a snapshot or a notice and writes a format; decides nothing and keeps no counters.

use std::io::{self, Write};

use crate::engine::batch::WallClock;
use crate::engine::notice::Notice;
use crate::engine::snapshot::{Attached, Snapshot, Summary};
use fold::Folded;

pub mod causes;
pub mod fold;
pub mod json;
pub mod markup;
pub mod metrics;
pub mod report;
pub mod schema;
pub mod text;
pub mod time;
pub mod tui;
mod what_if;

/// How to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people, in conntrack's tokens.
    #[default]
    Text,
    /// One JSON object per line; see [`schema`].
    Json,
}

impl Format {
    /// Writes the first line of `watch`: nothing before it was seen.
    pub fn attached(self, out: &mut impl Write, attached: &Attached) -> io::Result<()> {
        match self {
            Self::Text => text::attached(out, attached),
            Self::Json => json::attached(out, attached),
        }
    }

    /// Writes one line of `watch`.
    pub fn notice(self, out: &mut impl Write, notice: &Notice, wall: WallClock) -> io::Result<()> {
        match self {
            Self::Text => text::notice(out, notice, wall),
            Self::Json => json::notice(out, notice, wall),
        }
    }

    /// Writes the line that stands for many evictions.
    pub fn folded(self, out: &mut impl Write, folded: &Folded, wall: WallClock) -> io::Result<()> {
        match self {
            Self::Text => text::folded(out, folded, wall),
            Self::Json => json::folded(out, folded, wall),
        }
    }

    /// Writes the last line of `watch`, and as text the episodes before it.
    pub fn summary(self, out: &mut impl Write, summary: &Summary) -> io::Result<()> {
        match self {
            Self::Text => text::summary(out, summary),
            Self::Json => json::summary(out, summary),
        }
    }

    /// Writes what `top --once` shows.
    pub fn top(self, out: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
        match self {
            Self::Text => text::top(out, snapshot),
            Self::Json => json::top(out, snapshot),
        }
    }
}
