//! The tables of a report; all can be read without scripts.

use std::fmt::Write as _;

use super::{Esc, Number, Time};
use crate::engine::report::{Class, ClassSpan, Incident, Report, ReportEpisode};
use crate::engine::tally::Ranking;
use crate::engine::tuple::Proto;
use crate::output::time::Span;

/// Rows of a table of sources; the object in the page has more.
const ROWS: usize = 25;

/// Episodes told at length: those that hurt most.
const EPISODES: usize = 12;

/// Incidents at each end.
const INCIDENTS: usize = 25;

pub fn episodes(report: &Report) -> String {
    if report.episodes.total() == 0 {
        return "<p>There was none: the kernel neither refused nor evicted for want of room.</p>".into();
    }
    let mut text = String::from(
        "<div class=\"scroll\"><table class=\"sortable\"><thead><tr><th>began<th>lasted<th class=\"n\">refused\
         <th class=\"n\">evicted<th class=\"n\">highest<th>first refusal<th>last refusal</thead><tbody>",
    );
    for it in report.episodes.iter() {
        let ClassSpan { first, last } = it.spans[Class::Refused as usize];
        let time = |at: Option<_>| at.map_or_else(|| "–".to_owned(), |at| Time(at).to_string());
        let (lasted, length_ns) = lasted(it);
        let _ = write!(
            text,
            "<tr><td>{}<td data-v=\"{length_ns}\">{lasted}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td>{}<td>{}",
            Time(it.start),
            Number(it.by_cause.class(Class::Refused)),
            Number(it.by_cause.class(Class::Evicted)),
            it.peak.map_or_else(|| "–".to_owned(), |peak| Number(peak.into()).to_string()),
            time(first),
            time(last)
        );
    }
    text.push_str("</tbody></table></div>");
    if report.episodes.left_out > 0 {
        let _ = write!(
            text,
            "<p>{} between the first and the last are left out.</p>",
            Number(report.episodes.left_out)
        );
    }
    let mut worst: Vec<&ReportEpisode> = report.episodes.iter().collect();
    worst.sort_by_key(|it| std::cmp::Reverse(it.by_cause.total()));
    if worst.len() > EPISODES {
        let _ = write!(text, "<p>The {EPISODES} that hurt most:</p>");
        worst.truncate(EPISODES);
    }
    worst.sort_by_key(|it| it.start);
    worst.into_iter().for_each(|it| text.push_str(&episode(it, report)));
    text
}

fn lasted(it: &ReportEpisode) -> (String, i64) {
    let length = |end: i64| end.saturating_sub(it.start.unix_ns).max(0);
    match it.end {
        Some(end) => (Span { seconds: length(end.unix_ns) as f64 / 1e9 }.to_string(), length(end.unix_ns)),
        None => {
            (format!("{}+", Span { seconds: length(it.last.unix_ns) as f64 / 1e9 }), length(it.last.unix_ns))
        }
    }
}

fn episode(it: &ReportEpisode, report: &Report) -> String {
    let name = report.netns_name(it.netns).map(|name| format!(" ({name})")).unwrap_or_default();
    let before = if it.began_before { ", begun before it was recorded" } else { "" };
    let mut text = format!(
        "<article class=\"episode\"><h3>{}</h3><p>netns {}{}, {} first{before}; lasted {}</p><dl class=\"facts\">",
        Time(it.start),
        it.netns,
        Esc(name),
        it.began.as_str(),
        lasted(it).0
    );
    let mut fact = |what: &str, value: String| {
        let _ = write!(text, "<div><dt>{what}<dd>{value}</div>");
    };
    for (class, span) in Class::ALL.into_iter().zip(it.spans) {
        let count = it.by_cause.class(class);
        let what = if class == Class::Failed { "not inserted" } else { class.as_str() };
        if count > 0 || class == Class::Refused {
            fact(what, Number(count).to_string());
        }
        if let (Some(first), Some(last)) = (span.first, span.last) {
            fact(&format!("first {what}"), Time(first).to_string());
            fact(&format!("last {what}"), Time(last).to_string());
        }
    }
    if it.counted > 0 {
        fact("only counted", Number(it.counted).to_string());
    }
    match it.end {
        Some(end) => fact("recovered", Time(end).to_string()),
        None => fact("recovered", "not known".into()),
    }
    if let Some((count, max)) = it.level.count.zip(it.level.max) {
        fact("count at the start", format!("{} of {}", Number(count.into()), Number(max.into())));
    }
    text.push_str("</dl><div class=\"rankings\">");
    if let Some(holders) = &it.holders {
        text.push_str(&ranking("Who held it", &holders.sources, ToString::to_string));
        text.push_str(&ranking("Networks", &holders.prefixes, ToString::to_string));
        text.push_str(&ranking("To", &holders.destinations, ToString::to_string));
        text.push_str(&ranking("Ports", &holders.ports, |(proto, port)| self::port(*proto, *port)));
        let minute = Span::ns(holders.arrivals_window_ns);
        text.push_str(&ranking(
            &format!("New in the {minute} before"),
            &holders.arrivals,
            ToString::to_string,
        ));
    }
    text.push_str(&ranking("Refused", &it.victims.refused, ToString::to_string));
    text.push_str(&ranking("Refused to", &it.victims.destinations, |to| {
        format!("{} {}", to.dst, port(to.proto, to.dport))
    }));
    text.push_str(&ranking("Evicted", &it.victims.evicted, ToString::to_string));
    text + "</div></article>"
}

fn port(proto: Proto, port: u16) -> String {
    if proto.has_ports() { format!("{proto}/{port}") } else { proto.to_string() }
}

fn ranking<K>(title: &str, ranking: &Ranking<K>, key: impl Fn(&K) -> String) -> String {
    let total = ranking.total();
    if total == 0 {
        return String::new();
    }
    let mut text = format!("<table class=\"rank\"><caption>{}</caption><tbody>", Esc(title));
    let rows = ranking.top.iter().map(|(of, count)| (key(of), *count));
    let other = (ranking.other > 0).then(|| ("other".to_owned(), ranking.other));
    for (key, count) in rows.chain(other) {
        let _ = write!(
            text,
            "<tr><th>{}<td class=\"n\">{}<td class=\"bar\">{}",
            Esc(key),
            Number(count),
            bar(&[("held", count)], total)
        );
    }
    text + "</tbody></table>"
}

/// Shares of a whole, side by side.
fn bar(parts: &[(&str, u64)], whole: u64) -> String {
    let mut text = String::from("<span class=\"track\" aria-hidden=\"true\">");
    for (class, part) in parts.iter().filter(|(_, part)| *part > 0) {
        let width = *part as f64 * 100.0 / whole.max(1) as f64;
        let _ = write!(text, "<i class=\"{class}\" style=\"width:{width:.2}%\"></i>");
    }
    text + "</span>"
}

pub fn sources(report: &Report) -> String {
    let sources = &report.sources;
    if sources.top.is_empty() && sources.other.total() == 0 {
        return "<p>Nobody: nothing was refused, evicted or not inserted.</p>".into();
    }
    let whole = sources.top.iter().map(|row| row.by_cause.total()).max().unwrap_or(0);
    let whole = whole.max(sources.other.total());
    let mut text = String::from(
        "<div class=\"scroll\"><table class=\"sortable\"><thead><tr><th>source<th class=\"n\">refused\
         <th class=\"n\">evicted<th class=\"n\">not inserted<th class=\"bar\">share<th>first<th>last</thead><tbody>",
    );
    for row in sources.top.iter().take(ROWS) {
        let [refused, evicted, failed] = Class::ALL.map(|class| row.of(class));
        let time = |at: Option<_>| at.map_or_else(|| "–".to_owned(), |at| Time(at).to_string());
        let _ = write!(
            text,
            "<tr><th>{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"bar\" data-v=\"{}\">{}<td>{}<td>{}",
            row.src,
            Number(refused),
            Number(evicted),
            Number(failed),
            row.by_cause.total(),
            bar(&[("refused", refused), ("evicted", evicted), ("failed", failed)], whole),
            time(row.span.first),
            time(row.span.last)
        );
    }
    let beyond = sources.top.iter().skip(ROWS).fold(sources.other, |mut sum, row| {
        sum.add_all(&row.by_cause);
        sum
    });
    let [refused, evicted, failed] = Class::ALL.map(|class| beyond.class(class));
    let _ = write!(
        text,
        "</tbody><tfoot><tr><th>other<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"bar\">{}<td><td></tfoot>\
         </table></div>",
        Number(refused),
        Number(evicted),
        Number(failed),
        bar(&[("refused", refused), ("evicted", evicted), ("failed", failed)], whole)
    );
    text
}

pub fn destinations(report: &Report) -> String {
    if report.destinations.is_empty() {
        return String::new();
    }
    let whole = report.destinations.first().map_or(0, |(_, refused)| *refused);
    let mut text = String::from(
        "<h3>To whom</h3><div class=\"scroll\"><table class=\"sortable\"><thead><tr><th>destination<th>port\
         <th class=\"n\">refused<th class=\"bar\">share</thead><tbody>",
    );
    for (to, refused) in report.destinations.iter().take(ROWS) {
        let _ = write!(
            text,
            "<tr><th>{}<td>{}<td class=\"n\">{}<td class=\"bar\" data-v=\"{refused}\">{}",
            to.dst,
            port(to.proto, to.dport),
            Number(*refused),
            bar(&[("refused", *refused)], whole)
        );
    }
    let beyond: u64 = report.destinations.iter().skip(ROWS).map(|(_, refused)| refused).sum();
    let _ = write!(
        text,
        "</tbody></table></div><p class=\"note\">{} refused to others; of {} nobody knows the destination, because they were \
         told as sums or only counted.</p>",
        Number(report.destinations_other + beyond),
        Number(report.destinations_unknown)
    );
    text
}

pub fn occupancy(report: &Report) -> String {
    if report.occupancy.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "<section><h2>Why they held it</h2><p class=\"note\">A source that opens connections at a rate, each of which lives \
         so long, comes to hold rate × lifetime entries. Where more is held, entries that have not ended yet live longer.</p>\
         <div class=\"scroll\"><table class=\"sortable\"><thead><tr><th>source<th class=\"n\">new/s<th class=\"n\">× lifetime\
         <th class=\"n\">= expected<th class=\"n\">held<th class=\"n\">at most<th class=\"n\">seen for</thead><tbody>",
    );
    for it in report.occupancy.iter().take(ROWS) {
        let lifetime = it.mean_lifetime_s.map_or_else(|| "–".into(), |seconds| Span { seconds }.to_string());
        let expected = it.expected.map_or_else(|| "–".into(), |expected| format!("{expected:.0}"));
        let _ = write!(
            text,
            "<tr><th>{}<td class=\"n\">{:.1}<td class=\"n\" data-v=\"{}\">{lifetime}<td class=\"n\">{expected}\
             <td class=\"n\">{:.0}<td class=\"n\">{}<td class=\"n\" data-v=\"{}\">{}",
            it.src,
            it.new_per_s,
            it.mean_lifetime_s.unwrap_or(-1.0),
            it.held,
            Number(it.most.into()),
            it.seconds,
            Span { seconds: it.seconds }
        );
    }
    text + "</tbody></table></div></section>"
}

pub fn incidents(report: &Report) -> String {
    let kept = &report.incidents;
    if kept.total() == 0 {
        return "<p>None.</p>".into();
    }
    let rows: Vec<&Incident> = kept.iter().collect();
    let mut text = String::from(
        "<div class=\"scroll\"><table><thead><tr><th>when<th>what<th>cause<th>connection<th class=\"n\">count</thead><tbody>",
    );
    let shown = |at: usize| at < INCIDENTS || at + INCIDENTS >= rows.len();
    for (at, it) in rows.iter().enumerate() {
        if shown(at) {
            text.push_str(&incident(it));
        } else if at == INCIDENTS {
            let hidden = kept.total() - 2 * INCIDENTS as u64;
            let _ = write!(
                text,
                "<tr class=\"gap\"><td colspan=\"5\">{} between are not shown; <code>--csv</code> writes all",
                Number(hidden)
            );
        }
    }
    text + "</tbody></table></div>"
}

fn incident(it: &Incident) -> String {
    let who = match (&it.connection, it.src) {
        (Some(of), _) => {
            format!(
                "{} {} → {} {}",
                of.proto,
                end(of.src, of.proto, of.sport),
                end(of.dst, of.proto, of.dport),
                zone(of.zone)
            )
        }
        (None, Some(src)) => format!("{} times, {src}", it.count),
        (None, None) => format!("{} times, not caught", it.count),
    };
    let count = it.level.count.map_or_else(|| "–".to_owned(), |count| Number(count.into()).to_string());
    format!(
        "<tr class=\"{class}\"><td>{}<td>{class}<td>{}<td>{}<td class=\"n\">{count}",
        Time(it.at),
        it.cause.as_str(),
        Esc(who),
        class = it.class.as_str()
    )
}

fn end(address: std::net::IpAddr, proto: Proto, port: u16) -> String {
    match address {
        std::net::IpAddr::V6(v6) if proto.has_ports() => format!("[{v6}]:{port}"),
        address if proto.has_ports() => format!("{address}:{port}"),
        address => address.to_string(),
    }
}

fn zone(zone: u16) -> String {
    if zone == 0 { String::new() } else { format!("zone {zone}") }
}

pub fn settings(report: &Report) -> String {
    if report.known.settings.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "<section><h2>Kernel settings</h2><div class=\"scroll\"><table class=\"sortable\"><thead><tr><th>nf_conntrack_…\
         <th class=\"n\">value<th class=\"n\">changed</thead><tbody>",
    );
    for it in &report.known.settings {
        let _ = write!(
            text,
            "<tr><th>{}<td class=\"n\">{}<td class=\"n\">{}",
            Esc(&it.name),
            Number(it.value),
            Number(it.changes)
        );
    }
    text + "</tbody></table></div></section>"
}
