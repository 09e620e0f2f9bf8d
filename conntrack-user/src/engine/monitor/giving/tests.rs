//! What a recorder is given adds up to what the engine knows.

use std::collections::BTreeMap;

use conntrack_common::Totals;

use super::*;
use crate::engine::batch::Batch;
use crate::engine::digest::Picture;
use crate::engine::monitor::tests::{S, apply, batch, engine, free, new};
use crate::engine::monitor::{Config, Engine};
use crate::engine::testing::{self, Record};

fn recording() -> Engine {
    Engine::new(Config { for_recording: true, ..engine().config })
}

fn told(rows: &[NetnsSecond]) -> Vec<(u64, u32)> {
    rows.iter().map(|row| (row.ktime_ns / S, row.netns)).collect()
}

fn count(ktime_ns: u64, count: u32) -> Record {
    Record::Count(testing::count(ktime_ns, count, 10))
}

#[test]
fn a_second_is_told_if_something_moved_in_it_and_once_a_minute() {
    let mut engine = recording();
    let entries = [new(1, S + 1, 5), new(2, S + 2, 5), free(1, S + 3), free(9, S + 4), new(3, 2 * S, 6)];
    apply(&mut engine, &batch(2 * S, &entries, &[count(S, 0)]));
    let rows = engine.netns_seconds();
    assert_eq!(told(&rows), [(2, 1), (2, 0)]);
    let [row, nobody] = rows[..] else { panic!("two rows") };
    assert_eq!((row.new, row.freed, row.entries, row.count, row.max, row.peak), (2, 1, 1, 1, 10, 2));
    assert_eq!((row.lifetimes, row.mean_lifetime_ns, row.state), (1, 2, 0));
    assert_eq!((nobody.new, nobody.freed, nobody.count), (0, 1, ABSENT), "a free of nobody");
    assert_eq!(engine.netns_seconds(), [], "once");

    for at in 3..=70 {
        apply(&mut engine, &batch(at * S, &[], &[]));
    }
    let rows = engine.netns_seconds();
    assert_eq!(told(&rows), [(3, 1), (62, 0), (63, 1)]);
    assert_eq!((rows[0].new, rows[0].peak), (3, 2), "what came at a second's beginning is in that second");
    engine.end_second_early();
    assert_eq!(engine.netns_seconds(), [], "nothing moved");
    apply(&mut engine, &batch(70 * S + 5, &[new(4, 70 * S + 2, 5)], &[]));
    engine.end_second_early();
    assert_eq!(
        engine.netns_seconds().iter().map(|it| (it.ktime_ns, it.new)).collect::<Vec<_>>(),
        [(70 * S + 5, 4)]
    );
}

#[test]
fn nothing_is_kept_for_nobody() {
    let mut engine = engine();
    let refused = Record::Refused(testing::refused(S, 9, 512, 512));
    apply(&mut engine, &batch(9 * S, &[new(1, S, 5)], &[refused]));
    engine.end_second_early();
    assert_eq!((engine.netns_seconds(), engine.pictures()), (vec![], vec![]));
}

#[test]
fn the_state_told_is_that_at_the_seconds_end() {
    let mut engine = recording();
    apply(&mut engine, &batch(S, &[], &[Record::Refused(testing::refused(S / 2, 9, 5, 10))]));
    apply(&mut engine, &batch(5 * S, &[], &[]));
    let states: Vec<_> = engine.netns_seconds().iter().map(|row| (row.ktime_ns / S, row.state)).collect();
    assert_eq!(states, [(1, 4), (2, 1)], "refusing, and recovered at 1.5 s though that is known only at 5 s");
}

#[test]
fn a_namespace_that_is_gone_leaves_its_sums_to_nobody() {
    let mut engine = recording();
    apply(&mut engine, &batch(S, &[new(1, 1, 5), free(1, 5)], &[]));
    apply(&mut engine, &batch(3 * S, &[], &[Record::Census(testing::census(0, 2 * S, 3 * S))]));
    let rows = engine.netns_seconds();
    let brief: Vec<_> = rows.iter().map(|it| (it.netns, it.state, it.new, it.freed, it.entries)).collect();
    let gone = NetnsSecond::GONE;
    assert_eq!(brief, [(1, 0, 1, 1, 0), (1, gone, 1, 1, 0)]);
    apply(&mut engine, &batch(4 * S, &[], &[]));
    assert_eq!(
        engine.netns_seconds().iter().map(|it| (it.netns, it.new, it.freed)).collect::<Vec<_>>(),
        [(0, 1, 1)]
    );
}

#[test]
fn a_picture_is_taken_when_an_episode_begins() {
    let mut engine = recording();
    let refused = Record::Refused(testing::refused(S, 9, 512, 512));
    apply(&mut engine, &batch(S, &[new(1, 10, 5), new(2, 10, 6)], &[refused]));
    let mut picture = Picture::default();
    engine.pictures().iter().for_each(|row| picture.take(row));
    assert_eq!(picture.holders, *engine.summary().episodes[0].holders);
    assert_eq!((picture.holders.entries, engine.pictures()), (2, vec![]));
}

#[test]
fn holders_are_the_first_by_entries_and_by_refusals_and_all_others() {
    let mut engine = recording();
    let births = (0..10u64).map(|ct| {
        new(
            ct,
            ct + 1,
            if ct < 5 {
                5
            } else if ct < 8 {
                6
            } else {
                7
            },
        )
    });
    let refused = [8, 8, 5, 9].map(|host| Record::Refused(testing::refused(90, host, 512, 512)));
    let entries: Vec<_> = births.chain([free(0, 50), free(99, 60)]).collect();
    let totals = Some(Totals { new: 12, ..Totals::default() });
    apply(&mut engine, &Batch { totals, ..batch(S, &entries, &refused) });

    let rows = engine.holders_rows(2);
    let brief: Vec<_> =
        rows.iter().map(|it| (it.rank, it.src[3], it.entries, it.new, it.freed, it.refused)).collect();
    let other = Holder::OTHER;
    // 10.1.0.8 was refused most, then 10.1.0.5, who holds most.
    assert_eq!(brief, [(0, 5, 4, 5, 1, 1), (1, 6, 3, 3, 0, 0), (2, 8, 0, 0, 0, 2), (other, 0, 2, 4, 1, 1)]);
    assert_eq!((rows[0].lifetimes, rows[0].mean_lifetime_ns), (1, 49));
    for k in 0..6 {
        let rows = engine.holders_rows(k);
        let mut sums = BTreeMap::new();
        for row in &rows {
            *sums.entry("entries").or_insert(0) += u64::from(row.entries);
            *sums.entry("new").or_insert(0) += row.new;
            *sums.entry("freed").or_insert(0) += row.freed;
            *sums.entry("refused").or_insert(0) += row.refused;
            *sums.entry("lifetimes").or_insert(0) += row.lifetimes;
        }
        let expected = [("entries", 9), ("new", 12), ("freed", 2), ("refused", 4), ("lifetimes", 1)];
        assert_eq!(sums, BTreeMap::from(expected), "k = {k}");
    }
}
