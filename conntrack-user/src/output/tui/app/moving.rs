//! The cursor: which row it is on, what is searched, what is pinned.

use super::super::keys::Does;
use super::App;
use crate::engine::query::{Query, View};
use crate::engine::table::Key;

/// Rows asked for at first: more than most screens have.
pub(super) const ROWS: usize = 128;

/// Rows asked for at most, to page and search.
const MAX_ROWS: usize = 16_384;

/// Rows pinned at most.
const PINS: usize = 8;

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// A row of a table.
    Row(Key),
    /// A cause, by its name.
    Cause(&'static str),
    /// An episode, by its network namespace and when it began.
    Episode(u32, u64),
}

impl App {
    /// Everything the cursor can be on, in the order it stands: pinned rows first.
    pub fn items(&self) -> Vec<Item> {
        let Some(shown) = &self.shown else { return Vec::new() };
        match self.view() {
            View::Causes => shown.causes.iter().map(|row| Item::Cause(row.cause)).collect(),
            View::Episodes => {
                shown.episodes.iter().rev().map(|it| Item::Episode(it.netns, it.start_ktime_ns)).collect()
            }
            _ => {
                let rows = shown.table.rows.iter().map(|row| Item::Row(row.key));
                let pinned: Vec<Item> = self.pinned().collect();
                let rows = rows.filter(|row| !pinned.contains(row)).collect::<Vec<_>>();
                pinned.into_iter().chain(rows).collect()
            }
        }
    }

    /// The pinned rows of the view on the screen.
    pub fn pinned(&self) -> impl Iterator<Item = Item> {
        let view = self.view();
        self.pinned.iter().copied().filter(move |item| matches!(item, Item::Row(key) if view_of(key) == view))
    }

    /// Where the cursor is: on the row it was moved to, or on the first.
    pub fn cursor(&self, items: &[Item]) -> usize {
        self.selected.and_then(|selected| items.iter().position(|item| *item == selected)).unwrap_or(0)
    }

    /// What the cursor is on.
    pub(super) fn item(&self) -> Option<Item> {
        let items = self.items();
        items.get(self.cursor(&items)).copied()
    }

    /// Moves the cursor.
    pub(super) fn walk(&mut self, does: Does) {
        let items = self.items();
        let (at, last) = (self.cursor(&items), items.len().saturating_sub(1));
        let to = match does {
            Does::Up => at.saturating_sub(1),
            Does::Down => at + 1,
            Does::PageUp => at.saturating_sub(self.page),
            Does::PageDown => at + self.page,
            Does::Home => 0,
            _ => last,
        };
        self.selected = items.get(to.min(last)).copied();
        if to + 2 * self.page > last || does == Does::End {
            self.want_rows(if does == Does::End { MAX_ROWS } else { 2 * items.len() });
        }
        if does == Does::Home {
            self.selected = None;
        }
    }

    /// Scrolls what has lines and no rows.
    pub(super) fn scroll(&mut self, does: Does) {
        self.scrolled = match does {
            Does::Up => self.scrolled.saturating_sub(1),
            Does::Down => self.scrolled + 1,
            Does::PageUp => self.scrolled.saturating_sub(self.page),
            Does::PageDown => self.scrolled + self.page,
            Does::Home => 0,
            Does::End => usize::MAX / 2,
            _ => self.scrolled,
        };
    }

    /// Back to the first row.
    pub(super) fn top(&mut self) {
        self.selected = None;
        self.offset = 0;
        self.widest = 0;
        self.scrolled = 0;
    }

    /// Asks for more rows, if there are more.
    fn want_rows(&mut self, rows: usize) {
        let Some(shown) = &self.shown else { return };
        let rows = rows.min(MAX_ROWS);
        let more = shown.table.groups > shown.table.rows.len();
        if self.query.view.has_table() && more && rows > self.query.rows && !self.frozen {
            self.ask(Query { rows, ..self.query.clone() });
        }
    }

    /// After another snapshot: a search that found nothing may find it now, and a pinned row may be missing.
    pub(super) fn settle(&mut self) {
        if self.seeking {
            self.seek();
        }
        let listed = |item: &Item| {
            let rows = self.shown.as_ref().map(|shown| &shown.table.rows);
            rows.is_some_and(|rows| rows.iter().any(|row| Item::Row(row.key) == *item))
        };
        if !self.pinned().all(|item| listed(&item)) {
            self.want_rows(MAX_ROWS);
        }
    }

    /// Pins the row under the cursor, or unpins it.
    pub(super) fn pin(&mut self) {
        match self.item() {
            Some(item @ Item::Row(_)) => match self.pinned.iter().position(|it| *it == item) {
                Some(at) => drop(self.pinned.remove(at)),
                None if self.pinned().count() >= PINS => {
                    self.tell(Err(format!("{PINS} rows are pinned already")));
                }
                None => {
                    self.pinned.push(item);
                    self.selected = Some(item);
                }
            },
            Some(_) => {
                self.tell(Err("all of these are on the screen: only rows of tables are pinned".into()))
            }
            None => {}
        }
    }

    /// Whether a row is what was searched.
    pub fn is_hit(&self, item: &Item) -> bool {
        !self.search.is_empty() && self.words(item).to_lowercase().contains(&self.search.to_lowercase())
    }

    fn words(&self, item: &Item) -> String {
        match item {
            Item::Row(Key::Netns(inum)) => {
                let rows = self.shown.iter().flat_map(|shown| &shown.netns);
                let name = rows.filter(|row| row.netns == *inum).find_map(|row| row.name.clone());
                format!("{inum} {}", name.unwrap_or_default())
            }
            Item::Row(key @ (Key::Source(address, _) | Key::Destination(address))) if self.names => {
                format!("{key} {}", self.book.known(*address).unwrap_or_default())
            }
            Item::Row(key) => key.to_string(),
            Item::Cause(name) => (*name).into(),
            Item::Episode(netns, _) => netns.to_string(),
        }
    }

    /// Looks for the words while they are typed: at the cursor first, and in all rows.
    pub(super) fn seek(&mut self) {
        let items = self.items();
        let at = self.cursor(&items);
        let found = (at..items.len()).chain(0..at).find(|it| self.is_hit(&items[*it]));
        self.seeking = found.is_none() && !self.search.is_empty();
        match found {
            Some(found) => self.selected = Some(items[found]),
            None if self.seeking => self.want_rows(MAX_ROWS),
            None => {}
        }
    }

    /// The next row that was searched, one way or the other.
    pub(super) fn find(&mut self, step: isize) {
        if self.search.is_empty() {
            return self.tell(Err("search first: / and what is to be found".into()));
        }
        self.want_rows(MAX_ROWS);
        let items = self.items();
        let (at, len) = (self.cursor(&items), items.len());
        let order = (1..=len).map(|n| (at + len).wrapping_add_signed(step * n as isize) % len.max(1));
        match order.clone().find(|it| items.get(*it).is_some_and(|item| self.is_hit(item))) {
            Some(found) => self.selected = Some(items[found]),
            None => self.tell(Err(format!("no row has `{}`", self.search))),
        }
    }
}

/// The view whose rows have such a key.
fn view_of(key: &Key) -> View {
    match key {
        Key::Source(..) => View::Sources,
        Key::Prefix(_) => View::Prefixes,
        Key::Destination(_) => View::Destinations,
        Key::Port(..) => View::Ports,
        Key::State(_) => View::States,
        Key::Netns(_) => View::Netns,
    }
}
