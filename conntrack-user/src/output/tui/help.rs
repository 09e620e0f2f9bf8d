//! The keys, from the table the program acts by.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::keys::{Binding, TABLE};
use super::scene::{columns, put, put_right, rows};
use super::theme::Look;

/// The least width of a column of keys.
const WIDTH: u16 = 38;

/// Draws the table from a row on, in as many columns as fit, and says how many rows it has.
pub fn draw(buffer: &mut Buffer, area: Rect, look: Look, from: usize) -> usize {
    let title = "keys; those of iptstate and top where they have one";
    put(buffer, area, 0, look, &Line::from(Span::styled(title, look.title())));
    put_right(buffer, area, 0, look, &Line::from(Span::styled(" Esc goes back", look.label())));
    let body = rows(area, 1, area.height);
    let beside = usize::from(area.width / WIDTH).clamp(1, 3);
    let height = TABLE.len().div_ceil(beside);
    let from = from.min(height.saturating_sub(usize::from(body.height)));
    let width = area.width / beside as u16;
    for (at, bindings) in (0..).zip(TABLE.chunks(height)) {
        let column = columns(body, at * width, width.saturating_sub(1));
        for (row, binding) in (0..column.height).zip(bindings.iter().skip(from)) {
            put(buffer, column, row, look, &line(binding, look));
        }
    }
    height
}

fn line<'a>(binding: &Binding, look: Look) -> Line<'a> {
    let keys: Vec<_> = binding.keys.iter().map(ToString::to_string).collect();
    Line::from(vec![
        Span::styled(format!("{:>13}", keys.join(" ")), look.strong()),
        Span::raw(format!("  {}", binding.help)),
    ])
}
