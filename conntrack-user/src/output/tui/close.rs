//! One source looked at closely: where to, which ports, in what states, how old, refused when; and why it holds so much.

use std::fmt::Display;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::figures;
use super::incidents;
use super::scene::{Scene, put, rows};
use crate::engine::holders::AGE_BOUNDS_S;
use crate::engine::notice::Notice;
use crate::engine::query::Focus;
use crate::engine::snapshot::Close;
use crate::engine::tally::Ranking;
use crate::engine::tuple::Proto;

/// Where the lines of it are drawn that can be scrolled.
pub fn body(area: Rect) -> Rect {
    rows(area, 3, area.height)
}

/// A block: its head and its lines.
struct Block {
    head: &'static str,
    rows: Vec<(String, u64)>,
}

/// Draws it from a line on, and says how many lines there are in all.
pub fn draw(buffer: &mut Buffer, area: Rect, scene: &Scene<'_>, focus: Focus, scrolled: usize) -> usize {
    let look = scene.look;
    scene.want_name(focus.src);
    let close = scene.snapshot.focus.as_ref().filter(|close| close.focus == focus);
    let Some(close) = close else {
        let words = format!("{}: nothing is known of it", focus.src);
        put(buffer, area, 0, look, &Line::from(Span::styled(words, look.warn())));
        return 1;
    };
    put(buffer, area, 0, look, &title(scene, close));
    put(buffer, area, 1, look, &sums(scene, close));
    put(buffer, area, 2, look, &occupancy(scene, close));
    let lines = lines(scene, close, area.width);
    let body = body(area);
    let from = scrolled.min(lines.len().saturating_sub(usize::from(body.height)));
    for (row, line) in (0..body.height).zip(&lines[from..]) {
        put(buffer, body, row, look, line);
    }
    lines.len()
}

fn title<'a>(scene: &Scene<'_>, close: &Close) -> Line<'a> {
    let (look, row) = (scene.look, &close.row);
    Line::from(vec![
        Span::styled(scene.address(close.focus.src), look.title()),
        Span::raw(format!("  netns {}", scene.netns_name(close.focus.netns))),
        Span::raw("  holds "),
        Span::styled(figures::grouped(row.entries), look.strong()),
        Span::raw(format!(" entries, {} of all", figures::percent(row.entries, scene.snapshot.entries))),
    ])
}

fn sums<'a>(scene: &Scene<'_>, close: &Close) -> Line<'a> {
    let (look, row) = (scene.look, &close.row);
    let mut line = Line::from(vec![
        Span::styled("new ", look.label()),
        Span::raw(format!("{}/s", figures::rate(row.new_per_s))),
    ]);
    let sums = &row.sums;
    for (what, count) in [
        ("refused", sums.refused),
        ("evicted", sums.evicted),
        ("failed", sums.failed),
        ("unconfirmed", sums.unconfirmed),
    ] {
        let style = if count > 0 { look.bad() } else { look.faint() };
        if count == 0 && matches!(what, "failed" | "unconfirmed") {
            continue;
        }
        line.push_span(Span::styled(format!("  {what} "), look.label()));
        line.push_span(Span::styled(figures::grouped(count), style));
        if let ("refused", Some(last)) = (what, close.refusals.first()) {
            line.push_span(format!(", last {}", scene.clock(last.ktime_ns, 9)));
        }
    }
    if let Some(oldest) = row.oldest_ns {
        line.push_span(Span::styled("  oldest ", look.label()));
        line.push_span(figures::span_ns(oldest));
    }
    line
}

/// Why it holds as many as it does.
fn occupancy<'a>(scene: &Scene<'_>, close: &Close) -> Line<'a> {
    let look = scene.look;
    let mut line = Line::from(Span::styled("occupancy = rate x lifetime = ", look.label()));
    match (close.occupancy(), close.row.mean_lifetime_ns) {
        (Some(occupancy), Some(lifetime)) => {
            let (rate, lifetime) = (figures::rate(close.arrivals_per_s), figures::span_ns(lifetime));
            let words = format!("{rate}/s x {lifetime} = {}", figures::grouped(occupancy.round()));
            line.push_span(Span::styled(words, look.strong()));
            line.push_span(format!("; holds {}", figures::grouped(close.row.entries)));
        }
        _ => {
            let rate = figures::rate(close.arrivals_per_s);
            line.push_span(format!("{rate}/s x ?: no entry of it has ended yet"));
        }
    }
    line
}

/// All that can be scrolled: the blocks in one, two or four columns, then the refusals.
fn lines<'a>(scene: &Scene<'_>, close: &Close, width: u16) -> Vec<Line<'a>> {
    let blocks = blocks(scene, close);
    let beside = match width {
        0..60 => 1,
        60..160 => 2,
        _ => 4,
    };
    let width = usize::from(width) / beside;
    let mut lines = Vec::new();
    for blocks in blocks.chunks(beside) {
        let height = blocks.iter().map(|block| block.rows.len()).max().unwrap_or(0) + 1;
        for row in 0..height {
            let mut line = Line::default();
            blocks.iter().for_each(|block| block.cells(scene, row, width, &mut line));
            lines.push(line);
        }
        lines.push(Line::default());
    }
    let look = scene.look;
    lines.push(Line::from(Span::styled("last refusals, newest first", look.head())));
    if close.refusals.is_empty() {
        lines.push(Line::from(Span::styled(" none that is remembered", look.label())));
    }
    lines.extend(close.refusals.iter().map(|refusal| incidents::line(scene, &Notice::Refused(*refusal))));
    lines
}

fn blocks(scene: &Scene<'_>, close: &Close) -> [Block; 4] {
    close.destinations.top.iter().for_each(|(address, _)| scene.want_name(*address));
    let port = |(proto, port): (Proto, u16)| {
        if proto.has_ports() { format!("{proto} {port}") } else { proto.to_string() }
    };
    let bounds =
        ["under 1 s", "1 to 10 s", "10 s to 1 min", "1 to 10 min", "10 min to 1 h", "1 h to 1 d", "over 1 d"];
    const { assert!(AGE_BOUNDS_S.len() == 6 && AGE_BOUNDS_S[5] == 86_400, "the words above") };
    let mut ages: Vec<_> = bounds.map(str::to_owned).into_iter().zip(close.ages).collect();
    ages.push(("older than ctwatch".into(), close.age_unknown));
    ages.retain(|(_, entries)| *entries > 0);
    [
        Block { head: "destinations", rows: ranked(&close.destinations, |it| scene.address(it)) },
        Block { head: "ports", rows: ranked(&close.ports, port) },
        Block { head: "states, by the last audit", rows: ranked(&close.states, |it| it.to_string()) },
        Block { head: "ages", rows: ages },
    ]
}

fn ranked<K: Copy, D: Display>(ranking: &Ranking<K>, key: impl Fn(K) -> D) -> Vec<(String, u64)> {
    let rows = ranking.top.iter().map(|(it, count)| (key(*it).to_string(), *count));
    rows.chain((ranking.other > 0).then(|| ("others".into(), ranking.other))).collect()
}

impl Block {
    /// Appends one row of it to a line: key, entries, share, and a bar where there is room.
    fn cells(&self, scene: &Scene<'_>, row: usize, width: usize, line: &mut Line<'_>) {
        let look = scene.look;
        let all: u64 = self.rows.iter().map(|(_, count)| count).sum();
        let bar = if width >= 50 { width - 40 } else { 6 };
        let bar = bar.min(20);
        let key = width.saturating_sub(8 + 7 + bar + 3).max(1);
        let Some((name, count)) = row.checked_sub(1).and_then(|row| self.rows.get(row)) else {
            let head = if row == 0 { self.head } else { "" };
            let style = if row == 0 { look.head() } else { Default::default() };
            line.push_span(Span::styled(head, style));
            line.push_span(" ".repeat(width.saturating_sub(head.len())));
            return;
        };
        let eighths = count.saturating_mul(8 * bar as u64).checked_div(all).unwrap_or(0) as usize;
        let filled: String = (0..bar).map(|at| look.across(eighths.saturating_sub(at * 8).min(8))).collect();
        let name = super::scene::clip(name, key, look);
        line.push_span(format!("{name:<key$}"));
        line.push_span(Span::styled(format!("{:>8}", figures::short(*count)), look.strong()));
        line.push_span(format!("{:>7} ", figures::percent(*count, all)));
        line.push_span(Span::styled(filled, look.title()));
        line.push_span("  ");
    }
}
