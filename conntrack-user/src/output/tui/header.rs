//! The header: is it full, since when, what does it do to whom, will it fill, and how much of that is known.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::figures;
use super::scene::{Scene, put, put_right, rows};
use super::{gauge, sparkline, trust};
use crate::engine::saturation::State;
use crate::engine::snapshot::NetnsRow;

/// A part of the header and the rows it takes. The order is that on the screen.
enum Part<'a> {
    Headline,
    Gauge(&'a NetnsRow),
    Text(Line<'a>),
    Sparklines(u16),
}

/// Draws as much as the height allows, the more important first, and says how many rows that took.
pub fn draw(buffer: &mut Buffer, area: Rect, scene: &Scene<'_>) -> u16 {
    let most = if area.height >= 23 { area.height } else { (area.height / 2).max(1) };
    let mut parts = parts(area, scene);
    let height = |part: &Part<'_>| match part {
        Part::Sparklines(height) => *height,
        _ => 1,
    };
    while parts.iter().map(|(_, part)| height(part)).sum::<u16>() > most && parts.len() > 1 {
        let least = parts.iter().enumerate().max_by_key(|(_, (importance, _))| *importance);
        let least = least.map_or(0, |(at, _)| at);
        parts.remove(least);
    }
    let mut row = 0;
    for (_, part) in parts {
        let place = rows(area, row, height(&part));
        row += height(&part);
        if place.is_empty() {
            continue;
        }
        match part {
            Part::Headline => headline(buffer, place, scene),
            Part::Gauge(netns) => gauge::draw(buffer, place, scene, netns),
            Part::Text(line) => put(buffer, place, 0, scene.look, &line),
            Part::Sparklines(_) => sparkline::draw(buffer, place, scene),
        }
    }
    row
}

/// Each part with its rank: those of the highest go first where there is no room.
fn parts<'a>(area: Rect, scene: &Scene<'a>) -> Vec<(u8, Part<'a>)> {
    let (bars, but) = match area.height {
        0..30 => (1, 1),
        30..40 => (3, 2),
        _ => (4, 5),
    };
    let mut parts = vec![(0, Part::Headline)];
    if let Some(netns) = scene.netns() {
        parts.push((1, Part::Gauge(netns)));
        parts.push((2, Part::Text(rates(scene, netns, area.width))));
        parts.push((5, Part::Text(room(scene, netns))));
        // That of another namespace may still be on its way.
        let history = &scene.snapshot.history;
        if !history.seconds.is_empty() && history.netns == netns.netns {
            parts.push((6, Part::Sparklines(bars)));
        }
    }
    parts.push((3, Part::Text(trust::line(scene, area.width))));
    parts.extend(trust::but_lines(scene, but).into_iter().map(|line| (4, Part::Text(line))));
    parts
}

/// Which namespace, its state and since when; the time of the picture at the right.
fn headline(buffer: &mut Buffer, area: Rect, scene: &Scene<'_>) {
    let (look, snapshot) = (scene.look, scene.snapshot);
    let mut line = Line::from(vec![Span::styled("ctwatch", look.title()), Span::raw("  ")]);
    match scene.netns() {
        None => line.push_span(Span::styled("no network namespace has been counted yet", look.warn())),
        Some(netns) => {
            let what = if area.width < WIDE && netns.name.is_some() { "" } else { "netns " };
            let name = scene.netns_name(netns.netns);
            line.push_span(Span::styled(format!("{what}{name}"), look.strong()));
            if netns.name.is_some() && area.width >= WIDE {
                line.push_span(format!(" ({})", netns.netns));
            }
            if snapshot.netns.len() > 1 {
                let which = if scene.query.netns.is_some() { "one" } else { "worst" };
                line.push_span(Span::styled(format!(" {which} of {}", snapshot.netns.len()), look.label()));
            }
            let state = netns.state.as_str().to_uppercase();
            line.push_span("  ");
            line.push_span(Span::styled(format!(" {state} "), look.state(netns.state)));
            let age = scene.ago(netns.since_ktime_ns);
            line.push_span(format!(" for {age}: {}", meaning(netns.state, area.width)));
        }
    }
    let time = scene.clock(snapshot.ktime_ns, 0);
    let mut right = Line::raw(" ");
    if scene.frozen {
        right.push_span(Span::styled(" FROZEN ", look.mode()));
        right.push_span(" ");
    }
    right.push_span(Span::styled(time, look.label()));
    let left = Rect { width: area.width.saturating_sub(right.width() as u16), ..area };
    put(buffer, left, 0, look, &line);
    if left.width > 30 {
        put_right(buffer, area, 0, look, &right);
    }
}

/// From this width on there is room for whole sentences.
const WIDE: u16 = 100;

/// What a state does to whom.
fn meaning(state: State, width: u16) -> &'static str {
    match state {
        State::Ok => "there is room",
        State::Recovered => "there is room again",
        State::Pressure => "above the warn level",
        State::Evicting if width < WIDE => "others are cut off",
        State::Evicting => "the table is full, entries that are not assured are cut off",
        State::Refusing if width < WIDE => "new connections dropped",
        State::Refusing => "the table is full, new connections are dropped",
    }
}

fn rates<'a>(scene: &Scene<'_>, netns: &NetnsRow, width: u16) -> Line<'a> {
    let (look, rates) = (scene.look, &netns.rates);
    let plain = Style::new();
    let wide = width >= WIDE;
    let before = if wide { "dropped before confirm" } else { "unconf." };
    let mut line = Line::from(Span::styled(if wide { "per second" } else { "/s" }, look.label()));
    for (what, per_s, style) in [
        ("new", rates.new, plain),
        ("freed", rates.freed, plain),
        ("refused", rates.refused, look.loud()),
        ("evicted", rates.evicted, look.bad()),
        ("failed", rates.failed, look.bad()),
        (before, rates.unconfirmed, look.warn()),
    ] {
        let style = if per_s >= 0.05 { look.strong().patch(style) } else { look.strong() };
        line.push_span(Span::styled(format!("  {what} "), look.label()));
        line.push_span(Span::styled(figures::rate(per_s), style));
    }
    line
}

fn room<'a>(scene: &Scene<'_>, netns: &NetnsRow) -> Line<'a> {
    let look = scene.look;
    let share = figures::percent(netns.evictable, u64::from(netns.level.count.unwrap_or_default()));
    let as_of = match &scene.snapshot.events.last_audit {
        Some(audit) => format!("at the audit {} ago", scene.ago(audit.ended_ktime_ns)),
        None => "as far as is known: no audit has looked yet".into(),
    };
    let style = if netns.evictable == 0 && netns.level.reaches(100) { look.loud() } else { look.strong() };
    let mut line = Line::from(vec![
        Span::styled("evictable ", look.label()),
        Span::styled(figures::grouped(netns.evictable), style),
        Span::raw(format!(" ({share}), not assured {as_of}")),
    ]);
    if netns.unseen > 0 {
        line.push_span(format!(", {} newer", figures::grouped(netns.unseen)));
    }
    match netns.unaccounted() {
        Some(unaccounted) if unaccounted != 0 => {
            line.push_span(format!("  {} unaccounted for", figures::grouped(unaccounted)));
        }
        _ => {}
    }
    line
}
