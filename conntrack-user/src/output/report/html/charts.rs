//! The charts of a report.

use std::fmt::Write as _;

use super::chart::{Axis, Chart, HEIGHT, WIDTH, ceiling, short};
use super::{Esc, Number};
use crate::engine::report::{HoldersOverTime, Missing, Point, Report, Timeline};
use crate::engine::saturation::State;

/// All of them.
pub fn charts(report: &Report, from: i64, until: i64) -> String {
    let (axis, missing) = (Axis { from, until }, report.known.missing.as_slice());
    let mut text = String::new();
    for (at, line) in report.timelines.iter().enumerate().filter(|(_, line)| !line.points.is_empty()) {
        let name = report.netns_name(line.netns).map_or_else(|| line.netns.to_string(), ToOwned::to_owned);
        let of = if report.timelines.len() > 1 { format!(" in netns {name}") } else { String::new() };
        text.push_str(&occupancy(line, at, &of, axis, missing));
        text.push_str(&incidents(line, at, &of, axis, missing));
    }
    if report.timelines_left_out > 0 {
        let _ = write!(
            text,
            "<p>{} more network namespaces are not drawn.</p>",
            Number(report.timelines_left_out)
        );
    }
    if !report.holders.series.is_empty() {
        text.push_str(&holders(&report.holders, axis, missing));
        text.push_str(&rates(&report.holders, axis, missing));
    }
    if text.is_empty() {
        text.push_str("<p>Nothing to draw: no second of a network namespace was recorded.</p>");
    }
    text
}

/// Whether a missing time lies between two times.
fn broken(missing: &[Missing], from: i64, until: i64) -> bool {
    missing.iter().any(|it| {
        it.from.is_none_or(|begin| begin.unix_ns < until) && it.until.is_none_or(|end| end.unix_ns > from)
    })
}

fn occupancy(line: &Timeline, at: usize, of: &str, axis: Axis, missing: &[Missing]) -> String {
    let top = line.points.iter().flat_map(|it| [it.peak, it.max]).flatten().max().unwrap_or(1);
    let top = f64::from(top) * 1.05;
    let y = |value: u32| (HEIGHT - f64::from(value) / top * HEIGHT).round() as i64;
    let (mut area, mut limit, mut states) = (String::new(), String::new(), String::new());
    let (mut open, mut drawn) = (false, None);
    for (nth, point) in line.points.iter().enumerate() {
        let (begin, end) = (axis.x(point.unix_ns), axis.x(point.unix_ns + line.point_ns));
        let next = line.points.get(nth + 1).map(|next| next.unix_ns);
        let stays = next.is_some_and(|next| !broken(missing, point.unix_ns + line.point_ns, next));
        let until = if stays { axis.x(next.unwrap_or_default()) } else { end };
        if let Some(peak) = point.peak {
            let bottom = HEIGHT as i64;
            let _ = if open {
                write!(area, "V{}", y(peak))
            } else {
                write!(area, "M{begin} {bottom}V{}", y(peak))
            };
            let _ = write!(area, "H{end}V{}H{until}", y(point.count.unwrap_or(peak)));
            open = stays;
            if !open {
                let _ = write!(area, "V{bottom}Z");
            }
        }
        if let Some(max) = point.max {
            // One line as long as it stays, so that its dashes are seen.
            match drawn {
                Some((last, x)) if last == max && x == begin => limit.push_str(&format!("H{until}")),
                _ => limit.push_str(&format!("M{begin} {}H{until}", y(max))),
            }
            drawn = Some((max, until));
        }
        states.push_str(&state_band(point, begin, until));
    }
    if open {
        let _ = write!(area, "V{HEIGHT}Z");
    }
    let body = format!("{states}<path class=\"area\" d=\"{area}\"/><path class=\"limit\" d=\"{limit}\"/>");
    let max = line.points.iter().rev().find_map(|it| it.max);
    let mut marks = vec![(1.0, "0".to_owned())];
    if let Some(max) = max {
        marks.push((1.0 - f64::from(max) / top, short(max.into())));
        marks.push((1.0 - f64::from(max) / 2.0 / top, short(f64::from(max) / 2.0)));
    }
    let peak = line.points.iter().filter_map(|it| it.peak).max().unwrap_or(0);
    let is_quiet = line.points.iter().all(|it| it.state < State::Pressure);
    let legend = "<ul class=\"legend\"><li><i class=\"sw area\"></i>entries, the highest of each point</li>\
                  <li><i class=\"sw limit\"></i>nf_conntrack_max</li><li><i class=\"sw pressure\"></i>pressure</li>\
                  <li><i class=\"sw evicting\"></i>evicting</li><li><i class=\"sw refusing\"></i>refusing</li>\
                  <li><i class=\"sw missing\"></i>not known</li></ul>";
    Chart {
        id: format!("occupancy-{at}"),
        kind: "occupancy",
        line: at,
        title: format!("Occupancy against the limit{of}"),
        about: format!("A point is {} s; the line above says the state by its height.", line.point_ns / 1_000_000_000),
        description: format!(
            "Entries in the conntrack table over time: at most {peak}, the limit is {}; at the end the state is {}.",
            max.map_or_else(|| "not known".into(), |max| max.to_string()),
            line.state.as_str()
        ),
        marks,
        body,
        legend: legend.into(),
        class: if is_quiet { "" } else { "tall" },
    }
    .html(axis, missing)
}

/// The state as a band whose colour shades the whole height, and whose height at the top tells it without colour.
fn state_band(point: &Point, begin: i64, until: i64) -> String {
    let (class, height) = match point.state {
        State::Ok | State::Recovered => return String::new(),
        State::Pressure => ("pressure", 15),
        State::Evicting => ("evicting", 30),
        State::Refusing => ("refusing", 45),
    };
    let width = (until - begin).max(1);
    format!(
        "<rect class=\"shade {class}\" x=\"{begin}\" y=\"0\" width=\"{width}\" height=\"{HEIGHT}\"/>\
         <rect class=\"band {class}\" x=\"{begin}\" y=\"0\" width=\"{width}\" height=\"{height}\"/>"
    )
}

fn incidents(line: &Timeline, at: usize, of: &str, axis: Axis, missing: &[Missing]) -> String {
    let most = |of: fn(&Point) -> u64| line.points.iter().map(of).max().unwrap_or(0);
    let (refused, evicted) = (most(|it| it.most.refused), most(|it| it.most.evicted));
    let failed = most(|it| it.most.failed);
    if refused + evicted + failed == 0 {
        return String::new();
    }
    let middle = HEIGHT / 2.0;
    let up = ceiling(refused.max(failed) as f64);
    let down = ceiling(evicted as f64);
    let bars = |of: fn(&Point) -> u64, scale: f64, base: f64, way: f64| {
        let mut path = String::new();
        for point in line.points.iter().filter(|point| of(point) > 0) {
            let (begin, end) = (axis.x(point.unix_ns), axis.x(point.unix_ns + line.point_ns));
            // What is not nothing can be seen.
            let height = (of(point) as f64 / scale * middle).max(8.0);
            let _ = write!(path, "M{begin} {base}V{:.0}H{end}V{base}Z", base + way * height);
        }
        path
    };
    let body = format!(
        "<path class=\"bars refused\" d=\"{}\"/><path class=\"bars failed\" d=\"{}\"/>\
         <path class=\"bars evicted\" d=\"{}\"/><path class=\"zero\" d=\"M0 {middle}H{WIDTH}\"/>",
        bars(|it| it.most.refused, up, middle, -1.0),
        bars(|it| it.most.failed, up, middle, -1.0),
        bars(|it| it.most.evicted, down, middle, 1.0)
    );
    let mut marks = vec![(0.0, short(up)), (0.5, "0".to_owned())];
    if evicted > 0 {
        marks.push((1.0, short(down)));
    }
    let total = |of: fn(&Point) -> u64| line.points.iter().map(of).sum::<u64>();
    let words = [total(|it| it.sums.refused), total(|it| it.sums.evicted), total(|it| it.sums.failed)];
    let legend = "<ul class=\"legend\"><li><i class=\"sw refused\"></i>▲ refused, upwards</li>\
                  <li><i class=\"sw failed\"></i>▲ not inserted, upwards</li>\
                  <li><i class=\"sw evicted\"></i>▼ evicted, downwards, on a scale of its own</li></ul>";
    Chart {
        id: format!("incidents-{at}"),
        kind: "incidents",
        line: at,
        title: format!("Refusals and evictions{of}"),
        about: "Per second: of each point the second with the most.".into(),
        description: format!(
            "Over time, {} refused (at most {refused} a second), {} evicted (at most {evicted} a second), {} not inserted.",
            words[0], words[1], words[2]
        ),
        marks,
        body,
        legend: legend.into(),
        class: "",
    }
    .html(axis, missing)
}

/// Which times of the holders stay until the next: not those before a time that is missing.
fn spans(over: &HoldersOverTime, axis: Axis, missing: &[Missing]) -> Vec<(i64, i64)> {
    let steps = over.at.windows(2).map(|pair| pair[1].unix_ns - pair[0].unix_ns);
    let usual = steps.min().unwrap_or(10_000_000_000).max(1);
    let end = |at: usize| {
        let own = over.at[at].unix_ns;
        let next = over.at.get(at + 1).map(|next| next.unix_ns);
        let next = next.filter(|next| !broken(missing, own, *next));
        axis.x(next.unwrap_or(own.saturating_add(usual)))
    };
    (0..over.at.len()).map(|at| (axis.x(over.at[at].unix_ns), end(at))).collect()
}

fn holders(over: &HoldersOverTime, axis: Axis, missing: &[Missing]) -> String {
    let spans = spans(over, axis, missing);
    let layers = over.series.len() + 1;
    let held = |layer: usize, at: usize| match over.series.get(layer) {
        Some(series) => u64::from(series.entries[at].unwrap_or(0)),
        None => over.other[at].unwrap_or(0),
    };
    let total = |at: usize| (0..layers).map(|layer| held(layer, at)).sum::<u64>();
    let top = ceiling((0..spans.len()).map(total).max().unwrap_or(1) as f64);
    let y = |value: u64| (HEIGHT - value as f64 / top * HEIGHT).round() as i64;
    let mut body = String::new();
    for layer in 0..layers {
        let mut path = String::new();
        let below = |at: usize| (0..layer).map(|layer| held(layer, at)).sum::<u64>();
        // One shape per stretch without a break: along its upper edge, and back along its lower.
        let mut begin = 0;
        while begin < spans.len() {
            let ends = |at: usize| spans.get(at + 1).is_none_or(|next| next.0 > spans[at].1);
            let end = (begin..spans.len()).find(|at| ends(*at)).unwrap_or(begin);
            let _ = write!(path, "M{} {}", spans[begin].0, y(below(begin)));
            for (at, span) in spans.iter().enumerate().take(end + 1).skip(begin) {
                let _ = write!(path, "V{}H{}", y(below(at) + held(layer, at)), span.1);
            }
            for at in (begin..=end).rev() {
                let _ = write!(path, "V{}H{}", y(below(at)), spans[at].0);
            }
            path.push('Z');
            begin = end + 1;
        }
        let class = if layer + 1 == layers { 8 } else { layer };
        let _ = write!(body, "<path class=\"layer s{class}\" d=\"{path}\"/>");
    }
    let mut names: Vec<String> = over.series.iter().map(|series| series.src.to_string()).collect();
    names.push("all others".into());
    let heaviest = names.first().cloned().unwrap_or_default();
    Chart {
        id: "holders".into(),
        kind: "holders",
        line: 0,
        title: "Who held the table".into(),
        about: "Entries by source address, stacked in the order of the list, the first at the bottom.".into(),
        description: format!(
            "Entries held over time by {} sources and all others; most by {heaviest}.",
            over.series.len()
        ),
        marks: vec![(0.0, short(top)), (0.5, short(top / 2.0)), (1.0, "0".into())],
        body,
        legend: series_legend(&names),
        class: "tall stacked",
    }
    .html(axis, missing)
}

fn series_legend(names: &[String]) -> String {
    let mut text = String::from("<ol class=\"legend series\">");
    for (at, name) in names.iter().enumerate() {
        let class = if at + 1 == names.len() { 8 } else { at };
        let _ = write!(text, "<li><i class=\"sw s{class}\"></i>{}</li>", Esc(name));
    }
    text + "</ol>"
}

fn rates(over: &HoldersOverTime, axis: Axis, missing: &[Missing]) -> String {
    let most =
        over.series.iter().flat_map(|series| series.new_per_s.iter().flatten().copied()).fold(0.0, f64::max);
    if most <= 0.0 {
        return String::new();
    }
    let top = ceiling(most);
    let y = |value: f64| (HEIGHT - value / top * HEIGHT).round() as i64;
    let spans = spans(over, axis, missing);
    let mut body = String::new();
    for (layer, series) in over.series.iter().enumerate() {
        let (mut path, mut open) = (String::new(), false);
        for (at, rate) in series.new_per_s.iter().enumerate() {
            // A rate is over the time since the interval before.
            let Some((rate, begin)) = rate.zip(at.checked_sub(1).map(|before| spans[before].0)) else {
                open = false;
                continue;
            };
            let step = if open { format!("V{}", y(rate)) } else { format!("M{begin} {}", y(rate)) };
            let _ = write!(path, "{step}H{}", spans[at].0);
            open = true;
        }
        let _ = write!(body, "<path class=\"rate s{layer}\" d=\"{path}\"/>");
    }
    let mut legend = String::from("<ol class=\"legend series\">");
    for (at, series) in over.series.iter().enumerate() {
        let _ = write!(
            legend,
            "<li><svg class=\"key\" viewBox=\"0 0 26 8\" aria-hidden=\"true\"><path class=\"rate s{at}\" d=\"M0 4H26\"/></svg>{}</li>",
            series.src
        );
    }
    legend.push_str("</ol>");
    Chart {
        id: "rates".into(),
        kind: "rates",
        line: 0,
        title: "New entries per second, by source".into(),
        about: "Of the same sources; each over the time since the interval before.".into(),
        description: format!(
            "New entries per second over time of {} sources; at most {most:.1}.",
            over.series.len()
        ),
        marks: vec![(0.0, short(top)), (0.5, short(top / 2.0)), (1.0, "0".into())],
        body,
        legend,
        class: "",
    }
    .html(axis, missing)
}
