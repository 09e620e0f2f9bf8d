//! The frame of a chart over time: axes as text beside an SVG that stretches, so that zooming is a change of its view box.

use std::fmt::Write as _;

use super::Esc;
use crate::engine::report::Missing;
use crate::output::time::Rfc3339;

/// Width of every plot in its own units: what a screen has many times over, so that zooming loses nothing.
pub const WIDTH: i64 = 100_000;

/// Height of every plot in its own units.
pub const HEIGHT: f64 = 1000.0;

/// Ticks along the time, at most.
const TICKS: i64 = 8;

/// Where times lie.
#[derive(Clone, Copy)]
pub struct Axis {
    pub from: i64,
    pub until: i64,
}

impl Axis {
    /// A time's place.
    pub fn x(self, unix_ns: i64) -> i64 {
        let span = i128::from((self.until - self.from).max(1));
        let at = i128::from(unix_ns.clamp(self.from, self.until) - self.from);
        (at * i128::from(WIDTH) / span) as i64
    }

    /// Times worth a mark, with their words.
    fn ticks(self) -> Vec<(i64, String)> {
        const S: i64 = 1_000_000_000;
        const STEPS: [i64; 20] = [
            1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400,
            172_800, 604_800,
        ];
        let span_s = (self.until - self.from) / S;
        let step = STEPS.into_iter().find(|step| span_s / step < TICKS).unwrap_or((span_s / TICKS).max(1));
        let first = self.from.div_euclid(S).div_euclid(step) * step;
        let words = |at: i64| {
            let time = format!("{:.0}", Rfc3339::unix_ns(at));
            let (day, clock) = time.split_once('T').unwrap_or(("", &time));
            let (day, clock) = (day.get(5..).unwrap_or(day), clock.trim_end_matches('Z'));
            match step {
                ..60 => clock.to_owned(),
                60..43_200 => clock.get(..5).unwrap_or(clock).to_owned(),
                43_200..86_400 => format!("{day} {}", clock.get(..5).unwrap_or(clock)),
                _ => day.to_owned(),
            }
        };
        let times = (0..).map(|nth| (first + nth * step) * S);
        let within = times.skip_while(|at| *at < self.from).take_while(|at| *at <= self.until);
        within.take(64).map(|at| (at, words(at))).collect()
    }
}

/// One chart.
pub struct Chart<'a> {
    pub id: String,
    /// What the script reads under the pointer: the chart's kind, and the number of its timeline.
    pub kind: &'a str,
    pub line: usize,
    pub title: String,
    pub about: String,
    /// For those who do not see it.
    pub description: String,
    /// Marks beside it: share of the height from the top, and words.
    pub marks: Vec<(f64, String)>,
    /// SVG.
    pub body: String,
    /// What the colours mean, as HTML.
    pub legend: String,
    pub class: &'a str,
}

impl Chart<'_> {
    /// Its HTML; `missing` times are hatched.
    pub fn html(&self, axis: Axis, missing: &[Missing]) -> String {
        let Self { id, kind, line, title, about, description, marks, body, legend, class } = self;
        let mut text = format!(
            "<figure class=\"chart {class}\" id=\"{id}\" data-kind=\"{kind}\" data-line=\"{line}\">\
             <figcaption><h3>{}</h3><p>{about}</p></figcaption>{legend}<div class=\"frame\"><div class=\"marks\" aria-hidden=\"true\">",
            Esc(title)
        );
        for (top, words) in marks {
            let _ = write!(text, "<span style=\"top:{:.1}%\">{}</span>", top * 100.0, Esc(words));
        }
        let _ = write!(
            text,
            "</div><div class=\"plot\" tabindex=\"0\"><svg role=\"img\" aria-labelledby=\"{id}-t {id}-d\" \
             viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\"><title id=\"{id}-t\">{}</title>\
             <desc id=\"{id}-d\">{}</desc>",
            Esc(title),
            Esc(description)
        );
        let grid: String =
            axis.ticks().iter().map(|(at, _)| format!("M{} 0V{HEIGHT}", axis.x(*at))).collect();
        let _ = write!(text, "<path class=\"grid\" d=\"{grid}\"/>");
        text.push_str(&hatched(axis, missing));
        text.push_str(body);
        text.push_str("</svg></div></div><div class=\"ticks\" aria-hidden=\"true\">");
        for (at, words) in axis.ticks() {
            let left = axis.x(at) as f64 * 100.0 / WIDTH as f64;
            let _ = write!(text, "<span style=\"left:{left:.2}%\">{words}</span>");
        }
        text.push_str("</div><p class=\"reading\" role=\"status\"></p></figure>");
        text
    }
}

fn hatched(axis: Axis, missing: &[Missing]) -> String {
    let mut text = String::new();
    for it in missing {
        let from = axis.x(it.from.map_or(axis.from, |from| from.unix_ns));
        let until = axis.x(it.until.map_or(axis.until, |until| until.unix_ns));
        let width = (until - from).max(1);
        let _ = write!(
            text,
            "<rect class=\"missing\" x=\"{from}\" y=\"0\" width=\"{width}\" height=\"{HEIGHT}\"><title>not known</title></rect>"
        );
    }
    text
}

/// A number as an axis has it.
pub fn short(value: f64) -> String {
    match value {
        v if v >= 10_000_000.0 => format!("{:.0}M", v / 1e6),
        v if v >= 1_000_000.0 => format!("{:.1}M", v / 1e6),
        v if v >= 10_000.0 => format!("{}\u{202f}{:03}", v as u64 / 1000, v as u64 % 1000),
        v if v >= 10.0 || v.fract() == 0.0 => format!("{v:.0}"),
        v => format!("{v:.1}"),
    }
}

/// The next round number at or above.
pub fn ceiling(value: f64) -> f64 {
    if value <= 1.0 {
        return 1.0;
    }
    let unit = 10f64.powf(value.log10().floor());
    [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
        .into_iter()
        .map(|factor| factor * unit)
        .find(|round| *round >= value)
        .unwrap_or(value)
}
