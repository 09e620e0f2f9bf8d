//! What the live view knows and how it answers keys: no terminal, no clock, no counters of its own.

mod asking;
mod moving;
mod prompting;

use std::sync::Arc;
use std::time::Duration;

use ratatui::crossterm::event::{Event, KeyEvent, KeyEventKind};

use super::keys::{self, Does};
use super::names::Book;
use super::prompt::Prompt;
use super::theme::Look;
use super::{Action, Happening, Options};
use crate::engine::query::{Query, View};
use crate::engine::snapshot::Snapshot;
pub use moving::Item;

/// What is to be done besides drawing.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// For the caller of the whole view.
    Act(Action),
    /// Write what is on the screen to files.
    Write,
    /// Clear the terminal and draw everything.
    Redraw,
    /// Leave the terminal and stop.
    Suspend,
    /// Take the terminal again, whoever had it meanwhile.
    Resume,
}

/// What covers the views.
#[derive(Clone, Debug, PartialEq)]
pub enum Pane {
    /// The keys.
    Help,
    /// An episode: its network namespace and when it began.
    Episode(u32, u64),
    /// A cause.
    Cause(&'static str),
}

/// A line that answers the last key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it says.
    pub text: String,
    /// Whether something did not work.
    pub failed: bool,
}

/// The state of the view.
#[derive(Debug)]
pub struct App {
    /// What the engine was asked for.
    pub query: Query,
    /// Time between two snapshots.
    pub interval: Duration,
    /// How it looks.
    pub look: Look,
    /// What is drawn.
    pub shown: Option<Arc<Snapshot>>,
    /// What came since the picture was frozen.
    latest: Option<Arc<Snapshot>>,
    /// Whether nothing has come since the last question.
    pub waiting: bool,
    /// Whether the picture is frozen.
    pub frozen: bool,
    /// What covers the views, and by how many lines it is scrolled.
    pub pane: Option<Pane>,
    /// The first line of a pane, or of the source looked at closely, that is drawn.
    pub scrolled: usize,
    /// The line being typed.
    pub prompt: Option<Prompt>,
    /// What the last key came to.
    pub answer: Option<Answer>,
    /// Whether incidents are shown; where nobody said, they are if there is room.
    pub incidents: Option<bool>,
    /// The row the cursor is on, once it was moved.
    pub selected: Option<Item>,
    /// Rows above the first that is drawn, pinned ones aside.
    pub offset: usize,
    /// Rows that were drawn last.
    pub page: usize,
    /// The height of the screen when it was drawn last.
    pub height: u16,
    /// The widest key drawn so far, so that columns stay where they are.
    pub widest: usize,
    /// Rows kept on top.
    pub pinned: Vec<Item>,
    /// What was searched last.
    pub search: String,
    /// Whether the search has found nothing yet.
    seeking: bool,
    /// Whether names are shown.
    pub names: bool,
    /// The names known.
    pub book: Arc<Book>,
    parse_filter: super::ParseFilter,
    /// Questions to come back to, and what was selected.
    back: Vec<(Query, Option<Item>)>,
    changed: bool,
    effects: Vec<Effect>,
}

impl App {
    /// One that has seen nothing yet.
    pub fn new(options: Options) -> Self {
        let Options { query, interval, look, names, parse_filter } = options;
        let mut app = Self {
            query: Query { rows: moving::ROWS, ..query },
            interval,
            look,
            shown: None,
            latest: None,
            waiting: true,
            frozen: false,
            pane: None,
            scrolled: 0,
            prompt: None,
            answer: None,
            incidents: None,
            selected: None,
            offset: 0,
            page: 1,
            height: 0,
            widest: 0,
            pinned: Vec::new(),
            search: String::new(),
            seeking: false,
            names,
            book: Arc::new(Book::default()),
            parse_filter,
            back: Vec::new(),
            changed: true,
            effects: Vec::new(),
        };
        app.effect(Effect::Act(Action::Ask(app.query.clone())));
        app
    }

    /// Takes in what happened; what is to be done comes back in order.
    pub fn handle(&mut self, happening: Happening) -> Vec<Effect> {
        match happening {
            Happening::Snapshot(snapshot) => self.look_at(snapshot),
            Happening::Input(Event::Key(event)) if event.kind != KeyEventKind::Release => self.press(event),
            Happening::Input(Event::Resize(..)) | Happening::Redraw => self.changed = true,
            Happening::Input(_) => {}
            Happening::Suspend => self.effect(Effect::Suspend),
            Happening::Continue => {
                self.changed = true;
                self.effect(Effect::Resume);
            }
            Happening::End => self.effect(Effect::Act(Action::Quit)),
        }
        std::mem::take(&mut self.effects)
    }

    /// Whether anything to be seen changed since this was last asked.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Says what came of an effect.
    pub fn tell(&mut self, outcome: Result<String, String>) {
        let failed = outcome.is_err();
        let (Ok(text) | Err(text)) = outcome;
        self.answer = Some(Answer { text, failed });
        self.changed = true;
    }

    /// The view on the screen: that of the snapshot until the engine has answered.
    pub fn view(&self) -> View {
        match &self.shown {
            Some(shown) if self.query.view.has_table() => shown.table.view,
            _ => self.query.view,
        }
    }

    fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    fn look_at(&mut self, snapshot: Arc<Snapshot>) {
        if self.frozen {
            self.latest = Some(snapshot);
            return;
        }
        self.shown = Some(snapshot);
        self.waiting = false;
        self.changed = true;
        self.settle();
    }

    fn press(&mut self, event: KeyEvent) {
        if self.prompt.is_some() {
            return self.type_in(&event);
        }
        let Some(does) = keys::does(&event) else { return };
        self.changed = true;
        self.answer = None;
        match does {
            Does::Quit => self.effect(Effect::Act(Action::Quit)),
            Does::Suspend => self.effect(Effect::Suspend),
            Does::Redraw => self.effect(Effect::Redraw),
            Does::Write => self.effect(Effect::Write),
            Does::Help => self.toggle_help(),
            Does::Back => self.go_back(),
            _ if self.is_away() && moves(does) => self.scroll(does),
            Does::Enter | Does::Pin | Does::Search | Does::NextHit | Does::PreviousHit if self.is_away() => {
                self.tell(Err("that needs a table: Esc goes back to it".into()));
            }
            Does::Up | Does::Down | Does::PageUp | Does::PageDown | Does::Home | Does::End => self.walk(does),
            Does::Enter => self.enter(),
            Does::Pin => self.pin(),
            Does::Freeze => self.freeze(),
            Does::Names => self.toggle_names(),
            Does::Incidents => self.incidents = Some(!self.shows_incidents()),
            Does::NextHit => self.find(1),
            Does::PreviousHit => self.find(-1),
            Does::Search
            | Does::Filter
            | Does::Source
            | Does::Destination
            | Does::SourcePort
            | Does::DestinationPort
            | Does::Interval => self.open_prompt(does),
            _ => self.ask_for(does),
        }
    }

    /// Whether no rows are on the screen but something that is read.
    pub fn is_away(&self) -> bool {
        self.pane.is_some() || self.query.focus.is_some()
    }

    fn toggle_help(&mut self) {
        self.pane = if self.pane == Some(Pane::Help) { None } else { Some(Pane::Help) };
        self.scrolled = 0;
    }

    fn freeze(&mut self) {
        self.frozen = !self.frozen;
        if !self.frozen {
            // The view may be another by now.
            self.ask(self.query.clone());
            if let Some(latest) = self.latest.take() {
                self.look_at(latest);
            }
        }
    }

    fn toggle_names(&mut self) {
        self.names = !self.names;
        if self.names {
            self.book.forget_failures();
            self.tell(Ok("names come from the DNS: each question takes an entry too".into()));
        }
    }
}

fn moves(does: Does) -> bool {
    matches!(does, Does::Up | Does::Down | Does::PageUp | Does::PageDown | Does::Home | Does::End)
}
