//! What happened last: edges, refusals, evictions, failures, losses; newest first, in the words of `watch`.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::scene::{Scene, put, rows};
use super::theme::Look;
use crate::engine::notice::{Incident, Notice};
use crate::output::text;

/// Draws a rule with the title, and as many as there is room for.
pub fn draw(buffer: &mut Buffer, area: Rect, scene: &Scene<'_>) {
    let (look, recent) = (scene.look, &scene.snapshot.recent);
    let rule: String = std::iter::repeat_n(look.rule(), area.width.into()).collect();
    put(buffer, area, 0, look, &Line::from(Span::styled(rule, look.faint())));
    let room = usize::from(area.height.saturating_sub(1));
    let more = if recent.len() > room { format!(", the last {room}") } else { String::new() };
    let title = Span::styled(format!(" incidents{more}, newest first "), look.title());
    put(buffer, rows(area, 0, 1), 0, look, &Line::from(title));
    if recent.is_empty() {
        put(buffer, area, 1, look, &Line::from(Span::styled(" none since it attached", look.label())));
    }
    for (row, notice) in (1..area.height).zip(recent) {
        put(buffer, area, row, look, &line(scene, notice));
    }
}

/// A notice, its time without a date that goes without saying.
pub fn line<'a>(scene: &Scene<'_>, notice: &Notice) -> Line<'a> {
    let mut written = Vec::new();
    // Writing into memory does not fail.
    let _ = text::notice(&mut written, notice, scene.snapshot.wall);
    let written = String::from_utf8_lossy(&written).trim_end().to_owned();
    let words = written.split_once(' ').map_or("", |(_, words)| words);
    let (kind, rest) = words.split_once(' ').unwrap_or((words, ""));
    Line::from(vec![
        Span::styled(format!(" {} ", scene.clock(notice.ktime_ns(), 9)), scene.look.label()),
        Span::styled(format!("{kind:<7} "), style(scene.look, notice)),
        Span::raw(rest.trim_start().to_owned()),
    ])
}

fn style(look: Look, notice: &Notice) -> Style {
    match notice {
        Notice::Edge { edge, .. } => look.state(edge.state),
        Notice::Refused(_) | Notice::Lost(_) | Notice::Gap(_) | Notice::Unrecorded(_) => look.bad(),
        Notice::Summed(summed) if matches!(summed.of, Incident::Refused(_)) => look.bad(),
        Notice::Summed(_) | Notice::Evicted(_) | Notice::InsertFailed(_) | Notice::Counted(_) => look.warn(),
        Notice::New { .. } | Notice::Free(_) | Notice::Audited(_) => look.label(),
    }
}
