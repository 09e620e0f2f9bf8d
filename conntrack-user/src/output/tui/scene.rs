//! What a widget draws from, and how a line is put on the screen.

use std::net::IpAddr;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::figures;
use super::names::Book;
use super::theme::Look;
use crate::engine::query::Query;
use crate::engine::snapshot::{NetnsRow, Snapshot};

/// One picture: a snapshot and how it is looked at.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// What is shown.
    pub snapshot: &'a Snapshot,
    /// What was asked for.
    pub query: &'a Query,
    /// How it looks.
    pub look: Look,
    /// Whether the picture is kept while the engine goes on.
    pub frozen: bool,
    /// The names known, if they are wanted.
    pub names: Option<&'a Book>,
}

impl<'a> Scene<'a> {
    /// The network namespace of the header: the one asked for, or the worst.
    pub fn netns(&self) -> Option<&'a NetnsRow> {
        let rows = &self.snapshot.netns;
        self.query.netns.and_then(|asked| rows.iter().find(|row| row.netns == asked)).or(rows.first())
    }

    /// A network namespace by its name, or else by its number.
    pub fn netns_name(&self, inum: u32) -> String {
        let row = self.snapshot.netns.iter().find(|row| row.netns == inum);
        row.and_then(|row| row.name.clone()).unwrap_or_else(|| inum.to_string())
    }

    /// An address, with its name where that is wanted and known.
    pub fn address(&self, address: IpAddr) -> String {
        match self.names.and_then(|names| names.known(address)) {
            Some(name) => format!("{address} {name}"),
            None => address.to_string(),
        }
    }

    /// An address is on the screen: its name is asked for, where names are wanted.
    pub fn want_name(&self, address: IpAddr) {
        if let Some(names) = self.names {
            names.want(address);
        }
    }

    /// How long ago something was.
    pub fn ago(&self, ktime_ns: u64) -> String {
        figures::span_ns(self.snapshot.ktime_ns.saturating_sub(ktime_ns))
    }

    /// The time of day of a moment.
    pub fn clock(&self, ktime_ns: u64, decimals: usize) -> String {
        figures::clock(self.snapshot.wall, ktime_ns, self.snapshot.ktime_ns, decimals)
    }
}

/// Puts a line on a row of an area, if there is such a row; what does not fit ends in an ellipsis.
pub fn put(buffer: &mut Buffer, area: Rect, row: u16, look: Look, line: &Line<'_>) {
    if row >= area.height || area.width == 0 {
        return;
    }
    let (x, y) = (area.x, area.y + row);
    buffer.set_line(x, y, line, area.width);
    if line.width() > usize::from(area.width) {
        buffer[(x + area.width - 1, y)].set_char(look.ellipsis());
    }
}

/// Puts a line at the right end of a row.
pub fn put_right(buffer: &mut Buffer, area: Rect, row: u16, look: Look, line: &Line<'_>) {
    let width = u16::try_from(line.width()).unwrap_or(u16::MAX).min(area.width);
    let right = Rect { x: area.right() - width, width, ..area };
    put(buffer, right, row, look, line);
}

/// Rows of an area from one on, at most so many.
pub fn rows(area: Rect, from: u16, height: u16) -> Rect {
    let from = from.min(area.height);
    Rect { y: area.y + from, height: height.min(area.height - from), ..area }
}

/// Columns of an area from one on, at most so many.
pub fn columns(area: Rect, from: u16, width: u16) -> Rect {
    let from = from.min(area.width);
    Rect { x: area.x + from, width: width.min(area.width - from), ..area }
}

/// Cut to a width, with an ellipsis where something is missing.
pub fn clip(text: &str, width: usize, look: Look) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    if width == 0 { kept } else { format!("{kept}{}", look.ellipsis()) }
}
