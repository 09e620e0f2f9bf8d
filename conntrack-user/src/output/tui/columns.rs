//! The columns of a table: which there are, which fit, what stands in them.

use super::figures;
use super::scene::Scene;
use crate::engine::query::{Column, Sort, View};
use crate::engine::sources::Sums;
use crate::engine::table::{Key, Other, Row};

/// A column besides the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Name or number of the network namespace.
    Netns,
    /// The state of a network namespace.
    State,
    /// Count in hundredths of the limit.
    Filled,
    /// The limit.
    Max,
    /// The share as a bar.
    Bar,
    /// The share in hundredths.
    Share,
    /// One that the engine sorts by.
    Of(Column),
}

/// How a column is headed, how wide it is, and how soon it goes where there is no room: the highest first.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// What stands in it.
    pub cell: Cell,
    /// Its head.
    pub head: &'static str,
    /// Its width.
    pub width: u16,
    rank: u8,
}

const fn spec(cell: Cell, head: &'static str, width: u16, rank: u8) -> Spec {
    Spec { cell, head, width, rank }
}

/// All, in the order they stand.
const SPECS: [Spec; 14] = [
    spec(Cell::Netns, "NETNS", 12, 2),
    spec(Cell::State, "STATE", 9, 2),
    spec(Cell::Of(Column::Entries), "ENTRIES", 8, 0),
    spec(Cell::Max, "MAX", 8, 4),
    spec(Cell::Filled, "FILLED", 6, 2),
    spec(Cell::Share, "SHARE", 6, 0),
    spec(Cell::Bar, "", 12, 10),
    spec(Cell::Of(Column::New), "NEW/S", 8, 3),
    spec(Cell::Of(Column::Refused), "REFUSED", 8, 1),
    spec(Cell::Of(Column::Evicted), "EVICTED", 8, 4),
    spec(Cell::Of(Column::Failed), "FAILED", 7, 7),
    spec(Cell::Of(Column::Unconfirmed), "UNCONFIRMED", 12, 8),
    spec(Cell::Of(Column::Lifetime), "LIFETIME", 9, 6),
    spec(Cell::Of(Column::Oldest), "OLDEST", 7, 5),
];

/// The greatest width of the bar.
const WIDEST_BAR: u16 = 50;

/// The columns that fit into a width beside the key; the one sorted by stays longest, the bar takes what is left.
pub fn fitting(scene: &Scene<'_>, view: View, width: u16) -> Vec<Spec> {
    let many = scene.snapshot.netns.len() > 1;
    let there = |spec: &Spec| match spec.cell {
        Cell::Netns => view == View::Sources && many,
        Cell::State | Cell::Filled | Cell::Max => view == View::Netns,
        Cell::Of(column) => sortable(view).contains(&column),
        Cell::Bar | Cell::Share => true,
    };
    let sorted = Cell::Of(scene.query.sort.column);
    let rank = |spec: &Spec| if spec.cell == sorted { 1 } else { spec.rank };
    let mut fitting: Vec<Spec> = SPECS.into_iter().filter(there).collect();
    while fitting.iter().map(|spec| spec.width + 1).sum::<u16>() > width {
        let least = fitting.iter().enumerate().max_by_key(|(_, spec)| rank(spec));
        match least {
            Some((at, spec)) if rank(spec) > 1 => drop(fitting.remove(at)),
            _ => break,
        }
    }
    let taken: u16 = fitting.iter().map(|spec| spec.width + 1).sum();
    if let Some(bar) = fitting.iter_mut().find(|spec| spec.cell == Cell::Bar) {
        bar.width = (bar.width + width.saturating_sub(taken)).min(WIDEST_BAR);
    }
    fitting
}

/// What a view can be sorted by, in the order of the screen: what it shows. By state only entries and ages are known.
pub fn sortable(view: View) -> &'static [Column] {
    match view {
        View::States => &[Column::Key, Column::Entries, Column::Oldest],
        _ => &Column::ALL,
    }
}

/// The head of the column of keys.
pub fn key_head(view: View) -> &'static str {
    match view {
        View::Sources => "SOURCE",
        View::Prefixes => "PREFIX",
        View::Destinations => "DESTINATION",
        View::Ports => "PORT",
        View::States => "STATE",
        View::Netns => "NETNS",
        View::Causes => "CAUSE",
        View::Episodes => "BEGAN",
    }
}

/// A head with the mark of the order, if it is sorted by.
pub fn head(scene: &Scene<'_>, head: &str, cell: Cell) -> String {
    let Sort { column, reverse } = scene.query.sort;
    if cell != Cell::Of(column) {
        return head.into();
    }
    // Keys stand least first, numbers greatest first, unless reversed.
    format!("{head}{}", scene.look.arrow((column == Column::Key) != reverse))
}

/// What a row is about.
pub fn key(scene: &Scene<'_>, key: &Key) -> String {
    match key {
        Key::Source(address, _) | Key::Destination(address) => scene.address(*address),
        Key::Netns(inum) => {
            let name = scene.netns_name(*inum);
            if name == inum.to_string() { name } else { format!("{name} ({inum})") }
        }
        Key::Prefix(_) | Key::Port(..) | Key::State(_) => key.to_string(),
    }
}

/// The figures of a row, or of all others.
#[derive(Clone, Copy)]
pub struct Figures<'a> {
    key: Option<&'a Key>,
    entries: u64,
    new_per_s: f64,
    sums: &'a Sums,
    mean_lifetime_ns: Option<u64>,
    oldest_ns: Option<u64>,
}

impl<'a> Figures<'a> {
    /// Of a row.
    pub fn row(row: &'a Row) -> Self {
        let Row { key, entries, new_per_s, sums, mean_lifetime_ns, oldest_ns } = row;
        let (mean_lifetime_ns, oldest_ns) = (*mean_lifetime_ns, *oldest_ns);
        Self { key: Some(key), entries: *entries, new_per_s: *new_per_s, sums, mean_lifetime_ns, oldest_ns }
    }

    /// Of all that no row accounts for.
    pub fn other(other: &'a Other) -> Self {
        let Other { entries, sums, new_per_s } = other;
        let (entries, new_per_s) = (*entries, *new_per_s);
        Self { key: None, entries, new_per_s, sums, mean_lifetime_ns: None, oldest_ns: None }
    }

    /// What stands in a column; nothing where it has no meaning.
    pub fn cell(&self, scene: &Scene<'_>, spec: &Spec) -> String {
        let all = scene.snapshot.entries;
        let span = |ns: Option<u64>| ns.map(figures::span_ns).unwrap_or_default();
        let netns = match self.key {
            Some(Key::Netns(inum)) => scene.snapshot.netns.iter().find(|row| row.netns == *inum),
            _ => None,
        };
        match spec.cell {
            Cell::Netns => match self.key {
                Some(Key::Source(_, inum)) => scene.netns_name(*inum),
                _ => String::new(),
            },
            Cell::State => netns.map(|row| row.state.as_str().to_owned()).unwrap_or_default(),
            Cell::Filled => {
                let percent = netns.and_then(|row| row.level.percent());
                percent.map(|percent| format!("{percent:.1}%")).unwrap_or_default()
            }
            Cell::Max => match netns.and_then(|row| row.level.max) {
                Some(0) => "none".into(),
                Some(max) => figures::short(max.into()),
                None => String::new(),
            },
            Cell::Share => figures::percent(self.entries, all),
            Cell::Bar => bar(scene, self.entries, all, spec.width.into()),
            Cell::Of(Column::Key) => String::new(),
            Cell::Of(Column::Entries) => figures::short(self.entries),
            Cell::Of(Column::New) => figures::rate(self.new_per_s),
            Cell::Of(Column::Refused) => figures::short(self.sums.refused),
            Cell::Of(Column::Evicted) => figures::short(self.sums.evicted),
            Cell::Of(Column::Failed) => figures::short(self.sums.failed),
            Cell::Of(Column::Unconfirmed) => figures::short(self.sums.unconfirmed),
            Cell::Of(Column::Lifetime) => span(self.mean_lifetime_ns),
            Cell::Of(Column::Oldest) => span(self.oldest_ns),
        }
    }
}

fn bar(scene: &Scene<'_>, part: u64, whole: u64, width: usize) -> String {
    let eighths = part.saturating_mul(8 * width as u64).checked_div(whole).unwrap_or(0) as usize;
    let filled = (0..width).map(|cell| scene.look.across(eighths.saturating_sub(cell * 8).min(8)));
    filled.collect()
}
