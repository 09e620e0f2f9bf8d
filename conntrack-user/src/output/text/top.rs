//! What `top` prints: gauges, what the numbers are worth, causes, the table asked for, episodes.

use std::io::{self, Write};

use super::super::time::{Rfc3339, Span};
use super::close::close;
use super::table::table;
use super::{episode, level, notice, statistics, worth_a_line};
use crate::engine::query::View;
use crate::engine::saturation::State;
use crate::engine::snapshot::{NetnsRow, Snapshot};

/// Writes what `top` shows.
pub fn top(out: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
    writeln!(out, "{:.3}", Rfc3339::at(snapshot.wall, snapshot.ktime_ns))?;
    for row in &snapshot.netns {
        gauge(out, row, snapshot.ktime_ns)?;
    }
    trust(out, snapshot)?;
    match snapshot.table.view {
        View::Causes => all_causes(out, snapshot)?,
        View::Episodes => return episodes(out, snapshot, usize::MAX),
        _ => {
            causes(out, snapshot)?;
            table(out, snapshot)?;
        }
    }
    if let Some(close) = &snapshot.focus {
        self::close(out, close, snapshot.wall)?;
    }
    incidents(out, snapshot)?;
    episodes(out, snapshot, LAST_EPISODES)
}

/// Incidents shown beside a table; JSON has more.
const LAST_INCIDENTS: usize = 9;

/// What happened last, newest first, as `watch` prints it; nothing if nothing did.
fn incidents(out: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
    let incidents = snapshot.recent.iter().take(LAST_INCIDENTS);
    for (at, it) in incidents.enumerate() {
        if at == 0 {
            writeln!(out)?;
        }
        notice(out, it, snapshot.wall)?;
    }
    Ok(())
}

/// Episodes shown beside a table.
const LAST_EPISODES: usize = 3;

fn episodes(out: &mut impl Write, snapshot: &Snapshot, most: usize) -> io::Result<()> {
    for it in snapshot.episodes.iter().rev().take(most).rev() {
        writeln!(out)?;
        episode(out, it, snapshot.wall)?;
    }
    Ok(())
}

fn gauge(out: &mut impl Write, row: &NetnsRow, ktime_ns: u64) -> io::Result<()> {
    let name = row.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let since = Span::ns(ktime_ns.saturating_sub(row.since_ktime_ns));
    writeln!(out, "netns {}{name}: {} for {since}{}", row.netns, row.state.as_str(), words(row.state))?;
    if let (Some(percent), Some((count, max))) = (row.level.percent(), row.level.limited()) {
        const WIDTH: usize = 40;
        let filled = ((percent / 100.0 * WIDTH as f64) as usize).min(WIDTH);
        let bar = format!("{}{}", "#".repeat(filled), ".".repeat(WIDTH - filled));
        write!(out, "  [{bar}] {count} of {max} entries ({percent:.1} %)")?;
    } else {
        write!(out, "  {}", level(row.level))?;
    }
    match row.unaccounted() {
        Some(unaccounted) if unaccounted != 0 => write!(out, ", {unaccounted} unaccounted for")?,
        _ => {}
    }
    write!(out, ", {} evictable", row.evictable)?;
    if row.unseen > 0 {
        write!(out, " and {} not audited yet", row.unseen)?;
    }
    writeln!(out)?;
    let rates = &row.rates;
    write!(out, "  {:.1} new/s  {:.1} freed/s  ", rates.new, rates.freed)?;
    write!(out, "{:.1} refused/s  {:.1} evicted/s  ", rates.refused, rates.evicted)?;
    write!(out, "{:.1} failed/s  {:.1} unconfirmed/s", rates.failed, rates.unconfirmed)?;
    match row.seconds_to_full() {
        Some(seconds) if seconds > 0.0 && seconds < 86_400.0 => {
            writeln!(out, "  full in {}", Span { seconds })
        }
        _ => writeln!(out),
    }
}

fn trust(out: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
    let events = &snapshot.events;
    let since = Rfc3339::at(snapshot.wall, snapshot.since_ktime_ns);
    write!(out, "{} since {since:.0}: ", snapshot.trust.backend)?;
    write!(out, "{} events seen, {} lost, ", events.seen, snapshot.totals.lost())?;
    write!(out, "{} missed, {} repaired", events.missed(), events.repaired.total())?;
    if snapshot.totals.unmatched > 0 {
        write!(out, ", {} calls not caught", snapshot.totals.unmatched)?;
    }
    let ago = |ktime_ns| Span::ns(snapshot.ktime_ns.saturating_sub(ktime_ns));
    match &events.last_audit {
        Some(last) => {
            let (ago, took) = (ago(last.ended_ktime_ns), Span::ns(last.length_ns()));
            writeln!(out, "; audited {ago} ago: {} entries in {took}", last.entries)?;
        }
        None => writeln!(out, "; not yet audited")?,
    }
    but(out, snapshot)
}

/// What is not as it could be.
fn but(out: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
    let events = &snapshot.events;
    for degradation in &snapshot.trust.degradations {
        writeln!(out, "  but: {degradation}")?;
    }
    if !events.bootstrapped {
        writeln!(out, "  but: entries older than the attachment are not known")?;
    }
    if let Some(abandoned) = &events.abandoned {
        let ago = Span::ns(snapshot.ktime_ns.saturating_sub(abandoned.ended_ktime_ns));
        writeln!(out, "  but: audit {} was given up {ago} ago", abandoned.number)?;
    }
    if events.gaps.count > 0 {
        let now = if events.gaps.since_ktime_ns.is_some() { ", and is away now" } else { "" };
        let away = Span::ns(events.gaps.duration_ns);
        writeln!(out, "  but: conntrack was away {} times, {away} in total{now}", events.gaps.count)?;
    }
    if events.unrecorded.count > 0 {
        let missing = Span::ns(events.unrecorded.duration_ns);
        writeln!(
            out,
            "  but: {} times are not in the recording, {missing} in total",
            events.unrecorded.count
        )?;
    }
    let rows = &snapshot.statistics;
    for row in rows.iter().filter(|row| row.comparison.differs() && worth_a_line(row, rows)) {
        writeln!(out, "  but: the kernel's statistics say {}", statistics(row))?;
    }
    Ok(())
}

/// Every cause with its number and rate.
fn all_causes(out: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
    writeln!(out, "\n{:<14} {:>10} {:>10}", "CAUSE", "TOTAL", "PER S")?;
    for row in &snapshot.causes {
        writeln!(out, "{:<14} {:>10} {:>10.1}", row.cause, row.total, row.per_s)?;
    }
    Ok(())
}

/// Why connections were lost or cut off, by the names of docs/causes.md; nothing if none was.
fn causes(out: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
    let named = snapshot.causes.iter().filter(|row| row.total > 0);
    let named = named.map(|row| format!("{} {}", row.cause, row.total));
    let named: Vec<_> = named.collect();
    if named.is_empty() { Ok(()) } else { writeln!(out, "causes: {}", named.join(", ")) }
}

/// What a state means, where its name needs it.
fn words(state: State) -> &'static str {
    match state {
        State::Ok | State::Recovered => "",
        State::Pressure => ", above the warn level",
        State::Evicting => ", the kernel frees unassured entries to make room",
        State::Refusing => ", the table is full and new connections are dropped",
    }
}
