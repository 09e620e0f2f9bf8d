//! Text for people and for grep: conntrack's tokens, one thing per line.

mod close;
mod report;
mod table;
mod top;

use std::fmt::{self, Display};
use std::io::{self, Write};

use conntrack_common::End;

use super::fold::Folded;
use super::time::{Rfc3339, Span};
use crate::engine::account::Repaired;
use crate::engine::batch::WallClock;
use crate::engine::episode::Episode;
use crate::engine::gauge::Level;
use crate::engine::notice::{Audited, Counted, Eviction, Failure, Freed, Lost, Notice, Refusal, Summed};
use crate::engine::snapshot::{Attached, Summary};
use crate::engine::statistics::{Comparison, StatisticsRow};
use crate::engine::tally::Ranking;
use crate::engine::tuple::{Connection, Proto, Status};

pub use report::{around, report};
pub use top::top;

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
        Notice::Summed(it) => summed(out, it),
        Notice::Unrecorded(it) => {
            let (length, reason) = (seconds(it.length_ns()), it.reason.as_str());
            writeln!(out, "missing {length} not recorded: {reason} drains={} bytes={}", it.drains, it.bytes)
        }
    }
}

fn summed(out: &mut impl Write, summed: &Summed) -> io::Result<()> {
    let Summed { ktime_ns, first_ktime_ns, netns, of, count, src, level: at } = *summed;
    write!(out, "summed  {count} {}", of.as_str())?;
    if let Some(cause) = of.cause_str() {
        write!(out, " {cause}")?;
    }
    write!(out, " in {}", seconds(ktime_ns.saturating_sub(first_ktime_ns)))?;
    match src {
        Some(src) => write!(out, " src={src}")?,
        None => write!(out, " unknown")?,
    }
    writeln!(out, " netns={netns} {}", level(at))
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
    let Freed { ktime_ns: _, ref connection, status, mark, lifetime_ns, end, tcp_state: _ } = *freed;
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
    if events.unrecorded.count > 0 {
        write!(out, "missing={} ", seconds(events.unrecorded.duration_ns))?;
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
