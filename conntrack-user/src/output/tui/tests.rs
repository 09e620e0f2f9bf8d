//! Whole frames, whole runs of keys, every size.

mod behaviour;
mod frames;
mod keys;
mod latency;
mod scenes;
mod sizes;
mod writing;

use std::sync::Arc;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};

use super::app::{App, Effect};
use super::{Action, Colors, Happening, Look, Options};
use crate::engine::filter::{Filter, parse_network};
use crate::engine::query::Query;
use crate::engine::snapshot::Snapshot;

const PLAIN: Look = Look { ascii: false, colors: Colors::Dark };

/// `-s NETWORK` only.
fn parse_filter(text: &str) -> Result<Filter, String> {
    match text.strip_prefix("-s ") {
        Some(network) => parse_network(network)
            .map(|src| Filter { src: Some(src), ..Filter::default() })
            .map_err(|error| error.to_string()),
        None if text.is_empty() => Ok(Filter::default()),
        None => Err(format!("`{text}` is no option")),
    }
}

fn options(query: Query) -> Options {
    Options { query, interval: Duration::from_secs(2), look: PLAIN, names: false, parse_filter }
}

/// One that shows a snapshot.
fn app(snapshot: Snapshot) -> App {
    let mut app = App::new(options(Query { view: snapshot.table.view, ..Query::default() }));
    app.handle(Happening::Redraw);
    app.handle(Happening::Snapshot(Arc::new(snapshot)));
    app
}

fn press(app: &mut App, code: KeyCode) -> Vec<Effect> {
    app.handle(Happening::Input(Event::Key(KeyEvent::new(code, KeyModifiers::NONE))))
}

fn control(app: &mut App, letter: char) -> Vec<Effect> {
    app.handle(Happening::Input(Event::Key(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL))))
}

fn type_in(app: &mut App, text: &str) {
    for letter in text.chars() {
        press(app, KeyCode::Char(letter));
    }
}

/// The frame as text, trailing spaces cut.
fn frame(app: &mut App, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal in memory");
    terminal.draw(|frame| app.draw(frame)).expect("drawing in memory");
    super::writing::lines(terminal.backend().buffer())
}
