//! Panes that are read: a whole episode as it was frozen, a whole cause.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::scene::{Scene, put, put_right, rows};
use crate::output::{causes, text};

/// The lines of an episode, if it is still remembered.
pub fn episode(scene: &Scene<'_>, netns: u32, start_ktime_ns: u64) -> Vec<String> {
    let mut episodes = scene.snapshot.episodes.iter();
    let Some(it) = episodes.find(|it| it.netns == netns && it.start_ktime_ns == start_ktime_ns) else {
        return vec!["this episode is no longer remembered".into()];
    };
    let mut written = Vec::new();
    // Writing into memory does not fail.
    let _ = text::episode(&mut written, it, scene.snapshot.wall);
    String::from_utf8_lossy(&written).lines().map(str::to_owned).collect()
}

/// The lines of a cause.
pub fn cause(scene: &Scene<'_>, name: &str) -> Vec<String> {
    let row = scene.snapshot.causes.iter().find(|row| row.cause == name);
    let (total, per_s) = row.map_or((0, 0.0), |row| (row.total, row.per_s));
    let mut lines =
        vec![format!("{name}: {total} since it attached, {per_s:.1} per second now"), String::new()];
    if let Some(cause) = causes::cause(name) {
        lines.push(format!("  {}", cause.meaning));
        lines.push(format!("  conntrack -S counts it as: {}", cause.counted_as));
        lines.push(String::new());
        lines.extend(cause.remedy.split("; or, ").map(|remedy| format!("  {remedy}")));
    }
    lines
}

/// Where the text of an episode's details begins.
const INDENT: usize = 16;

/// Draws lines from one on, long ones folded, and says how many there are.
pub fn draw(
    buffer: &mut Buffer,
    area: Rect,
    scene: &Scene<'_>,
    title: &str,
    lines: &[String],
    from: usize,
) -> usize {
    let look = scene.look;
    put(buffer, area, 0, look, &Line::from(Span::styled(title.to_owned(), look.title())));
    put_right(buffer, area, 0, look, &Line::from(Span::styled(" Esc goes back", look.label())));
    let lines: Vec<String> = lines
        .iter()
        .flat_map(|line| folded(line, area.width.into(), INDENT.min(usize::from(area.width) / 3)))
        .collect();
    let body = rows(area, 1, area.height);
    let from = from.min(lines.len().saturating_sub(usize::from(body.height)));
    for (row, line) in (0..body.height).zip(&lines[from..]) {
        put(buffer, body, row, look, &Line::raw(line.as_str()));
    }
    lines.len()
}

/// A line in pieces that fit, each but the first indented.
pub fn folded(line: &str, width: usize, indent: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for word in line.split_inclusive(' ') {
        let piece = pieces.last_mut().expect("there is always a piece");
        if piece.trim().is_empty() || piece.chars().count() + word.trim_end().chars().count() <= width {
            piece.push_str(word);
        } else {
            pieces.push(format!("{:indent$}{word}", ""));
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_folded_between_words() {
        assert_eq!(folded("", 10, 4), [""]);
        assert_eq!(folded("  held by  a, b, c", 12, 4), ["  held by  ", "    a, b, c"]);
        assert_eq!(folded("aaaaaaaaaaaaaaaaaaaa b", 6, 2), ["aaaaaaaaaaaaaaaaaaaa ", "  b"]);
    }
}
