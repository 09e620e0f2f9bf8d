//! What the daemon knows of itself.

use std::path::PathBuf;
use std::time::Duration;

/// The daemon's own numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Own {
    /// Resident memory.
    pub rss_bytes: u64,
    /// Processor time used so far, in user and kernel mode.
    pub cpu_ns: u64,
    /// Open file descriptors.
    pub open_files: u64,
    /// When it was started, in nanoseconds since 1970.
    pub started_unix_ns: i64,
    /// Drains of the rings applied by the engine.
    pub drains: Durations,
    /// Snapshots made.
    pub snapshots: Durations,
    /// Scrapes answered.
    pub scrapes: Durations,
    /// HTTP requests refused: malformed, too large, too slow, too many, or not let in.
    pub requests_refused: u64,
    /// Connections that are open.
    pub connections: u64,
    /// Each recording: `detail` and `aggregate`.
    pub recordings: Vec<Recording>,
    /// The program that is run on saturation, if one is configured.
    pub hook: Option<Hook>,
    /// Reloads of the configuration that were taken, and those that were not.
    pub reloads: (u64, u64),
}

/// How often something was done and how long it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// How often.
    pub number: u64,
    /// In all.
    pub sum_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

impl Durations {
    /// It was done once more.
    pub fn add(&mut self, took: Duration) {
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.number += 1;
        self.sum_ns = self.sum_ns.saturating_add(took_ns);
        self.max_ns = self.max_ns.max(took_ns);
    }
}

/// One flight recorder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// `detail` or `aggregate`.
    pub name: &'static str,
    /// Where it is.
    pub dir: PathBuf,
    /// Whether it is being written; if not, an error has ended it and is tried again.
    pub is_writing: bool,
    /// Bytes written by this process.
    pub bytes: u64,
    /// Drains its queue did not take.
    pub skipped_drains: u64,
    /// Blocks that could not be written.
    pub failed_blocks: u64,
}

/// The program that is run on saturation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hook {
    /// Times it was started.
    pub runs: u64,
    /// Of those, ended with another code than 0, or could not be started.
    pub failed: u64,
    /// Of those, ended because they took too long.
    pub timed_out: u64,
    /// Times it was not started because it had been a moment before, or was still running.
    pub suppressed: u64,
}
