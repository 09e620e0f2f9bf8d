//! One line per step: what is being done, how far it is, and when it is done how long it took.
//!
//! Steps go to stderr, so that a task's stdout stays what the task is for. On a terminal the line is redrawn;
//! elsewhere it is written in two halves, so that a log shows what a slow step is busy with.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// A step that has begun and not ended. Dropping it without [`Step::done`] ends its line.
#[derive(Debug)]
pub struct Step {
    label: String,
    begun: Instant,
    terminal: bool,
    ended: bool,
}

impl Step {
    /// Begins a step.
    pub fn begin(label: impl Into<String>) -> Self {
        let step = Self {
            label: label.into(),
            begun: Instant::now(),
            terminal: io::stderr().is_terminal(),
            ended: false,
        };
        if step.terminal {
            step.draw("");
        } else {
            eprint!("{} … ", step.label);
        }
        step
    }

    /// Shows how far the step is; only a terminal gets to see it.
    pub fn progress(&self, state: &str) {
        if self.terminal {
            self.draw(state);
        }
    }

    /// Ends the step; `result` says what came of it and may be empty.
    pub fn done(mut self, result: &str) {
        self.ended = true;
        let gap = if result.is_empty() { "" } else { " … " };
        let took = seconds(self.begun.elapsed());
        if self.terminal {
            eprintln!("\r\x1b[K{} … {result}{gap}{took}", self.label);
        } else {
            eprintln!("{result}{gap}{took}");
        }
    }

    fn draw(&self, state: &str) {
        eprint!("\r\x1b[K{} … {state}", self.label);
        // Progress that nobody can see is no reason to stop.
        let _ = io::stderr().flush();
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.ended {
            eprintln!("failed … {}", seconds(self.begun.elapsed()));
        }
    }
}

/// A duration as steps and tables show it.
pub fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// A size as steps show it.
pub fn mebibytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let value = bytes as f64 / f64::from(1 << 20);
    format!("{value:.1} MiB")
}

#[cfg(test)]
mod tests {
    use super::{mebibytes, seconds};
    use std::time::Duration;

    #[test]
    fn numbers_are_shown_with_one_decimal() {
        assert_eq!(seconds(Duration::from_millis(6240)), "6.2 s");
        assert_eq!(mebibytes(34_393_292), "32.8 MiB");
    }
}
