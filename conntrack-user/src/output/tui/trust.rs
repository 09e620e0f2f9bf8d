//! What the numbers are worth: by what they were come by, what was lost, when they were last audited.

use ratatui::text::{Line, Span};

use super::figures;
use super::scene::Scene;
use crate::engine::snapshot::Snapshot;

/// One line.
pub fn line<'a>(scene: &Scene<'_>, width: u16) -> Line<'a> {
    let (look, snapshot) = (scene.look, scene.snapshot);
    let events = &snapshot.events;
    // Where it is narrow, the table below says since when.
    let since = match width {
        0..100 => format!("for {}", scene.ago(snapshot.since_ktime_ns)),
        _ => format!("since {}", scene.clock(snapshot.since_ktime_ns, 0)),
    };
    let mut line = Line::from(vec![
        Span::styled(snapshot.trust.backend.clone(), look.strong()),
        Span::raw(format!(" {since}: {} seen", figures::short(events.seen))),
    ]);
    let wrong = [(snapshot.totals.lost(), "lost"), (events.missed(), "missed")];
    for (count, what) in wrong {
        let style = if count == 0 { look.good() } else { look.loud() };
        line.push_span("  ");
        line.push_span(Span::styled(format!("{} {what}", figures::grouped(count)), style));
    }
    line.push_span(format!("  {} repaired", figures::grouped(events.repaired.total())));
    line.push_span(match &events.last_audit {
        Some(last) if width < 100 => Span::raw(format!("  audit {} ago", scene.ago(last.ended_ktime_ns))),
        Some(last) => Span::raw(format!(
            "  audit {} ago, cost {}",
            scene.ago(last.ended_ktime_ns),
            figures::span_ns(last.length_ns())
        )),
        None => Span::styled("  not yet audited", look.warn()),
    });
    line
}

/// What is not as it could be, a line each.
pub fn reservations(snapshot: &Snapshot) -> Vec<String> {
    let events = &snapshot.events;
    let mut but = Vec::new();
    if snapshot.totals.lost() > 0 {
        let (entries, incidents) = (snapshot.totals.lost_entries, snapshot.totals.lost_incidents);
        but.push(format!("{entries} entries and {incidents} incidents were lost: sums stay exact, entries are again after an audit"));
    }
    if !events.bootstrapped {
        but.push("entries older than the attachment are not known yet".into());
    }
    if snapshot.totals.unmatched > 0 {
        but.push(format!("{} calls were not caught: of whom is not known", snapshot.totals.unmatched));
    }
    if let Some(abandoned) = &events.abandoned {
        let ago = snapshot.ktime_ns.saturating_sub(abandoned.ended_ktime_ns);
        but.push(format!("audit {} was given up {} ago", abandoned.number, figures::span_ns(ago)));
    }
    if events.gaps.count > 0 {
        let (times, length) = (events.gaps.count, figures::span_ns(events.gaps.duration_ns));
        let now = if events.gaps.since_ktime_ns.is_some() { ", and is away now" } else { "" };
        but.push(format!("conntrack was away {times} times, {length} in total{now}"));
    }
    if events.unrecorded.count > 0 {
        let (times, length) = (events.unrecorded.count, figures::span_ns(events.unrecorded.duration_ns));
        but.push(format!("{times} times are not in the recording, {length} in total"));
    }
    if events.decode_errors > 0 {
        but.push(format!("{} records made no sense", events.decode_errors));
    }
    but.extend(disagreement(snapshot));
    but.extend(snapshot.trust.degradations.iter().cloned());
    but
}

/// Where the kernel's own statistics and ours differ, over all namespaces.
fn disagreement(snapshot: &Snapshot) -> Option<String> {
    let row = snapshot.statistics.first().filter(|row| row.comparison.differs())?;
    let pairs = row.comparison.pairs().filter(|(_, kernel, ours)| kernel != ours);
    let pairs: Vec<_> =
        pairs.map(|(what, kernel, ours)| format!("{what} is {kernel}, counted {ours}")).collect();
    Some(format!("the kernel's own statistics differ: {}", pairs.join("; ")))
}

/// The reservations in so many lines at most; where there are more, each says how many.
pub fn but_lines<'a>(scene: &Scene<'_>, most: usize) -> Vec<Line<'a>> {
    let but = reservations(scene.snapshot);
    let (look, all) = (scene.look, but.len());
    let more = all.saturating_sub(most);
    let line = |(at, text): (usize, String)| {
        let head = if more > 0 { format!("but {} of {all}: ", at + 1) } else { "but: ".into() };
        Line::from(vec![Span::styled(head, look.warn()), Span::raw(text)])
    };
    but.into_iter().take(most).enumerate().map(line).collect()
}
