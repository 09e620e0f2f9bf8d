//! What is in columns.

use std::fmt::Write as _;

use super::parts::{ROWS, name, rate, share, time};
use crate::engine::episode::Episode;
use crate::engine::query::View;
use crate::engine::snapshot::Snapshot;
use crate::engine::table::Key;
use crate::output::markup::{Esc, Number};
use crate::output::time::Span;

/// Episodes; the older ones are in the JSON.
const EPISODES: usize = 5;

fn table(columns: &[(&str, bool)], rows: &str) -> String {
    let mut head = String::new();
    for (column, is_number) in columns {
        let class = if *is_number { " class=\"n\"" } else { "" };
        let _ = write!(head, "<th scope=\"col\"{class}>{column}");
    }
    format!("<div class=\"scroll\"><table><thead><tr>{head}</thead><tbody>{rows}</tbody></table></div>")
}

/// Every network namespace, worst first.
pub fn namespaces(snapshot: &Snapshot) -> String {
    const COLUMNS: [(&str, bool); 12] = [
        ("Namespace", false),
        ("State", false),
        ("for", true),
        ("Entries", true),
        ("Limit", true),
        ("Full", false),
        ("Full in", true),
        ("Evictable", true),
        ("New/s", true),
        ("Freed/s", true),
        ("Refused/s", true),
        ("Cut off/s", true),
    ];
    let mut rows = String::new();
    for row in snapshot.netns.iter().take(ROWS) {
        let number = |it: Option<u32>| it.map_or("–".to_owned(), |it| Number(it.into()).to_string());
        let percent = row.level.percent();
        let bar = percent.map(|percent| share(percent, row.state.as_str())).unwrap_or_default();
        let soon = row.seconds_to_full().filter(|seconds| *seconds > 0.0 && *seconds < 86_400.0);
        let soon = soon.map_or("–".to_owned(), |seconds| Span { seconds }.to_string());
        let state = row.state.as_str();
        let _ = write!(
            rows,
            "<tr><th scope=\"row\">{}<td><span class=\"state {state}\">{state}</span><td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}\
             <td class=\"bar\">{bar}<td class=\"n\">{soon}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}",
            name(row),
            Span::ns(snapshot.ktime_ns.saturating_sub(row.since_ktime_ns)),
            number(row.level.count),
            number(row.level.max),
            Number(row.evictable),
            rate(row.rates.new),
            rate(row.rates.freed),
            rate(row.rates.refused),
            rate(row.rates.evicted)
        );
    }
    let left = snapshot.netns.len().saturating_sub(ROWS);
    let more = (left > 0).then(|| format!("<p class=\"note\">and {left} namespaces more</p>"));
    table(&COLUMNS, &rows) + &more.unwrap_or_default()
}

/// The sources that hold most.
pub fn sources(snapshot: &Snapshot) -> String {
    const COLUMNS: [(&str, bool); 8] = [
        ("Source", false),
        ("Namespace", false),
        ("Entries", true),
        ("Share", false),
        ("New/s", true),
        ("Refused", true),
        ("Cut off", true),
        ("Mean lifetime", true),
    ];
    let table_asked = &snapshot.table;
    let shown = || table_asked.rows.iter().take(ROWS);
    if table_asked.view != View::Sources || shown().next().is_none() {
        return "<p class=\"note\">Nobody holds an entry.</p>".to_owned();
    }
    let share_of = |entries: u64| entries as f64 * 100.0 / table_asked.entries.max(1) as f64;
    let mut rows = String::new();
    for row in shown() {
        let Key::Source(src, netns) = row.key else { continue };
        let namespace =
            snapshot.netns.iter().find(|it| it.netns == netns).map_or_else(|| netns.to_string(), name);
        let lifetime = row.mean_lifetime_ns.map_or("–".to_owned(), |ns| Span::ns(ns).to_string());
        let _ = write!(
            rows,
            "<tr><th scope=\"row\">{}<td>{namespace}<td class=\"n\">{}<td class=\"bar\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{lifetime}",
            Esc(src),
            Number(row.entries),
            share(share_of(row.entries), ""),
            rate(row.new_per_s),
            Number(row.sums.refused),
            Number(row.sums.evicted)
        );
    }
    let held: u64 = shown().map(|row| row.entries).sum();
    let others = table_asked.entries.saturating_sub(held);
    if others > 0 {
        let count = table_asked.groups.saturating_sub(shown().count());
        let _ = write!(
            rows,
            "<tr><td>{} others<td><td class=\"n\">{}<td class=\"bar\">{}<td><td><td><td>",
            Number(count as u64),
            Number(others),
            share(share_of(others), "")
        );
    }
    table(&COLUMNS, &rows)
}

/// The last saturations, newest first.
pub fn episodes(snapshot: &Snapshot) -> String {
    const COLUMNS: [(&str, bool); 7] = [
        ("Began", false),
        ("Namespace", false),
        ("Lasted", true),
        ("Refused", true),
        ("Cut off", true),
        ("Held most then", false),
        ("Refused most", false),
    ];
    let mut rows = String::new();
    for episode in snapshot.episodes.iter().rev().take(EPISODES) {
        episode_row(&mut rows, episode, snapshot);
    }
    if rows.is_empty() {
        return "<p class=\"note\">None since ctwatch is attached.</p>".to_owned();
    }
    let left = snapshot.episodes.len().saturating_sub(EPISODES);
    let more = (left > 0).then(|| {
        format!("<p class=\"note\">and {left} before: <a href=\"api/v1/episodes\">all with their holders and victims</a></p>")
    });
    table(&COLUMNS, &rows) + &more.unwrap_or_default()
}

fn episode_row(out: &mut String, episode: &Episode, snapshot: &Snapshot) {
    let end = episode.end_ktime_ns.unwrap_or(snapshot.ktime_ns);
    let lasted = Span::ns(end.saturating_sub(episode.start_ktime_ns));
    let so_far = if episode.end_ktime_ns.is_none() { " so far" } else { "" };
    let row = snapshot.netns.iter().find(|it| it.netns == episode.netns);
    let namespace = row.map_or_else(|| format!("netns {}", episode.netns), name);
    let holders = &episode.holders;
    let held = holders.sources.top.first().map(|(src, entries)| {
        let percent = *entries as f64 * 100.0 / holders.entries.max(1) as f64;
        format!("<code>{src}</code> {percent:.0} %")
    });
    let suffered = episode.refused_sources.top.first();
    let suffered = suffered.map(|(src, refused)| format!("<code>{src}</code> {}", Number(*refused)));
    let _ = write!(
        out,
        "<tr><td>{}<td>{namespace}<td class=\"n\">{lasted}{so_far}<td class=\"n\">{}<td class=\"n\">{}<td>{}<td>{}",
        time(snapshot, episode.start_ktime_ns, 3),
        Number(episode.refused.total()),
        Number(episode.evicted),
        held.unwrap_or_default(),
        suffered.unwrap_or_default()
    );
}
