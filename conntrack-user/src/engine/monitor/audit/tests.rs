//! What each record of an audit does, and that one complete audit mends whatever was lost.

use std::collections::{BTreeMap, BTreeSet};

use conntrack_common::{AuditPhase, AuditTrigger};
use proptest::prelude::*;

use crate::engine::account::Repaired;
use crate::engine::batch::WallClock;
use crate::engine::filter::Filter;
use crate::engine::monitor::Engine;
use crate::engine::monitor::tests::{S, apply, batch, engine, free, host, new};
use crate::engine::notice::{Freed, Notice};
use crate::engine::snapshot;
use crate::engine::sources::Sums;
use crate::engine::testing::{self, Record};

fn step(phase: AuditPhase, number: u32, began: u64, ktime_ns: u64) -> Record {
    let trigger = if number == 1 { AuditTrigger::Attached } else { AuditTrigger::Missed };
    Record::Audit(testing::audit(phase, trigger, number, began, ktime_ns))
}

fn began(number: u32, ktime_ns: u64) -> Record {
    step(AuditPhase::Began, number, ktime_ns, ktime_ns)
}

fn seen(ct: u64, ktime_ns: u64, host: u8) -> Record {
    Record::Seen(testing::seen(ct, ktime_ns, host))
}

/// An audit of this table, complete, at one time; what it was told of and whom it asked for.
pub(in crate::engine::monitor) fn audit(
    engine: &mut Engine,
    number: u32,
    at: u64,
    table: &[(u64, u8)],
) -> (Vec<Notice>, Vec<u64>) {
    let mut records = vec![began(number, at)];
    records.extend(table.iter().map(|(ct, host)| seen(*ct, at, *host)));
    records.push(step(AuditPhase::Walked, number, at, at));
    apply(engine, &batch(at, &records, &[]));
    let suspects = engine.suspects().expect("the walk is complete");
    assert_eq!(engine.suspects(), None, "once");
    let find = |ct: &u64| table.iter().find(|(of, _)| of == ct);
    let answers = suspects.iter().map(|ct| match find(ct) {
        Some((ct, host)) => seen(*ct, at, *host),
        None => Record::Seen(testing::dead(*ct, at)),
    });
    let records: Vec<_> = answers.chain([step(AuditPhase::Ended, number, at, at)]).collect();
    (apply(engine, &batch(at, &records, &[])), suspects)
}

fn repaired(engine: &Engine) -> (u64, u64, u64) {
    let Repaired { added, removed, replaced } = engine.events.repaired;
    (added, removed, replaced)
}

/// A model's entries per host, and that every sum agrees with them.
fn expect_table(engine: &mut Engine, table: &BTreeMap<u64, u8>) {
    let mut held = BTreeMap::new();
    table.values().for_each(|last| *held.entry(host(*last)).or_insert(0u32) += 1);
    let holders = engine.sources.iter().filter(|source| source.entries > 0);
    let listed: BTreeMap<_, _> = holders.map(|source| (source.src, source.entries)).collect();
    assert_eq!(listed, held, "entries per source");
    let live: BTreeSet<u64> = engine.live.select(|_| true).into_iter().collect();
    assert_eq!(live, table.keys().copied().collect(), "the live table");
    for (ct, last) in table {
        let entry = engine.live.get(*ct).expect("compared above");
        assert_eq!(engine.sources.get(entry.source).src, host(*last));
    }
    let mut sum = engine.sources.other();
    engine.sources.iter().for_each(|source| sum.add(&source.sums));
    sum.freed += engine.events.older_free + engine.events.unknown_free;
    assert_eq!(sum, snapshot::sums(&engine.own, 0), "sources, other, and frees of nobody make the totals");
    let rows = testing::snapshot(engine, 0, &Filter::default()).netns;
    assert_eq!(rows.iter().map(|row| row.entries).sum::<u64>(), table.len() as u64);
    let mut sum = Sums::default();
    rows.iter().for_each(|row| sum.add(&row.sums));
    assert_eq!(sum.new, engine.own.new, "the namespace's sums");
}

#[test]
fn an_episode_under_way_learns_its_holders() {
    let mut engine = engine();
    let refused = Record::Refused(testing::refused(S, 9, 512, 512));
    apply(&mut engine, &batch(S, &[], &[refused]));
    let held_by = |engine: &Engine| engine.episodes()[0].holders.sources.top.clone();
    assert_eq!(held_by(&engine), []);
    audit(&mut engine, 1, 2 * S, &[(1, 5), (2, 5), (3, 6)]);
    let held = held_by(&engine);
    assert_eq!(held.iter().map(|(_, entries)| *entries).collect::<Vec<_>>(), [2, 1]);
    audit(&mut engine, 2, 3 * S, &[(1, 5)]);
    assert_eq!(held_by(&engine), held, "frozen from then on");
}

#[test]
fn the_first_audit_finds_what_was_there_before() {
    let mut engine = engine();
    let (told, suspects) = audit(&mut engine, 1, S, &[(1, 5), (2, 5), (3, 6)]);
    assert_eq!((suspects, engine.bootstrapped()), (vec![], true));
    let [Notice::Audited(audited)] = told[..] else { panic!("{told:?}") };
    assert_eq!((audited.abandoned, audited.report.number, audited.report.entries), (false, 1, 3));
    assert_eq!(engine.events.last_audit, Some(audited.report));
    assert_eq!(repaired(&engine), (0, 0, 0), "nobody missed them");
    assert_eq!((engine.own.new, engine.sources.iter().map(|it| it.sums.new).sum::<u64>()), (0, 0));
    expect_table(&mut engine, &BTreeMap::from([(1, 5), (2, 5), (3, 6)]));

    let told = apply(&mut engine, &batch(2 * S, &[free(1, 2 * S)], &[]));
    let [Notice::Free(Freed { connection, lifetime_ns, .. }), ..] = told[..] else { panic!("{told:?}") };
    assert_eq!((connection, lifetime_ns), (testing::connection(5), None));
    assert_eq!((engine.events.older_free, engine.events.unknown_free, engine.own.freed), (0, 0, 1));
}

#[test]
fn when_it_was_confirmed_stands_for_its_birth() {
    let wall = WallClock { offset_ns: 1000 };
    for (confirmed, born) in [(0, 0), (1010, 10), (500, 1), (9000, 60)] {
        let mut engine = engine();
        let confirmed = testing::Record::Seen(conntrack_common::Seen {
            confirmed_unix_ns: confirmed,
            ..testing::seen(1, 60, 5)
        });
        engine.apply(&crate::engine::batch::Batch { wall, ..batch(60, &[confirmed], &[]) }, |_| ());
        assert_eq!(engine.live.get(1).map(|entry| entry.born_ktime_ns), Some(born));
    }
}

#[test]
fn later_audits_repair() {
    let mut engine = engine();
    apply(&mut engine, &batch(S, &[new(1, 10, 5), new(2, 20, 5), new(3, 30, 6)], &[]));
    audit(&mut engine, 1, S, &[(1, 5), (2, 5), (3, 6)]);
    // 1 is gone, 2 is another, 4 is new; nobody told.
    let (told, suspects) = audit(&mut engine, 2, 2 * S, &[(2, 7), (3, 6), (4, 8)]);
    assert_eq!(suspects, [1]);
    assert_eq!(repaired(&engine), (1, 1, 1));
    let [Notice::Audited(audited)] = told[..] else { panic!("{told:?}") };
    assert_eq!(audited.report.repaired.total(), 3);
    assert_eq!((engine.own.new, engine.own.freed), (5, 2));
    expect_table(&mut engine, &BTreeMap::from([(2, 7), (3, 6), (4, 8)]));
    let (told, suspects) = audit(&mut engine, 3, 3 * S, &[(2, 7), (3, 6), (4, 8)]);
    assert_eq!((told.len(), suspects.len(), repaired(&engine)), (1, 0, (1, 1, 1)), "once");
}

#[test]
fn repairs_leave_the_gauge_to_the_census() {
    let mut engine = engine();
    audit(&mut engine, 1, S, &[(1, 5)]);
    apply(&mut engine, &batch(S, &[], &[Record::Count(testing::count(S, 40, 512))]));
    audit(&mut engine, 2, 2 * S, &[(2, 5), (3, 5)]);
    let row = &testing::snapshot(&mut engine, 1, &Filter::default()).netns[0];
    assert_eq!((row.level.count, row.entries, row.unaccounted()), (Some(40), 2, Some(38)));
}

#[test]
fn entries_younger_than_the_walk_are_left_alone() {
    let mut engine = engine();
    apply(&mut engine, &batch(S, &[began(1, S), new(1, S, 5), new(2, S - 1, 5)], &[]));
    apply(&mut engine, &batch(S, &[step(AuditPhase::Walked, 1, S, S)], &[]));
    assert_eq!(engine.suspects(), Some(vec![2]));
    let dead = [1, 2].map(|ct| Record::Seen(testing::dead(ct, S)));
    apply(&mut engine, &batch(S, &dead, &[]));
    assert_eq!((engine.live.len(), repaired(&engine)), (1, (0, 1, 0)));
}

#[test]
fn a_suspect_that_lives_stays() {
    let mut engine = engine();
    apply(&mut engine, &batch(S, &[new(1, 10, 5)], &[]));
    // Unconfirmed: no walk finds it, but asked for by address it is there.
    let records = [began(1, S), step(AuditPhase::Walked, 1, S, S), seen(1, S, 5)];
    apply(&mut engine, &batch(S, &records, &[]));
    apply(&mut engine, &batch(S, &[step(AuditPhase::Ended, 1, S, S)], &[]));
    assert_eq!((engine.live.len(), repaired(&engine)), (1, (0, 0, 0)));
}

#[test]
fn an_abandoned_audit_proves_nothing() {
    let mut engine = engine();
    apply(&mut engine, &batch(S, &[new(1, 10, 5)], &[]));
    let abandoned = [began(1, S), step(AuditPhase::Walked, 1, S, S), step(AuditPhase::Abandoned, 1, S, S)];
    let told = apply(&mut engine, &batch(S, &abandoned, &[]));
    assert!(
        matches!(told[..], [Notice::Audited(audited)] if audited.abandoned && audited.is_news()),
        "{told:?}"
    );
    assert_eq!((engine.suspects(), engine.bootstrapped()), (None, false));
    assert!(engine.events.abandoned.is_some() && engine.events.last_audit.is_none());
    apply(&mut engine, &batch(S, &[Record::Seen(testing::dead(1, S))], &[]));
    assert_eq!(engine.live.len(), 1, "there is no audit it could be of");
    audit(&mut engine, 2, S, &[(1, 5)]);
    assert_eq!(engine.events.abandoned, None, "made good");
}

#[test]
fn steps_without_sense_are_counted() {
    let mut engine = engine();
    let mut nonsense = testing::audit(AuditPhase::Ended, AuditTrigger::Attached, 1, 0, 0);
    apply(&mut engine, &batch(S, &[Record::Audit(nonsense)], &[]));
    nonsense.phase = 9;
    apply(&mut engine, &batch(S, &[Record::Audit(nonsense)], &[]));
    assert_eq!((engine.events.decode_errors, engine.bootstrapped()), (2, false));
}

#[test]
fn a_miss_calls_for_one_audit() {
    let mut engine = engine();
    apply(&mut engine, &batch(S, &[free(1, 10)], &[]));
    assert_eq!((engine.events.older_free, engine.events.missed()), (1, 0));
    assert!(!engine.wants_audit(), "older than the attachment");
    audit(&mut engine, 1, S, &[]);
    apply(&mut engine, &batch(S, &[free(1, S), new(2, S, 5), new(2, S, 6)], &[]));
    assert_eq!((engine.events.unknown_free, engine.events.overwritten, engine.events.missed()), (1, 1, 2));
    assert!(engine.wants_audit());
    apply(&mut engine, &batch(S, &[free(1, S)], &[]));
    assert!(!engine.wants_audit(), "it was told");
    audit(&mut engine, 2, S, &[(2, 6)]);
    assert!(!engine.wants_audit());
    apply(&mut engine, &batch(S, &[free(1, S)], &[]));
    assert!(engine.wants_audit(), "a new one");
}

#[test]
fn what_was_listed_before_it_was_told_is_one_entry() {
    let told_late =
        |ct, host| Record::New(conntrack_common::New { may_be_seen: 1, ..testing::new(ct, S, host) });
    let mut engine = engine();
    apply(&mut engine, &batch(S, &[began(1, S), seen(1, S, 5), told_late(1, 5)], &[]));
    apply(&mut engine, &batch(S, &[step(AuditPhase::Ended, 1, S, S)], &[]));
    assert_eq!((engine.own.new, engine.events.missed(), repaired(&engine)), (1, 0, (0, 0, 0)));
    expect_table(&mut engine, &BTreeMap::from([(1, 5)]));

    apply(&mut engine, &batch(S, &[began(2, S), seen(2, S, 6), told_late(2, 6)], &[]));
    assert_eq!((engine.own.new, engine.events.missed(), repaired(&engine)), (2, 0, (0, 0, 0)));
    assert_eq!(engine.live.get(2).map(|entry| entry.born()), Some(Some(S)));
    expect_table(&mut engine, &BTreeMap::from([(1, 5), (2, 6)]));

    apply(&mut engine, &batch(S, &[told_late(2, 6), told_late(1, 7)], &[]));
    assert_eq!(engine.events.overwritten, 2, "told twice it is another, and so is another connection");
    expect_table(&mut engine, &BTreeMap::from([(1, 7), (2, 6)]));
}

/// Of each event, whether the rings or the kernel withhold it.
#[derive(Clone, Copy, Debug)]
struct Act {
    ct: u64,
    /// A birth if some, else an end.
    host: Option<u8>,
    told: bool,
    /// An audit looks at that address now and then, in the middle of everything.
    seen: bool,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = (0u64..16, prop::option::of(1u8..12), prop::bool::weighted(0.7), prop::bool::weighted(0.2));
    prop::collection::vec(act.prop_map(|(ct, host, told, seen)| Act { ct, host, told, seen }), 0..150)
}

proptest! {
    #[test]
    fn one_complete_audit_makes_it_exact(
        before in prop::collection::btree_map(0u64..16, 1u8..12, 0..10),
        acts in acts(),
        bootstrapped: bool,
        max_sources in 1usize..20,
    ) {
        let mut engine = Engine::new(crate::engine::Config { max_sources, ..engine().config });
        let mut table = before;
        if bootstrapped {
            let found: Vec<_> = table.iter().map(|(ct, host)| (*ct, *host)).collect();
            audit(&mut engine, 1, S, &found);
        }
        let mut records = Vec::new();
        for (at, Act { ct, host, told, seen: looked_at }) in (2 * S..).zip(acts) {
            // Only what is possible: a birth where nothing lives, an end where something does.
            let record = match (host, table.get(&ct)) {
                (Some(host), None) => {
                    table.insert(ct, host);
                    Some(new(ct, at, host))
                }
                (None, Some(_)) => {
                    table.remove(&ct);
                    Some(free(ct, at))
                }
                _ => None,
            };
            records.extend(record.filter(|_| told));
            if looked_at && bootstrapped {
                records.push(match table.get(&ct) {
                    Some(host) => seen(ct, at, *host),
                    None => Record::Seen(testing::dead(ct, at)),
                });
            }
        }
        let end = 3 * S;
        if let Some(middle) = records.len().checked_div(2) {
            records.insert(middle, began(2, 2 * S + middle as u64));
        }
        apply(&mut engine, &batch(end, &records, &[]));
        let found: Vec<_> = table.iter().map(|(ct, host)| (*ct, *host)).collect();
        audit(&mut engine, 3, end, &found);
        expect_table(&mut engine, &table);
        prop_assert!(engine.bootstrapped());
        let before = engine.events.repaired;
        audit(&mut engine, 4, end, &found);
        prop_assert_eq!(engine.events.repaired, before, "nothing is left to repair");
    }
}
