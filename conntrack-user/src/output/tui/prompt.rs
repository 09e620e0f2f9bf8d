//! A line being typed.

use ratatui::text::{Line, Span};

use super::theme::Look;
use crate::engine::query::Query;

/// What is being typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The whole filter.
    Filter,
    /// Its source.
    Source,
    /// Its destination.
    Destination,
    /// Its source port.
    SourcePort,
    /// Its destination port.
    DestinationPort,
    /// Words to be found.
    Search,
    /// The time between two looks.
    Interval,
}

/// The line, and what stood before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// What it is for.
    pub what: What,
    /// What was typed so far.
    pub text: String,
    /// Why that is nothing yet.
    pub error: Option<String>,
    /// What was asked before.
    pub before: Query,
    /// The search before.
    pub searched: String,
}

impl Prompt {
    fn label(&self) -> &'static str {
        match self.what {
            What::Filter => "filter",
            What::Source => "source",
            What::Destination => "destination",
            What::SourcePort => "source port",
            What::DestinationPort => "destination port",
            What::Search => "search",
            What::Interval => "time between looks",
        }
    }

    fn hint(&self) -> &'static str {
        match self.what {
            What::Filter => "-s -d -p --sport --dport -f -w -m --netns",
            What::Source | What::Destination => "an address or a network; nothing for all",
            What::SourcePort | What::DestinationPort => "a port; nothing for all",
            What::Search => "part of an address or a name",
            What::Interval => "2, 500ms, 1m",
        }
    }

    /// As it is drawn, in so many columns; the end of a long line stays in sight.
    pub fn line<'a>(&self, look: Look, width: u16) -> Line<'a> {
        let cursor = Span::styled(" ", look.selected());
        let label = format!("{}: ", self.label());
        let room = usize::from(width).saturating_sub(label.len() + 2).max(8);
        let skipped = self.text.chars().count().saturating_sub(room);
        let text: String = self.text.chars().skip(skipped).collect();
        let mut line =
            Line::from(vec![Span::styled(label, look.title()), Span::styled(text, look.strong()), cursor]);
        match &self.error {
            Some(error) if !self.text.is_empty() => {
                line.push_span(Span::styled(format!("  {error}"), look.warn()));
            }
            _ => line.push_span(Span::styled(format!("  {}", self.hint()), look.label())),
        }
        line
    }
}
