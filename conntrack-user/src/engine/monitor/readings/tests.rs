//! Namespaces that come and go, statistics, names, misses, and conntrack itself going away.

use std::net::IpAddr;

use conntrack_common::{Count, Refused, Stats, Totals};

use crate::engine::batch::Batch;
use crate::engine::filter::Filter;
use crate::engine::gauge::Level;
use crate::engine::monitor::Engine;
use crate::engine::monitor::audit::tests::audit;
use crate::engine::monitor::tests::{S, apply, batch, edges, engine, free, new};
use crate::engine::notice::{Counted, Notice};
use crate::engine::table::Key;
use crate::engine::testing::{self, Record};

fn count(netns: u32, ktime_ns: u64, cookie: u64) -> Record {
    Record::Count(Count { netns, cookie, ..testing::count(ktime_ns, 3, 512) })
}

fn new_in(netns: u32, ct: u64, ktime_ns: u64) -> Record {
    Record::New(conntrack_common::New { netns, ..testing::new(ct, ktime_ns, 5) })
}

fn stats(record: Stats) -> Record {
    Record::Stats(record)
}

fn namespaces(engine: &Engine) -> Vec<u32> {
    let mut all: Vec<_> = engine.netns.iter().map(|it| it.inum).collect();
    all.sort();
    all
}

#[test]
fn another_cookie_is_another_namespace() {
    let mut engine = engine();
    audit(&mut engine, 1, S, &[]);
    let refused = Record::Refused(testing::refused(S + 5, 6, 512, 512));
    let name = Record::NetnsName(testing::netns_name(S, 1, "old"));
    apply(&mut engine, &batch(2 * S, &[new(1, S, 5), new_in(2, 2, S)], &[name, refused, count(1, S + 9, 7)]));
    // The second entry is of the new namespace already: it was born after the old one was last counted.
    apply(&mut engine, &batch(3 * S, &[new(3, 2 * S, 8)], &[count(1, 3 * S, 8)]));
    assert_eq!((engine.live.len(), engine.events.repaired.removed), (2, 1));
    assert!(engine.live.get(1).is_none() && engine.live.get(3).is_some());
    let snapshot = testing::snapshot(&mut engine, 10, &Filter::default());
    let row = snapshot.netns.iter().find(|row| row.netns == 1).expect("there is a new one");
    assert_eq!((row.name.as_deref(), row.entries, row.sums.new), (None, 1, 0));
    let sources: Vec<_> = snapshot.table.rows.iter().map(|row| (row.key, row.entries)).collect();
    let source = |last, netns| Key::Source(IpAddr::from([10, 1, 0, last]), netns);
    assert_eq!(sources, [(source(5, 2), 1), (source(8, 1), 1)], "the old one's went into other");
    assert_eq!((snapshot.table.other.sums.new, snapshot.table.other.sums.refused), (1, 1));
    assert_eq!(engine.past.len(), 1, "its episode is over");
    apply(&mut engine, &batch(4 * S, &[], &[count(1, 4 * S, 0), count(1, 4 * S, 8)]));
    assert_eq!(engine.live.len(), 2, "no cookie is no other");
}

#[test]
fn what_a_complete_census_does_not_count_is_gone() {
    let mut engine = engine();
    let news = [new_in(1, 1, S), new_in(2, 2, S), new_in(3, 3, S), free(3, S + 1)];
    apply(&mut engine, &batch(2 * S, &news, &[count(1, S, 1), count(2, S, 2), count(3, S, 3)]));
    let census = |counts, began| Record::Census(testing::census(counts, began, began + 5));
    let round = |began: u64, counts| [count(1, began + 1, 1), census(counts, began)];
    apply(&mut engine, &batch(3 * S, &[], &round(2 * S - 10, 2)));
    assert_eq!(namespaces(&engine), [1, 2, 3], "one count was lost");
    apply(&mut engine, &batch(3 * S, &[], &round(S + S / 2, 1)));
    assert_eq!(namespaces(&engine), [1, 2], "its entries may still be on their way out");
    apply(&mut engine, &batch(3 * S, &[], &round(2 * S + 1, 1)));
    assert_eq!(namespaces(&engine), [1, 2], "it has an entry left, whose end is still to be told");
    apply(&mut engine, &batch(4 * S, &[free(2, 3 * S)], &round(3 * S + 1, 1)));
    assert_eq!(namespaces(&engine), [1]);
    assert_eq!((engine.live.len(), engine.own.freed), (1, 2));
    assert_eq!((engine.events.repaired.removed, engine.events.unknown_free), (0, 0));
    // What is left is found where it is.
    apply(&mut engine, &batch(4 * S, &[new_in(4, 9, 4 * S), new_in(1, 8, 4 * S)], &[]));
    assert_eq!(engine.netns.get(1).entries(), 2);
    assert_eq!(engine.netns.get(4).entries(), 1);
}

#[test]
fn a_namespace_heard_of_since_the_census_began_stays() {
    let mut engine = engine();
    apply(
        &mut engine,
        &batch(S, &[new(1, S, 5), free(1, S)], &[Record::Census(testing::census(0, S - 1, S))]),
    );
    assert_eq!(namespaces(&engine), [1]);
    apply(&mut engine, &batch(S, &[], &[Record::Census(testing::census(0, S + 1, S + 1))]));
    assert!(namespaces(&engine).is_empty());
}

#[test]
fn both_accounts_are_shown_as_of_the_reading() {
    let mut engine = engine();
    let refused = |at, host| Record::Refused(testing::refused(at, host, 512, 512));
    let incidents = [
        refused(10, 5),
        Record::Evicted(testing::evicted(1, 20, 5, 7)),
        Record::InsertFailed(testing::insert_failed(1, 30, 5)),
        stats(Stats { clash_resolve: 2, ..testing::stats(40, 2, 1, 1) }),
        refused(50, 5),
    ];
    apply(
        &mut engine,
        &Batch {
            totals: Some(Totals { clash_resolved: 2, ..Totals::default() }),
            ..batch(S, &[], &incidents)
        },
    );
    let rows = engine.summary().statistics;
    assert_eq!(rows.iter().map(|row| row.netns).collect::<Vec<_>>(), [None, Some(1)]);
    assert!(rows.iter().all(|row| !row.comparison.differs()), "{rows:?}");
    let other = Stats { netns: 2, ..testing::stats(60, 5, 0, 0) };
    apply(&mut engine, &batch(S, &[], &[stats(testing::stats(60, 4, 1, 1)), stats(other)]));
    let differing: Vec<_> = engine
        .summary()
        .statistics
        .iter()
        .filter(|row| row.comparison.differs())
        .map(|row| row.netns)
        .collect();
    assert_eq!(differing, [None, Some(1), Some(2)], "neither is hidden");
    // Gone namespaces stay in the sum.
    apply(&mut engine, &batch(S, &[], &[Record::Census(testing::census(0, 3 * S, 3 * S))]));
    let rows = engine.summary().statistics;
    assert_eq!((rows.len(), rows[0].comparison.kernel.drop, rows[0].comparison.ctwatch.drop), (1, 9, 3));
}

#[test]
fn where_nothing_else_tells_the_statistics_count() {
    let mut engine = engine();
    let alone = |record| stats(Stats { alone: 1, ..record });
    let chains = Stats { chaintoolong: 1, ..testing::stats(3 * S, 6, 2, 2) };
    let told = apply(&mut engine, &batch(3 * S, &[], &[alone(testing::stats(S, 0, 0, 0)), alone(chains)]));
    assert_eq!(edges(&told), [(3 * S, "evicting"), (3 * S, "refusing")]);
    let counted = Counted { ktime_ns: 3 * S, netns: 1, refused: 5, evicted: 2, failed: 2 };
    assert_eq!(told.last(), Some(&Notice::Counted(counted)));
    let told = apply(&mut engine, &batch(5 * S, &[], &[alone(Stats { ktime_ns: 3 * S + 1, ..chains })]));
    assert_eq!(edges(&told), [(4 * S, "recovered")]);
    assert!(!told.iter().any(|it| matches!(it, Notice::Counted(_))), "nothing moved");

    let snapshot = testing::snapshot(&mut engine, 10, &Filter::default());
    assert_eq!((snapshot.totals.refused_table_full, snapshot.totals.evicted), (5, 2));
    assert_eq!((snapshot.totals.failed_chain_too_long, snapshot.failed_unknown), (1, 1));
    let sums = snapshot.table.other.sums;
    assert_eq!((sums.refused, sums.evicted, sums.failed), (5, 2, 2));
    let row = &snapshot.netns[0];
    assert_eq!((row.sums.refused, row.sums.evicted, row.sums.failed), (5, 2, 2));
    assert!(row.statistics.is_none() && snapshot.statistics.is_empty(), "nothing to compare with");
    let episode = &snapshot.episodes[0];
    assert_eq!((episode.evicted, episode.refused.table_full), (2, 5));
    assert_eq!((episode.refused_sources.other, episode.evicted_sources.other), (5, 2));
}

#[test]
fn misses_the_kernel_tells_of() {
    let mut engine = engine();
    audit(&mut engine, 1, S, &[]);
    let missed = |at, missed| Record::Missed(testing::missed(at, "fexit_free", missed));
    apply(&mut engine, &batch(S, &[], &[missed(S, 0)]));
    assert!(!engine.wants_audit());
    apply(
        &mut engine,
        &batch(2 * S, &[], &[missed(2 * S, 3), Record::Missed(testing::missed(2 * S, "alloc", 2))]),
    );
    assert!(engine.wants_audit());
    assert_eq!(engine.events.missed(), 5);
    apply(&mut engine, &batch(3 * S, &[], &[missed(3 * S, 3)]));
    assert!(!engine.wants_audit(), "no more of them");
    let by_program: Vec<_> =
        engine.events.missed_by_program.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    assert_eq!(by_program, [("alloc", 2), ("fexit_free", 3)]);
}

#[test]
fn conntrack_goes_and_comes_back() {
    let mut engine = engine();
    audit(&mut engine, 1, S, &[(1, 5)]);
    let totals = |new| Some(Totals { new, lost_entries: new, ..Totals::default() });
    let incidents = [
        Record::Count(testing::count(S, 500, 512)),
        Record::Refused(Refused { ktime_ns: S + 2, ..testing::refused(S, 6, 512, 512) }),
        Record::Missed(testing::missed(S, "alloc", 2)),
        stats(testing::stats(S + 3, 1, 0, 0)),
    ];
    apply(&mut engine, &Batch { totals: totals(3), ..batch(S + 9, &[new(2, S + 1, 6)], &incidents) });

    let told = apply(&mut engine, &batch(2 * S, &[Record::Gap(testing::gap(false, 2 * S, 2 * S))], &[]));
    assert!(matches!(told[..], [Notice::Gap(gap)] if !gap.over), "{told:?}");
    assert_eq!((engine.live.len(), engine.bootstrapped(), engine.events.gaps.count), (0, false, 1));
    let snapshot = testing::snapshot(&mut engine, 10, &Filter::default());
    assert!(snapshot.table.rows.iter().all(|row| row.entries == 0));
    let row = &snapshot.netns[0];
    assert_eq!((row.entries, row.level, row.state.as_str()), (0, Level::default(), "ok"));
    assert_eq!((snapshot.totals.freed, engine.events.repaired.total()), (0, 0), "quietly");
    assert_eq!(engine.past.len(), 1, "the episode is over");

    let back = Record::Gap(testing::gap(true, 2 * S, 5 * S));
    let incidents =
        [Record::Missed(testing::missed(5 * S + 1, "alloc", 1)), stats(testing::stats(5 * S + 1, 1, 0, 0))];
    let told =
        apply(&mut engine, &Batch { totals: totals(2), ..batch(5 * S, &[back, free(9, 5 * S)], &incidents) });
    assert!(matches!(told[0], Notice::Gap(gap) if gap.over && gap.length_ns() == 3 * S), "{told:?}");
    assert!(matches!(told.last(), Some(Notice::Lost(lost)) if lost.entries == 2), "{told:?}");
    let summary = engine.summary();
    assert_eq!(
        (summary.totals.new, summary.totals.lost()),
        (5, 5),
        "the maps began anew, the totals did not"
    );
    assert_eq!((summary.events.missed(), summary.events.gaps.duration_ns), (3, 3 * S));
    assert_eq!((summary.events.older_free, summary.events.unknown_free), (1, 0));
    assert_eq!(summary.statistics[0].comparison.kernel.drop, 2);
    audit(&mut engine, 2, 6 * S, &[(1, 5)]);
    assert_eq!((engine.bootstrapped(), engine.events.repaired.total(), engine.live.len()), (true, 0, 1));
}
