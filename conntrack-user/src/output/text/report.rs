//! A report for a terminal of 80 columns, and what was around an instant.

mod around;

use std::fmt::Display;
use std::io::{self, Write};

use super::{level, tuple};
use crate::engine::report::{
    Class, ClassSpan, Known, Missing, MissingKind, Moment, Point, Report, ReportEpisode, Timeline,
};
use crate::engine::tally::Ranking;
use crate::output::causes;
use crate::output::time::{Rfc3339, Span};

pub use around::around;

/// Columns of a bar of time.
const BAR: usize = 66;

/// Rows of a table.
const ROWS: usize = 10;

/// Columns that rows of a ranking may take in a line, beside its words and what is left.
const FITS: usize = 48;

/// Episodes shown: the first and the last.
const EPISODES: usize = 5;

/// Writes it; `ascii` where the terminal has no block characters.
pub fn report(out: &mut impl Write, report: &Report, ascii: bool) -> io::Result<()> {
    known(out, report)?;
    totals(out, report)?;
    for line in &report.timelines {
        timeline(out, line, report, ascii)?;
    }
    if report.timelines_left_out > 0 {
        writeln!(out, "\n{} more network namespaces are not drawn", report.timelines_left_out)?;
    }
    episodes(out, report)?;
    sources(out, report)?;
    destinations(out, report)?;
    occupancy(out, report)
}

fn time(at: Moment) -> Rfc3339 {
    Rfc3339::unix_ns(at.unix_ns)
}

fn known(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let known = &report.known;
    for session in &known.sessions {
        let head = &session.head;
        writeln!(
            out,
            "{} ({}), ctwatch {}, {}",
            head.host, head.kernel, head.program, session.trust.backend
        )?;
        let span = Span { seconds: (session.last.unix_ns - session.first.unix_ns) as f64 / 1e9 };
        let files = if session.files == 1 { "1 file".into() } else { format!("{} files", session.files) };
        let end = if session.ended { "" } else { ", not ended" };
        writeln!(out, "  {:.3} to {:.3}, {span} in {files}{end}", time(session.first), time(session.last))?;
        for degradation in &session.trust.degradations {
            writeln!(out, "  but: {degradation}")?;
        }
    }
    if known.sessions.is_empty() {
        writeln!(out, "nothing was recorded")?;
    }
    flaws(out, known)?;
    let audits = known.audits;
    match audits.last {
        Some(last) => writeln!(
            out,
            "  audited {} times, the last at {:.0}; {} entries put right, {} events missed",
            audits.ended,
            time(last),
            audits.repaired,
            known.missed
        ),
        None => writeln!(out, "  not audited; {} events missed", known.missed),
    }
}

/// What is not known.
fn flaws(out: &mut impl Write, known: &Known) -> io::Result<()> {
    for it in known.missing.iter().take(ROWS) {
        writeln!(out, "  missing: {}", missing(it))?;
    }
    let more = known.missing.len().saturating_sub(ROWS) as u64 + known.missing_left_out;
    if more > 0 {
        writeln!(out, "  missing: {more} more times")?;
    }
    for step in known.steps.iter().take(ROWS) {
        let by = Span { seconds: step.by_ns.unsigned_abs() as f64 / 1e9 };
        let way = if step.by_ns < 0 { "back" } else { "forward" };
        writeln!(out, "  clock: set {way} by {by} at {:.3}", time(step.at))?;
    }
    if known.unreadable > 0 {
        writeln!(out, "  but: {} blocks hold records that cannot be read", known.unreadable)?;
    }
    Ok(())
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
    let when = match (it.from, it.until) {
        (Some(from), Some(until)) => {
            let length = Span { seconds: (until.unix_ns - from.unix_ns).max(0) as f64 / 1e9 };
            format!("{:.3}, {length}", time(from))
        }
        (Some(from), None) => format!("{:.3} on", time(from)),
        (None, Some(until)) => format!("until {:.3}", time(until)),
        (None, None) => "all".into(),
    };
    let sums = it.refused + it.evicted + it.failed;
    let meanwhile = if sums > 0 {
        format!("; meanwhile {} refused, {} evicted, {} failed", it.refused, it.evicted, it.failed)
    } else {
        String::new()
    };
    format!("{when}: {why}{meanwhile}")
}

fn totals(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let totals = &report.totals;
    writeln!(out)?;
    for (class, span) in Class::ALL.into_iter().zip(totals.spans) {
        let sum = totals.by_cause.class(class);
        write!(out, "{:<10}{sum:>10}", class.as_str())?;
        match span {
            ClassSpan { first: Some(first), last: Some(last) } => {
                writeln!(out, "  first {}\n{:<20}  last  {}", time(first), "", time(last))?;
            }
            _ => writeln!(out)?,
        }
    }
    if let (Some(new), Some(freed)) = (totals.new, totals.freed) {
        writeln!(out, "{:<10}{new:>10}\n{:<10}{freed:>10}", "new", "freed")?;
    }
    if totals.by_cause.iter().next().is_none() {
        return Ok(());
    }
    writeln!(out, "\n{:<15}{:>10}{:>12}{:>12}{:>12}", "CAUSE", "TOTAL", "ONE BY ONE", "IN SUMS", "COUNTED")?;
    for (cause, total) in totals.by_cause.iter() {
        let [told, summed, counted] = [&totals.told, &totals.summed, &totals.counted].map(|it| it.of(cause));
        writeln!(out, "{:<15}{total:>10}{told:>12}{summed:>12}{counted:>12}", cause.as_str())?;
        if let Some(it) = causes::cause(cause.as_str()) {
            writeln!(out, "  {}", it.meaning)?;
        }
    }
    if totals.lost_incidents + totals.lost_entries > 0 {
        let (incidents, entries) = (totals.lost_incidents, totals.lost_entries);
        writeln!(out, "  lost: {incidents} records of incidents, {entries} of entries; the sums have them")?;
    }
    Ok(())
}

fn timeline(out: &mut impl Write, line: &Timeline, report: &Report, ascii: bool) -> io::Result<()> {
    let (Some(first), Some(last)) = (line.points.first(), line.points.last()) else { return Ok(()) };
    let name = report.netns_name(line.netns).map(|name| format!(" ({name})")).unwrap_or_default();
    let columns = Columns::new(first.unix_ns, last.unix_ns + line.point_ns, report);
    let each = Span { seconds: columns.width_ns as f64 / 1e9 };
    writeln!(
        out,
        "\nnetns {}{name}: {} in the end; a column is {each}, its highest second",
        line.netns,
        line.state.as_str()
    )?;
    let percent = |point: &Point| {
        let level = crate::engine::gauge::Level { count: point.peak, max: point.max };
        level.percent().unwrap_or(0.0)
    };
    let fullest = line.points.iter().filter_map(|it| it.peak.zip(it.max)).max_by_key(|(peak, _)| *peak);
    let words = fullest.map_or_else(String::new, |(peak, max)| format!("{peak} of {max}"));
    bar(out, "filled", &columns.peaks(line, percent, true), 100.0, &words, ascii)?;
    for (what, of) in [
        ("new/s", (|it| it.most.new as f64) as fn(&Point) -> f64),
        ("refused/s", |it| it.most.refused as f64),
        ("evicted/s", |it| it.most.evicted as f64),
        ("failed/s", |it| it.most.failed as f64),
    ] {
        let peaks = columns.peaks(line, of, false);
        let most = peaks.iter().flatten().copied().fold(0.0, f64::max);
        if most > 0.0 {
            bar(out, what, &peaks, most, &format!("{most:.0}"), ascii)?;
        }
    }
    let (from, until) =
        (format!("{:.0}", Rfc3339::unix_ns(first.unix_ns)), Rfc3339::unix_ns(columns.until()));
    writeln!(out, "{:<10}{from:<width$}{until:.0}", "", width = BAR - from.len())
}

/// Bars of time, each so long.
struct Columns<'a> {
    from: i64,
    width_ns: i64,
    count: usize,
    missing: &'a [Missing],
}

impl<'a> Columns<'a> {
    fn new(from: i64, until: i64, report: &'a Report) -> Self {
        const S: i64 = 1_000_000_000;
        let span = (until - from).max(S);
        let width_ns = (span as u64).div_ceil(BAR as u64).div_ceil(S as u64) as i64 * S;
        let count = ((span as u64).div_ceil(width_ns as u64) as usize).clamp(1, BAR);
        Self { from, width_ns, count, missing: &report.known.missing }
    }

    fn until(&self) -> i64 {
        self.from.saturating_add(self.width_ns.saturating_mul(self.count as i64))
    }

    /// The highest of each column; None where nothing is known. What `stays` holds until it changes.
    fn peaks(&self, line: &Timeline, of: impl Fn(&Point) -> f64, stays: bool) -> Vec<Option<f64>> {
        let mut peaks: Vec<Option<f64>> = vec![None; self.count];
        for point in &line.points {
            let first = ((point.unix_ns - self.from) / self.width_ns).max(0) as usize;
            let value = of(point);
            if let Some(peak) = peaks.get_mut(first) {
                *peak = Some(peak.unwrap_or(0.0).max(value));
            }
        }
        let mut before = 0.0;
        for (at, peak) in peaks.iter_mut().enumerate() {
            match peak {
                Some(peak) => before = *peak,
                None if self.is_missing(at) => {}
                None => *peak = Some(if stays { before } else { 0.0 }),
            }
        }
        peaks
    }

    /// Whether nothing of a column is known.
    fn is_missing(&self, column: usize) -> bool {
        let from = self.from.saturating_add(self.width_ns.saturating_mul(column as i64));
        let until = from.saturating_add(self.width_ns);
        self.missing.iter().any(|it| {
            it.from.is_none_or(|begin| begin.unix_ns <= from)
                && it.until.is_none_or(|end| end.unix_ns >= until)
        })
    }
}

/// `?` where nothing is known.
fn bar(
    out: &mut impl Write,
    what: &str,
    peaks: &[Option<f64>],
    most: f64,
    words: &str,
    ascii: bool,
) -> io::Result<()> {
    const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const ASCII: [char; 9] = [' ', '.', ':', '-', '=', '+', '*', '#', '@'];
    let cells = if ascii { ASCII } else { BLOCKS };
    let cell = |peak: &Option<f64>| match peak {
        None => '?',
        Some(peak) if *peak <= 0.0 => cells[0],
        // What is not nothing can be seen.
        Some(peak) => cells[((peak / most * 8.0).round() as usize).clamp(1, 8)],
    };
    let bars: String = peaks.iter().map(cell).collect();
    writeln!(out, "{what:<10}{}", bars.trim_end())?;
    if words.is_empty() { Ok(()) } else { writeln!(out, "{:<10}at most {words}", "") }
}

fn episodes(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let total = report.episodes.total();
    for (at, it) in report.episodes.iter().enumerate() {
        let from_end = report.episodes.first.len() + report.episodes.last.len() - at;
        if at < EPISODES || from_end <= EPISODES {
            episode(out, it)?;
        } else if at == EPISODES {
            writeln!(
                out,
                "\n{} episodes between are not shown; -o json has them",
                total - 2 * EPISODES as u64
            )?;
        }
    }
    Ok(())
}

fn episode(out: &mut impl Write, it: &ReportEpisode) -> io::Result<()> {
    let before = if it.began_before { " (began before)" } else { "" };
    writeln!(out, "\n{} episode netns={} {}{before}", time(it.start), it.netns, level(it.level))?;
    let refused = it.by_cause.class(Class::Refused);
    let length = |end: Moment| Span { seconds: (end.unix_ns - it.start.unix_ns) as f64 / 1e9 };
    match it.end {
        Some(end) => writeln!(out, "  recovered {} later, at {}", length(end), time(end))?,
        None => writeln!(out, "  no recovery is known; {} later it went on", length(it.last))?,
    }
    let evicted = it.by_cause.class(Class::Evicted);
    write!(out, "  refused {refused}, evicted {evicted}, failed {}", it.by_cause.class(Class::Failed))?;
    writeln!(out, ", highest count {}", it.peak.map_or_else(|| "?".into(), |peak| peak.to_string()))?;
    if it.counted > 0 {
        writeln!(out, "  of these {} were only counted: of whom nobody knows", it.counted)?;
    }
    if let ClassSpan { first: Some(first), last: Some(last) } = it.spans[Class::Refused as usize] {
        writeln!(out, "  first refused {}", time(first))?;
        writeln!(out, "  last refused  {}", time(last))?;
    }
    if let Some(first) = it.first_refused.and_then(|first| first.connection) {
        writeln!(out, "  it was        {}", tuple(&first))?;
    }
    if let Some(holders) = &it.holders {
        ranking(out, "held by", &holders.sources)?;
        ranking(out, "networks", &holders.prefixes)?;
        ranking(out, "to", &holders.destinations)?;
        ranking(out, "new before", &holders.arrivals)?;
    }
    ranking(out, "refused", &it.victims.refused)?;
    ranking(out, "evicted", &it.victims.evicted)
}

/// As many rows of a ranking as fit a line, and what the others amount to.
fn ranking<K: Display>(out: &mut impl Write, what: &str, ranking: &Ranking<K>) -> io::Result<()> {
    let total = ranking.total();
    if total == 0 {
        return Ok(());
    }
    let share = |count: u64| format!("{count} ({:.0} %)", count as f64 * 100.0 / total as f64);
    let (mut line, mut left) = (String::new(), total);
    for (at, (key, count)) in ranking.top.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        let next = format!("{comma}{key} {}", share(*count));
        if at > 0 && line.len() + next.len() > FITS {
            break;
        }
        (line, left) = (line + &next, left - count);
    }
    let other = if left > 0 { format!(", other {left}") } else { String::new() };
    writeln!(out, "  {what:<13} {}", format!("{line}{other}").trim_start_matches(", "))
}

fn sources(out: &mut impl Write, report: &Report) -> io::Result<()> {
    if report.sources.top.is_empty() {
        return Ok(());
    }
    let head = ["WHO SUFFERED", "REFUSED", "EVICTED", "FAILED", "LAST"].map(str::to_owned);
    let mut lines = vec![head.to_vec()];
    let [mut refused, mut evicted, mut failed] = Class::ALL.map(|class| report.sources.other.class(class));
    for (at, row) in report.sources.top.iter().enumerate() {
        let of = Class::ALL.map(|class| row.of(class));
        if at >= ROWS {
            (refused, evicted, failed) = (refused + of[0], evicted + of[1], failed + of[2]);
            continue;
        }
        let last = row.span.last.map(|last| format!("{:.3}", time(last))).unwrap_or_default();
        let [refused, evicted, failed] = of.map(|count| count.to_string());
        lines.push(vec![row.src.to_string(), refused, evicted, failed, last]);
    }
    let [refused, evicted, failed] = [refused, evicted, failed].map(|count| count.to_string());
    lines.push(vec!["other".to_owned(), refused, evicted, failed, String::new()]);
    writeln!(out)?;
    super::table::write_aligned(out, &lines)
}

fn destinations(out: &mut impl Write, report: &Report) -> io::Result<()> {
    if report.destinations.is_empty() {
        return Ok(());
    }
    let mut lines = vec![["REFUSED TO", "PORT", "REFUSED"].map(str::to_owned).to_vec()];
    for (to, refused) in report.destinations.iter().take(ROWS) {
        lines.push(vec![
            to.dst.to_string(),
            super::Port(to.proto, to.dport).to_string(),
            refused.to_string(),
        ]);
    }
    let more: u64 = report.destinations.iter().skip(ROWS).map(|(_, refused)| refused).sum();
    for (what, count) in
        [("other", report.destinations_other + more), ("not told", report.destinations_unknown)]
    {
        if count > 0 {
            lines.push(vec![what.to_owned(), String::new(), count.to_string()]);
        }
    }
    writeln!(out)?;
    super::table::write_aligned(out, &lines)
}

fn occupancy(out: &mut impl Write, report: &Report) -> io::Result<()> {
    if report.occupancy.is_empty() {
        return Ok(());
    }
    let head = ["WHO HELD IT", "NEW/S", "x LIFETIME", "= EXPECTED", "HELD", "AT MOST"].map(str::to_owned);
    let mut lines = vec![head.to_vec()];
    for it in report.occupancy.iter().take(ROWS) {
        let lifetime = it.mean_lifetime_s.map_or_else(|| "-".into(), |seconds| Span { seconds }.to_string());
        let expected = it.expected.map_or_else(|| "-".into(), |expected| format!("{expected:.0}"));
        let (rate, held) = (format!("{:.1}", it.new_per_s), format!("{:.0}", it.held));
        lines.push(vec![it.src.to_string(), rate, lifetime, expected, held, it.most.to_string()]);
    }
    writeln!(out)?;
    super::table::write_aligned(out, &lines)
}

#[cfg(test)]
mod tests {
    use crate::engine::report::{Narrow, tests};

    #[test]
    fn fits_a_terminal() {
        let (report, _) = tests::report_of(&tests::story(), Narrow::default());
        let mut out = Vec::new();
        super::report(&mut out, &report, true).expect("a vector takes all");
        let text = String::from_utf8(out).expect("text");
        insta::assert_snapshot!(text);
        assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 80), "{text}");
    }
}
