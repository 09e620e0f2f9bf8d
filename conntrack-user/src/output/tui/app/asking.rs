//! Questions to the engine: which view, in what order, of what; and the way back.

use std::time::Duration;

use ipnet::IpNet;

use super::super::Action;
use super::super::columns;
use super::super::keys::Does;
use super::moving::Item;
use super::{App, Effect, Pane};
use crate::engine::filter::Filter;
use crate::engine::query::{Focus, PrefixLengths, Query, Sort, View};
use crate::engine::table::Key;

/// The lengths of prefixes that are stepped through, for IPv4 and IPv6.
const LENGTHS: [(u8, u8); 12] = [
    (8, 32),
    (12, 36),
    (16, 40),
    (18, 44),
    (20, 48),
    (22, 56),
    (24, 64),
    (25, 72),
    (26, 80),
    (28, 96),
    (30, 112),
    (32, 128),
];

impl App {
    /// Does what only the engine can answer.
    pub(super) fn ask_for(&mut self, does: Does) {
        match does {
            Does::Refresh if self.frozen => self.refuse_frozen(),
            Does::Refresh => self.effect(Effect::Act(Action::Refresh)),
            Does::Show(view) => self.show(view),
            Does::NextView => self.show(neighbour(self.query.view, 1)),
            Does::PreviousView => self.show(neighbour(self.query.view, -1)),
            Does::SortNext => self.sort_beside(1),
            Does::SortPrevious => self.sort_beside(-1),
            Does::Reverse => {
                let Sort { column, reverse } = self.query.sort;
                self.sort(Sort { column, reverse: !reverse });
            }
            Does::Longer => self.change_lengths(1),
            Does::Shorter => self.change_lengths(-1),
            Does::NextNetns => self.show_netns(1),
            Does::PreviousNetns => self.show_netns(-1),
            _ => {}
        }
    }

    /// Asks, unless the picture is frozen; says whether it did.
    pub(super) fn ask(&mut self, query: Query) -> bool {
        if self.frozen {
            self.refuse_frozen();
            return false;
        }
        self.query = query;
        self.changed = true;
        self.waiting = true;
        let query = self.query.clone();
        // Of several questions in a row only the last is of interest.
        self.effects.retain(|effect| !matches!(effect, Effect::Act(Action::Ask(_))));
        self.effect(Effect::Act(Action::Ask(query)));
        true
    }

    pub(super) fn refuse_frozen(&mut self) {
        self.tell(Err("the picture is frozen, and that needs a new one: p to go on".into()));
    }

    /// Changes to a view. What a frozen picture has can still be shown.
    fn show(&mut self, view: View) {
        let Sort { column, reverse } = self.query.sort;
        let sortable = columns::sortable(view).contains(&column);
        let sort = if sortable { Sort { column, reverse } } else { Sort::default() };
        let query = Query { view, sort, focus: None, rows: super::moving::ROWS, ..self.query.clone() };
        let kept = !view.has_table() || self.shown.as_ref().is_some_and(|shown| shown.table.view == view);
        if self.frozen && kept {
            self.query = query;
        } else if !self.ask(query) {
            return;
        }
        self.top();
        self.pane = None;
        self.back.clear();
    }

    fn sort_beside(&mut self, step: isize) {
        let columns = columns::sortable(self.query.view);
        let at = columns.iter().position(|column| *column == self.query.sort.column).unwrap_or(0);
        let next = at.wrapping_add_signed(step).min(columns.len());
        let next = if at == 0 && step < 0 { columns.len() - 1 } else { next % columns.len() };
        self.sort(Sort { column: columns[next], reverse: self.query.sort.reverse });
    }

    fn sort(&mut self, sort: Sort) {
        if !self.query.view.has_table() {
            return self.tell(Err(format!("{} have an order of their own", self.query.view.as_str())));
        }
        self.ask(Query { sort, ..self.query.clone() });
    }

    fn change_lengths(&mut self, step: isize) {
        if self.query.view != View::Prefixes {
            return self.tell(Err("prefixes have a length: 2 shows them".into()));
        }
        let now = self.query.prefix.v4;
        let at = match step {
            1.. => LENGTHS.iter().position(|(v4, _)| *v4 > now),
            _ => LENGTHS.iter().rposition(|(v4, _)| *v4 < now),
        };
        match at {
            Some(at) => {
                let (v4, v6) = LENGTHS[at];
                self.ask(Query { prefix: PrefixLengths { v4, v6 }, ..self.query.clone() });
            }
            None => self.tell(Err(format!("/{now} is as far as it goes"))),
        }
    }

    /// The worst one first, then each by its number, and round.
    fn show_netns(&mut self, step: isize) {
        let Some(shown) = &self.shown else { return };
        let mut known: Vec<Option<u32>> = shown.netns.iter().map(|row| Some(row.netns)).collect();
        known.sort_unstable();
        known.insert(0, None);
        if known.len() <= 2 {
            return self.tell(Err("there is but one network namespace".into()));
        }
        let at = known.iter().position(|netns| *netns == self.query.netns).unwrap_or(0);
        let next = (at + known.len()).wrapping_add_signed(step) % known.len();
        self.ask(Query { netns: known[next], ..self.query.clone() });
    }

    /// Sets the time between two looks.
    pub(super) fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
        self.effect(Effect::Act(Action::Interval(interval)));
    }

    /// Looks closely at the selected row, or at what it groups.
    pub(super) fn enter(&mut self) {
        let Some(item) = self.item() else { return };
        let filter = self.query.filter.clone();
        let narrowed = match item {
            Item::Row(Key::Source(src, netns)) => return self.focus(Focus { netns, src }),
            Item::Cause(name) => return self.open(Pane::Cause(name)),
            Item::Episode(netns, start) => return self.open(Pane::Episode(netns, start)),
            Item::Row(Key::State(_)) => {
                return self
                    .tell(Err("states cannot be narrowed to: an entry changes its own unseen".into()));
            }
            Item::Row(Key::Prefix(src)) => Filter { src: Some(src), ..filter },
            Item::Row(Key::Destination(dst)) => Filter { dst: Some(IpNet::from(dst)), ..filter },
            Item::Row(Key::Port(proto, port)) => {
                Filter { proto: Some(proto), dport: proto.has_ports().then_some(port), ..filter }
            }
            Item::Row(Key::Netns(netns)) => Filter { netns: Some(vec![netns]), ..filter },
        };
        let before = (self.query.clone(), self.selected);
        let rows = super::moving::ROWS;
        if self.ask(Query { view: View::Sources, filter: narrowed, rows, ..self.query.clone() }) {
            self.top();
            self.back.push(before);
        }
    }

    fn focus(&mut self, focus: Focus) {
        if self.query.focus == Some(focus) {
            return;
        }
        let before = (self.query.clone(), self.selected);
        if self.ask(Query { focus: Some(focus), ..self.query.clone() }) {
            self.scrolled = 0;
            self.back.push(before);
        }
    }

    fn open(&mut self, pane: Pane) {
        self.pane = Some(pane);
        self.scrolled = 0;
    }

    /// Out of a pane, else to the question before, else out of a search.
    pub(super) fn go_back(&mut self) {
        if self.pane.take().is_some() {
            self.scrolled = 0;
        } else if let Some((query, selected)) = self.back.last().cloned() {
            // Other namespaces and orders chosen meanwhile stay.
            let Query { sort, prefix, netns, .. } = self.query;
            if self.ask(Query { sort, prefix, netns, ..query }) {
                self.back.pop();
                self.top();
                self.selected = selected;
            }
        } else if self.query.focus.is_some() {
            self.ask(Query { focus: None, ..self.query.clone() });
        } else {
            self.search.clear();
            self.seeking = false;
        }
    }
}

fn neighbour(view: View, step: isize) -> View {
    let all = View::ALL;
    let at = all.iter().position(|it| *it == view).unwrap_or(0);
    all[(at + all.len()).wrapping_add_signed(step) % all.len()]
}
