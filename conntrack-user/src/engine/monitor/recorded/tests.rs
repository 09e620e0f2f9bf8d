//! What a recording tells besides what every recording's test in `record` plays back.

use conntrack_common::{ABSENT, AuditTrigger};
use zerocopy::IntoBytes;

use super::*;
use crate::engine::account::{AuditReport, Repaired};
use crate::engine::batch::Batch;
use crate::engine::digest::{address_bytes, holdings};
use crate::engine::filter::Filter;
use crate::engine::holders::Holders;
use crate::engine::monitor::tests::{S, apply, batch, engine};
use crate::engine::monitor::{Config, Engine};
use crate::engine::notice::{Audited, UnrecordedReason};
use crate::engine::recorded::RecordedKind;
use crate::engine::tally::Ranking;
use crate::engine::testing;

fn replay() -> Engine {
    Engine::new(Config { recorded: true, ..engine().config })
}

fn said<const N: usize>(ktime_ns: u64, records: [&[u8]; N]) -> Batch {
    Batch { incidents: records.concat().into(), ..batch(ktime_ns, &[], &[]) }
}

fn crossed(was: State, state: State, ktime_ns: u64) -> Crossed {
    Crossed::new(1, &Edge { was, state, ktime_ns, level: Level::new(10, 10) })
}

fn summed(of: Kind, cause: u8, count: u64) -> recorded::Summed {
    let (l3num, src) = address_bytes(testing::connection(5).src);
    recorded::Summed {
        kind: RecordedKind::Summed as u8,
        of: of as u8,
        cause,
        reserved: 0,
        netns: 1,
        ktime_ns: 3 * S,
        first_ktime_ns: 2 * S,
        count,
        src,
        l3num: l3num.into(),
        level_count: 10,
        level_max: ABSENT,
        reserved2: 0,
    }
}

fn second(ktime_ns: u64, state: State) -> NetnsSecond {
    NetnsSecond {
        kind: RecordedKind::NetnsSecond as u8,
        state: state as u8,
        reserved: 0,
        netns: 1,
        ktime_ns,
        count: 10,
        max: 10,
        peak: 10,
        entries: 9,
        new: 20,
        freed: 11,
        refused: 5,
        evicted: 0,
        failed: 0,
        unconfirmed: 0,
        lifetimes: 0,
        mean_lifetime_ns: 0,
    }
}

#[test]
fn what_was_summed_is_in_every_sum() {
    let mut engine = replay();
    let refused = summed(Kind::Refused, Cause::NoMemory as u8, 100);
    let nobody = recorded::Summed { l3num: 0, ..summed(Kind::Refused, Cause::TableFull as u8, 7) };
    let told = apply(
        &mut engine,
        &said(
            4 * S,
            [
                crossed(State::Ok, State::Refusing, S).as_bytes(),
                refused.as_bytes(),
                nobody.as_bytes(),
                summed(Kind::Evicted, 0, 30).as_bytes(),
                summed(Kind::InsertFailed, InsertCause::Clash as u8, 4).as_bytes(),
                summed(Kind::New, 0, 1).as_bytes(),
            ],
        ),
    );
    let expected = Summed {
        ktime_ns: 3 * S,
        first_ktime_ns: 2 * S,
        netns: 1,
        of: Incident::Refused(Cause::NoMemory),
        count: 100,
        src: Some(testing::connection(5).src),
        level: Level { count: Some(10), max: None },
    };
    assert_eq!((told[1], told.len()), (Notice::Summed(expected), 5));

    let snapshot = testing::snapshot(&mut engine, 10, &Filter::default());
    let totals = snapshot.totals;
    assert_eq!((totals.refused_no_memory, totals.refused_table_full), (100, 7));
    assert_eq!((totals.evicted, totals.failed_clash, snapshot.events.seen), (30, 4, 141));
    assert_eq!(snapshot.events.decode_errors, 1, "nothing else is summed");
    let row = &snapshot.table.rows[0].sums;
    assert_eq!((row.refused, row.evicted, row.failed), (100, 30, 4));
    let row = &snapshot.netns[0].sums;
    assert_eq!((row.refused, row.evicted, row.failed), (107, 30, 4));
    let episode = &snapshot.episodes[0];
    assert_eq!((episode.refused.no_memory, episode.refused.table_full, episode.evicted), (100, 7, 30));
    assert_eq!(episode.first_refused.map(|it| it.ktime_ns), Some(2 * S));
    assert_eq!(episode.last_refused_ktime_ns, Some(3 * S));
    let src = testing::connection(5).src;
    assert_eq!(episode.refused_sources, Ranking { top: vec![(src, 100)], other: 7 });
    assert_eq!(episode.evicted_sources, Ranking { top: vec![(src, 30)], other: 0 });

    // A second's row has them: they are not added to it.
    let row = NetnsSecond { refused: 107, evicted: 30, failed: 4, ..second(4 * S, State::Refusing) };
    apply(&mut engine, &said(4 * S, [row.as_bytes()]));
    let snapshot = testing::snapshot(&mut engine, 10, &Filter::default());
    assert_eq!((snapshot.totals.refused(), snapshot.netns[0].sums.refused), (107, 107));
}

#[test]
fn where_nothing_was_recorded_is_told_and_the_next_row_puts_it_right() {
    let unrecorded = recorded::Unrecorded {
        kind: RecordedKind::Unrecorded as u8,
        reason: 2,
        reserved: [0; 6],
        ktime_ns: 5 * S,
        from_ktime_ns: 2 * S,
        drains: 3,
        bytes: 999,
    };
    let expected = Unrecorded {
        ktime_ns: 5 * S,
        from_ktime_ns: 2 * S,
        reason: UnrecordedReason::Unwritten,
        drains: 3,
        bytes: 999,
    };
    // With entries it is told too.
    assert_eq!(apply(&mut engine(), &said(5 * S, [unrecorded.as_bytes()])), [Notice::Unrecorded(expected)]);
    let mut engine = replay();
    let told =
        apply(&mut engine, &said(6 * S, [unrecorded.as_bytes(), second(6 * S, State::Refusing).as_bytes()]));
    assert_eq!(told, [Notice::Unrecorded(expected)], "no edge is invented");
    let snapshot = testing::snapshot(&mut engine, 10, &Filter::default());
    assert_eq!((snapshot.events.unrecorded.count, snapshot.events.unrecorded.duration_ns), (1, 3 * S));
    let row = &snapshot.netns[0];
    assert_eq!((row.state, row.entries, row.sums.refused), (State::Refusing, 9, 5));
    assert_eq!((snapshot.entries, snapshot.totals.new, snapshot.totals.freed), (9, 20, 11));
    assert_eq!((snapshot.episodes.len(), snapshot.episodes[0].start_ktime_ns), (1, 6 * S));
    apply(&mut engine, &said(8 * S, [second(8 * S, State::Ok).as_bytes()]));
    let snapshot = testing::snapshot(&mut engine, 10, &Filter::default());
    assert_eq!((snapshot.netns[0].state, snapshot.episodes[0].end_ktime_ns), (State::Ok, Some(8 * S)));
}

#[test]
fn states_go_only_where_edges_say() {
    let mut engine = replay();
    let refused = testing::refused(S, 5, 10, 10);
    assert_eq!(apply(&mut engine, &said(9 * S, [refused.as_bytes()])).len(), 1, "the refusal, and no edge");
    let edges = [(State::Ok, State::Refusing, 10 * S), (State::Refusing, State::Recovered, 11 * S)];
    let [up, down] = edges.map(|(was, state, at)| crossed(was, state, at));
    let holders = Holders { ktime_ns: 10 * S, entries: 7, arrivals_window_ns: 5, ..Holders::default() };
    let picture: Vec<u8> = holdings(1, &holders).iter().flat_map(|it| it.as_bytes().to_vec()).collect();
    let told = apply(&mut engine, &said(90 * S, [up.as_bytes(), &picture, down.as_bytes()]));
    let expected = [up, down].map(|it| Notice::Edge { netns: 1, edge: it.edge().expect("of states") });
    assert_eq!(told, expected, "nor does time bring one");
    let episodes = engine.summary().episodes;
    assert_eq!((episodes.len(), episodes[0].end_ktime_ns), (1, Some(11 * S)));
    assert_eq!(*episodes[0].holders, holders);
}

#[test]
fn an_audit_is_told_and_what_it_mended_is_no_event() {
    let mut engine = replay();
    let report = AuditReport {
        number: 2,
        trigger: AuditTrigger::Lost,
        began_ktime_ns: S,
        ended_ktime_ns: 2 * S,
        entries: 9,
        repaired: Repaired { added: 3, removed: 2, replaced: 1 },
        buckets: 4,
        restarts: 0,
        cut_short: 0,
    };
    let audited = Audited { report, abandoned: false };
    let row = second(2 * S, State::Ok);
    let told = apply(&mut engine, &said(2 * S, [AuditDone::new(&audited).as_bytes(), row.as_bytes()]));
    assert_eq!(told, [Notice::Audited(audited)]);
    let events = engine.summary().events;
    assert_eq!(
        (events.bootstrapped, events.last_audit, events.repaired),
        (true, Some(report), report.repaired)
    );
    assert_eq!(events.seen, 20 - 4 + 11 - 3, "those it added were not seen to come, those it took out to go");
    let given_up = Audited { abandoned: true, ..audited };
    apply(&mut engine, &said(3 * S, [AuditDone::new(&given_up).as_bytes()]));
    assert_eq!(engine.summary().events.abandoned, Some(report));
}

#[test]
fn a_source_is_what_the_list_says_until_it_is_not_listed() {
    let mut engine = replay();
    let (l3num, src) = address_bytes(testing::connection(5).src);
    let row = |ktime_ns, new| Holder {
        kind: RecordedKind::Holder as u8,
        reserved: 0,
        rank: 0,
        netns: 1,
        ktime_ns,
        src,
        l3num: l3num.into(),
        entries: 4,
        new,
        freed: 1,
        refused: 0,
        evicted: 0,
        failed: 0,
        unconfirmed: 0,
        lifetimes: 1,
        mean_lifetime_ns: 77,
    };
    let other = |ktime_ns| Holder { rank: Holder::OTHER, netns: 0, l3num: 0, ..row(ktime_ns, 9) };
    let known = |engine: &mut Engine| {
        let row = testing::snapshot(engine, 10, &Filter::default()).table.rows[0];
        (row.entries, row.sums.new, row.new_per_s, row.mean_lifetime_ns)
    };
    apply(&mut engine, &said(10 * S, [row(10 * S, 5).as_bytes(), other(10 * S).as_bytes()]));
    assert_eq!(known(&mut engine), (4, 5, 0.5, Some(77)), "since counting began");
    apply(&mut engine, &said(12 * S, [row(12 * S, 8).as_bytes(), other(12 * S).as_bytes()]));
    assert_eq!(known(&mut engine), (4, 8, 1.5, Some(77)), "since it was listed before");
    apply(&mut engine, &said(13 * S, []));
    assert_eq!(known(&mut engine).2, 1.5, "whatever the interval");
    apply(&mut engine, &said(14 * S, [other(14 * S).as_bytes()]));
    assert_eq!(known(&mut engine), (0, 8, 0.0, Some(77)));
}

#[test]
fn a_live_engine_takes_nothing_for_granted() {
    let mut engine = engine();
    let records = said(
        9 * S,
        [second(2 * S, State::Refusing).as_bytes(), crossed(State::Ok, State::Refusing, S).as_bytes()],
    );
    assert_eq!(apply(&mut engine, &records), []);
    let snapshot = testing::snapshot(&mut engine, 10, &Filter::default());
    assert_eq!((snapshot.totals.new, snapshot.netns.len(), snapshot.episodes.len()), (0, 0, 0));
}

proptest::proptest! {
    #[test]
    fn whatever_a_recording_says_nothing_panics(
        records in proptest::collection::vec((0usize..12, proptest::array::uniform17(
            proptest::prop_oneof![0u64..9, 0x0001_0001_0101..0x0001_0001_0104u64, proptest::prelude::any::<u64>()]
        )), 0..40),
    ) {
        let mut engine = Engine::new(Config { recorded: true, live_view: true, ..engine().config });
        for chunk in records.chunks(7) {
            let record = |(kind, words): &(usize, [u64; 17])| {
                let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
                let kind = RecordedKind::ALL[*kind];
                bytes[0] = kind as u8;
                let (_, rest) = Recorded::read(kind, &bytes).expect("none is longer");
                let size = bytes.len() - rest.len();
                bytes.truncate(size);
                bytes
            };
            let incidents: Vec<u8> = chunk.iter().flat_map(record).collect();
            let ktime_ns = chunk[0].1[1];
            engine.apply(&Batch { incidents: incidents.into(), ..batch(ktime_ns, &[], &[]) }, |_| ());
            testing::snapshot(&mut engine, 10, &Filter::default());
        }
        engine.summary();
    }
}
