//! Text for people and for grep: conntrack's tokens, one thing per line.

use std::fmt::{self, Display};
use std::io::{self, Write};

use super::fold::Folded;
use super::time::{Rfc3339, Span};
use crate::engine::batch::WallClock;
use crate::engine::episode::Episode;
use crate::engine::gauge::Level;
use crate::engine::notice::{Eviction, Freed, Lost, Notice, Refusal};
use crate::engine::saturation::State;
use crate::engine::snapshot::{Attached, NetnsRow, Snapshot, Summary};
use crate::engine::tally::Ranking;
use crate::engine::tuple::{Connection, Proto, Status};

/// Writes the first line of `watch`, and a line for each thing that works less well than it could.
pub fn attached(out: &mut impl Write, attached: &Attached) -> io::Result<()> {
    let Attached { ktime_ns, wall, trust } = attached;
    let time = Rfc3339::at(*wall, *ktime_ns);
    writeln!(out, "{time} attached backend={}", trust.backend)?;
    trust.degradations.iter().try_for_each(|it| writeln!(out, "{time} degraded {it}"))
}

/// Writes one line of `watch`.
pub fn notice(out: &mut impl Write, notice: &Notice, wall: WallClock) -> io::Result<()> {
    write!(out, "{} ", Rfc3339::at(wall, notice.ktime_ns()))?;
    match notice {
        Notice::Edge { netns, edge } => {
            let (was, state) = (edge.was.as_str(), edge.state.as_str());
            writeln!(out, "edge    {state:<10} netns={netns} {} was={was}", level(edge.level))
        }
        Notice::Refused(refusal) => refused(out, refusal),
        Notice::Evicted(eviction) => evicted(out, eviction),
        Notice::New { connection, .. } => writeln!(out, "new     {}", tokens(connection)),
        Notice::Free(entry) => freed(out, entry),
        Notice::Lost(Lost { ktime_ns: _, entries, incidents, unmatched }) => {
            writeln!(out, "lost    entries={entries} incidents={incidents} unmatched={unmatched}")
        }
    }
}

fn refused(out: &mut impl Write, refusal: &Refusal) -> io::Result<()> {
    write!(out, "refused {:<10} ", refusal.cause_str())?;
    match &refusal.connection {
        Some(connection) => write!(out, "{}", tokens(connection))?,
        None => write!(out, "unknown netns={}", refusal.netns)?,
    }
    writeln!(out, " {}", level(refusal.level))
}

fn evicted(out: &mut impl Write, eviction: &Eviction) -> io::Result<()> {
    let Eviction { ktime_ns: _, ref victim, age_ns, status, mark, level: _, ref for_whom } = *eviction;
    write!(out, "evicted {}{}", tokens(victim), flags(status, mark))?;
    if let Some(age_ns) = age_ns {
        write!(out, " age={}", seconds(age_ns))?;
    }
    if let Some(newcomer) = for_whom {
        write!(out, " for {}", tuple(newcomer))?;
    }
    writeln!(out)
}

fn freed(out: &mut impl Write, freed: &Freed) -> io::Result<()> {
    let Freed { ktime_ns: _, ref connection, status, mark, lifetime_ns, evicted } = *freed;
    let evicted = if evicted { " [EVICTED]" } else { "" };
    let lifetime = seconds(lifetime_ns);
    writeln!(out, "free    {}{}{evicted} lifetime={lifetime}", tokens(connection), flags(status, mark))
}

/// Writes the line that stands for many evictions.
pub fn folded(out: &mut impl Write, folded: &Folded, wall: WallClock) -> io::Result<()> {
    let Folded { netns, first_ktime_ns, last_ktime_ns, ref sources } = *folded;
    // By the last of them, so that lines stay in the order of time.
    let (last, span) = (Rfc3339::at(wall, last_ktime_ns), Span::ns(last_ktime_ns - first_ktime_ns));
    let plural = if sources.total() == 1 { "entry" } else { "entries" };
    write!(out, "{last} evicted {} {plural} in {span} netns={netns}", sources.total())?;
    for (src, count) in &sources.top {
        write!(out, " src={src} ({count})")?;
    }
    if sources.other > 0 {
        write!(out, " and {} of others", sources.other)?;
    }
    writeln!(out)
}

/// Writes the episodes of a run, then its one-line account.
pub fn summary(out: &mut impl Write, summary: &Summary) -> io::Result<()> {
    for it in &summary.episodes {
        episode(out, it, summary.wall)?;
    }
    let totals = &summary.totals;
    write!(out, "{} summary ", Rfc3339::at(summary.wall, summary.ktime_ns))?;
    write!(out, "new={} freed={} refused={} ", totals.new, totals.freed, totals.refused())?;
    write!(out, "evicted={} lost={} ", totals.evicted, totals.lost())?;
    if totals.unmatched > 0 {
        write!(out, "unmatched={} ", totals.unmatched)?;
    }
    writeln!(out, "backend={}", summary.trust.backend)
}

/// Writes what is to be known of an episode: a headline and indented details.
pub fn episode(out: &mut impl Write, episode: &Episode, wall: WallClock) -> io::Result<()> {
    let Episode { netns, start_ktime_ns, end_ktime_ns, evicted, .. } = *episode;
    write!(out, "{} episode netns={netns} {}", Rfc3339::at(wall, start_ktime_ns), level(episode.level))?;
    match end_ktime_ns {
        Some(end) => {
            writeln!(out, ", recovered {} later", Span::ns(end.saturating_sub(start_ktime_ns)))?;
        }
        None => writeln!(out, ", still going on")?,
    }
    writeln!(out, "  refused {}, evicted {evicted}", episode.refused.total())?;
    if let Some(first) = &episode.first_refused {
        write!(out, "  first refused {} ", Rfc3339::at(wall, first.ktime_ns))?;
        match &first.connection {
            Some(connection) => writeln!(out, "{}", tuple(connection))?,
            None => writeln!(out, "unknown")?,
        }
    }
    if let Some(last) = episode.last_refused_ktime_ns {
        writeln!(out, "  last refused  {}", Rfc3339::at(wall, last))?;
    }
    let holders = &episode.holders;
    ranking(out, "held by", &holders.sources)?;
    ranking(out, "networks", &holders.prefixes)?;
    ranking(out, "to", &holders.destinations)?;
    ranking(out, "ports", &holders.ports.map(|(proto, port)| Port(proto, port)))?;
    ranking(out, "new before", &holders.arrivals)?;
    ranking(out, "refused", &episode.refused_sources)?;
    ranking(out, "evicted", &episode.evicted_sources)
}

/// Rows of a ranking that fit a line a person reads.
const RANKED: usize = 5;

fn ranking<K: Display>(out: &mut impl Write, what: &str, ranking: &Ranking<K>) -> io::Result<()> {
    let total = ranking.total();
    if total == 0 {
        return Ok(());
    }
    let row =
        |(key, count): &(K, u64)| format!("{key} {count} ({:.0} %)", *count as f64 * 100.0 / total as f64);
    let rows: Vec<_> = ranking.top.iter().take(RANKED).map(row).collect();
    writeln!(out, "  {what:<13} {}", rows.join(", "))
}

/// Writes what `top --once` shows.
pub fn top(out: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
    for row in &snapshot.netns {
        gauge(out, row, snapshot.ktime_ns)?;
    }
    trust(out, snapshot)?;
    sources(out, snapshot)?;
    for it in snapshot.episodes.iter().rev().take(3).rev() {
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
        writeln!(out, "  [{bar}] {count} of {max} entries ({percent:.1} %)")?;
    } else {
        writeln!(out, "  {}", level(row.level))?;
    }
    let rates = &row.rates;
    write!(out, "  {:.1} new/s  {:.1} freed/s  ", rates.new, rates.freed)?;
    write!(out, "{:.1} refused/s  {:.1} evicted/s", rates.refused, rates.evicted)?;
    match row.seconds_to_full() {
        Some(seconds) if seconds > 0.0 && seconds < 86_400.0 => {
            writeln!(out, "  full in {}", Span { seconds })
        }
        _ => writeln!(out),
    }
}

fn trust(out: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
    let since = Rfc3339::at(snapshot.wall, snapshot.since_ktime_ns);
    write!(out, "{} since {since:.0}: ", snapshot.trust.backend)?;
    write!(out, "{} events seen, {} lost", snapshot.events.seen, snapshot.totals.lost())?;
    if snapshot.totals.unmatched > 0 {
        write!(out, ", {} calls not caught", snapshot.totals.unmatched)?;
    }
    if snapshot.events.unknown_free > 0 {
        write!(out, ", {} freed that were not known", snapshot.events.unknown_free)?;
    }
    writeln!(out)?;
    for degradation in &snapshot.trust.degradations {
        writeln!(out, "  but: {degradation}")?;
    }
    Ok(())
}

fn sources(out: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
    let many = snapshot.netns.len() > 1;
    let netns = |netns: Option<u32>| match netns {
        _ if !many => String::new(),
        Some(netns) => format!(" {netns:>10}"),
        None => format!(" {:>10}", ""),
    };
    let src: Vec<String> = snapshot.sources.iter().map(|row| row.src.to_string()).collect();
    let width = src.iter().map(String::len).max().unwrap_or(0).max("SOURCE".len());
    let head = if many { format!(" {:>10}", "NETNS") } else { String::new() };
    writeln!(out, "\n{:<width$}{head} ENTRIES  SHARE     NEW/S  REFUSED  EVICTED", "SOURCE")?;
    let mut row = |src: &str, of: Option<u32>, entries: u64, new_per_s: f64, refused: u64, evicted: u64| {
        let share =
            if snapshot.entries == 0 { 0.0 } else { entries as f64 * 100.0 / snapshot.entries as f64 };
        let netns = netns(of);
        writeln!(
            out,
            "{src:<width$}{netns} {entries:>7} {share:>5.1}% {new_per_s:>9.1} {refused:>8} {evicted:>8}"
        )
    };
    for (src, it) in src.iter().zip(&snapshot.sources) {
        row(src, Some(it.netns), it.entries.into(), it.new_per_s, it.sums.refused, it.sums.evicted)?;
    }
    let other = &snapshot.other;
    row("other", None, other.entries, other.new_per_s, other.sums.refused, other.sums.evicted)
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

/// Displayed by a function.
struct Shown<F>(F);

impl<F: Fn(&mut fmt::Formatter<'_>) -> fmt::Result> Display for Shown<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.0)(f)
    }
}

/// A destination port as it stands in a ranking.
struct Port(Proto, u16);

impl Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(proto, port) = self;
        if proto.has_ports() { write!(f, "{proto}/{port}") } else { write!(f, "{proto}") }
    }
}

fn level(level: Level) -> impl Display {
    let known = |value: Option<u32>| value.map_or_else(|| "?".into(), |value| value.to_string());
    Shown(move |f: &mut fmt::Formatter<'_>| {
        write!(f, "count={} max={}", known(level.count), known(level.max))
    })
}

/// To the millisecond; JSON has the nanoseconds.
fn seconds(ns: u64) -> impl Display {
    Shown(move |f: &mut fmt::Formatter<'_>| write!(f, "{:.3}s", ns as f64 / 1e9))
}

/// The tuple as `conntrack -L` writes it.
fn tuple(connection: &Connection) -> impl Display {
    Shown(move |f: &mut fmt::Formatter<'_>| {
        let Connection { netns: _, zone, proto, src, dst, sport, dport } = connection;
        write!(f, "{proto} src={src} dst={dst}")?;
        match connection.icmp() {
            Some(icmp) => write!(f, " type={} code={} id={}", icmp.kind, icmp.code, icmp.id)?,
            None if *proto == Proto::GRE => write!(f, " srckey={sport:#x} dstkey={dport:#x}")?,
            None if proto.has_ports() => write!(f, " sport={sport} dport={dport}")?,
            None => {}
        }
        if *zone == 0 { Ok(()) } else { write!(f, " zone={zone}") }
    })
}

/// The tuple and where it is.
fn tokens(connection: &Connection) -> impl Display {
    Shown(move |f: &mut fmt::Formatter<'_>| write!(f, "{} netns={}", tuple(connection), connection.netns))
}

fn flags(status: Status, mark: u32) -> impl Display {
    Shown(move |f: &mut fmt::Formatter<'_>| {
        for (set, flag) in [
            (!status.confirmed(), " [UNCONFIRMED]"),
            (!status.seen_reply(), " [UNREPLIED]"),
            (status.assured(), " [ASSURED]"),
        ] {
            f.write_str(if set { flag } else { "" })?;
        }
        if mark == 0 { Ok(()) } else { write!(f, " mark={mark}") }
    })
}

#[cfg(test)]
mod tests;
