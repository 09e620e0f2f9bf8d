//! JSON: fills in the [`schema`](super::schema) from notices and snapshots, one object per line.

mod episode;
mod http;
mod report;
mod top;

use std::io::{self, Write};

use conntrack_common::{End, Totals};

use super::fold::Folded;
use super::schema::{self, Head, Line};
use super::time::Rfc3339;
use crate::engine::account::{AuditReport, Events, Repaired};
use crate::engine::batch::WallClock;
use crate::engine::notice::{self, Counted, Eviction, Failure, Freed, Lost, Notice, Refusal, Summed};
use crate::engine::snapshot::{Attached, Summary};
use crate::engine::state;
use crate::engine::statistics::{Comparison, StatisticsRow};
use crate::engine::tuple::Connection;
use episode::{episode, source_entries};

pub use http::{More, episodes, mistake, occasion, ready, refusals};
pub use report::{around, object, report};
pub use top::top;

/// Writes the first line of `watch`.
pub fn attached(out: &mut impl Write, attached: &Attached) -> io::Result<()> {
    let Attached { ktime_ns, wall, trust } = attached;
    let line = schema::Attached {
        head: head(*wall, *ktime_ns, None),
        backend: trust.backend.clone(),
        degradations: trust.degradations.clone(),
    };
    write_line(out, &Line::Attached(line))
}

/// Writes one line of `watch`.
pub fn notice(out: &mut impl Write, notice: &Notice, wall: WallClock) -> io::Result<()> {
    write_line(out, &line(notice, wall))
}

fn line(notice: &Notice, wall: WallClock) -> Line {
    let head = |netns| head(wall, notice.ktime_ns(), netns);
    match *notice {
        Notice::Edge { netns, edge } => Line::Edge(schema::Edge {
            head: head(Some(netns)),
            state: edge.state.as_str(),
            was: edge.was.as_str(),
            count: edge.level.count,
            max: edge.level.max,
        }),
        Notice::Refused(ref refusal) => Line::Refused(refused(refusal, wall)),
        Notice::Evicted(Eviction { ktime_ns: _, victim, age_ns, status, mark, level: _, for_whom }) => {
            Line::EvictedOne(schema::EvictedOne {
                head: head(Some(victim.netns)),
                connection: connection(&victim),
                age_ns,
                assured: status.assured(),
                seen_reply: status.seen_reply(),
                mark,
                for_whom: for_whom.as_ref().map(connection),
            })
        }
        Notice::New { ktime_ns: _, connection: ref it } => {
            Line::New(schema::New { head: head(Some(it.netns)), connection: connection(it) })
        }
        Notice::Free(ref freed) => Line::Free(self::freed(freed, wall)),
        Notice::InsertFailed(ref failure) => Line::Failed(failed(failure, wall)),
        Notice::Audited(notice::Audited { ref report, abandoned }) => {
            Line::Audit(schema::Audited { head: head(None), abandoned, audit: audit(report, wall) })
        }
        Notice::Gap(ref gap) => Line::Gap(schema::Gap {
            head: head(None),
            over: gap.over,
            from_ktime_ns: gap.from_ktime_ns,
            duration_ns: gap.length_ns(),
        }),
        Notice::Counted(Counted { ktime_ns: _, netns, refused, evicted, failed }) => {
            Line::Counted(schema::Counted { head: head(Some(netns)), refused, evicted, failed })
        }
        Notice::Summed(Summed { ktime_ns: _, first_ktime_ns, netns, of, count, src, level }) => {
            Line::Summed(schema::Summed {
                head: head(Some(netns)),
                of: of.as_str(),
                cause: of.cause_str(),
                src,
                incidents: count,
                first_ktime_ns,
                count: level.count,
                max: level.max,
            })
        }
        Notice::Unrecorded(ref it) => Line::Unrecorded(schema::Unrecorded {
            head: head(None),
            reason: it.reason.as_str(),
            from_ktime_ns: it.from_ktime_ns,
            duration_ns: it.length_ns(),
            drains: it.drains,
            bytes: it.bytes,
        }),
        Notice::Lost(Lost { ktime_ns: _, entries, incidents, unmatched }) => {
            Line::Lost(schema::Lost { head: head(None), entries, incidents, unmatched })
        }
    }
}

fn freed(freed: &Freed, wall: WallClock) -> schema::Free {
    let Freed { ktime_ns, connection: ref it, status, mark, lifetime_ns, end, tcp_state } = *freed;
    schema::Free {
        head: head(wall, ktime_ns, Some(it.netns)),
        connection: connection(it),
        lifetime_ns,
        assured: status.assured(),
        seen_reply: status.seen_reply(),
        confirmed: status.confirmed(),
        evicted: end == End::Evicted,
        end: freed.end_str(),
        mark,
        tcp_state: tcp_state.and_then(state::tcp_name),
    }
}

fn failed(failure: &Failure, wall: WallClock) -> schema::Failed {
    let Failure { ktime_ns, cause: _, connection: ref it, ref reply, status: _ } = *failure;
    schema::Failed {
        head: head(wall, ktime_ns, Some(it.netns)),
        cause: failure.cause_str(),
        connection: connection(it),
        reply: connection(reply),
    }
}

/// Writes the line that stands for many evictions.
pub fn folded(out: &mut impl Write, folded: &Folded, wall: WallClock) -> io::Result<()> {
    let Folded { netns, first_ktime_ns, last_ktime_ns, ref sources } = *folded;
    let line = schema::EvictedMany {
        head: head(wall, last_ktime_ns, Some(netns)),
        entries: sources.total(),
        first_ktime_ns,
        sources: sources.top.iter().map(source_entries).collect(),
        other: sources.other,
    };
    write_line(out, &Line::EvictedMany(line))
}

/// Writes the last line of `watch`.
pub fn summary(out: &mut impl Write, summary: &Summary) -> io::Result<()> {
    let Summary { ktime_ns, wall, since_ktime_ns, trust, .. } = summary;
    let line = schema::Summary {
        head: head(*wall, *ktime_ns, None),
        since: Rfc3339::at(*wall, *since_ktime_ns),
        totals: totals(&summary.totals, summary.failed_unknown),
        backend: trust.backend.clone(),
        degradations: trust.degradations.clone(),
        events: events(&summary.events, &summary.totals, *ktime_ns, *wall),
        statistics: summary.statistics.iter().map(statistics_row).collect(),
        episodes: summary.episodes.iter().map(|it| episode(it, *wall)).collect(),
    };
    write_line(out, &Line::Summary(Box::new(line)))
}

fn write_line(out: &mut impl Write, line: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

fn head(wall: WallClock, ktime_ns: u64, netns: Option<u32>) -> Head {
    Head { time: Rfc3339::at(wall, ktime_ns), ktime_ns, netns }
}

fn connection(connection: &Connection) -> schema::Connection {
    let Connection { netns: _, zone, proto, src, dst, sport, dport } = *connection;
    let icmp = connection.icmp();
    schema::Connection {
        proto: proto.to_string(),
        src,
        dst,
        sport,
        dport,
        zone,
        icmp_type: icmp.map(|icmp| icmp.kind),
        icmp_code: icmp.map(|icmp| icmp.code),
        icmp_id: icmp.map(|icmp| icmp.id),
    }
}

fn refused(refusal: &Refusal, wall: WallClock) -> schema::Refused {
    schema::Refused {
        head: head(wall, refusal.ktime_ns, Some(refusal.netns)),
        cause: refusal.cause_str(),
        connection: refusal.connection.as_ref().map(connection),
        count: refusal.level.count,
        max: refusal.level.max,
    }
}

fn events(events: &Events, totals: &Totals, ktime_ns: u64, wall: WallClock) -> schema::Events {
    let gaps = events.gaps;
    let open_ns = gaps.since_ktime_ns.map_or(0, |since| ktime_ns.saturating_sub(since));
    schema::Events {
        seen: events.seen,
        lost: totals.lost(),
        missed: events.missed(),
        missed_by_program: events.missed_by_program.clone(),
        repaired: repaired(events.repaired),
        unmatched: totals.unmatched,
        decode_errors: events.decode_errors,
        older_free: events.older_free,
        unknown_free: events.unknown_free,
        overwritten: events.overwritten,
        bootstrapped: events.bootstrapped,
        last_audit: events.last_audit.as_ref().map(|report| audit(report, wall)),
        abandoned_audit: events.abandoned.as_ref().map(|report| audit(report, wall)),
        gaps: schema::Gaps {
            count: gaps.count,
            duration_ns: gaps.duration_ns.saturating_add(open_ns),
            open: gaps.since_ktime_ns.is_some(),
        },
        unrecorded: schema::NotRecorded {
            count: events.unrecorded.count,
            duration_ns: events.unrecorded.duration_ns,
        },
    }
}

fn repaired(repaired: Repaired) -> schema::Repaired {
    let Repaired { added, removed, replaced } = repaired;
    schema::Repaired { added, removed, replaced }
}

fn audit(report: &AuditReport, wall: WallClock) -> schema::Audit {
    let AuditReport { number, began_ktime_ns, entries, buckets, restarts, cut_short, .. } = *report;
    schema::Audit {
        number,
        trigger: report.trigger_str(),
        began: Rfc3339::at(wall, began_ktime_ns),
        began_ktime_ns,
        duration_ns: report.length_ns(),
        entries,
        repaired: repaired(report.repaired),
        buckets,
        restarts,
        cut_short,
    }
}

fn statistics_row(row: &StatisticsRow) -> schema::StatisticsRow {
    let StatisticsRow { netns, ref name, ref comparison } = *row;
    schema::StatisticsRow { netns, name: name.clone(), statistics: statistics(comparison) }
}

fn statistics(comparison: &Comparison) -> schema::Statistics {
    let Comparison { kernel, ctwatch } = *comparison;
    schema::Statistics {
        kernel: schema::Kernel {
            drop: kernel.drop,
            early_drop: kernel.early_drop,
            insert_failed: kernel.insert_failed,
            chaintoolong: kernel.chaintoolong,
            clash_resolve: kernel.clash_resolve,
            invalid: kernel.invalid,
        },
        ctwatch: schema::Ctwatch {
            drop: ctwatch.drop,
            early_drop: ctwatch.early_drop,
            insert_failed: ctwatch.insert_failed,
            chaintoolong: ctwatch.chaintoolong,
            clash_resolve: ctwatch.clash_resolve,
        },
    }
}

fn totals(totals: &Totals, failed_unknown: u64) -> schema::Totals {
    schema::Totals {
        new: totals.new,
        freed: totals.freed,
        refused: totals.refused(),
        refused_by_cause: schema::Causes {
            table_full: totals.refused_table_full,
            no_memory: totals.refused_no_memory,
            ctnetlink: totals.refused_ctnetlink,
        },
        evicted: totals.evicted,
        failed: totals.insert_failed().saturating_add(failed_unknown),
        failed_by_cause: schema::FailedCauses {
            clash: totals.failed_clash,
            chain_too_long: totals.failed_chain_too_long,
            nat_ports: totals.failed_nat_ports,
            dying: totals.failed_dying,
            unknown: failed_unknown,
        },
        clash_resolved: totals.clash_resolved,
        unconfirmed: totals.unconfirmed,
        lost: totals.lost(),
        unmatched: totals.unmatched,
    }
}

/// More decimals would be noise.
fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests;
