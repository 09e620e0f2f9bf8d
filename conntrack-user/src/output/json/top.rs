//! What `top` shows: gauges, the table asked for, and what lies behind it.

use std::io::{self, Write};

use super::episode::{ages, destination_entries, episode, port_entries, ranking};
use super::{events, line, refused, statistics, statistics_row, tenths, totals, write_line};
use crate::engine::batch::WallClock;
use crate::engine::query::{Focus, View};
use crate::engine::snapshot::{Close, History, NetnsRow, Second, Snapshot};
use crate::engine::sources;
use crate::engine::state::EntryState;
use crate::engine::table::{Key, Other, Row, Table};
use crate::output::schema::{self, Rows};
use crate::output::time::Rfc3339;

/// Writes what `top` shows as one object.
pub fn top(out: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
    let (wall, ktime_ns, table) = (snapshot.wall, snapshot.ktime_ns, &snapshot.table);
    let sums = totals(&snapshot.totals, snapshot.failed_unknown);
    let top = schema::Top {
        time: Rfc3339::at(wall, ktime_ns),
        ktime_ns,
        since: Rfc3339::at(wall, snapshot.since_ktime_ns),
        interval_s: snapshot.interval_ns as f64 / 1e9,
        backend: snapshot.trust.backend.clone(),
        degradations: snapshot.trust.degradations.clone(),
        events: events(&snapshot.events, &snapshot.totals, ktime_ns, wall),
        totals: schema::TopTotals { entries: snapshot.entries, sums },
        netns: snapshot.netns.iter().map(|row| netns(row, wall)).collect(),
        by: table.view.as_str(),
        rows: rows(table),
        groups: table.groups,
        matching: table.entries,
        counted_since: Rfc3339::at(wall, table.since_ktime_ns),
        other: other(&table.other),
        causes: snapshot.causes.iter().map(cause).collect(),
        focus: snapshot.focus.as_ref().map(|close| focus(close, wall)),
        recent: snapshot.recent.iter().map(|notice| line(notice, wall)).collect(),
        history: (snapshot.history.netns != 0).then(|| history(&snapshot.history)),
        statistics: snapshot.statistics.iter().map(statistics_row).collect(),
        episodes: snapshot.episodes.iter().map(|it| episode(it, wall)).collect(),
    };
    write_line(out, &top)
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
        unaccounted: row.unaccounted(),
        failed: row.sums.failed,
        unconfirmed: row.sums.unconfirmed,
        evictable: row.evictable,
        unseen: row.unseen,
        statistics: row.statistics.as_ref().map(statistics),
        new_per_s: tenths(row.rates.new),
        freed_per_s: tenths(row.rates.freed),
        refused_per_s: tenths(row.rates.refused),
        evicted_per_s: tenths(row.rates.evicted),
        failed_per_s: tenths(row.rates.failed),
        unconfirmed_per_s: tenths(row.rates.unconfirmed),
        seconds_to_full: row.seconds_to_full().map(tenths),
    }
}

fn rows(table: &Table) -> Option<Rows> {
    Some(match table.view {
        View::Sources => Rows::Sources(keyed(table, source)),
        View::Prefixes => Rows::Prefixes(keyed(table, |key| match key {
            Key::Prefix(network) => Some(schema::Prefix { prefix: network.to_string() }),
            _ => None,
        })),
        View::Destinations => Rows::Destinations(keyed(table, |key| match key {
            Key::Destination(dst) => Some(schema::Destination { dst }),
            _ => None,
        })),
        View::Ports => Rows::Ports(keyed(table, |key| match key {
            Key::Port(proto, dport) => Some(schema::Port { proto: proto.to_string(), dport }),
            _ => None,
        })),
        View::States => Rows::States(keyed(table, |key| match key {
            Key::State(it) => Some(state(it)),
            _ => None,
        })),
        View::Netns => Rows::Namespaces(keyed(table, |key| match key {
            Key::Netns(netns) => Some(schema::Namespace { netns }),
            _ => None,
        })),
        View::Causes | View::Episodes => return None,
    })
}

/// The rows whose key is of the table's kind, as all are.
fn keyed<K>(table: &Table, key: impl Fn(Key) -> Option<K>) -> Vec<schema::Row<K>> {
    table.rows.iter().filter_map(|it| Some(row(it, key(it.key)?))).collect()
}

fn row<K>(row: &Row, key: K) -> schema::Row<K> {
    let seconds = |ns: u64| ns as f64 / 1e9;
    schema::Row {
        key,
        entries: row.entries,
        // Nothing tells in which state an entry was refused.
        sums: (!matches!(row.key, Key::State(_))).then(|| sums(&row.sums, row.new_per_s)),
        mean_lifetime_s: row.mean_lifetime_ns.map(seconds),
        oldest_s: row.oldest_ns.map(seconds),
    }
}

fn source(key: Key) -> Option<schema::Source> {
    let Key::Source(src, netns) = key else { return None };
    Some(schema::Source { src, netns })
}

fn state(state: EntryState) -> schema::State {
    let EntryState { proto, sight } = state;
    let tcp_state = sight.tcp_state();
    let known = sight.is_known() && tcp_state.is_none();
    schema::State {
        proto: proto.to_string(),
        tcp_state,
        assured: known.then(|| sight.assured()),
        seen_reply: known.then(|| sight.seen_reply()),
    }
}

fn sums(sums: &sources::Sums, new_per_s: f64) -> schema::Sums {
    let sources::Sums { new, freed, refused, evicted, failed, unconfirmed } = *sums;
    schema::Sums { new, new_per_s: tenths(new_per_s), freed, refused, evicted, failed, unconfirmed }
}

fn other(other: &Other) -> schema::Other {
    schema::Other { entries: other.entries, sums: sums(&other.sums, other.new_per_s) }
}

fn cause(row: &crate::engine::snapshot::CauseRow) -> schema::Cause {
    schema::Cause { cause: row.cause, total: row.total, per_s: tenths(row.per_s) }
}

fn focus(close: &Close, wall: WallClock) -> schema::Focus {
    let Focus { netns, src } = close.focus;
    schema::Focus {
        row: row(&close.row, schema::Source { src, netns }),
        destinations: ranking(&close.destinations, destination_entries),
        ports: ranking(&close.ports, port_entries),
        states: ranking(&close.states, |&(it, entries)| schema::StateEntries { state: state(it), entries }),
        ages: ages(close.ages),
        age_unknown: close.age_unknown,
        arrivals_per_s: tenths(close.arrivals_per_s),
        occupancy: close.occupancy().map(tenths),
        refusals: close.refusals.iter().map(|it| refused(it, wall)).collect(),
    }
}

fn history(history: &History) -> schema::History {
    let second = |it: &Second| {
        let Second { ktime_ns, level, sums } = *it;
        let sources::Sums { new, freed, refused, evicted, failed, unconfirmed } = sums;
        let (count, max) = (level.count, level.max);
        schema::Second { ktime_ns, count, max, new, freed, refused, evicted, failed, unconfirmed }
    };
    schema::History { netns: history.netns, seconds: history.seconds.iter().map(second).collect() }
}
