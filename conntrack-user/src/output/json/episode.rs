//! Episodes and what they froze.

use std::net::IpAddr;

use super::{refused, tenths};
use crate::engine::batch::WallClock;
use crate::engine::episode::{Causes, Episode};
use crate::engine::holders::{AGE_BOUNDS_S, Holders};
use crate::engine::sources::per_second;
use crate::engine::tally::Ranking;
use crate::engine::tuple::Proto;
use crate::output::schema::{self, SourceEntries, SourceEvents};
use crate::output::time::Rfc3339;

pub fn episode(episode: &Episode, wall: WallClock) -> schema::Episode {
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

pub fn holders(holders: &Holders) -> schema::Holders {
    schema::Holders {
        ktime_ns: holders.ktime_ns,
        entries: holders.entries,
        sources: ranking(&holders.sources, source_entries),
        prefixes: ranking(&holders.prefixes, |&(prefix, entries)| schema::PrefixEntries {
            prefix: prefix.to_string(),
            entries,
        }),
        destinations: ranking(&holders.destinations, destination_entries),
        ports: ranking(&holders.ports, port_entries),
        protocols: ranking(&holders.protocols, |&(proto, entries)| schema::ProtoEntries {
            proto: proto.to_string(),
            entries,
        }),
        ages: ages(holders.ages),
        age_unknown: holders.age_unknown,
        arrivals: ranking(&holders.arrivals, |&(src, new)| schema::Arrivals {
            src,
            new,
            new_per_s: tenths(per_second(new, holders.arrivals_window_ns)),
        }),
        arrivals_window_s: holders.arrivals_window_ns as f64 / 1e9,
    }
}

pub fn ranking<K, T>(ranking: &Ranking<K>, row: impl Fn(&(K, u64)) -> T) -> schema::Ranking<T> {
    schema::Ranking { top: ranking.top.iter().map(row).collect(), other: ranking.other }
}

pub fn source_entries(&(src, entries): &(IpAddr, u64)) -> SourceEntries {
    SourceEntries { src, entries }
}

pub fn source_events(&(src, events): &(IpAddr, u64)) -> SourceEvents {
    SourceEvents { src, events }
}

pub fn destination_entries(&(dst, entries): &(IpAddr, u64)) -> schema::DestinationEntries {
    schema::DestinationEntries { dst, entries }
}

pub fn port_entries(&((proto, dport), entries): &((Proto, u16), u64)) -> schema::PortEntries {
    schema::PortEntries { proto: proto.to_string(), dport, entries }
}

pub fn ages(ages: [u64; AGE_BOUNDS_S.len() + 1]) -> Vec<schema::AgeEntries> {
    let bounds = AGE_BOUNDS_S.into_iter().map(Some).chain([None]);
    bounds.zip(ages).map(|(under_s, entries)| schema::AgeEntries { under_s, entries }).collect()
}
