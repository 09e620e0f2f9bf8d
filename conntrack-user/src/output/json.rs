//! JSON: fills in the [`schema`](super::schema) from notices and snapshots, one object per line.

use std::io::{self, Write};
use std::net::IpAddr;

use conntrack_common::Totals;

use super::fold::Folded;
use super::schema::{self, Head, Line, SourceEntries, SourceEvents};
use super::time::Rfc3339;
use crate::engine::batch::WallClock;
use crate::engine::episode::{Causes, Episode};
use crate::engine::holders::{AGE_BOUNDS_S, Holders};
use crate::engine::notice::{Eviction, Freed, Lost, Notice, Refusal};
use crate::engine::snapshot::{Attached, Events, NetnsRow, Other, Snapshot, SourceRow, Summary};
use crate::engine::sources::per_second;
use crate::engine::tally::Ranking;
use crate::engine::tuple::Connection;

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
    let head = |netns| head(wall, notice.ktime_ns(), netns);
    let line = match *notice {
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
        Notice::Free(Freed { ktime_ns: _, connection: ref it, status, mark, lifetime_ns, evicted }) => {
            Line::Free(schema::Free {
                head: head(Some(it.netns)),
                connection: connection(it),
                lifetime_ns,
                assured: status.assured(),
                seen_reply: status.seen_reply(),
                confirmed: status.confirmed(),
                evicted,
                mark,
            })
        }
        Notice::Lost(Lost { ktime_ns: _, entries, incidents, unmatched }) => {
            Line::Lost(schema::Lost { head: head(None), entries, incidents, unmatched })
        }
    };
    write_line(out, &line)
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
    let Summary { ktime_ns, wall, since_ktime_ns, trust, events, totals: sums, episodes } = summary;
    let line = schema::Summary {
        head: head(*wall, *ktime_ns, None),
        since: Rfc3339::at(*wall, *since_ktime_ns),
        totals: totals(sums),
        backend: trust.backend.clone(),
        degradations: trust.degradations.clone(),
        events: self::events(events, sums),
        episodes: episodes.iter().map(|it| episode(it, *wall)).collect(),
    };
    write_line(out, &Line::Summary(line))
}

/// Writes what `top --once -o json` shows.
pub fn top(out: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
    let wall = snapshot.wall;
    let Other { entries, sums, new_per_s } = snapshot.other;
    let top = schema::Top {
        time: Rfc3339::at(wall, snapshot.ktime_ns),
        ktime_ns: snapshot.ktime_ns,
        since: Rfc3339::at(wall, snapshot.since_ktime_ns),
        interval_s: snapshot.interval_ns as f64 / 1e9,
        backend: snapshot.trust.backend.clone(),
        degradations: snapshot.trust.degradations.clone(),
        events: events(&snapshot.events, &snapshot.totals),
        totals: schema::TopTotals { entries: snapshot.entries, sums: totals(&snapshot.totals) },
        netns: snapshot.netns.iter().map(|row| netns(row, wall)).collect(),
        sources: snapshot.sources.iter().map(source).collect(),
        other: schema::Other {
            entries,
            new: sums.new,
            new_per_s: tenths(new_per_s),
            freed: sums.freed,
            refused: sums.refused,
            evicted: sums.evicted,
        },
        episodes: snapshot.episodes.iter().map(|it| episode(it, wall)).collect(),
    };
    write_line(out, &top)
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

fn events(events: &Events, totals: &Totals) -> schema::Events {
    let Events { seen, decode_errors, first_decode_error: _, unknown_free, overwritten } = *events;
    let (lost, unmatched) = (totals.lost(), totals.unmatched);
    schema::Events { seen, lost, unmatched, decode_errors, unknown_free, overwritten }
}

fn totals(totals: &Totals) -> schema::Totals {
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
        lost: totals.lost(),
        unmatched: totals.unmatched,
    }
}

fn netns(row: &NetnsRow, wall: WallClock) -> schema::Netns {
    schema::Netns {
        netns: row.netns,
        name: row.name.clone(),
        count: row.level.count,
        max: row.level.max,
        state: row.state.as_str(),
        since: Rfc3339::at(wall, row.since_ktime_ns),
        entries: row.entries,
        new_per_s: tenths(row.rates.new),
        freed_per_s: tenths(row.rates.freed),
        refused_per_s: tenths(row.rates.refused),
        evicted_per_s: tenths(row.rates.evicted),
        seconds_to_full: row.seconds_to_full().map(tenths),
    }
}

fn source(row: &SourceRow) -> schema::Source {
    let SourceRow { src, netns, entries, sums, new_per_s } = *row;
    let new_per_s = tenths(new_per_s);
    let (new, freed, refused, evicted) = (sums.new, sums.freed, sums.refused, sums.evicted);
    schema::Source { src, netns, entries, new, new_per_s, freed, refused, evicted }
}

fn episode(episode: &Episode, wall: WallClock) -> schema::Episode {
    let at = |ktime_ns| Rfc3339::at(wall, ktime_ns);
    let Causes { table_full, no_memory, ctnetlink } = episode.refused;
    schema::Episode {
        netns: episode.netns,
        began: episode.began.as_str(),
        start: at(episode.start_ktime_ns),
        start_ktime_ns: episode.start_ktime_ns,
        end: episode.end_ktime_ns.map(at),
        end_ktime_ns: episode.end_ktime_ns,
        count: episode.level.count,
        max: episode.level.max,
        refused: episode.refused.total(),
        refused_by_cause: schema::Causes { table_full, no_memory, ctnetlink },
        first_refused: episode.first_refused.as_ref().map(|first| refused(first, wall)),
        last_refused: episode.last_refused_ktime_ns.map(at),
        last_refused_ktime_ns: episode.last_refused_ktime_ns,
        evicted: episode.evicted,
        holders: holders(&episode.holders),
        victims: schema::Victims {
            refused: ranking(&episode.refused_sources, source_events),
            evicted: ranking(&episode.evicted_sources, source_events),
        },
    }
}

fn holders(holders: &Holders) -> schema::Holders {
    let bounds = AGE_BOUNDS_S.into_iter().map(Some).chain([None]);
    schema::Holders {
        entries: holders.entries,
        sources: ranking(&holders.sources, source_entries),
        prefixes: ranking(&holders.prefixes, |&(prefix, entries)| schema::PrefixEntries {
            prefix: prefix.to_string(),
            entries,
        }),
        destinations: ranking(&holders.destinations, |&(dst, entries)| schema::DestinationEntries {
            dst,
            entries,
        }),
        ports: ranking(&holders.ports, |&((proto, dport), entries)| schema::PortEntries {
            proto: proto.to_string(),
            dport,
            entries,
        }),
        protocols: ranking(&holders.protocols, |&(proto, entries)| schema::ProtoEntries {
            proto: proto.to_string(),
            entries,
        }),
        ages: bounds
            .zip(holders.ages)
            .map(|(under_s, entries)| schema::AgeEntries { under_s, entries })
            .collect(),
        arrivals: ranking(&holders.arrivals, |&(src, new)| schema::Arrivals {
            src,
            new,
            new_per_s: tenths(per_second(new, holders.arrivals_window_ns)),
        }),
        arrivals_window_s: holders.arrivals_window_ns as f64 / 1e9,
    }
}

fn ranking<K, T>(ranking: &Ranking<K>, row: impl Fn(&(K, u64)) -> T) -> schema::Ranking<T> {
    schema::Ranking { top: ranking.top.iter().map(row).collect(), other: ranking.other }
}

fn source_entries(&(src, entries): &(IpAddr, u64)) -> SourceEntries {
    SourceEntries { src, entries }
}

fn source_events(&(src, events): &(IpAddr, u64)) -> SourceEvents {
    SourceEvents { src, events }
}

/// More decimals would be noise.
fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests;
