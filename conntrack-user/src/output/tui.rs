//! The live view: draws the engine's snapshots on a terminal and turns keys into questions to the engine.
//!
//! `App` is all there is to know; it is told what happens and says what is to be done. [`run`] is the loop around
//! it that has a terminal, a thread that reads keys, and the files.

mod app;
mod close;
mod columns;
mod episode;
mod figures;
mod filter_words;
mod frame;
mod gauge;
mod header;
mod help;
mod incidents;
mod keys;
mod listing;
mod names;
mod prompt;
mod scene;
mod screen;
mod sparkline;
mod status;
mod table;
mod theme;
mod trust;
mod writing;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;
use std::{io, thread};

use ratatui::crossterm::event::{self, Event};

use crate::engine::filter::Filter;
use crate::engine::query::Query;
use crate::engine::snapshot::Snapshot;
use app::{App, Effect};
use screen::Screen;
pub use theme::{Colors, Look};

/// Reads a filter as it is typed; the error is one line for whoever typed it.
pub type ParseFilter = fn(&str) -> Result<Filter, String>;

/// How a view begins.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is shown first. How many rows are asked for depends on the screen and on what is paged and searched.
    pub query: Query,
    /// The time between two snapshots, as the engine has it.
    pub interval: Duration,
    /// How it looks.
    pub look: Look,
    /// Whether names are asked of the DNS from the beginning.
    pub names: bool,
    /// The filter language of `watch`.
    pub parse_filter: ParseFilter,
}

/// What the view is told.
#[derive(Clone, Debug)]
pub enum Happening {
    /// The terminal says something.
    Input(Event),
    /// The engine has something new.
    Snapshot(Arc<Snapshot>),
    /// Something else that is drawn has changed.
    Redraw,
    /// SIGTSTP came.
    Suspend,
    /// SIGCONT came.
    Continue,
    /// SIGTERM came, or the engine has ended.
    End,
}

/// What the view wants of the engine, or of its caller.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Another question. A snapshot is expected at once.
    Ask(Query),
    /// Another time between two snapshots.
    Interval(Duration),
    /// A snapshot is expected at once.
    Refresh,
    /// The user is done.
    Quit,
}

/// Shows the view on the terminal until somebody quits or [`Happening::End`] comes. The first action is the first
/// question. The terminal is given back however this ends.
pub fn run(
    options: Options,
    happenings: &Receiver<Happening>,
    sender: &Sender<Happening>,
    mut act: impl FnMut(Action),
) -> io::Result<()> {
    let mut app = App::new(options);
    let mut screen = Screen::enter()?;
    read_keys(sender.clone())?;
    let mut asks_names = false;
    let mut happening = Happening::Redraw;
    loop {
        // All that has come is taken in before anything is drawn.
        let mut effects = app.handle(happening);
        while let Ok(happening) = happenings.try_recv() {
            effects.extend(app.handle(happening));
        }
        for effect in effects {
            match effect {
                Effect::Act(Action::Quit) => {
                    act(Action::Quit);
                    return Ok(());
                }
                Effect::Act(action) => act(action),
                Effect::Write => write(&mut app, &screen)?,
                Effect::Redraw => screen.clear()?,
                Effect::Suspend => screen.suspend()?,
                Effect::Resume => screen.resume()?,
            }
        }
        if app.names && !asks_names {
            asks_names = true;
            names::start(app.book.clone(), names::Sources::of_this_machine(), sender.clone())?;
        }
        if !screen.is_suspended() && app.take_changed() {
            screen.draw(&mut app)?;
        }
        // We hold a sender ourselves, so there is always one.
        happening = happenings.recv().unwrap_or(Happening::End);
    }
}

fn write(app: &mut App, screen: &Screen) -> io::Result<()> {
    let text = writing::lines(&screen.picture(app)?);
    let outcome = match &app.shown {
        Some(shown) => writing::write(Path::new("."), &text, shown),
        None => Err(io::Error::other("there is nothing to write yet")),
    };
    app.tell(outcome.map_err(|error| format!("could not write: {error}")));
    Ok(())
}

/// Reads the terminal until it is gone. The thread waits in the kernel and ends with the process.
fn read_keys(sender: Sender<Happening>) -> io::Result<()> {
    let read = move || {
        loop {
            let happening = event::read().map_or(Happening::End, Happening::Input);
            let over = matches!(happening, Happening::End);
            if sender.send(happening).is_err() || over {
                return;
            }
        }
    };
    thread::Builder::new().name("keys".into()).spawn(read)?;
    Ok(())
}

#[cfg(test)]
mod tests;
