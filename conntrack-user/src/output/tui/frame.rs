//! Where everything goes: header, views, incidents, status.

use std::sync::Arc;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::app::{App, Pane};
use super::scene::{Scene, put, rows};
use super::{close, episode, header, help, incidents, listing, status, table};
use crate::engine::query::View;
use crate::engine::snapshot::Snapshot;

/// From this height on the incidents are shown without being asked for.
const ROOM_FOR_INCIDENTS: u16 = 24;

/// What the view of causes needs.
const CAUSES_HEIGHT: u16 = 19;

/// From this height on the views have a line of their own.
const ROOM_FOR_TABS: u16 = 30;

impl App {
    /// Draws what is known.
    pub fn draw(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        self.draw_on(frame.buffer_mut(), area);
    }

    /// Draws on a part of a buffer.
    pub fn draw_on(&mut self, buffer: &mut Buffer, area: Rect) {
        if area.is_empty() {
            return;
        }
        self.height = area.height;
        let above = rows(area, 0, area.height - 1);
        status::draw(buffer, rows(area, above.height, 1), self, area);
        match self.shown.clone() {
            _ if self.pane == Some(Pane::Help) => {
                let lines = help::draw(buffer, above, self.look, self.scrolled);
                self.scrolls(lines, above.height.saturating_sub(1));
            }
            Some(shown) => self.draw_snapshot(buffer, above, &shown),
            None => put(buffer, above, 0, self.look, &Line::from("ctwatch: waiting for the first numbers")),
        }
        if self.look.ascii {
            to_ascii(buffer, area);
        }
    }

    /// The picture that widgets draw from.
    pub fn scene<'a>(&'a self, snapshot: &'a Snapshot) -> Scene<'a> {
        let names = self.names.then_some(&*self.book);
        Scene { snapshot, query: &self.query, look: self.look, frozen: self.frozen, names }
    }

    /// Whether the incidents are shown.
    pub fn shows_incidents(&self) -> bool {
        self.incidents.unwrap_or(self.height >= ROOM_FOR_INCIDENTS)
    }

    fn draw_snapshot(&mut self, buffer: &mut Buffer, area: Rect, shown: &Arc<Snapshot>) {
        let taken = header::draw(buffer, area, &self.scene(shown));
        let mut body = rows(area, taken, area.height);
        if self.height >= ROOM_FOR_TABS {
            put(buffer, body, 0, self.look, &tabs(self));
            body = rows(body, 1, body.height);
        }
        match self.pane.clone() {
            Some(Pane::Episode(netns, start)) => {
                let lines = episode::episode(&self.scene(shown), netns, start);
                self.draw_pane(buffer, body, shown, "episode", &lines);
            }
            Some(Pane::Cause(name)) => {
                let lines = episode::cause(&self.scene(shown), name);
                self.draw_pane(buffer, body, shown, "cause", &lines);
            }
            _ => match self.query.focus {
                // Until the engine has answered, what was there before is better than nothing.
                Some(focus) if !self.waiting || shown.focus.as_ref().is_some_and(|it| it.focus == focus) => {
                    let lines = close::draw(buffer, body, &self.scene(shown), focus, self.scrolled);
                    self.scrolls(lines, close::body(body).height);
                }
                _ => self.draw_view(buffer, body, shown),
            },
        }
    }

    fn draw_pane(
        &mut self,
        buffer: &mut Buffer,
        area: Rect,
        shown: &Snapshot,
        title: &str,
        lines: &[String],
    ) {
        let lines = episode::draw(buffer, area, &self.scene(shown), title, lines, self.scrolled);
        self.scrolls(lines, area.height.saturating_sub(1));
    }

    fn draw_view(&mut self, buffer: &mut Buffer, area: Rect, shown: &Arc<Snapshot>) {
        let room = match self.view() {
            // Each cause has a row, and what the selected one means is below them.
            View::Causes if self.incidents.is_none() => area.height.saturating_sub(CAUSES_HEIGHT),
            _ => area.height,
        };
        let below =
            if self.shows_incidents() { incidents_height(area.height, shown.recent.len()) } else { 0 };
        let below = below.min(room);
        let above = rows(area, 0, area.height - below);
        match self.view() {
            View::Causes => listing::causes(buffer, above, self, shown),
            View::Episodes => listing::episodes(buffer, above, self, shown),
            _ => table::draw(buffer, above, self, shown),
        }
        incidents::draw(buffer, rows(area, above.height, below), &self.scene(shown));
    }

    /// What is scrolled has so many lines, of which so many can be seen.
    fn scrolls(&mut self, lines: usize, height: u16) {
        self.page = usize::from(height).max(1);
        self.scrolled = self.scrolled.min(lines.saturating_sub(self.page));
    }
}

/// No more than there is to say, and about a third; the table keeps enough.
fn incidents_height(height: u16, incidents: usize) -> u16 {
    let wanted = u16::try_from(incidents).unwrap_or(u16::MAX).max(1).saturating_add(1);
    wanted.min(height / 3).min(16).min(height.saturating_sub(6))
}

fn tabs<'a>(app: &App) -> Line<'a> {
    let look = app.look;
    let mut line = Line::default();
    for (number, view) in (1..).zip(View::ALL) {
        let style = if view == app.query.view { look.mode() } else { look.label() };
        line.push_span(Span::styled(format!("{number} {}", view.as_str()), style));
        line.push_span("  ");
    }
    line
}

/// Names come from elsewhere and may hold anything.
fn to_ascii(buffer: &mut Buffer, area: Rect) {
    for y in area.top()..area.bottom() {
        for x in area.left()..area.right() {
            if let Some(cell) = buffer.cell_mut((x, y))
                && !cell.symbol().is_ascii()
            {
                cell.set_char('?');
            }
        }
    }
}
