//! That entries which a dump listed are counted once each, and gone when they are, though no event names them.

use std::collections::BTreeMap;

use conntrack_common::{AuditPhase, AuditTrigger};
use proptest::prelude::*;

use crate::engine::account::Repaired;
use crate::engine::filter::Filter;
use crate::engine::monitor::Engine;
use crate::engine::monitor::tests::{S, apply, batch, engine, free, host, new};
use crate::engine::snapshot;
use crate::engine::testing::{self, Record};

fn step(phase: AuditPhase, number: u32, at: u64) -> Record {
    let trigger = if number == 1 { AuditTrigger::Attached } else { AuditTrigger::Interval };
    Record::Audit(testing::audit(phase, trigger, number, at, at))
}

fn listed(at: u64, host: u8) -> Record {
    Record::Seen(testing::listed(at, host))
}

/// Addresses as the kernel's are: that of no key.
fn is_key(ct: u64) -> bool {
    ct > 1 << 32
}

/// An audit by dump, of a table in which these entries were when it was listed, at `at`, and those when it was
/// over. `late` was in the ring by then.
fn audit(
    engine: &mut Engine,
    number: u32,
    at: u64,
    [then, now]: [&BTreeMap<u64, u8>; 2],
    late: &[Record],
) -> Vec<u64> {
    let mut records = vec![step(AuditPhase::Began, number, at)];
    records.extend(then.values().map(|host| listed(at, *host)));
    records.extend(late);
    records.push(step(AuditPhase::Walked, number, at));
    apply(engine, &batch(at, &records, &[]));
    let suspects = engine.suspects().expect("the dump is complete");
    let answer = |ct: &u64| match now.get(ct) {
        Some(host) if !is_key(*ct) => Record::Seen(testing::seen(*ct, at, *host)),
        _ => Record::Seen(testing::dead(*ct, at)),
    };
    let mut answers: Vec<_> = suspects.iter().map(answer).collect();
    answers.push(step(AuditPhase::Ended, number, at));
    apply(engine, &batch(at, &answers, &[]));
    suspects
}

/// That each source has what it has in the table, and that the sums agree with each other.
fn expect_table(engine: &mut Engine, table: &BTreeMap<u64, u8>) {
    let mut held = BTreeMap::new();
    table.values().for_each(|last| *held.entry(host(*last)).or_insert(0u32) += 1);
    let holders = engine.sources.iter().filter(|source| source.entries > 0);
    let said: BTreeMap<_, _> = holders.map(|source| (source.src, source.entries)).collect();
    assert_eq!(said, held, "entries per source");
    assert_eq!(engine.live.len(), table.len());
    assert_eq!(engine.live.listed(), engine.live.iter().filter(|entry| entry.origin.is_listed()).count());
    let mut sum = engine.sources.other();
    engine.sources.iter().for_each(|source| sum.add(&source.sums));
    sum.freed += engine.events.older_free + engine.events.unknown_free;
    assert_eq!(sum, snapshot::sums(&engine.own, 0), "sources, other, and frees of nobody make the totals");
    let rows = testing::snapshot(engine, 0, &Filter::default()).netns;
    assert_eq!(rows.iter().map(|row| row.entries).sum::<u64>(), table.len() as u64);
}

#[test]
fn what_is_freed_is_found_gone_by_the_next_audit() {
    let mut engine = engine();
    let before = BTreeMap::from([(1, 5), (2, 6)]);
    assert!(audit(&mut engine, 1, S, [&before, &before], &[]).is_empty());
    expect_table(&mut engine, &before);
    assert!(!engine.wants_audit());

    apply(&mut engine, &batch(2 * S, &[free(1, 2 * S)], &[]));
    assert_eq!((engine.events.older_free, engine.events.missed()), (1, 0));
    assert!(engine.wants_audit(), "to learn which it was");
    let after = BTreeMap::from([(2, 6)]);
    let suspects = audit(&mut engine, 2, 3 * S, [&after, &after], &[]);
    assert_eq!(suspects, [testing::connection(5).key()]);
    expect_table(&mut engine, &after);
    let events = &engine.events;
    assert_eq!(
        (events.older_free, events.repaired.total(), engine.own.freed),
        (0, 0, 1),
        "it was that one's"
    );
}

#[test]
fn a_new_one_of_its_connection_replaces_it() {
    let mut engine = engine();
    let before = BTreeMap::from([(1, 5)]);
    audit(&mut engine, 1, S, [&before, &before], &[]);
    apply(&mut engine, &batch(2 * S, &[new(7, 2 * S, 5), free(1, 2 * S)], &[]));
    expect_table(&mut engine, &BTreeMap::from([(7, 5)]));
    assert_eq!((engine.own.freed, engine.events.missed()), (1, 0), "its end came late");
    apply(&mut engine, &batch(3 * S, &[free(7, 3 * S)], &[]));
    expect_table(&mut engine, &BTreeMap::new());
}

#[test]
fn what_was_listed_before_its_event_was_read_is_one_entry() {
    let mut engine = engine();
    let table = BTreeMap::from([(1, 5)]);
    audit(&mut engine, 1, S, [&table, &table], &[new(1, S - 1, 5)]);
    expect_table(&mut engine, &table);
    assert_eq!((engine.live.listed(), engine.own.new, engine.own.freed), (0, 1, 0));
}

#[test]
fn two_of_one_connection_are_looked_at_by_address() {
    let mut engine = engine();
    apply(&mut engine, &batch(S, &[new(1, S, 5), new(2, S, 5), new(3, S, 6)], &[]));
    let table = BTreeMap::from([(2, 5), (3, 6)]);
    let mut suspects = audit(&mut engine, 1, 2 * S, [&table, &table], &[]);
    suspects.sort_unstable();
    assert_eq!(suspects, [1, 2]);
    expect_table(&mut engine, &table);
}

#[test]
fn what_moved_unseen_to_where_another_was_is_one_entry() {
    let mut engine = engine();
    apply(&mut engine, &batch(S, &[new(1, S, 5), new(2, S, 6)], &[]));
    // Both were freed and the second was born again where the first had been.
    let table = BTreeMap::from([(1, 6)]);
    assert_eq!(audit(&mut engine, 1, 2 * S, [&table, &table], &[]), [1]);
    expect_table(&mut engine, &table);
    assert_eq!((engine.own.new, engine.own.freed), (3, 2));
    let Repaired { added, removed, replaced } = engine.events.repaired;
    assert_eq!((added, removed, replaced), (0, 1, 1));
}

#[test]
fn one_not_confirmed_may_be_where_another_was() {
    let mut engine = engine();
    apply(&mut engine, &batch(S, &[new(1, S, 5), new(2, S, 6)], &[]));
    let records = [step(AuditPhase::Began, 1, 2 * S), listed(2 * S, 6), step(AuditPhase::Walked, 1, 2 * S)];
    apply(&mut engine, &batch(2 * S, &records, &[]));
    assert_eq!(engine.suspects(), Some(vec![1]));
    let unconfirmed = conntrack_common::Seen { status: 0, ..testing::seen(1, 2 * S, 6) };
    apply(&mut engine, &batch(2 * S, &[Record::Seen(unconfirmed)], &[]));
    expect_table(&mut engine, &BTreeMap::from([(1, 6), (2, 6)]));
}

#[test]
fn what_moved_unseen_from_several_places_is_one_entry() {
    let mut engine = engine();
    audit(&mut engine, 1, S - 1, [&BTreeMap::new(), &BTreeMap::new()], &[]);
    apply(&mut engine, &batch(S, &[new(1, S, 5), new(2, S, 5), new(3, S, 6)], &[]));
    // All were freed, and born again: the first elsewhere, the other where the first had been.
    let table = BTreeMap::from([(2, 6), (7, 5)]);
    let mut suspects = audit(&mut engine, 2, 2 * S, [&table, &table], &[]);
    suspects.sort_unstable();
    assert_eq!(suspects, [1, 2]);
    expect_table(&mut engine, &table);
    assert_eq!((engine.live.listed(), engine.own.new, engine.own.freed), (1, 5, 3));
}

#[test]
fn what_ended_after_the_dump_is_not_sought_elsewhere() {
    let mut engine = engine();
    apply(&mut engine, &batch(S, &[new(1, S, 5), new(2, S, 5)], &[]));
    let [then, now] = [BTreeMap::from([(2, 5)]), BTreeMap::new()];
    assert_eq!(audit(&mut engine, 1, 2 * S, [&then, &now], &[free(2, 2 * S + 1)]), [1]);
    expect_table(&mut engine, &now);
}

#[test]
fn a_dump_begun_anew_lists_nothing_twice() {
    let mut engine = engine();
    let records = [
        step(AuditPhase::Began, 1, S),
        listed(S, 5),
        listed(S, 6),
        new(7, S + 1, 5),
        new(8, S + 2, 7),
        listed(S + 3, 5),
        listed(S + 3, 6),
        listed(S + 3, 7),
    ];
    apply(&mut engine, &batch(S + 3, &records, &[]));
    expect_table(&mut engine, &BTreeMap::from([(1, 6), (7, 5), (8, 7)]));
}

#[test]
fn a_list_without_an_audit_is_of_no_use() {
    let mut engine = engine();
    apply(&mut engine, &batch(S, &[listed(S, 5)], &[]));
    assert!(engine.live.is_empty());
}

#[derive(Clone, Copy, Debug)]
struct Act {
    ct: u64,
    /// A birth if some, else an end.
    host: Option<u8>,
    lost: bool,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = (1u64..24, prop::option::of(1u8..30), prop::bool::weighted(0.2));
    prop::collection::vec(act.prop_map(|(ct, host, lost)| Act { ct, host, lost }), 0..60)
}

/// What happens to the table, and what the ring says of it.
fn play(acts: &[Act], lossy: bool, table: &mut BTreeMap<u64, u8>, clock: &mut u64) -> Vec<Record> {
    let mut records = Vec::new();
    for Act { ct, host, lost } in acts {
        *clock += 1;
        // Only what is possible: no two confirmed entries have the same connection.
        let record = match host {
            Some(host) if !table.contains_key(ct) && !table.values().any(|it| it == host) => {
                table.insert(*ct, *host);
                new(*ct, *clock, *host)
            }
            None if table.remove(ct).is_some() => free(*ct, *clock),
            _ => continue,
        };
        records.extend((!lossy || !*lost).then_some(record));
    }
    records
}

proptest! {
    /// Of what is in the table; the addresses may be others. While it is audited, nothing happens.
    #[test]
    fn one_more_audit_makes_it_exact(
        before in prop::collection::btree_map(1u64..24, 1u8..30, 0..12),
        rounds in prop::collection::vec([acts(), acts(), acts()], 1..4),
        lossy: bool,
    ) {
        let (mut engine, mut clock) = (engine(), S);
        let mut hosts = std::collections::BTreeSet::new();
        let mut table: BTreeMap<_, _> = before.into_iter().filter(|(_, host)| hosts.insert(*host)).collect();
        let (mut told_new, mut told_freed) = (0, 0);
        for (number, [early, unread, late]) in (1..).zip(&rounds) {
            let drained = play(early, lossy, &mut table, &mut clock);
            let mut in_ring = play(unread, lossy, &mut table, &mut clock);
            let then = table.clone();
            clock += 1;
            let at = clock;
            in_ring.extend(play(late, lossy, &mut table, &mut clock));
            apply(&mut engine, &batch(at, &drained, &[]));
            audit(&mut engine, number, at, [&then, &table], &in_ring);
            for record in drained.iter().chain(&in_ring) {
                told_new += u64::from(matches!(record, Record::New(_)));
                told_freed += u64::from(matches!(record, Record::Free(_)));
            }
        }
        if !lossy {
            prop_assert_eq!((engine.events.missed(), engine.events.repaired.total()), (0, 0));
            prop_assert_eq!((engine.own.new, engine.own.freed), (told_new, told_freed));
        }
        let number = rounds.len() as u32;
        audit(&mut engine, number + 1, clock + 1, [&table, &table], &[]);
        expect_table(&mut engine, &table);
        let before = engine.events.repaired;
        audit(&mut engine, number + 2, clock + 2, [&table, &table], &[]);
        prop_assert_eq!(engine.events.repaired, before, "nothing is left to repair");
    }
}
