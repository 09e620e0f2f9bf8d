//! The gauge: count of limit, with marks where it gets serious.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::figures;
use super::scene::{Scene, put};
use super::theme::Look;
use crate::engine::gauge::Level;
use crate::engine::saturation::State;
use crate::engine::snapshot::NetnsRow;

/// From this share of the limit on, the kernel's own garbage collection evicts (`gc_worker`, nf_conntrack_core.c).
pub const CRITICAL_PERCENT: u8 = 95;

/// The least width that is worth a bar.
const LEAST_BAR: u16 = 10;

/// Draws one row: the bar and, behind it, the figures.
pub fn draw(buffer: &mut Buffer, area: Rect, scene: &Scene<'_>, row: &NetnsRow) {
    let figures = figures(scene, row);
    let width = u16::try_from(figures.width()).unwrap_or(u16::MAX).saturating_add(1);
    let bar = Rect { width: area.width.saturating_sub(width), ..area };
    let (Some(percent), true) = (row.level.percent(), bar.width >= LEAST_BAR) else {
        return put(buffer, area, 0, scene.look, &figures);
    };
    draw_bar(buffer, bar, scene, percent);
    put(buffer, Rect { x: bar.right() + 1, width: width - 1, ..area }, 0, scene.look, &figures);
}

fn draw_bar(buffer: &mut Buffer, area: Rect, scene: &Scene<'_>, percent: f64) {
    let (look, warn) = (scene.look, scene.snapshot.thresholds.warn_percent);
    let inner = area.width - 2;
    let eighths = (percent / 100.0 * f64::from(inner) * 8.0) as usize;
    let style = fill(look, percent, warn);
    let mut cells: Vec<(char, Style)> = (0..usize::from(inner))
        .map(|cell| match eighths.saturating_sub(cell * 8).min(8) {
            0 => (look.empty(), look.faint()),
            filled => (look.across(filled), style),
        })
        .collect();
    for (mark, style) in [(warn, look.warn()), (CRITICAL_PERCENT, look.bad())] {
        let at = usize::from(mark) * usize::from(inner) / 100;
        if let Some(cell) = cells.get_mut(at) {
            *cell = (look.mark(), style);
        }
    }
    let mut line = Line::raw("[");
    line.extend(cells.into_iter().map(|(cell, style)| Span::styled(cell.to_string(), style)));
    line.push_span("]");
    put(buffer, area, 0, look, &line);
}

/// The colour of a share of the limit.
pub fn fill(look: Look, percent: f64, warn: u8) -> Style {
    match percent {
        p if p >= f64::from(CRITICAL_PERCENT) => look.bad(),
        p if p >= f64::from(warn) => look.warn(),
        _ => look.good(),
    }
}

fn figures<'a>(scene: &Scene<'_>, row: &NetnsRow) -> Line<'a> {
    let look = scene.look;
    let Some((count, max)) = row.level.limited() else {
        let known = |value: Option<u32>| value.map_or_else(|| "?".into(), figures::grouped);
        let Level { count, max } = row.level;
        let limit = if max == Some(0) { "no limit".into() } else { format!("limit {}", known(max)) };
        return Line::from(format!("{} entries, {limit}", known(count)));
    };
    let percent = row.level.percent().unwrap_or_default();
    let mut line = Line::from(vec![
        Span::styled(figures::grouped(count), look.strong()),
        Span::raw(format!(" of {}  ", figures::grouped(max))),
        Span::styled(format!("{percent:.1}%"), fill(look, percent, scene.snapshot.thresholds.warn_percent)),
        Span::raw("  "),
    ]);
    line.push_span(ahead(look, row, count, max));
    line
}

/// Will it fill?
fn ahead<'a>(look: Look, row: &NetnsRow, count: u32, max: u32) -> Span<'a> {
    let net = row.rates.new - row.rates.freed;
    // It stays a little below the limit while one leaves for each that comes.
    let saturated = row.state >= State::Evicting && row.level.reaches(CRITICAL_PERCENT);
    match row.seconds_to_full() {
        _ if count >= max || saturated => Span::styled("full", look.loud()),
        Some(seconds) if seconds < 900.0 => {
            Span::styled(format!("full in {}", figures::span(seconds)), look.bad())
        }
        Some(seconds) if seconds < 3600.0 => {
            Span::styled(format!("full in {}", figures::span(seconds)), look.warn())
        }
        Some(seconds) if seconds < 86_400.0 => Span::raw(format!("full in {}", figures::span(seconds))),
        Some(_) => Span::raw("steady"),
        None if net < -0.05 => Span::styled("draining", look.good()),
        None => Span::raw("steady"),
    }
}
