//! A report, and what was around an instant, as one object each.

use std::io::{self, Write};

use super::episode::{holders, ranking, source_events};
use super::{connection, write_line};
use crate::engine::report::{
    self as model, Around, ByCause, Class, ClassSpan, Destination, Incident, Kept, Moment, Report,
    ReportEpisode,
};
use crate::output::schema::report as schema;
use crate::output::time::Rfc3339;

/// Writes it on one line.
pub fn report(out: &mut impl Write, report: &Report) -> io::Result<()> {
    write_line(out, &object(report))
}

/// Writes it on one line.
pub fn around(out: &mut impl Write, around: &Around) -> io::Result<()> {
    write_line(out, &object_around(around))
}

/// The object that `-o json` writes.
pub fn object(report: &Report) -> schema::Report {
    let narrow = &report.narrow;
    schema::Report {
        narrow: schema::Narrow {
            since: narrow.since_unix_ns.map(Rfc3339::unix_ns),
            until: narrow.until_unix_ns.map(Rfc3339::unix_ns),
            src: narrow.src.iter().map(ToString::to_string).collect(),
            netns: narrow.netns.clone(),
            cause: narrow.cause.iter().map(|cause| cause.as_str()).collect(),
        },
        first: report.span.map(|(first, _)| instant(first)),
        last: report.span.map(|(_, last)| instant(last)),
        known: known(&report.known),
        totals: totals(&report.totals),
        sources: schema::Listed {
            top: report.sources.top.iter().map(source).collect(),
            other: by_cause(&report.sources.other),
            distinct: report.sources.distinct,
        },
        destinations: schema::Destinations {
            top: report.destinations.iter().map(destination).collect(),
            other: report.destinations_other,
            unknown: report.destinations_unknown,
        },
        incidents: ends(&report.incidents, |it| incident(it, None)),
        timelines: report.timelines.iter().map(|it| timeline(it, report)).collect(),
        timelines_left_out: report.timelines_left_out,
        episodes: ends(&report.episodes, episode),
        holders: holders_over_time(&report.holders),
        occupancy: report.occupancy.iter().map(occupancy).collect(),
    }
}

fn instant(at: Moment) -> schema::Instant {
    schema::Instant { time: Rfc3339::unix_ns(at.unix_ns), ktime_ns: at.ktime_ns }
}

fn by_cause(sums: &ByCause) -> schema::ByCause {
    sums.iter().map(|(cause, count)| (cause.as_str(), count)).collect()
}

fn ends<T, U>(kept: &Kept<T>, of: impl Fn(&T) -> U) -> schema::Ends<U> {
    schema::Ends {
        total: kept.total(),
        first: kept.first.iter().map(&of).collect(),
        left_out: kept.left_out,
        last: kept.last.iter().map(&of).collect(),
    }
}

fn known(known: &model::Known) -> schema::Known {
    schema::Known {
        sessions: known.sessions.iter().map(session).collect(),
        sessions_left_out: known.sessions_left_out,
        missing: known.missing.iter().map(missing).collect(),
        missing_left_out: known.missing_left_out,
        clock_steps: known
            .steps
            .iter()
            .map(|step| schema::ClockStep { at: instant(step.at), by_ns: step.by_ns })
            .collect(),
        clock_steps_left_out: known.steps_left_out,
        missed: known.missed,
        unreadable: known.unreadable,
        audits: schema::Audits {
            ended: known.audits.ended,
            abandoned: known.audits.abandoned,
            repaired: known.audits.repaired,
            last: known.audits.last.map(instant),
        },
        settings: known
            .settings
            .iter()
            .map(|it| schema::Setting {
                netns: it.netns,
                name: it.name.clone(),
                value: it.value,
                changes: it.changes,
            })
            .collect(),
        names: known.names.clone(),
    }
}

fn session(session: &model::Session) -> schema::Session {
    let head = &session.head;
    schema::Session {
        session: head.session.clone(),
        host: head.host.clone(),
        kernel: head.kernel.clone(),
        boot_id: head.boot_id.clone(),
        program: head.program.clone(),
        files: session.files,
        entries: head.entries,
        backend: session.trust.backend.clone(),
        degradations: session.trust.degradations.clone(),
        first: instant(session.first),
        last: instant(session.last),
        ended: session.ended,
    }
}

fn missing(it: &model::Missing) -> schema::Missing {
    schema::Missing {
        why: it.kind.as_str(),
        from: it.from.map(instant),
        until: it.until.map(instant),
        bytes: it.bytes,
        refused: it.refused,
        evicted: it.evicted,
        failed: it.failed,
    }
}

fn totals(totals: &model::Totals) -> schema::ReportTotals {
    schema::ReportTotals {
        refused: totals.by_cause.class(Class::Refused),
        evicted: totals.by_cause.class(Class::Evicted),
        failed: totals.by_cause.class(Class::Failed),
        new: totals.new,
        freed: totals.freed,
        by_cause: by_cause(&totals.by_cause),
        told: by_cause(&totals.told),
        summed: by_cause(&totals.summed),
        counted: by_cause(&totals.counted),
        clash_resolved: totals.clash_resolved,
        lost_entries: totals.lost_entries,
        lost_incidents: totals.lost_incidents,
        unmatched: totals.unmatched,
        spans: spans(&totals.spans),
    }
}

fn spans([refused, evicted, failed]: &[ClassSpan; 3]) -> schema::Spans {
    schema::Spans {
        first_refused: refused.first.map(instant),
        last_refused: refused.last.map(instant),
        first_evicted: evicted.first.map(instant),
        last_evicted: evicted.last.map(instant),
        first_failed: failed.first.map(instant),
        last_failed: failed.last.map(instant),
    }
}

fn source(row: &model::SourceRow) -> schema::SourceRow {
    schema::SourceRow {
        src: row.src,
        netns: row.netns,
        refused: row.of(Class::Refused),
        evicted: row.of(Class::Evicted),
        failed: row.of(Class::Failed),
        by_cause: by_cause(&row.by_cause),
        first: row.span.first.map(instant),
        last: row.span.last.map(instant),
    }
}

fn destination(&(ref to, refused): &(Destination, u64)) -> schema::DestinationRow {
    schema::DestinationRow { dst: to.dst, proto: to.proto.to_string(), dport: to.dport, refused }
}

fn incident(it: &Incident, from_unix_ns: Option<i64>) -> schema::Incident {
    schema::Incident {
        kind: it.class.as_str(),
        at: instant(it.at),
        netns: it.netns,
        cause: it.cause.as_str(),
        connection: it.connection.as_ref().map(connection),
        reply: it.reply.as_ref().map(connection),
        summed: it.summed.then(|| schema::Summed { events: it.count, first: instant(it.first), src: it.src }),
        count: it.level.count,
        max: it.level.max,
        distance_ns: from_unix_ns.map(|from| it.at.unix_ns.saturating_sub(from)),
    }
}

fn timeline(it: &model::Timeline, report: &Report) -> schema::Timeline {
    let mut points = schema::Points::default();
    for point in &it.points {
        points.time.push(Rfc3339::unix_ns(point.unix_ns));
        points.state.push(point.state.as_str());
        points.peak.push(point.peak);
        points.count.push(point.count);
        points.max.push(point.max);
        points.new.push(point.sums.new);
        points.freed.push(point.sums.freed);
        points.refused.push(point.sums.refused);
        points.evicted.push(point.sums.evicted);
        points.failed.push(point.sums.failed);
        points.unconfirmed.push(point.sums.unconfirmed);
        points.most_new.push(point.most.new);
        points.most_refused.push(point.most.refused);
        points.most_evicted.push(point.most.evicted);
        points.most_failed.push(point.most.failed);
    }
    schema::Timeline {
        netns: it.netns,
        name: report.netns_name(it.netns).map(ToOwned::to_owned),
        state: it.state.as_str(),
        point_s: u64::try_from(it.point_ns / 1_000_000_000).unwrap_or(0),
        points,
    }
}

fn episode(it: &ReportEpisode) -> schema::ReportEpisode {
    schema::ReportEpisode {
        netns: it.netns,
        began: it.began.as_str(),
        start: Rfc3339::unix_ns(it.start.unix_ns),
        start_ktime_ns: it.start.ktime_ns,
        began_before: it.began_before,
        end: it.end.map(|end| Rfc3339::unix_ns(end.unix_ns)),
        end_ktime_ns: it.end.map(|end| end.ktime_ns),
        last: instant(it.last),
        count: it.level.count,
        max: it.level.max,
        peak: it.peak,
        refused: it.by_cause.class(Class::Refused),
        evicted: it.by_cause.class(Class::Evicted),
        failed: it.by_cause.class(Class::Failed),
        by_cause: by_cause(&it.by_cause),
        counted: it.counted,
        spans: spans(&it.spans),
        first_refusal: it.first_refused.as_ref().map(|first| incident(first, None)),
        holders: it.holders.as_ref().map(holders),
        victims: schema::ReportVictims {
            refused: ranking(&it.victims.refused, source_events),
            evicted: ranking(&it.victims.evicted, source_events),
            destinations: ranking(&it.victims.destinations, destination),
        },
    }
}

fn holders_over_time(it: &model::HoldersOverTime) -> schema::HoldersOverTime {
    schema::HoldersOverTime {
        time: it.at.iter().map(|at| Rfc3339::unix_ns(at.unix_ns)).collect(),
        series: it
            .series
            .iter()
            .map(|series| schema::HolderSeries {
                src: series.src,
                netns: series.netns,
                entries: series.entries.clone(),
                new_per_s: series.new_per_s.clone(),
            })
            .collect(),
        other: it.other.clone(),
    }
}

fn occupancy(it: &model::Occupancy) -> schema::Occupancy {
    schema::Occupancy {
        src: it.src,
        netns: it.netns,
        new_per_s: it.new_per_s,
        mean_lifetime_s: it.mean_lifetime_s,
        expected: it.expected,
        held: it.held,
        most: it.most,
        seconds: it.seconds,
    }
}

fn object_around(around: &Around) -> schema::Around {
    let at = around.at_unix_ns;
    schema::Around {
        at: Rfc3339::unix_ns(at),
        window_s: around.window_ns as f64 / 1e9,
        recorded: around.recorded,
        missing: around.known.missing.iter().map(missing).collect(),
        netns: around
            .standing
            .iter()
            .map(|it| schema::Standing {
                netns: it.netns,
                name: around.known.names.get(&it.netns).cloned(),
                state: it.state.as_str(),
                since: it.since.map(instant),
                count: it.level.count,
                max: it.level.max,
                level_at: instant(it.level_at),
            })
            .collect(),
        edges: around
            .edges
            .iter()
            .map(|(when, netns, was, state)| schema::EdgeAround {
                at: instant(*when),
                netns: *netns,
                state: state.as_str(),
                was: was.as_str(),
                distance_ns: when.unix_ns.saturating_sub(at),
            })
            .collect(),
        refused: around.by_cause.class(Class::Refused),
        evicted: around.by_cause.class(Class::Evicted),
        failed: around.by_cause.class(Class::Failed),
        by_cause: by_cause(&around.by_cause),
        incidents: around.incidents.iter().map(|it| incident(it, Some(at))).collect(),
        left_out_before: around.left_out[0],
        left_out_after: around.left_out[1],
        sources: ranking(&around.sources, source_events),
        holders: around.holders.as_ref().map(|held| schema::HoldersThen {
            at: instant(held.at),
            top: held
                .rows
                .iter()
                .map(|&(netns, src, entries)| schema::HolderThen { src, netns, entries })
                .collect(),
            other: held.other,
        }),
    }
}
