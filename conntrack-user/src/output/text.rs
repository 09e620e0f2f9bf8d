//! Text for people and for grep: conntrack's tokens, one thing per line.

use std::fmt::{self, Display};
use std::io::{self, Write};

use conntrack_common::End;

use super::fold::Folded;
use super::time::{Rfc3339, Span};
use crate::engine::account::Repaired;
use crate::engine::batch::WallClock;
use crate::engine::episode::Episode;
use crate::engine::gauge::Level;
use crate::engine::notice::{Audited, Counted, Eviction, Failure, Freed, Lost, Notice, Refusal};
use crate::engine::saturation::State;
use crate::engine::snapshot::{Attached, NetnsRow, Snapshot, Summary};
use crate::engine::sources::Sums;
use crate::engine::statistics::{Comparison, StatisticsRow};
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
        Notice::InsertFailed(failure) => failed(out, failure),
        Notice::Lost(Lost { ktime_ns: _, entries, incidents, unmatched }) => {
            writeln!(out, "lost    entries={entries} incidents={incidents} unmatched={unmatched}")
        }
        Notice::Audited(it) => audited(out, it),
        Notice::Gap(gap) if gap.over => {
            writeln!(out, "gap     over: conntrack is there again after {}", seconds(gap.length_ns()))
        }
        Notice::Gap(_) => writeln!(out, "gap     begun: conntrack is gone, with all entries"),
        Notice::Counted(Counted { ktime_ns: _, netns, refused, evicted, failed }) => {
            writeln!(out, "counted netns={netns} refused={refused} evicted={evicted} failed={failed}")
        }
    }
}

fn failed(out: &mut impl Write, failure: &Failure) -> io::Result<()> {
    let Failure { connection, reply, .. } = failure;
    write!(out, "failed  {:<10} {} ", failure.cause_str(), tuple(connection))?;
    writeln!(out, "reply {} netns={}", direction(reply), connection.netns)
}

fn audited(out: &mut impl Write, audited: &Audited) -> io::Result<()> {
    let Audited { report, abandoned } = audited;
    let Repaired { added, removed, replaced } = report.repaired;
    let how = if *abandoned { "abandoned" } else { "ended" };
    write!(out, "audit   {how:<10} number={} trigger={} ", report.number, report.trigger_str())?;
    write!(out, "entries={} added={added} removed={removed} replaced={replaced} ", report.entries)?;
    write!(out, "took={}", seconds(report.length_ns()))?;
    for (what, count) in [("restarts", report.restarts), ("cut_short", report.cut_short)] {
        if count > 0 {
            write!(out, " {what}={count}")?;
        }
    }
    writeln!(out)
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
    let Freed { ktime_ns: _, ref connection, status, mark, lifetime_ns, end } = *freed;
    let end = match end {
        End::Other => "",
        End::Evicted => " [EVICTED]",
        End::NotInserted => " [NOT_INSERTED]",
    };
    let lifetime = lifetime_ns.map_or_else(|| "?".into(), |ns| seconds(ns).to_string());
    writeln!(out, "free    {}{}{end} lifetime={lifetime}", tokens(connection), flags(status, mark))
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
    let (totals, events) = (&summary.totals, &summary.events);
    let time = Rfc3339::at(summary.wall, summary.ktime_ns);
    for row in summary.statistics.iter().filter(|row| worth_a_line(row, &summary.statistics)) {
        writeln!(out, "{time} kernel  {}", statistics(row))?;
    }
    let failed = totals.insert_failed().saturating_add(summary.failed_unknown);
    write!(out, "{time} summary new={} freed={} refused={} ", totals.new, totals.freed, totals.refused())?;
    write!(out, "evicted={} failed={failed} unconfirmed={} ", totals.evicted, totals.unconfirmed)?;
    write!(out, "seen={} lost={} missed={} ", events.seen, totals.lost(), events.missed())?;
    write!(out, "repaired={} audited=", events.repaired.total())?;
    match &events.last_audit {
        Some(last) => write!(out, "{:.0} ", Rfc3339::at(summary.wall, last.ended_ktime_ns))?,
        None => write!(out, "never ")?,
    }
    if totals.unmatched > 0 {
        write!(out, "unmatched={} ", totals.unmatched)?;
    }
    writeln!(out, "backend={}", summary.trust.backend)
}

/// Whether anything is counted, and not said by another line: the sum says nothing new of a single namespace,
/// but for resolved clashes.
fn worth_a_line(row: &StatisticsRow, rows: &[StatisticsRow]) -> bool {
    let said = |it: &Comparison| it.pairs().take(4).collect::<Vec<_>>();
    let same = |it: &StatisticsRow| it.netns.is_some() && said(&it.comparison) == said(&row.comparison);
    let resolved = row.comparison.pairs().nth(4).is_some_and(|(_, kernel, ctwatch)| kernel + ctwatch > 0);
    let repeated = row.netns.is_none() && !resolved && rows.iter().any(same);
    !repeated && row.comparison.pairs().any(|(_, kernel, ctwatch)| kernel > 0 || ctwatch > 0)
}

/// The kernel's figures, and of ours those that differ.
fn statistics(row: &StatisticsRow) -> impl Display {
    Shown(move |f: &mut fmt::Formatter<'_>| {
        match (row.netns, &row.name) {
            (Some(netns), Some(name)) => write!(f, "netns={netns} ({name})")?,
            (Some(netns), None) => write!(f, "netns={netns}")?,
            (None, _) => write!(f, "netns=all")?,
        }
        for (what, kernel, _) in row.comparison.pairs() {
            write!(f, " {what}={kernel}")?;
        }
        if row.comparison.differs() {
            f.write_str(", but ctwatch counted")?;
        }
        for (what, kernel, ctwatch) in row.comparison.pairs() {
            if kernel != ctwatch {
                write!(f, " {what}={ctwatch}")?;
            }
        }
        Ok(())
    })
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
        write!(out, "  [{bar}] {count} of {max} entries ({percent:.1} %)")?;
    } else {
        write!(out, "  {}", level(row.level))?;
    }
    match row.unaccounted() {
        Some(unaccounted) if unaccounted != 0 => writeln!(out, ", {unaccounted} unaccounted for")?,
        _ => writeln!(out)?,
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
    let rows = &snapshot.statistics;
    for row in rows.iter().filter(|row| row.comparison.differs() && worth_a_line(row, rows)) {
        writeln!(out, "  but: the kernel's statistics say {}", statistics(row))?;
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
    writeln!(out, "\n{:<width$}{head} ENTRIES  SHARE    NEW/S  REFUSED  EVICTED FAILED", "SOURCE")?;
    let mut row = |src: &str, of: Option<u32>, entries: u64, new_per_s: f64, sums: &Sums| {
        let share =
            if snapshot.entries == 0 { 0.0 } else { entries as f64 * 100.0 / snapshot.entries as f64 };
        let (netns, Sums { refused, evicted, failed, .. }) = (netns(of), sums);
        write!(out, "{src:<width$}{netns} {entries:>7} {share:>5.1}% {new_per_s:>8.1} ")?;
        writeln!(out, "{refused:>8} {evicted:>8} {failed:>6}")
    };
    for (src, it) in src.iter().zip(&snapshot.sources) {
        row(src, Some(it.netns), it.entries.into(), it.new_per_s, &it.sums)?;
    }
    let other = &snapshot.other;
    row("other", None, other.entries, other.new_per_s, &other.sums)
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
        write!(f, "{} {}", connection.proto, direction(connection))?;
        if connection.zone == 0 { Ok(()) } else { write!(f, " zone={}", connection.zone) }
    })
}

/// Its addresses and ports.
fn direction(connection: &Connection) -> impl Display {
    Shown(move |f: &mut fmt::Formatter<'_>| {
        let Connection { netns: _, zone: _, proto, src, dst, sport, dport } = connection;
        write!(f, "src={src} dst={dst}")?;
        match connection.icmp() {
            Some(icmp) => write!(f, " type={} code={} id={}", icmp.kind, icmp.code, icmp.id),
            None if *proto == Proto::GRE => write!(f, " srckey={sport:#x} dstkey={dport:#x}"),
            None if proto.has_ports() => write!(f, " sport={sport} dport={dport}"),
            None => Ok(()),
        }
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
