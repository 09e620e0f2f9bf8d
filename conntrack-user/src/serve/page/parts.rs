//! What is said in words and figures.

use std::fmt::Write as _;

use crate::engine::notice::Notice;
use crate::engine::saturation::State;
use crate::engine::snapshot::{NetnsRow, Snapshot};
use crate::output::Format;
use crate::output::causes;
use crate::output::markup::{Esc, Number};
use crate::output::time::{Rfc3339, Span};
use crate::serve::told::Stamped;

/// Rows of each table; whoever wants more asks for the JSON.
pub const ROWS: usize = 20;

/// The name of a namespace, or its number, escaped.
pub fn name(row: &NetnsRow) -> String {
    match &row.name {
        Some(name) => Esc(name).to_string(),
        None => format!("netns {}", row.netns),
    }
}

/// A time to the second; `ns` more exactly.
pub fn time(snapshot: &Snapshot, ktime_ns: u64, decimals: usize) -> String {
    let at = Rfc3339::at(snapshot.wall, ktime_ns);
    let text = format!("{at:.decimals$}");
    let (day, clock) = text.split_once('T').unwrap_or(("", &text));
    let clock = clock.trim_end_matches('Z');
    format!(
        "<time datetime=\"{at}\"><span class=\"day\">{day}</span> {clock}<span class=\"zone\">Z</span></time>"
    )
}

/// A rate as it is read.
pub fn rate(per_s: f64) -> String {
    match per_s {
        it if it >= 100.0 => Number(it.round() as u64).to_string(),
        it if it > 0.0 => format!("{it:.1}"),
        _ => "0".to_owned(),
    }
}

/// A bar of so many hundredths.
pub fn share(percent: f64, class: &str) -> String {
    let width = percent.clamp(0.0, 100.0);
    format!(
        "<svg class=\"share {class}\" viewBox=\"0 0 100 1\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{percent:.0} %\"><rect width=\"{width:.1}\" height=\"1\"/></svg>"
    )
}

/// Text for the browser's tab; it is escaped where it is put.
pub fn title(snapshot: &Snapshot) -> String {
    match snapshot.netns.first() {
        Some(row) => match row.level.percent() {
            Some(percent) => format!("{} {percent:.0} % · ctwatch", row.state.as_str()),
            None => format!("{} · ctwatch", row.state.as_str()),
        },
        None => "ctwatch".to_owned(),
    }
}

/// How it stands, in a sentence or two.
pub fn verdict(snapshot: &Snapshot) -> String {
    let Some(row) = snapshot.netns.first() else {
        return "No network namespace has been seen yet.".to_owned();
    };
    let name = name(row);
    let full = row.level.percent().map(|percent| format!("{percent:.0} % full")).unwrap_or_default();
    match row.state {
        State::Refusing => format!("Connections are being refused: the table of {name} is full."),
        State::Evicting => {
            format!("Entries are being cut off to make room for new ones: the table of {name} is full.")
        }
        State::Pressure => {
            let soon = row.seconds_to_full().filter(|seconds| *seconds < 3600.0);
            let soon = soon.map(|seconds| format!("; at this rate it is full in {}", Span { seconds }));
            format!("The table of {name} is {full}{}.", soon.unwrap_or_default())
        }
        State::Recovered => format!("The table of {name} was full and has recovered; it is {full} now."),
        State::Ok if full.is_empty() => "No connection is refused or cut off.".to_owned(),
        State::Ok => {
            format!("No connection is refused or cut off. The fullest table, that of {name}, is {full}.")
        }
    }
}

/// Where the numbers come from, and of when they are.
pub fn origin(snapshot: &Snapshot) -> String {
    let mut text = format!(
        "<strong>{}</strong> since {} · as of {}",
        Esc(&snapshot.trust.backend),
        time(snapshot, snapshot.since_ktime_ns, 0),
        time(snapshot, snapshot.ktime_ns, 0)
    );
    if !snapshot.events.bootstrapped {
        text.push_str(" · entries from before are not all known yet");
    }
    text
}

/// The few that matter most.
pub fn figures(snapshot: &Snapshot) -> String {
    let mut out = String::new();
    if let Some(row) = snapshot.netns.first() {
        let of = row.level.max.map(|max| format!("of {} in {}", Number(max.into()), name(row)));
        let bar = row.level.percent().map(|percent| share(percent, row.state.as_str()));
        let count = row.level.count.map_or("–".to_owned(), |count| Number(count.into()).to_string());
        figure(&mut out, "peak", "Entries", &count, &(bar.unwrap_or_default() + &of.unwrap_or_default()));
    }
    let sum = |rate: fn(&NetnsRow) -> f64| snapshot.netns.iter().map(rate).sum::<f64>();
    let now = |per_s: f64| format!("{} a second now", rate(per_s));
    let freed = format!("{} freed a second", rate(sum(|row| row.rates.freed)));
    figure(&mut out, "", "New a second", &rate(sum(|row| row.rates.new)), &freed);
    let totals = &snapshot.totals;
    let number = |count: u64| Number(count).to_string();
    let failed = totals.insert_failed().saturating_add(snapshot.failed_unknown);
    figure(&mut out, "refused", "Refused", &number(totals.refused()), &now(sum(|row| row.rates.refused)));
    figure(&mut out, "evicted", "Cut off", &number(totals.evicted), &now(sum(|row| row.rates.evicted)));
    figure(&mut out, "failed", "Not inserted", &number(failed), &now(sum(|row| row.rates.failed)));
    out
}

fn figure(out: &mut String, class: &str, what: &str, value: &str, small: &str) {
    let _ = write!(
        out,
        "<div class=\"figure {class}\"><dt>{what}</dt><dd><span class=\"mark\">{value}</span></dd>\
         <dd class=\"small\">{small}</dd></div>"
    );
}

/// What was refused, cut off or not inserted, why, and what to do about it.
pub fn causes(snapshot: &Snapshot) -> String {
    let mut rows = String::new();
    for row in snapshot.causes.iter().filter(|row| row.total > 0) {
        let known = causes::cause(row.cause);
        let (meaning, remedy) = known.map_or(("", ""), |cause| (cause.meaning, cause.remedy));
        let _ = write!(
            rows,
            "<tr><th scope=\"row\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"words\">{}<br><span class=\"small\">{}</span>",
            Esc(row.cause),
            Number(row.total),
            rate(row.per_s),
            Esc(meaning),
            Esc(remedy)
        );
    }
    if rows.is_empty() {
        return "<p class=\"note\">Nothing since ctwatch is attached.</p>".to_owned();
    }
    format!(
        "<div class=\"scroll causes\"><table><thead><tr><th scope=\"col\">Cause<th scope=\"col\" class=\"n\">Connections\
         <th scope=\"col\" class=\"n\">a second<th scope=\"col\">What it is, and what to do</thead><tbody>{rows}</tbody></table></div>"
    )
}

/// What was worth a line, newest first.
pub fn lines(lines: &[Stamped<Notice>]) -> String {
    let mut items = String::new();
    for line in lines.iter().rev() {
        let mut text = Vec::new();
        // A vector takes all.
        if Format::Text.notice(&mut text, &line.it, line.wall).is_ok() {
            let _ = write!(items, "<li>{}", Esc(String::from_utf8_lossy(&text).trim_end()));
        }
    }
    if items.is_empty() { String::new() } else { format!("<ol class=\"lines\">{items}</ol>") }
}

/// How far all this can be trusted.
pub fn known(snapshot: &Snapshot) -> String {
    let (events, totals) = (&snapshot.events, &snapshot.totals);
    let mut out = String::from("<ul>");
    let _ = write!(
        out,
        "<li>{} events seen, {} lost, {} missed, {} put right by audits",
        Number(events.seen),
        Number(totals.lost()),
        Number(events.missed()),
        Number(events.repaired.total())
    );
    match &events.last_audit {
        Some(audit) => {
            let ago = Span::ns(snapshot.ktime_ns.saturating_sub(audit.ended_ktime_ns));
            let _ = write!(
                out,
                "<li>compared with the kernel's table {ago} ago: {} entries in {}",
                Number(audit.entries),
                Span::ns(audit.length_ns())
            );
        }
        None => out.push_str("<li class=\"but\">not compared with the kernel's table yet"),
    }
    if events.gaps.since_ktime_ns.is_some() {
        out.push_str("<li class=\"but\">conntrack is not loaded now");
    }
    for row in snapshot.netns.iter().take(ROWS) {
        if let Some(unaccounted) = row.unaccounted().filter(|it| *it != 0) {
            let _ = write!(out, "<li>{unaccounted} entries of {} unaccounted for", name(row));
        }
    }
    for degradation in &snapshot.trust.degradations {
        let _ = write!(out, "<li class=\"but\">but: {}", Esc(degradation));
    }
    out + "</ul>"
}
