//! Network namespaces: how full each is, what happened in it, and what the kernel says of that itself.

use std::borrow::Cow;

use super::super::declared as d;
use super::super::family::{Family, Metric, Spread, Value};
use super::{Names, Scrape, and, gone, labels, seconds};
use crate::engine::saturation::State;
use crate::engine::snapshot::{NetnsRow, Snapshot};
use crate::engine::statistics::Comparison;
use crate::engine::top_sources::NetnsTotals;

const STATES: [State; 5] = [State::Ok, State::Recovered, State::Pressure, State::Evicting, State::Refusing];

pub(super) fn families<'a>(scrape: &'a Scrape, names: &Names<'a>) -> Vec<Family<'a>> {
    let snapshot = &scrape.snapshot;
    let each = |metric, value: &dyn Fn(&NetnsRow) -> Option<Value>| of_rows(metric, snapshot, value);
    let totals = |metric, value: fn(&NetnsTotals) -> u64| {
        let mut family = Family::of(metric);
        scrape.sources.netns.iter().for_each(|it| family.push(names.labels(it.netns), value(it)));
        family.push(gone(), value(&scrape.sources.gone));
        family
    };
    let began = |row: &NetnsRow| Some(snapshot.wall.unix_ns(row.last_episode_ktime_ns?) as f64 / 1e9);
    vec![
        each(&d::ENTRIES, &|row| row.level.count.map(Value::from)),
        each(&d::ENTRIES_LIMIT, &|row| row.level.max.filter(|max| *max > 0).map(Value::from)),
        each(&d::LIVE_ENTRIES, &|row| Some(row.entries.into())),
        each(&d::UNACCOUNTED_ENTRIES, &|row| row.unaccounted().map(Value::from)),
        each(&d::EVICTABLE_ENTRIES, &|row| Some(row.evictable.into())),
        each(&d::UNAUDITED_ENTRIES, &|row| Some(row.unseen.into())),
        each(&d::TIME_TO_FULL, &|row| row.seconds_to_full().map(Value::from)),
        states(snapshot),
        each(&d::EPISODES, &|row| Some(row.episodes.into())),
        each(&d::EPISODE_OPEN, &|row| Some(row.in_episode.into())),
        each(&d::LAST_EPISODE, &|row| began(row).map(Value::from)),
        totals(&d::NEW, |it| it.new),
        totals(&d::FREED, |it| it.freed),
        by_cause(&d::REFUSED, scrape, names, &["table_full", "no_memory", "ctnetlink"]),
        totals(&d::EVICTED, |it| it.causes.evicted),
        by_cause(
            &d::INSERT_FAILED,
            scrape,
            names,
            &["clash", "chain_too_long", "nat_ports", "dying", "failed"],
        ),
        totals(&d::UNCONFIRMED, |it| it.causes.unconfirmed),
        each(&d::LIFETIME, &|row| Some(lifetimes(row))),
    ]
}

fn of_rows<'a>(
    metric: &'static Metric,
    snapshot: &'a Snapshot,
    value: &dyn Fn(&NetnsRow) -> Option<Value>,
) -> Family<'a> {
    let mut family = Family::of(metric);
    for row in &snapshot.netns {
        if let Some(value) = value(row) {
            family.push(labels(row.netns, row.name.as_deref()), value);
        }
    }
    family
}

fn states(snapshot: &Snapshot) -> Family<'_> {
    let mut family = Family::of(&d::STATE);
    for row in &snapshot.netns {
        for state in STATES {
            let labels = labels(row.netns, row.name.as_deref());
            family.push(and(labels, state.as_str()), row.state == state);
        }
    }
    family
}

fn by_cause<'a>(
    metric: &'static Metric,
    scrape: &'a Scrape,
    names: &Names<'a>,
    causes: &[&'static str],
) -> Family<'a> {
    let mut family = Family::of(metric);
    let mut add = |netns: [Cow<'a, str>; 2], it: &NetnsTotals| {
        for (cause, number) in it.causes.named().into_iter().filter(|(cause, _)| causes.contains(cause)) {
            family.push(and(netns.clone(), cause), number);
        }
    };
    scrape.sources.netns.iter().for_each(|it| add(names.labels(it.netns), it));
    add(gone(), &scrape.sources.gone);
    family
}

fn lifetimes(row: &NetnsRow) -> Value {
    let sum_s = row.lifetimes.sum_ns() as f64 / 1e9;
    Value::Spread(Spread { up_to: row.histogram.up_to(), sum_s, number: row.histogram.number() })
}

/// The kernel's own numbers, and whether it has any.
pub(super) fn kernel(snapshot: &Snapshot) -> Vec<Family<'_>> {
    let gaps = &snapshot.events.gaps;
    vec![
        statistics(&d::KERNEL_STATISTIC, snapshot, |both| {
            let kernel = &both.kernel;
            vec![
                ("drop", kernel.drop),
                ("early_drop", kernel.early_drop),
                ("insert_failed", kernel.insert_failed),
                ("chaintoolong", kernel.chaintoolong),
                ("clash_resolve", kernel.clash_resolve),
                ("invalid", kernel.invalid),
            ]
        }),
        statistics(&d::COUNTED_STATISTIC, snapshot, |both| {
            both.pairs().map(|(name, _, counted)| (name, counted)).collect()
        }),
        Family::one(&d::CLASHES_RESOLVED, snapshot.totals.clash_resolved),
        Family::one(&d::CONNTRACK_ABSENT, gaps.since_ktime_ns.is_some()),
        Family::one(&d::CONNTRACK_ABSENCES, gaps.count),
        Family::one(&d::CONNTRACK_ABSENT_SECONDS, seconds(gaps.duration_ns)),
    ]
}

fn statistics<'a>(
    metric: &'static Metric,
    snapshot: &'a Snapshot,
    of: impl Fn(&Comparison) -> Vec<(&'static str, u64)>,
) -> Family<'a> {
    let mut family = Family::of(metric);
    for row in &snapshot.netns {
        for (statistic, number) in row.statistics.iter().flat_map(&of) {
            family.push(and(labels(row.netns, row.name.as_deref()), statistic), number);
        }
    }
    family
}
