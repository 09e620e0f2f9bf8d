use bytes::Bytes;
use conntrack_common::Totals;
use zerocopy::FromZeros as _;

use super::*;
use crate::engine::recorded::{NetnsSecond, Recorded};
use crate::engine::testing::{self, Record as Sent, S, WALL, bytes};

fn batch(ktime_ns: u64, entries: &[Sent], incidents: &[Sent]) -> Batch {
    Batch {
        ktime_ns,
        wall: WALL,
        entries: Bytes::from(bytes(entries)),
        incidents: Bytes::from(bytes(incidents)),
        totals: None,
        trust: None,
    }
}

/// What is recorded of these drains, by kind.
fn recorded(thinning: &mut Thinning, batches: &[Batch]) -> (Vec<u8>, Vec<Summed>) {
    let mut out = Vec::new();
    batches.iter().for_each(|batch| thinning.take(batch, &[], &mut out));
    thinning.end(&mut out);
    let (mut kinds, mut sums) = (Vec::new(), Vec::new());
    let mut records = Records::new(&out);
    while let Some((record, bytes)) = records.next_with_bytes() {
        kinds.push(bytes[0]);
        if let Record::Recorded(Recorded::Summed(sum)) = record {
            sums.push(sum.get());
        }
    }
    assert!(Records::new(&out).all(|record| record.is_ok()), "all of it is records");
    (kinds, sums)
}

const DRAIN: u8 = RecordedKind::Drain as u8;
const REFUSED: u8 = Kind::Refused as u8;

fn refusals(at: u64, of: impl Iterator<Item = u8>) -> Vec<Sent> {
    of.zip(0..).map(|(host, i)| Sent::Refused(testing::refused(at + i, host, 10, 10))).collect()
}

#[test]
fn entries_are_left_out_unless_they_are_wanted() {
    let entries = [
        Sent::New(testing::new(1, S, 1)),
        Sent::Gap(testing::gap(false, S, S)),
        Sent::Free(testing::free(1, S)),
    ];
    let incidents = [Sent::Count(testing::count(S, 1, 10)), Sent::Refused(testing::refused(S, 2, 10, 10))];
    let drain = batch(S, &entries, &incidents);
    let (kinds, _) = recorded(&mut Thinning::new(false, 100), std::slice::from_ref(&drain));
    assert_eq!(kinds, [DRAIN, Kind::Gap as u8, REFUSED]);
    let (kinds, _) = recorded(&mut Thinning::new(true, 0), &[drain]);
    let all = [Kind::New, Kind::Gap, Kind::Free, Kind::Count, Kind::Refused].map(|kind| kind as u8);
    assert_eq!(kinds, [&[DRAIN][..], &all].concat());
}

#[test]
fn a_drain_of_nothing_is_not_recorded_unless_the_clock_was_set() {
    let mut thinning = Thinning::new(false, 100);
    let count = [Sent::Count(testing::count(S, 1, 10))];
    assert_eq!(recorded(&mut thinning, &[batch(S, &[], &count), batch(2 * S, &[], &count)]).0, [DRAIN]);
    let mut set = batch(3 * S, &[], &count);
    set.wall.offset_ns += 1;
    assert_eq!(recorded(&mut thinning, &[set]).0, [DRAIN]);
}

#[test]
fn a_flood_is_summed_by_source_and_hides_nobody() {
    let flood = refusals(S, std::iter::repeat_n(1, 500));
    let others = refusals(S + 1000, [2, 3, 2].into_iter());
    let (kinds, sums) =
        recorded(&mut Thinning::new(false, 100), &[batch(S, &[], &flood), batch(S + 2000, &[], &others)]);
    // Half of the budget, and the first of each of the others.
    assert_eq!(kinds.iter().filter(|kind| **kind == REFUSED).count(), 50 + 2);
    let told: Vec<_> =
        sums.iter().map(|sum| (sum.src, sum.count, sum.first_ktime_ns, sum.ktime_ns)).collect();
    let src = |host| testing::tuple(host).src;
    assert_eq!(told, [(src(1), 450, S + 50, S + 499), (src(2), 1, S + 1002, S + 1002)]);
    let Summed { of, cause, netns, level_count, level_max, .. } = sums[0];
    assert_eq!((of, cause, netns, level_count, level_max), (REFUSED, 1, 1, 10, 10));
}

#[test]
fn every_second_has_its_own_budget() {
    let seconds: Vec<_> =
        (1..4).map(|s| batch(s * S, &[], &refusals(s * S, std::iter::repeat_n(1, 5)))).collect();
    let (kinds, sums) = recorded(&mut Thinning::new(false, 4), &seconds);
    assert_eq!(kinds.iter().filter(|kind| **kind == REFUSED).count(), 3 * 2);
    assert_eq!(sums.iter().map(|sum| sum.count).collect::<Vec<_>>(), [3, 3, 3]);
}

/// The engine's time is that of the last record, which may be later than the drain's.
#[test]
fn a_sum_is_of_one_second_and_comes_with_its_row() {
    let row = second_row(2 * S);
    let flood = [refusals(2 * S - 3, [1; 3].into_iter()), refusals(2 * S, [1; 2].into_iter())].concat();
    let mut thinning = Thinning::new(false, 0);
    let mut out = Vec::new();
    thinning.take(&batch(2 * S - 5, &[], &flood), row.as_bytes(), &mut out);
    let counts = |out: &[u8]| -> Vec<u64> {
        let sums = Records::new(out).filter_map(|record| match record {
            Ok(Record::Recorded(Recorded::Summed(sum))) => Some(sum.get().count),
            _ => None,
        });
        sums.collect()
    };
    assert_eq!(counts(&out), [3], "of the second whose row this is");
    assert!(out.ends_with(row.as_bytes()), "and before it");
    thinning.end(&mut out);
    assert_eq!(counts(&out), [3, 2]);
}

fn second_row(ktime_ns: u64) -> NetnsSecond {
    let mut row = NetnsSecond::new_zeroed();
    (row.kind, row.ktime_ns) = (RecordedKind::NetnsSecond as u8, ktime_ns);
    row
}

#[test]
fn more_sources_than_are_kept_apart_are_summed_together() {
    let many = (0..SOURCES + 10).map(|i| {
        let mut refused = testing::refused(S, 1, 10, 10);
        refused.tuple.src[..8].copy_from_slice(&i.to_ne_bytes());
        Sent::Refused(refused)
    });
    let (_, sums) = recorded(&mut Thinning::new(false, 0), &[batch(S, &[], &many.collect::<Vec<_>>())]);
    assert_eq!(sums.len(), SOURCES + 1);
    assert_eq!(sums.iter().map(|sum| sum.count).sum::<u64>(), SOURCES as u64 + 10);
    assert_eq!(sums.iter().find(|sum| sum.l3num == 0).map(|sum| sum.count), Some(10));
}

#[test]
fn for_whom_an_eviction_was_is_kept_with_it() {
    let pair = |hash| {
        [Sent::Evicted(testing::evicted(1, S, 1, hash)), Sent::RoomMade(testing::room_made(S, 2, hash))]
    };
    let incidents = [pair(1), pair(2)].concat();
    let (kinds, sums) = recorded(&mut Thinning::new(false, 2), &[batch(S, &[], &incidents)]);
    assert_eq!(kinds, [DRAIN, Kind::Evicted as u8, Kind::RoomMade as u8, RecordedKind::Summed as u8]);
    assert_eq!((sums[0].of, sums[0].count), (Kind::Evicted as u8, 1));
}

#[test]
fn statistics_and_names_are_told_again_when_they_change_or_a_file_begins() {
    let mut thinning = Thinning::new(false, 2);
    let told = |thinning: &mut Thinning, at, drop| {
        let incidents =
            [Sent::Stats(testing::stats(at, drop, 0, 0)), Sent::NetnsName(testing::netns_name(at, 1, "gw"))];
        recorded(thinning, &[batch(at, &[], &incidents)]).0.into_iter().filter(|kind| *kind != DRAIN).count()
    };
    assert_eq!(told(&mut thinning, S, 1), 2);
    assert_eq!(told(&mut thinning, 2 * S, 1), 0);
    assert_eq!(told(&mut thinning, 3 * S, 2), 1);
    assert_eq!(told(&mut thinning, 70 * S, 2), 2);
    thinning.begin_file();
    assert_eq!(told(&mut thinning, 71 * S, 2), 2);
}

#[test]
fn counters_come_once_a_second_and_at_the_end() {
    let mut thinning = Thinning::new(false, 2);
    let at = |ktime_ns, new| Batch {
        totals: Some(Totals { new, ..Totals::default() }),
        ..batch(ktime_ns, &[], &[])
    };
    let mut out = Vec::new();
    for (tenth, new) in (10..22).zip(1..) {
        thinning.take(&at(tenth * S / 10, new), &[], &mut out);
    }
    thinning.end(&mut out);
    let news: Vec<_> = Records::new(&out)
        .filter_map(|record| match record {
            Ok(Record::Recorded(Recorded::Counters(counters))) => Some(counters.get().totals.new),
            _ => None,
        })
        .collect();
    assert_eq!(news, [1, 11, 12]);
}
