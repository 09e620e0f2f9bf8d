//! Streams as a recorder writes them, and what is made of them.

use conntrack_common::{ABSENT, Totals as KernelTotals};
use zerocopy::IntoBytes;

use super::*;
use crate::engine::decode::Records;
use crate::engine::recorded::{
    Counters, Crossed, Dimension, Drain, Ended, Holder, Holding, NetnsSecond, RecordedKind, Summed,
    Unrecorded,
};
use crate::engine::saturation::State;
use crate::engine::snapshot::Trust;
use crate::engine::sources::Sums;
use crate::engine::testing::{self, Record as Ring, S, WALL, bytes};
use crate::engine::tuple::Proto;

/// 2026-11-20T10:15:00Z.
const BEGIN: i64 = WALL.offset_ns;

pub fn head() -> FileHead {
    FileHead {
        session: "4b5f".into(),
        host: "gw1".into(),
        kernel: "6.12.0".into(),
        boot_id: "b007".into(),
        program: "0.1.0".into(),
        wall: WALL,
        trust: Trust { backend: "fexit-module".into(), degradations: vec![] },
        ..FileHead::default()
    }
}

pub fn drain(ktime_ns: u64) -> Vec<u8> {
    let (kind, reserved) = (RecordedKind::Drain as u8, [0; 7]);
    Drain { kind, reserved, ktime_ns, wall_offset_ns: WALL.offset_ns }.as_bytes().to_vec()
}

pub fn second(at_s: u64, state: State, count: u32, refused: u64, evicted: u64) -> NetnsSecond {
    NetnsSecond {
        kind: RecordedKind::NetnsSecond as u8,
        state: state as u8,
        reserved: 0,
        netns: 1,
        ktime_ns: at_s * S,
        count,
        max: 512,
        peak: count,
        entries: count,
        new: 10 * at_s,
        freed: 5 * at_s,
        refused,
        evicted,
        failed: 0,
        unconfirmed: 0,
        lifetimes: 0,
        mean_lifetime_ns: 0,
    }
}

pub fn counters(at_s: u64, totals: KernelTotals) -> Vec<u8> {
    let (kind, reserved) = (RecordedKind::Counters as u8, [0; 7]);
    Counters { kind, reserved, ktime_ns: at_s * S, totals }.as_bytes().to_vec()
}

pub fn crossed(ktime_ns: u64, was: State, state: State, count: u32) -> Vec<u8> {
    let kind = RecordedKind::Crossed as u8;
    let record = Crossed {
        kind,
        was: was as u8,
        state: state as u8,
        reserved: 0,
        netns: 1,
        ktime_ns,
        count,
        max: 512,
    };
    record.as_bytes().to_vec()
}

pub fn summed(host: u8, first_ktime_ns: u64, ktime_ns: u64, count: u64) -> Vec<u8> {
    let record = Summed {
        kind: RecordedKind::Summed as u8,
        of: 3,
        cause: 1,
        reserved: 0,
        netns: 1,
        ktime_ns,
        first_ktime_ns,
        count,
        src: testing::tuple(host).src,
        l3num: 2,
        level_count: 512,
        level_max: 512,
        reserved2: 0,
    };
    record.as_bytes().to_vec()
}

pub fn holder(
    at_s: u64,
    rank: u16,
    host: u8,
    entries: u32,
    new: u64,
    lifetimes: u64,
    mean_s: u64,
) -> Vec<u8> {
    let record = Holder {
        kind: RecordedKind::Holder as u8,
        reserved: 0,
        rank,
        netns: u32::from(rank != Holder::OTHER),
        ktime_ns: at_s * S,
        src: testing::tuple(host).src,
        l3num: if rank == Holder::OTHER { 0 } else { 2 },
        entries,
        new,
        freed: 0,
        refused: 0,
        evicted: 0,
        failed: 0,
        unconfirmed: 0,
        lifetimes,
        mean_lifetime_ns: mean_s * S,
    };
    record.as_bytes().to_vec()
}

pub fn holding(ktime_ns: u64, dimension: Dimension, rank: u16, host: u8, value: u64) -> Vec<u8> {
    let record = Holding {
        kind: RecordedKind::Holding as u8,
        dimension: dimension as u8,
        rank,
        netns: 1,
        ktime_ns,
        address: testing::tuple(host).src,
        l3num: 2,
        port: 5000,
        protonum: 17,
        prefix_len: 24,
        reserved: 0,
        value,
    };
    record.as_bytes().to_vec()
}

pub fn refused(ktime_ns: u64, host: u8) -> Vec<u8> {
    bytes(&[Ring::Refused(testing::refused(ktime_ns, host, 512, 512))])
}

pub fn evicted(ktime_ns: u64, host: u8) -> Vec<u8> {
    bytes(&[Ring::Evicted(testing::evicted(9, ktime_ns, host, 7))])
}

/// Ten seconds: an eviction, three refusals told one by one and 40 in sums, five that only the sums know, the recovery.
pub fn story() -> Vec<u8> {
    let total = |refused, evicted| KernelTotals {
        new: 100,
        freed: 50,
        refused_table_full: refused,
        evicted,
        failed_nat_ports: 1,
        ..KernelTotals::default()
    };
    let row = |at_s, state, count, refused, evicted| {
        second(at_s, state, count, refused, evicted).as_bytes().to_vec()
    };
    [
        drain(1),
        bytes(&[Ring::NetnsName(testing::netns_name(2, 1, "gw"))]),
        drain(S),
        row(1, State::Ok, 100, 0, 0),
        holder(1, 0, 5, 80, 100, 50, 4),
        holder(1, 1, 6, 20, 30, 10, 2),
        holder(1, Holder::OTHER, 0, 7, 30, 10, 2),
        drain(2 * S),
        // Out of order within the drain, and the edge after what made it.
        refused(2 * S + 500, 8),
        evicted(2 * S + 100, 5),
        refused(2 * S + 900_000_123, 9),
        counters(2, total(2, 1)),
        crossed(2 * S + 100, State::Ok, State::Evicting, 511),
        crossed(2 * S + 500, State::Evicting, State::Refusing, 512),
        holding(2 * S + 100, Dimension::Total, 0, 0, 510),
        holding(2 * S + 100, Dimension::Source, 0, 5, 400),
        holding(2 * S + 100, Dimension::Source, Holder::OTHER, 0, 110),
        holding(2 * S + 100, Dimension::Arrivals, 0, 5, 90),
        holding(2 * S + 100, Dimension::ArrivalsWindow, 0, 0, 60 * S),
        drain(4 * S),
        row(3, State::Refusing, 512, 2, 1),
        summed(8, 3 * S + 1, 3 * S + 900, 40),
        refused(3 * S + 950, 9),
        bytes(&[Ring::InsertFailed(testing::insert_failed(3, 3 * S + 7, 6))]),
        counters(4, total(48, 1)),
        row(4, State::Refusing, 512, 48, 1),
        holder(5, 0, 5, 120, 180, 70, 5),
        holder(5, Holder::OTHER, 0, 9, 30, 10, 2),
        drain(6 * S),
        crossed(5 * S, State::Refusing, State::Recovered, 300),
        row(6, State::Recovered, 300, 48, 1),
        counters(6, total(48, 1)),
        Ended { kind: RecordedKind::Ended as u8, reason: 1, reserved: [0; 6], ktime_ns: 10 * S }
            .as_bytes()
            .to_vec(),
    ]
    .concat()
}

pub fn report_of(stream: &[u8], narrow: Narrow) -> (Report, Vec<Incident>) {
    let mut builder = Builder::new(narrow);
    builder.file(&head(), true);
    let mut told = Vec::new();
    let mut tell = |it: Told<'_>| {
        if let Told::Incident(incident) = it {
            told.push(*incident);
        }
    };
    for record in Records::new(stream) {
        builder.feed(record.expect("a record"), &mut tell);
    }
    let report = builder.finish(&mut tell);
    (report, told)
}

fn all() -> Report {
    report_of(&story(), Narrow::default()).0
}

fn host(last: u8) -> IpAddr {
    IpAddr::from([10, 1, 0, last])
}

#[test]
fn sums_are_exact_to_the_unit() {
    let (report, told) = report_of(&story(), Narrow::default());
    let totals = &report.totals;
    assert_eq!(
        totals.by_cause.iter().collect::<Vec<_>>(),
        [(Cause::TableFull, 48), (Cause::Evicted, 1), (Cause::NatPorts, 1)]
    );
    assert_eq!(totals.told.of(Cause::TableFull), 3);
    assert_eq!(totals.summed.of(Cause::TableFull), 40);
    assert_eq!(totals.counted.iter().collect::<Vec<_>>(), [(Cause::TableFull, 5)]);
    assert_eq!((totals.new, totals.freed), (Some(100), Some(50)));
    let [refused, evicted, _] = totals.spans;
    assert_eq!(refused.first.map(|at| at.ktime_ns), Some(2 * S + 500));
    assert_eq!(refused.last.map(|at| (at.ktime_ns, at.unix_ns)), Some((3 * S + 950, BEGIN + 3_000_000_950)));
    assert_eq!(evicted.first, evicted.last);
    let stamps: Vec<_> = told.iter().map(|it| it.at.ktime_ns).collect();
    assert_eq!(stamps.len(), 6);
    assert!(stamps.is_sorted(), "{stamps:?}");
}

#[test]
fn sources_and_the_rest_are_the_total() {
    let report = all();
    let rows: Vec<_> = report.sources.top.iter().map(|row| (row.src, row.by_cause.total())).collect();
    assert_eq!(rows, [(host(8), 41), (host(9), 2), (host(5), 1), (host(6), 1)]);
    assert_eq!(report.sources.other.iter().collect::<Vec<_>>(), [(Cause::TableFull, 5)]);
    assert_eq!(report.sources.top[0].span.last.map(|at| at.ktime_ns), Some(3 * S + 900));
    let to = Destination { dst: IpAddr::from([10, 99, 0, 1]), proto: Proto::UDP, dport: 5000 };
    assert_eq!(report.destinations, [(to, 3)]);
    assert_eq!(report.destinations_unknown, 45);
}

#[test]
fn an_episode_has_what_happened_in_it() {
    let report = all();
    let episodes: Vec<_> = report.episodes.iter().collect();
    assert_eq!(episodes.len(), 1);
    let it = episodes[0];
    assert_eq!((it.start.ktime_ns, it.end.map(|at| at.ktime_ns)), (2 * S + 100, Some(5 * S)));
    assert_eq!(
        (it.began, it.level.count, it.peak, it.began_before),
        (State::Evicting, Some(511), Some(512), false)
    );
    assert_eq!((it.by_cause.of(Cause::TableFull), it.by_cause.of(Cause::Evicted), it.counted), (48, 1, 5));
    assert_eq!(it.first_refused.map(|it| it.at.ktime_ns), Some(2 * S + 500));
    assert_eq!(it.spans[0].last.map(|at| at.ktime_ns), Some(3 * S + 950));
    assert_eq!(it.victims.refused.top, [(host(8), 41), (host(9), 2)]);
    assert_eq!((it.victims.destinations.top.len(), it.victims.destinations.other), (1, 45));
    let holders = it.holders.as_ref().expect("a picture");
    assert_eq!(
        (holders.entries, holders.sources.top.as_slice(), holders.sources.other),
        (510, [(host(5), 400)].as_slice(), 110)
    );
    assert_eq!(holders.arrival_rates().collect::<Vec<_>>(), [(host(5), 1.5)]);
}

#[test]
fn a_window_is_exact_to_the_nanosecond() {
    let within = |since: u64, until: u64| {
        let at = |ktime_ns: u64| Some(BEGIN + ktime_ns as i64);
        let narrow = Narrow { since_unix_ns: at(since), until_unix_ns: at(until), ..Narrow::default() };
        report_of(&story(), narrow).0
    };
    let report = within(2 * S + 500, 2 * S + 900_000_123);
    assert_eq!(report.totals.told.iter().collect::<Vec<_>>(), [(Cause::TableFull, 1)]);
    let report = within(2 * S + 501, 2 * S + 900_000_124);
    assert_eq!(report.totals.spans[0].first.map(|at| at.ktime_ns), Some(2 * S + 900_000_123));
    let report = within(4 * S, 9 * S);
    assert_eq!(report.totals.by_cause, ByCause::default(), "what was only counted was counted before");
    assert_eq!(report.episodes.total(), 1, "it lasted until then");
    let report = within(8 * S, 9 * S);
    assert_eq!(report.episodes.total(), 0);
}

#[test]
fn filters_narrow_everything() {
    let of = |narrow| report_of(&story(), narrow).0;
    let src = vec!["10.1.0.8/31".parse().expect("a network")];
    let report = of(Narrow { src, ..Narrow::default() });
    assert_eq!(report.totals.by_cause.iter().collect::<Vec<_>>(), [(Cause::TableFull, 43)]);
    assert_eq!((report.totals.new, report.totals.counted.total()), (None, 0));
    let line = &report.timelines[0];
    assert_eq!(line.points.iter().map(|point| point.sums.refused).sum::<u64>(), 43, "told by incidents");
    assert_eq!(line.points.iter().map(|point| point.sums.evicted).sum::<u64>(), 0);
    let report = of(Narrow { cause: vec![Cause::NatPorts], ..Narrow::default() });
    assert_eq!(report.totals.by_cause.iter().collect::<Vec<_>>(), [(Cause::NatPorts, 1)]);
    let report = of(Narrow { netns: vec![2], ..Narrow::default() });
    assert_eq!((report.totals.by_cause, report.episodes.total()), (ByCause::default(), 0));
    let report = of(Narrow { netns: vec![1], ..Narrow::default() });
    assert_eq!(report.totals.by_cause.of(Cause::TableFull), 48, "the namespace's sums tell of the five too");
}

#[test]
fn a_timeline_has_every_second_and_every_sum() {
    let report = all();
    let line = &report.timelines[0];
    let points: Vec<_> =
        line.points.iter().map(|it| ((it.unix_ns - BEGIN) / S as i64, it.sums.refused, it.state)).collect();
    assert_eq!(
        points,
        [(0, 0, State::Ok), (2, 2, State::Refusing), (3, 46, State::Refusing), (5, 0, State::Recovered)]
    );
    assert_eq!((line.point_ns, line.state), (S as i64, State::Recovered));
}

#[test]
fn many_seconds_fall_together_and_keep_their_peaks() {
    let mut stream = drain(S);
    let (mut refused, mut new) = (0, 0);
    for at_s in 1..=7000u64 {
        let hit = at_s == 322 || at_s == 4321;
        refused += if hit { 77 } else { 1 };
        new += 2;
        let state = if hit { State::Refusing } else { State::Ok };
        let row = NetnsSecond { new, ..second(at_s, state, if hit { 512 } else { 10 }, refused, 0) };
        stream.extend_from_slice(row.as_bytes());
    }
    let (report, _) = report_of(&stream, Narrow::default());
    let line = &report.timelines[0];
    assert!(line.points.len() <= 2000, "{}", line.points.len());
    assert_eq!(line.point_ns, 4 * S as i64);
    let sum = |of: fn(&Sums) -> u64| line.points.iter().map(|it| of(&it.sums)).sum::<u64>();
    assert_eq!((sum(|it| it.refused), sum(|it| it.new)), (refused, new));
    let peaks: Vec<_> = line.points.iter().filter(|it| it.most.refused == 77).collect();
    assert_eq!(peaks.len(), 2);
    for (peak, second) in peaks.into_iter().zip([321, 4320]) {
        assert_eq!((peak.peak, peak.state, peak.most.new), (Some(512), State::Refusing, 2));
        let at = (peak.unix_ns - BEGIN) / S as i64;
        assert!((at..at + 4).contains(&second), "{at}");
    }
}

#[test]
fn what_was_not_recorded_is_no_line_of_zeros() {
    let row = |at_s, refused| second(at_s, State::Ok, 10, refused, 0).as_bytes().to_vec();
    let lost = Unrecorded {
        kind: RecordedKind::Unrecorded as u8,
        reason: 1,
        reserved: [0; 6],
        ktime_ns: 8 * S,
        from_ktime_ns: 2 * S,
        drains: 3,
        bytes: 999,
    };
    let stream =
        [drain(S), row(1, 0), row(2, 1), drain(8 * S), lost.as_bytes().to_vec(), row(9, 31), row(10, 32)]
            .concat();
    let (report, _) = report_of(&stream, Narrow::default());
    let line = &report.timelines[0];
    assert_eq!(line.points.iter().map(|it| it.sums.refused).collect::<Vec<_>>(), [0, 1, 0, 1]);
    let missing = &report.known.missing[0];
    assert_eq!((missing.kind, missing.refused, missing.bytes), (MissingKind::Behind, 30, 999));
    assert_eq!(missing.from.zip(missing.until).map(|(a, b)| b.ktime_ns - a.ktime_ns), Some(6 * S));
    assert_eq!(report.totals.by_cause.of(Cause::TableFull), 32, "and the sum has all");
}

#[test]
fn sessions_are_counted_each_by_itself() {
    let mut builder = Builder::new(Narrow::default());
    let stream = |refused| {
        let totals = KernelTotals { refused_table_full: refused, ..KernelTotals::default() };
        [drain(S), counters(1, KernelTotals::default()), drain(9 * S), counters(9, totals)].concat()
    };
    for (session, sequence, refused) in [("a", 0, 4), ("a", 1, 6), ("b", 3, 100)] {
        builder.file(&FileHead { session: session.into(), sequence, ..head() }, true);
        for record in Records::new(&stream(refused)) {
            builder.feed(record.expect("a record"), &mut |_| {});
        }
    }
    builder.damage(Some(9 * S), None, 17);
    let report = builder.finish(&mut |_| {});
    assert_eq!(report.known.sessions.iter().map(|it| it.files).collect::<Vec<_>>(), [2, 1]);
    let kinds: Vec<_> = report.known.missing.iter().map(|it| it.kind).collect();
    assert_eq!(kinds, [MissingKind::NotRecording, MissingKind::Damage]);
    assert_eq!(report.totals.by_cause.of(Cause::TableFull), 4 + 6 + 100);
}

#[test]
fn holders_over_time_and_why_they_hold() {
    let report = all();
    let over = &report.holders;
    assert_eq!(over.at.iter().map(|at| at.ktime_ns / S).collect::<Vec<_>>(), [1, 5]);
    assert_eq!(over.series[0].entries, [Some(80), Some(120)]);
    assert_eq!(over.series[0].new_per_s, [None, Some(20.0)]);
    assert_eq!(over.series[1].entries, [Some(20), None]);
    assert_eq!(over.other, [Some(7), Some(9)]);
    // 50 of 4 s, then 70 of 5 s: the 20 between lived 7.5 s.
    let it = &report.occupancy[0];
    assert_eq!(
        (it.src, it.new_per_s, it.mean_lifetime_s, it.expected),
        (host(5), 20.0, Some(7.5), Some(150.0))
    );
    assert_eq!((it.held, it.most), (100.0, 120));
}

#[test]
fn an_instant_has_its_surroundings() {
    let at = |ktime_ns: u64, window_ns, limit| {
        let mut at = At::new(BEGIN + ktime_ns as i64, window_ns, limit, Narrow::default());
        at.file(&head());
        Records::new(&story()).for_each(|record| at.feed(record.expect("a record")));
        at.finish()
    };
    let around = at(2 * S + 600, 400, 10);
    assert!(around.recorded);
    assert_eq!(around.incidents.iter().map(|it| it.at.ktime_ns).collect::<Vec<_>>(), [2 * S + 500]);
    let standing = around.standing[0];
    assert_eq!((standing.state, standing.since.map(|at| at.ktime_ns)), (State::Refusing, Some(2 * S + 500)));
    assert_eq!((standing.level.count, standing.level_at.ktime_ns), (Some(512), 2 * S + 500));
    let held = around.holders.expect("an interval before");
    assert_eq!((held.at.ktime_ns, held.rows.len(), held.rows[0]), (S, 2, (1, host(5), 80)));
    assert_eq!(held.other, Some(7));

    let around = at(2 * S + 600, 2 * S, 2);
    assert_eq!(
        around.incidents.iter().map(|it| it.at.ktime_ns).collect::<Vec<_>>(),
        [2 * S + 500, 2 * S + 900_000_123]
    );
    assert_eq!(around.left_out, [1, 42]);
    assert_eq!(around.by_cause.total(), 45);
    assert!(!at(60 * S, S, 2).recorded);
}

#[test]
fn an_absent_count_is_none() {
    let row = NetnsSecond { count: ABSENT, max: ABSENT, peak: 0, ..second(1, State::Ok, 0, 0, 0) };
    let (report, _) = report_of(&[drain(S), row.as_bytes().to_vec()].concat(), Narrow::default());
    let point = report.timelines[0].points[0];
    assert_eq!((point.peak, point.count, point.max), (None, None, None));
}

/// The sums of no namespace are so far too, and take over those of one that is gone.
#[test]
fn a_namespace_that_is_gone_is_counted_once() {
    let row = |netns, at_s, refused, state| {
        let row = second(at_s, State::Ok, 0, refused, 0);
        NetnsSecond { netns, new: refused, freed: refused, state, ..row }.as_bytes().to_vec()
    };
    let ok = State::Ok as u8;
    let stream = [
        drain(S),
        refused(S - 2, 8),
        refused(S - 1, 8),
        row(1, 1, 2, ok),
        drain(2 * S),
        row(1, 2, 2, NetnsSecond::GONE),
        row(0, 2, 2, ok),
        drain(3 * S),
        // Another one with its number.
        refused(3 * S - 1, 8),
        row(1, 3, 1, ok),
        row(0, 3, 2, ok),
    ];
    let totals = report_of(&stream.concat(), Narrow::default()).0.totals;
    assert_eq!(totals.by_cause.of(Cause::TableFull), 3);
    assert_eq!(totals.counted.iter().collect::<Vec<_>>(), []);
    assert_eq!((totals.new, totals.freed), (Some(3), Some(3)));
}

#[test]
fn an_incident_after_the_row_of_the_same_drain_is_told_and_not_only_counted() {
    let stream = [
        drain(S),
        crossed(S - 5, State::Ok, State::Refusing, 512),
        refused(S - 5, 8),
        // It stands before the row, and is of the second after.
        refused(S + 5, 8),
        second(1, State::Refusing, 512, 1, 0).as_bytes().to_vec(),
        drain(2 * S),
        second(2, State::Refusing, 512, 2, 0).as_bytes().to_vec(),
    ];
    let report = report_of(&stream.concat(), Narrow::default()).0;
    let episode = report.episodes.iter().next().expect("an episode");
    assert_eq!((episode.by_cause.of(Cause::TableFull), episode.counted), (2, 0));
}
