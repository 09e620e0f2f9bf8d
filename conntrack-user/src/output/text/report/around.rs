//! What was around an instant, for a terminal.

use std::io::{self, Write};

use super::{flaws, ranking, time};
use crate::engine::report::{Around, Class, Incident, Moment};
use crate::engine::tally::Ranking;
use crate::output::text::{level, seconds, tuple};
use crate::output::time::{Rfc3339, Span};

/// Writes what was around an instant.
pub fn around(out: &mut impl Write, around: &Around) -> io::Result<()> {
    let at = around.at_unix_ns;
    writeln!(out, "{}, {} before and after", Rfc3339::unix_ns(at), Span::ns(around.window_ns))?;
    if !around.recorded {
        writeln!(out, "  this instant was not recorded")?;
    }
    flaws(out, &around.known)?;
    for it in &around.standing {
        let name = around.known.names.get(&it.netns).map(|name| format!(" ({name})")).unwrap_or_default();
        write!(out, "netns {}{name}: {}", it.netns, it.state.as_str())?;
        match it.since {
            Some(since) => writeln!(out, " since {}", time(since))?,
            None => writeln!(out)?,
        }
        let before = Span { seconds: (at - it.level_at.unix_ns).max(0) as f64 / 1e9 };
        writeln!(out, "  {}, as told {before} before", level(it.level))?;
    }
    let [refused, evicted, failed] = Class::ALL.map(|class| around.by_cause.class(class));
    writeln!(out, "refused {refused}, evicted {evicted}, failed {failed}")?;
    for (when, netns, was, state) in &around.edges {
        let (was, state) = (was.as_str(), state.as_str());
        writeln!(out, "  {} {:>14} edge {was} -> {state} netns={netns}", time(*when), distance(*when, at))?;
    }
    let [before, after] = around.left_out;
    if before > 0 {
        writeln!(out, "  {before} before these are left out")?;
    }
    for it in &around.incidents {
        writeln!(out, "  {} {:>14} {}", time(it.at), distance(it.at, at), incident(it))?;
    }
    if after > 0 {
        writeln!(out, "  {after} after these are left out")?;
    }
    ranking(out, "of", &around.sources)?;
    let Some(held) = &around.holders else { return Ok(()) };
    let top = held.rows.iter().map(|(_, src, entries)| (*src, u64::from(*entries))).collect();
    ranking(out, "held by", &Ranking { top, other: held.other.unwrap_or(0) })?;
    let before = Span { seconds: (at - held.at.unix_ns).max(0) as f64 / 1e9 };
    writeln!(out, "  {:<13} {before} before", "as told")
}

/// How far from an instant.
fn distance(when: Moment, at_unix_ns: i64) -> String {
    let ns = when.unix_ns - at_unix_ns;
    let sign = if ns < 0 { '-' } else { '+' };
    match ns.unsigned_abs() {
        ns @ ..1_000_000 => format!("{sign}{:.3} us", ns as f64 / 1e3),
        ns @ ..1_000_000_000 => format!("{sign}{:.6} ms", ns as f64 / 1e6),
        ns => format!("{sign}{:.6} s", ns as f64 / 1e9),
    }
}

fn incident(it: &Incident) -> String {
    let what = format!("{} {}", it.class.as_str(), it.cause.as_str());
    match (&it.connection, it.src) {
        (Some(connection), _) => format!("{what} {}", tuple(connection)),
        (None, Some(src)) => {
            format!("{what} {} times since {} src={src}", it.count, seconds_before(it))
        }
        (None, None) => format!("{what} {} times, source not caught", it.count),
    }
}

fn seconds_before(it: &Incident) -> String {
    format!("{} before", seconds(it.at.ktime_ns.saturating_sub(it.first.ktime_ns)))
}
