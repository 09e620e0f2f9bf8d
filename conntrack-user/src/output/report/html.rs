//! A report as one page that needs nothing else: charts are SVG in it, so that they print and show without scripts; the
//! script adds zoom, readings under the pointer and sorting. It carries the JSON object it shows.
//!
//! Whatever came from the network or the host is escaped where it is written: text by [`Esc`], the object by writing
//! `<` as `\u003c`, which JSON reads as the same.

mod chart;
mod charts;
mod tables;

use std::fmt::{self, Display, Write as _};
use std::io::{self, Write};

use crate::engine::report::{Class, Missing, MissingKind, Moment, Report};
use crate::output::json;
use crate::output::markup::{Esc, Number};
use crate::output::time::{Rfc3339, Span};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Writes the page.
pub fn page(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let data = serde_json::to_string(&json::object(report))?.replace('<', "\\u003c");
    let (from, until) = bounds(report);
    // In one pass, so that nothing that is put in is looked at again.
    for (at, piece) in PAGE.split("{{").enumerate() {
        if at == 0 {
            out.write_all(piece.as_bytes())?;
            continue;
        }
        let Some((name, rest)) = piece.split_once("}}") else { continue };
        let text = match name {
            "title" => title(report),
            "style" => STYLE.to_owned(),
            "script" => SCRIPT.to_owned(),
            "data" => data.clone(),
            "from" => (from / 1_000_000).to_string(),
            "until" => (until / 1_000_000).to_string(),
            "where" => origin(report),
            "verdict" => verdict(report),
            "figures" => figures(report),
            "narrow" => narrow(report),
            "known" => known(report),
            "charts" => charts::charts(report, from, until),
            "episodes" => tables::episodes(report),
            "sources" => tables::sources(report),
            "destinations" => tables::destinations(report),
            "occupancy" => tables::occupancy(report),
            "incidents" => tables::incidents(report),
            "settings" => tables::settings(report),
            _ => String::new(),
        };
        out.write_all(text.as_bytes())?;
        out.write_all(rest.as_bytes())?;
    }
    Ok(())
}

/// An instant to the nanosecond.
struct Time(pub Moment);

impl Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = Rfc3339::unix_ns(self.0.unix_ns).to_string();
        let (day, clock) = time.split_once('T').unwrap_or(("", &time));
        let clock = clock.trim_end_matches('Z');
        write!(
            f,
            "<time datetime=\"{time}\"><span class=\"day\">{day}</span> {clock}<span class=\"zone\">Z</span></time>"
        )
    }
}

/// From where to where the charts go: whole seconds, and at least one.
fn bounds(report: &Report) -> (i64, i64) {
    const S: i64 = 1_000_000_000;
    let (first, last) = report.span.unwrap_or_default();
    let ends = report.timelines.iter().filter_map(|line| {
        let (first, last) = (line.points.first()?, line.points.last()?);
        Some((first.unix_ns, last.unix_ns + line.point_ns))
    });
    let (from, until) = ends
        .fold((first.unix_ns, last.unix_ns), |(from, until), (begin, end)| (from.min(begin), until.max(end)));
    let from = from.div_euclid(S) * S;
    (from, until.saturating_add(S - 1).div_euclid(S).saturating_mul(S).max(from + S))
}

fn hosts(report: &Report) -> Vec<&str> {
    let mut hosts: Vec<&str> = report.known.sessions.iter().map(|it| it.head.host.as_str()).collect();
    hosts.dedup();
    hosts
}

fn title(report: &Report) -> String {
    let hosts = hosts(report).join(", ");
    let day = report.span.map(|(first, _)| format!("{:.0}", Rfc3339::unix_ns(first.unix_ns)));
    let day = day.as_deref().and_then(|time| time.split('T').next()).unwrap_or_default();
    format!("conntrack on {} {day}", Esc(hosts))
}

fn origin(report: &Report) -> String {
    let mut text = String::new();
    for (at, host) in hosts(report).into_iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}<strong>{}</strong>", Esc(host));
    }
    if let Some((first, last)) = report.span {
        let span = Span { seconds: (last.unix_ns - first.unix_ns) as f64 / 1e9 };
        let _ = write!(text, " · {} to {} · {span}", Time(first), Time(last));
    }
    text
}

/// What happened, in a sentence or three.
fn verdict(report: &Report) -> String {
    let sums = &report.totals.by_cause;
    let [refused, evicted, failed] = Class::ALL.map(|class| sums.class(class));
    let mut text = String::new();
    if report.known.sessions.is_empty() {
        return "Nothing was recorded.".into();
    }
    if refused + evicted + failed == 0 {
        text.push_str("No connection was refused, cut off or lost by conntrack in what was recorded.");
    } else {
        let plural = |count: u64, one: &'static str, many: &'static str| if count == 1 { one } else { many };
        let mut parts = Vec::new();
        if refused > 0 {
            let (what, were) = (plural(refused, "connection", "connections"), plural(refused, "was", "were"));
            parts.push(format!("{} {what} {were} refused", Number(refused)));
        }
        if evicted > 0 {
            let (what, were) = (plural(evicted, "entry", "entries"), plural(evicted, "was", "were"));
            parts.push(format!("{} {what} {were} cut off to make room", Number(evicted)));
        }
        if failed > 0 {
            let (what, were) = (plural(failed, "entry", "entries"), plural(failed, "was", "were"));
            parts.push(format!("{} new {what} {were} not inserted", Number(failed)));
        }
        let _ = write!(text, "{}. ", sentence(&parts));
    }
    if let Some(it) = report.episodes.iter().max_by_key(|it| it.by_cause.total()) {
        let total = report.episodes.total();
        let what = if total == 1 { "saturation" } else { "saturations" };
        let _ = write!(text, "There {} {} {what}", if total == 1 { "was" } else { "were" }, Number(total));
        if let Some(holders) = &it.holders
            && let Some((src, held)) = holders.sources.top.first()
            && holders.entries > 0
        {
            let share = *held as f64 * 100.0 / holders.entries as f64;
            let which = if total == 1 { "it" } else { "the worst" };
            let _ = write!(text, "; when {which} began, {src} held {share:.0} % of the table");
        }
        text.push('.');
    }
    text
}

/// `one, two and three`, with a capital.
fn sentence(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

/// The figures at the top.
fn figures(report: &Report) -> String {
    let mut text = String::new();
    let totals = &report.totals;
    for (class, span) in Class::ALL.into_iter().zip(totals.spans) {
        let count = totals.by_cause.class(class);
        let (name, mark) = match class {
            Class::Refused => ("refused", "▲"),
            Class::Evicted => ("evicted", "▼"),
            Class::Failed => ("not inserted", "×"),
        };
        let _ = write!(
            text,
            "<div class=\"figure {}\"><dt><span class=\"mark\" aria-hidden=\"true\">{mark}</span> {name}</dt><dd>{}</dd>",
            class.as_str(),
            Number(count)
        );
        if let (Some(first), Some(last)) = (span.first, span.last) {
            let _ = write!(text, "<dd class=\"small\">first {}<br>last {}</dd>", Time(first), Time(last));
        }
        text.push_str("</div>");
    }
    let peak = report.timelines.iter().flat_map(|line| &line.points).filter_map(|it| it.peak.zip(it.max));
    if let Some((peak, max)) =
        peak.max_by_key(|(peak, max)| u64::from(*peak) * 1000 / u64::from((*max).max(1)))
    {
        let percent = f64::from(peak) * 100.0 / f64::from(max.max(1));
        let _ = write!(
            text,
            "<div class=\"figure peak\"><dt>fullest</dt><dd>{percent:.0}&#8239;%</dd><dd class=\"small\">{} of {}</dd></div>",
            Number(peak.into()),
            Number(max.into())
        );
    }
    text
}

fn narrow(report: &Report) -> String {
    let it = &report.narrow;
    let mut parts = Vec::new();
    for (what, at) in [("since", it.since_unix_ns), ("until", it.until_unix_ns)] {
        parts.extend(at.map(|at| format!("{what} {}", Rfc3339::unix_ns(at))));
    }
    parts.extend(it.src.iter().map(|src| format!("sources in {src}")));
    parts.extend(it.netns.iter().map(|netns| format!("netns {netns}")));
    parts.extend(it.cause.iter().map(|cause| format!("cause {}", cause.as_str())));
    if parts.is_empty() {
        return String::new();
    }
    format!("<p class=\"narrow\">Only {}.</p>", Esc(parts.join(", ")))
}

/// How far all of it can be trusted.
fn known(report: &Report) -> String {
    let mut text = String::from("<ul>");
    for session in &report.known.sessions {
        let head = &session.head;
        let end = if session.ended { "" } else { "; it did not end by itself, or goes on" };
        let _ = write!(
            text,
            "<li>{}, kernel {}, ctwatch {}, backend <code>{}</code>: {} to {}, {} file(s){end}</li>",
            Esc(&head.host),
            Esc(&head.kernel),
            Esc(&head.program),
            Esc(&session.trust.backend),
            Time(session.first),
            Time(session.last),
            session.files
        );
        for degradation in &session.trust.degradations {
            let _ = write!(text, "<li class=\"but\">but: {}</li>", Esc(degradation));
        }
    }
    let totals = &report.totals;
    let (told, summed) = (totals.told.total(), totals.summed.total());
    let counted = totals.counted.total();
    let _ = write!(
        text,
        "<li>Of what went wrong {} told one by one, {} in sums per second and source, {} only counted.</li>",
        Number(told),
        Number(summed),
        Number(counted)
    );
    let audits = report.known.audits;
    let _ = write!(
        text,
        "<li>{} audits against the kernel's table put {} entries right; {} events were missed, {} records lost.</li>",
        Number(audits.ended),
        Number(audits.repaired),
        Number(report.known.missed),
        Number(totals.lost_entries + totals.lost_incidents)
    );
    for step in &report.known.steps {
        let by = step.by_ns as f64 / 1e9;
        let _ = write!(text, "<li class=\"but\">the clock was set by {by:+.3} s at {}</li>", Time(step.at));
    }
    for it in &report.known.missing {
        let _ = write!(text, "<li class=\"but\">{}</li>", missing(it));
    }
    if report.known.missing_left_out > 0 {
        let _ =
            write!(text, "<li class=\"but\">{} more times are missing</li>", report.known.missing_left_out);
    }
    if report.known.missing.is_empty() {
        text.push_str("<li>No time in between is missing.</li>");
    }
    text + "</ul>"
}

fn missing(it: &Missing) -> String {
    let why = match it.kind {
        MissingKind::Damage => "the file is damaged",
        MissingKind::Behind => "the recorder fell behind",
        MissingKind::Unwritten => "the recorder could not write",
        MissingKind::Gap => "conntrack was not loaded",
        MissingKind::NotRecording => "nobody recorded",
        MissingKind::NoFile => "files of the recording are not here",
    };
    let mut text = format!("not known, because {why}: ");
    let _ = match (it.from, it.until) {
        (Some(from), Some(until)) => write!(text, "{} to {}", Time(from), Time(until)),
        (Some(from), None) => write!(text, "from {} on", Time(from)),
        (None, Some(until)) => write!(text, "until {}", Time(until)),
        (None, None) => write!(text, "all of it"),
    };
    if it.refused + it.evicted + it.failed > 0 {
        let _ = write!(
            text,
            "; meanwhile {} refused, {} evicted, {} not inserted",
            Number(it.refused),
            Number(it.evicted),
            Number(it.failed)
        );
    }
    text
}

#[cfg(test)]
mod tests;
