//! The line being typed: what each letter changes at once, and what Enter and Esc make of it.

use std::time::Duration;

use ipnet::IpNet;
use jiff::SignedDuration;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::super::filter_words;
use super::super::keys::Does;
use super::super::prompt::{Prompt, What};
use super::App;
use crate::engine::filter::{self, Filter};
use crate::engine::query::{Query, View};

/// The least and the greatest time between two looks.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3600));

impl App {
    /// Begins a line with what stands now.
    pub(super) fn open_prompt(&mut self, does: Does) {
        if self.frozen && !matches!(does, Does::Search | Does::Interval) {
            return self.refuse_frozen();
        }
        let filter = &self.query.filter;
        let text = |shown: Option<String>| shown.unwrap_or_default();
        let (what, text) = match does {
            Does::Filter => (What::Filter, filter_words::written(filter)),
            Does::Source => (What::Source, text(filter.src.map(bare))),
            Does::Destination => (What::Destination, text(filter.dst.map(bare))),
            Does::SourcePort => (What::SourcePort, text(filter.sport.map(|port| port.to_string()))),
            Does::DestinationPort => (What::DestinationPort, text(filter.dport.map(|port| port.to_string()))),
            Does::Interval => (What::Interval, String::new()),
            _ => (What::Search, String::new()),
        };
        let (before, searched) = (self.query.clone(), self.search.clone());
        self.prompt = Some(Prompt { what, text, error: None, before, searched });
    }

    /// Takes a key into the line.
    pub(super) fn type_in(&mut self, event: &KeyEvent) {
        let Some(prompt) = &mut self.prompt else { return };
        self.changed = true;
        let control = event.modifiers.contains(KeyModifiers::CONTROL);
        match (event.code, control) {
            (KeyCode::Enter, _) => return self.accept(),
            (KeyCode::Esc, _) | (KeyCode::Char('g' | 'c'), true) => return self.cancel(),
            (KeyCode::Backspace, _) => drop(prompt.text.pop()),
            (KeyCode::Char('u'), true) => prompt.text.clear(),
            (KeyCode::Char('w'), true) => {
                let kept = prompt.text.trim_end().rfind(' ').map_or(0, |at| at + 1);
                prompt.text.truncate(kept);
            }
            (KeyCode::Char(letter), false) if prompt.text.len() < 256 => prompt.text.push(letter),
            _ => return,
        }
        self.typed();
    }

    /// What stands in the line takes effect at once, where it has a meaning already.
    fn typed(&mut self) {
        let Some(prompt) = &self.prompt else { return };
        let (what, text) = (prompt.what, prompt.text.clone());
        let error = match what {
            What::Search => {
                self.search = text;
                self.seek();
                None
            }
            What::Interval => interval(&text).err(),
            _ => match self.filter(what, text.trim()) {
                Ok(filter) => {
                    self.put_in_force(filter);
                    None
                }
                Err(error) => Some(error),
            },
        };
        if let Some(prompt) = &mut self.prompt {
            prompt.error = error;
        }
    }

    fn filter(&self, what: What, text: &str) -> Result<Filter, String> {
        let filter = self.query.filter.clone();
        let given = !text.is_empty();
        let network = || given.then(|| filter::parse_network(text)).transpose();
        let port = || given.then(|| filter::parse_port(text)).transpose();
        let changed = match what {
            What::Source => network().map(|src| Filter { src, ..filter }),
            What::Destination => network().map(|dst| Filter { dst, ..filter }),
            What::SourcePort => port().map(|sport| Filter { sport, ..filter }),
            What::DestinationPort => port().map(|dport| Filter { dport, ..filter }),
            _ => return (self.parse_filter)(text),
        };
        changed.map_err(|error| error.to_string())
    }

    fn put_in_force(&mut self, filter: Filter) {
        if filter == self.query.filter {
            return;
        }
        // Causes, episodes and a source looked at closely are not filtered; who filters there wants to see sources.
        let view = if self.query.view.has_table() { self.query.view } else { View::Sources };
        if self.ask(Query { filter, view, focus: None, ..self.query.clone() }) {
            self.top();
            self.pane = None;
            self.back.clear();
        }
    }

    fn accept(&mut self) {
        let Some(Prompt { what, text, error, .. }) = self.prompt.take() else { return };
        match (what, error) {
            (What::Interval, _) => match interval(&text) {
                Ok(Some(interval)) => self.set_interval(interval),
                Ok(None) => {}
                Err(error) => self.tell(Err(error)),
            },
            (What::Search, _) if self.seeking => {
                self.tell(Err(format!("no row has `{text}`")));
            }
            (_, Some(error)) => self.tell(Err(format!("{error}; the filter before stays"))),
            _ => {}
        }
    }

    /// As if nothing had been typed.
    fn cancel(&mut self) {
        let Some(Prompt { what, before, searched, .. }) = self.prompt.take() else { return };
        match what {
            What::Search => {
                self.search = searched;
                self.seeking = false;
            }
            What::Interval => {}
            _ if before != self.query => drop(self.ask(before)),
            _ => {}
        }
    }
}

/// A network as it is typed: a single address without its length.
fn bare(network: IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() {
        network.addr().to_string()
    } else {
        network.to_string()
    }
}

/// Reads a time between looks; nothing typed is no change.
fn interval(text: &str) -> Result<Option<Duration>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => text.parse::<SignedDuration>().ok().and_then(|parsed| parsed.try_into().ok()),
    };
    let (least, greatest) = INTERVALS;
    parsed
        .filter(|interval| (least..=greatest).contains(interval))
        .map(Some)
        .ok_or_else(|| "write a time from 100ms to 1h, like 2 or 500ms".into())
}
