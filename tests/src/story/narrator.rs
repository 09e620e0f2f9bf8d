//! Announces the phases and repeats what ctwatch says in each, but no more of it than one can read.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::player::Player;
use crate::scenario::{Phase, Scenario};
use crate::watcher::Watcher;

use super::screen::{Look, Screen, grouped};

/// The teller.
#[derive(Debug)]
pub struct Narrator<'a> {
    screen: &'a mut Screen,
    max: u64,
    phase: usize,
    seen: BTreeMap<Kind, u64>,
}

/// What a line of ctwatch's text is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Edge,
    Refused,
    Evicted,
    Other,
}

impl Kind {
    /// The word after the time says it.
    fn of(line: &str) -> Self {
        match line.split_whitespace().nth(1) {
            Some("edge") => Self::Edge,
            Some("refused") => Self::Refused,
            Some("evicted") => Self::Evicted,
            _ => Self::Other,
        }
    }

    fn look(self, line: &str) -> Look {
        match self {
            Self::Edge if line.contains("refusing") => Look::Red,
            Self::Edge if line.contains("recovered") => Look::Green,
            Self::Edge => Look::Yellow,
            Self::Refused => Look::Red,
            Self::Evicted => Look::Yellow,
            Self::Other => Look::Plain,
        }
    }

    /// So many lines of it are repeated in a phase; the rest is counted.
    fn shown(self) -> u64 {
        match self {
            Self::Edge | Self::Other => u64::MAX,
            Self::Refused | Self::Evicted => 3,
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Self::Edge => "edges",
            Self::Refused => "refused",
            Self::Evicted => "lines of evictions",
            Self::Other => "lines",
        }
    }
}

impl<'a> Narrator<'a> {
    /// Begins before the first phase.
    pub fn new(screen: &'a mut Screen, scenario: &Scenario) -> Self {
        Self { screen, max: u64::from(scenario.max), phase: 0, seen: BTreeMap::new() }
    }

    /// Repeats what ctwatch says when it is attached.
    pub fn attached(&mut self, shown: &mut Watcher, count: u64) -> Result<()> {
        self.screen.heading("$ ctwatch watch");
        shown.wait_for_text()?;
        self.look(shown, count)
    }

    /// Announces a phase.
    pub fn begin(&mut self, phase: &Phase) {
        self.phase += 1;
        self.seen.clear();
        self.screen.heading(&format!("{}. {}", self.phase, phase.title));
        let says = phase.says.replace("{hog}", &Player::hog_address().to_string());
        self.screen.text(&format!("   {says}"));
    }

    /// Repeats what ctwatch has said meanwhile and moves the gauge.
    pub fn look(&mut self, shown: &mut Watcher, count: u64) -> Result<()> {
        for line in shown.new_text() {
            let kind = Kind::of(&line);
            let seen = self.seen.entry(kind).or_default();
            *seen += 1;
            if *seen <= kind.shown() {
                self.screen.quote(kind.look(&line), &line);
            }
        }
        self.screen.gauge(count, self.max);
        Ok(())
    }

    /// Repeats what ctwatch says when it is stopped.
    pub fn closing(&mut self, lines: &[&str]) {
        self.screen.heading("ctwatch is stopped and closes its account");
        for line in lines {
            self.screen.quote(Look::Plain, line);
        }
    }

    /// Ends a phase.
    pub fn end(&mut self, count: u64) {
        for (kind, seen) in std::mem::take(&mut self.seen) {
            let hidden = seen.saturating_sub(kind.shown());
            if hidden > 0 {
                let more = format!("... and {} more {}", grouped(hidden), kind.plural());
                self.screen.quote(Look::Faint, &more);
            }
        }
        let (count, max) = (grouped(count), grouped(self.max));
        self.screen.text(&format!("   The table holds {count} of {max} entries."));
    }
}
