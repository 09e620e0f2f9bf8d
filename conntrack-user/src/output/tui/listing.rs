//! The two lists that are no table of entries: causes and episodes.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::app::{App, Item};
use super::episode::folded;
use super::figures;
use super::scene::{Scene, columns, put, rows};
use super::table;
use crate::engine::episode::Episode;
use crate::engine::snapshot::Snapshot;
use crate::output::causes;

/// Draws every cause: how often, what it means, what to do.
pub fn causes(buffer: &mut Buffer, area: Rect, app: &mut App, snapshot: &Snapshot) {
    let scene = app.scene(snapshot);
    let look = scene.look;
    let since = scene.clock(snapshot.since_ktime_ns, 0);
    let title =
        vec![Span::styled("causes", look.title()), Span::raw(format!("  since {since}, in all namespaces"))];
    put(buffer, area, 0, look, &Line::from(title));
    let head = format!(" {:<15} {:>9} {:>8}  {:<80} ", "CAUSE", "TOTAL", "PER S", "WHAT IT MEANS");
    put(buffer, area, 1, look, &Line::from(Span::styled(head, look.head())));
    let lines = snapshot.causes.iter().map(|row| {
        let style = if row.total > 0 { look.bad() } else { look.faint() };
        let cause = causes::cause(row.cause);
        Line::from(vec![
            Span::styled(
                format!(" {:<15}", row.cause),
                if row.total > 0 { look.strong() } else { look.label() },
            ),
            Span::styled(
                format!(" {:>9} {:>8}  ", figures::short(row.total), figures::rate(row.per_s)),
                style,
            ),
            Span::raw(cause.map(|cause| cause.meaning).unwrap_or_default()),
        ])
    });
    let lines: Vec<_> = lines.collect();
    let room = area.height.saturating_sub(2 + 5).max(1);
    list(buffer, rows(area, 2, room), app, lines, look.selected());
    let items = app.items();
    let Some(Item::Cause(name)) = items.get(app.cursor(&items)) else { return };
    let Some(cause) = causes::cause(name) else { return };
    let below = rows(area, 2 + room.min(items.len() as u16) + 1, 6);
    let text = columns(below, 9, below.width);
    let mut row = 0;
    for (what, words) in [("means", cause.meaning), ("counted", cause.counted_as), ("remedy", cause.remedy)] {
        put(buffer, below, row, look, &Line::from(Span::styled(format!(" {what}"), look.title())));
        for line in folded(words, text.width.into(), 0) {
            put(buffer, text, row, look, &Line::from(line));
            row += 1;
        }
    }
}

/// Draws every episode that is remembered, the latest first.
pub fn episodes(buffer: &mut Buffer, area: Rect, app: &mut App, snapshot: &Snapshot) {
    let scene = app.scene(snapshot);
    let look = scene.look;
    let title = vec![
        Span::styled("episodes", look.title()),
        Span::raw(format!(
            "  {} remembered, the latest first; Enter shows all of one",
            snapshot.episodes.len()
        )),
    ];
    put(buffer, area, 0, look, &Line::from(title));
    // Of another day they have a date.
    let began = snapshot.episodes.iter().map(|it| scene.clock(it.start_ktime_ns, 6).len());
    let began = began.max().unwrap_or("BEGAN".len());
    let head = format!(
        " {:<began$} {:<12} {:<7} {:>7} {:>7}  {:<50}",
        "BEGAN", "NETNS", "LASTED", "REFUSED", "EVICTED", "HELD BY"
    );
    put(buffer, area, 1, look, &Line::from(Span::styled(head, look.head())));
    let lines: Vec<_> = snapshot.episodes.iter().rev().map(|it| episode(&scene, it, began)).collect();
    if lines.is_empty() {
        put(buffer, area, 2, look, &Line::from(" nothing was refused or evicted since it attached"));
    }
    list(buffer, rows(area, 2, area.height), app, lines, look.selected());
}

fn episode<'a>(scene: &Scene<'_>, it: &Episode, width: usize) -> Line<'a> {
    let look = scene.look;
    let began = scene.clock(it.start_ktime_ns, 6);
    let lasted = match it.end_ktime_ns {
        Some(end) => Span::raw(format!("{:<7}", figures::span_ns(end.saturating_sub(it.start_ktime_ns)))),
        None => Span::styled(format!("{:<7}", "goes on"), look.loud()),
    };
    let all = it.holders.sources.total();
    let held = it.holders.sources.top.iter().take(3);
    let held = held.map(|(src, entries)| format!("{src} {}", figures::percent(*entries, all)));
    let held: Vec<_> = held.collect();
    let (refused, evicted) = (it.refused.total(), it.evicted);
    let hurt = |count: u64| if count > 0 { look.bad() } else { look.faint() };
    Line::from(vec![
        Span::raw(format!(" {began:<width$} {:<12} ", scene.netns_name(it.netns))),
        lasted,
        Span::styled(format!(" {:>7}", figures::short(refused)), hurt(refused)),
        Span::styled(format!(" {:>7}  ", figures::short(evicted)), hurt(evicted)),
        Span::raw(held.join(", ")),
    ])
}

/// Draws lines with the cursor on one of them.
fn list(
    buffer: &mut Buffer,
    area: Rect,
    app: &mut App,
    lines: Vec<Line<'_>>,
    selected: ratatui::style::Style,
) {
    let items = app.items();
    let cursor = app.cursor(&items);
    app.page = usize::from(area.height).max(1);
    app.offset = table::offset(app.offset, cursor, app.page, lines.len());
    for (row, (at, line)) in (0..area.height).zip(lines.iter().enumerate().skip(app.offset)) {
        put(buffer, area, row, app.look, line);
        if at == cursor {
            buffer.set_style(rows(area, row, 1), selected);
        }
    }
}
