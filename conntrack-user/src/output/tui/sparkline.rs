//! The last minutes as bars: a peak is never averaged away, and a bar keeps its place in time.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::figures;
use super::gauge;
use super::scene::{Scene, columns, put, rows};
use crate::engine::snapshot::Second;

const S: u64 = 1_000_000_000;

/// One of the three.
struct Plot {
    words: String,
    style: Style,
    /// What fills the whole height.
    most: f64,
    of: fn(&Second) -> f64,
}

/// Draws occupancy, new entries, and those refused or evicted, side by side. One row has its words before the bars,
/// more rows above them.
pub fn draw(buffer: &mut Buffer, area: Rect, scene: &Scene<'_>) {
    let (look, seconds) = (scene.look, &scene.snapshot.history.seconds);
    let third = area.width / 3;
    for (at, plot) in (0..).zip(plots(scene, area.height > 1)) {
        let area = columns(area, at * third, third.saturating_sub(1));
        let label = Line::from(Span::styled(plot.words, look.label()));
        put(buffer, area, 0, look, &label);
        let beside = u16::try_from(label.width() + 1).unwrap_or(u16::MAX);
        let bars =
            if area.height > 1 { rows(area, 1, area.height) } else { columns(area, beside, area.width) };
        let heights = heights(seconds, bars, plot.most, plot.of);
        for row in 0..bars.height {
            let below = usize::from(bars.height - 1 - row) * 8;
            let cells: String = heights.iter().map(|it| look.up(it.saturating_sub(below))).collect();
            put(buffer, bars, row, look, &Line::from(Span::styled(cells, plot.style)));
        }
    }
}

fn plots(scene: &Scene<'_>, long: bool) -> [Plot; 3] {
    let (look, seconds) = (scene.look, &scene.snapshot.history.seconds);
    let peak = |of: fn(&Second) -> f64| seconds.iter().map(of).fold(0.0, f64::max);
    let (most_new, most_hurt) = (peak(new), peak(hurt));
    let span = seconds.first().zip(seconds.last());
    let span = span.map_or(0, |(first, last)| last.ktime_ns.saturating_sub(first.ktime_ns) + S);
    let span = figures::span_ns(span);
    let words = |words: String, short: &str| if long { words } else { short.to_owned() };
    let of_new = format!("new, at most {}/s", figures::rate(most_new));
    let of_hurt = match most_hurt {
        0.0 => "none refused or evicted".to_owned(),
        most => format!("refused + evicted, at most {}/s", figures::rate(most)),
    };
    let newest = seconds.last().map(occupancy).unwrap_or_default();
    let fill = gauge::fill(look, newest, scene.snapshot.thresholds.warn_percent);
    [
        Plot {
            words: words(format!("filled, last {span}"), "filled"),
            style: fill,
            most: 100.0,
            of: occupancy,
        },
        Plot { words: words(of_new, "new"), style: look.title(), most: most_new, of: new },
        Plot { words: words(of_hurt, "refused+evicted"), style: look.bad(), most: most_hurt, of: hurt },
    ]
}

/// The height of each bar in eighths of a row, the oldest first.
fn heights(seconds: &[Second], area: Rect, most: f64, of: fn(&Second) -> f64) -> Vec<usize> {
    let cells = usize::from(area.width);
    if cells == 0 || seconds.is_empty() {
        return Vec::new();
    }
    let (full, each) = (f64::from(area.height) * 8.0, per_bar(seconds, cells));
    let bar = |second: &Second| second.ktime_ns / S / each;
    let (oldest, newest) = (seconds.first().map_or(0, bar), seconds.last().map_or(0, bar));
    let bars = (newest.saturating_sub(oldest) as usize + 1).min(cells);
    let mut peaks = vec![0.0f64; bars];
    for second in seconds {
        let back = newest.saturating_sub(bar(second)) as usize;
        if let Some(at) = bars.checked_sub(back + 1) {
            peaks[at] = peaks[at].max(of(second));
        }
    }
    // What is not nothing can be seen.
    let height = |peak: f64| ((peak / most * full).round() as usize).max(1).min(full as usize);
    peaks.into_iter().map(|peak| if peak > 0.0 && most > 0.0 { height(peak) } else { 0 }).collect()
}

/// How many seconds a bar stands for, so that all find room.
fn per_bar(seconds: &[Second], cells: usize) -> u64 {
    let (first, last) = (seconds.first(), seconds.last());
    let span =
        first.zip(last).map_or(0, |(first, last)| last.ktime_ns.saturating_sub(first.ktime_ns) / S + 1);
    span.div_ceil(cells as u64).max(1)
}

fn occupancy(second: &Second) -> f64 {
    second.level.percent().unwrap_or_default()
}

fn new(second: &Second) -> f64 {
    second.sums.new as f64
}

fn hurt(second: &Second) -> f64 {
    (second.sums.refused + second.sums.evicted) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::sources::Sums;

    fn second(at: u64, new: u64) -> Second {
        Second { ktime_ns: at * S, sums: Sums { new, ..Sums::default() }, ..Second::default() }
    }

    #[test]
    fn peaks_stay_and_keep_their_bar() {
        let area = Rect::new(0, 0, 4, 1);
        let seconds: Vec<_> = (0..8).map(|at| second(at, if at == 2 { 16 } else { 2 })).collect();
        assert_eq!(heights(&seconds, area, 16.0, new), [1, 8, 1, 1]);
        let later: Vec<_> = (0..9).map(|at| second(at, if at == 2 { 16 } else { 2 })).collect();
        assert_eq!(per_bar(&later, 4), 3, "all of them find room");
        assert_eq!(heights(&later, area, 16.0, new), [8, 1, 1]);
        assert_eq!(heights(&[], area, 16.0, new), [0; 0]);
        assert_eq!(heights(&[second(1, 0)], area, 0.0, new), [0; 1]);
    }
}
