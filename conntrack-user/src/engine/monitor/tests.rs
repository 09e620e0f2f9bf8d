//! The engine as a whole, against a plain model and along scripted batches.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;
use conntrack_common::{ABSENT, Cause, InsertCause, Tuple};
use proptest::prelude::*;

use super::*;
use crate::engine::filter::Filter;
use crate::engine::gauge::Level;
use crate::engine::notice::Lost;
use crate::engine::sources::Sums;
use crate::engine::table::{Key, Other};
use crate::engine::testing::{self, Record};

pub(super) const S: u64 = 1_000_000_000;

pub(super) fn engine() -> Engine {
    Engine::new(Config::new(0, WallClock::default(), Trust::default()))
}

pub(super) fn batch(ktime_ns: u64, entries: &[Record], incidents: &[Record]) -> Batch {
    Batch {
        ktime_ns,
        wall: WallClock::default(),
        entries: Bytes::from(testing::bytes(entries)),
        incidents: Bytes::from(testing::bytes(incidents)),
        totals: None,
        trust: None,
    }
}

pub(super) fn apply(engine: &mut Engine, batch: &Batch) -> Vec<Notice> {
    let mut told = Vec::new();
    engine.apply(batch, |notice| told.push(notice));
    told
}

pub(super) fn edges(notices: &[Notice]) -> Vec<(u64, &'static str)> {
    let edge = |notice: &Notice| match notice {
        Notice::Edge { edge, .. } => Some((edge.ktime_ns, edge.state.as_str())),
        _ => None,
    };
    notices.iter().filter_map(edge).collect()
}

pub(super) fn new(ct: u64, ktime_ns: u64, host: u8) -> Record {
    Record::New(testing::new(ct, ktime_ns, host))
}

pub(super) fn free(ct: u64, ktime_ns: u64) -> Record {
    Record::Free(testing::free(ct, ktime_ns))
}

fn count(ktime_ns: u64, count: u32) -> Record {
    Record::Count(testing::count(ktime_ns, count, 512))
}

pub(super) fn host(last: u8) -> IpAddr {
    testing::connection(last).src
}

#[test]
fn new_and_free_make_a_lifetime() {
    let mut engine = engine();
    let told = apply(&mut engine, &batch(S, &[new(7, 100, 5), free(7, 350)], &[]));
    let connection = testing::connection(5);
    let (status, lifetime_ns, end) = (Status(0x0a), Some(250), End::Other);
    let freed = Freed { ktime_ns: 350, connection, status, mark: 0, lifetime_ns, end, tcp_state: None };
    assert_eq!(told, [Notice::New { ktime_ns: 100, connection }, Notice::Free(freed)]);
}

#[test]
fn how_an_entry_ended_and_its_tcp_state_share_a_byte() {
    for end in [End::Other, End::Evicted, End::NotInserted] {
        for state in 0..=14 {
            let free = Free { end: Free::tell_end(end, state), ..testing::free(1, 20) };
            assert_eq!((free.end(), free.tcp_state()), (Some(end), Some(state)));
        }
        let unknown = Free { end: Free::tell_end(end, u8::MAX), ..testing::free(1, 20) };
        assert_eq!((unknown.end, unknown.end(), unknown.tcp_state()), (end as u8, Some(end), None));
    }
    let mut engine = engine();
    let closed = Record::Free(Free { end: Free::tell_end(End::Evicted, 7), ..testing::free(7, 350) });
    let told = apply(&mut engine, &batch(S, &[new(7, 100, 5), closed], &[]));
    let [_, Notice::Free(freed), ..] = told[..] else { panic!("{told:?}") };
    assert_eq!((freed.end, freed.tcp_state), (End::Evicted, Some(7)));
}

#[test]
fn the_story_of_a_full_table() {
    let mut engine = engine();
    let mut births: Vec<Record> = (0..102).map(|ct| new(ct, S + ct, 5)).collect();
    births.push(new(200, 3 * S + 100, 9));
    let told = apply(
        &mut engine,
        &batch(
            4 * S,
            &[births.as_slice(), &[free(0, 3 * S)]].concat(),
            &[
                count(S - 1, 400),
                Record::Evicted(testing::evicted(0, 3 * S, 5, 77)),
                Record::RoomMade(testing::room_made(3 * S + 100, 9, 77)),
                Record::Refused(testing::refused(3 * S + 500, 2, 512, 512)),
                Record::Refused(testing::refused(3 * S + 600, 3, 512, 512)),
            ],
        ),
    );
    // 410 of 512 is the first count of 80 % or more: the tenth New after the census.
    assert_eq!(edges(&told), [(S + 9, "pressure"), (3 * S, "evicting"), (3 * S + 500, "refusing")]);
    let evicted = told.iter().find_map(|notice| match notice {
        Notice::Evicted(eviction) => Some(*eviction),
        _ => None,
    });
    let evicted = evicted.expect("told once the newcomer is known");
    assert_eq!(evicted.victim, testing::connection(5));
    assert_eq!(evicted.for_whom, Some(testing::connection(9)));
    assert_eq!(evicted.age_ns, Some(2 * S));

    let told = apply(&mut engine, &batch(6 * S, &[], &[count(4 * S, 500), count(5 * S, 100)]));
    assert_eq!(edges(&told), [(4 * S + 600, "pressure"), (5 * S, "recovered")]);
    assert_eq!(edges(&apply(&mut engine, &batch(20 * S, &[], &[]))), [(15 * S, "ok")]);

    let episodes = engine.summary().episodes;
    assert_eq!(episodes.len(), 1);
    let episode = &episodes[0];
    assert_eq!((episode.start_ktime_ns, episode.end_ktime_ns), (3 * S, Some(5 * S)));
    assert_eq!((episode.began, episode.evicted, episode.refused.table_full), (State::Evicting, 1, 2));
    assert_eq!(episode.first_refused.and_then(|first| first.connection), Some(testing::connection(2)));
    assert_eq!(episode.last_refused_ktime_ns, Some(3 * S + 600));
    assert_eq!(episode.holders.sources.top, [(host(5), 102)], "frozen before the victim was freed");
    assert_eq!(episode.refused_sources.top, [(host(2), 1), (host(3), 1)]);
    assert_eq!(episode.evicted_sources.top, [(host(5), 1)]);
}

#[test]
fn an_eviction_nobody_claims_is_told_after_a_second() {
    let mut engine = engine();
    let evicted = Record::Evicted(testing::evicted(1, S, 5, 77));
    assert_eq!(edges(&apply(&mut engine, &batch(S + 1, &[], &[evicted]))), [(S, "evicting")]);
    let told = apply(&mut engine, &batch(2 * S, &[], &[]));
    assert!(told.iter().any(|notice| matches!(notice, Notice::Evicted(e) if e.for_whom.is_none())));

    apply(&mut engine, &batch(3 * S, &[], &[evicted]));
    let mut told = 0;
    engine.flush(|_| told += 1);
    assert_eq!(told, 0, "its second was over already");
    apply(&mut engine, &batch(3 * S, &[], &[Record::Evicted(testing::evicted(1, 3 * S, 5, 77))]));
    engine.flush(|_| told += 1);
    assert_eq!(told, 1, "none is kept back at the end");
}

#[test]
fn a_victim_whose_new_was_not_seen_has_no_age() {
    let mut engine = engine();
    // At its address there is still the entry before.
    let evicted = Record::Evicted(testing::evicted(1, S, 5, 77));
    apply(&mut engine, &batch(S, &[new(1, 10, 6)], &[evicted]));
    let mut ages = Vec::new();
    engine.flush(|notice| match notice {
        Notice::Evicted(eviction) => ages.push(eviction.age_ns),
        _ => panic!("{notice:?}"),
    });
    assert_eq!(ages, [None]);
}

#[test]
fn other_causes_are_counted_but_are_no_saturation() {
    let mut engine = engine();
    let mut refused = testing::refused(S, 2, 10, 512);
    refused.cause = Cause::NoMemory as u8;
    let mut nonsense = refused;
    nonsense.cause = 9;
    let told = apply(&mut engine, &batch(S, &[], &[Record::Refused(refused), Record::Refused(nonsense)]));
    assert_eq!((told.len(), edges(&told).len()), (1, 0));
    let summary = engine.summary();
    assert_eq!((summary.totals.refused_no_memory, summary.totals.refused()), (1, 1));
    assert_eq!((summary.events.seen, summary.events.decode_errors), (1, 1));
}

#[test]
fn a_refusal_of_nobody_known_is_other() {
    let mut engine = engine();
    let mut refused = testing::refused(S, 2, ABSENT, ABSENT);
    (refused.netns, refused.tuple) = (0, Tuple::ZERO);
    let told = apply(&mut engine, &batch(S, &[], &[Record::Refused(refused)]));
    let [Notice::Refused(refusal)] = told[..] else { panic!("{told:?}") };
    assert_eq!((refusal.connection, refusal.level), (None, Level::default()));
    assert_eq!(engine.sources.other().refused, 1);
    let snapshot = testing::snapshot(&mut engine, 10, &Filter::default());
    assert_eq!((snapshot.table.rows.len(), snapshot.netns.len()), (0, 0));
    assert_eq!((snapshot.table.other.sums.refused, snapshot.totals.refused()), (1, 1));
}

#[test]
fn what_the_rings_lost_is_told_once_and_counted_as_other() {
    let mut engine = engine();
    let totals = Totals { new: 5, freed: 1, lost_entries: 4, ..Totals::default() };
    let seen = Batch { totals: Some(totals), ..batch(S, &[new(1, 10, 5), free(1, 20)], &[]) };
    let told = apply(&mut engine, &seen);
    let lost = Lost { ktime_ns: S, entries: 4, incidents: 0, unmatched: 0 };
    assert_eq!(told.last(), Some(&Notice::Lost(lost)));
    let again = Batch { totals: Some(totals), ..batch(2 * S, &[new(2, S, 5)], &[]) };
    assert_eq!(apply(&mut engine, &again).len(), 1);

    let snapshot = testing::snapshot(&mut engine, 10, &Filter::default());
    assert_eq!((snapshot.totals.new, snapshot.totals.lost()), (5, 4));
    assert_eq!((snapshot.table.rows[0].sums.new, snapshot.table.other.sums.new), (2, 3));
}

#[test]
fn bytes_that_are_no_record_are_counted() {
    let mut engine = engine();
    let broken = Batch { incidents: Bytes::from_static(&[99; 50]), ..batch(S, &[new(1, 10, 5)], &[]) };
    assert_eq!(apply(&mut engine, &broken).len(), 1, "the other stream is read all the same");
    let events = engine.summary().events;
    assert_eq!((events.seen, events.decode_errors), (1, 1));
    assert_eq!(events.first_decode_error, Some(DecodeError::UnknownKind { offset: 0, byte: 99 }));
}

#[test]
fn rates_are_over_the_time_between_snapshots() {
    let mut engine = engine();
    let births = |from: u64, n: u64| (from..from + n).map(|ct| new(ct, S, 5)).collect::<Vec<_>>();
    apply(&mut engine, &batch(2 * S, &births(0, 10), &[count(S, 10)]));
    engine.name_netns(1, "gw".into());
    assert_eq!(testing::snapshot(&mut engine, 1, &Filter::default()).table.rows[0].new_per_s, 5.0);
    apply(&mut engine, &batch(6 * S, &births(100, 8), &[]));
    let snapshot = testing::snapshot(&mut engine, 1, &Filter::default());
    assert_eq!((snapshot.interval_ns, snapshot.table.rows[0].new_per_s), (4 * S, 2.0));
    let row = &snapshot.netns[0];
    assert_eq!((row.name.as_deref(), row.rates.new, row.level), (Some("gw"), 2.0, Level::new(10, 512)));
    assert_eq!(row.seconds_to_full(), Some(251.0));
    assert_eq!(snapshot.table.other, Other::default());
}

#[test]
fn the_count_follows_events_between_observations() {
    let mut engine = engine();
    let entries = [new(1, 50, 5), new(2, 110, 5), new(3, 120, 5), free(1, 130), free(99, 140)];
    apply(&mut engine, &batch(S, &entries, &[count(100, 200)]));
    let level = testing::snapshot(&mut engine, 1, &Filter::default()).netns[0].level;
    assert_eq!(level, Level::new(201, 512), "two came and one known left since");
}

#[test]
fn a_filter_chooses_sources_and_leaves_totals() {
    let mut engine = engine();
    apply(&mut engine, &batch(S, &[new(1, 10, 5), new(2, 20, 6), new(3, 30, 6)], &[]));
    let filter = Filter { src: crate::engine::filter::parse_network("10.1.0.5").ok(), ..Filter::default() };
    let snapshot = testing::snapshot(&mut engine, 10, &filter);
    assert_eq!(snapshot.table.rows.iter().map(|row| row.key).collect::<Vec<_>>(), [Key::Source(host(5), 1)]);
    assert_eq!((snapshot.entries, snapshot.totals.new, snapshot.table.other.entries), (3, 3, 2));
}

#[test]
fn past_episodes_are_bounded() {
    let mut engine = Engine::new(Config { max_episodes: 2, ..engine().config });
    for at in 1..5 {
        let refused = Record::Refused(testing::refused(at * 100 * S, 2, 10, 512));
        apply(&mut engine, &batch(at * 100 * S + 50 * S, &[], &[refused]));
    }
    let starts: Vec<_> = engine.summary().episodes.iter().map(|episode| episode.start_ktime_ns).collect();
    assert_eq!(starts, [300 * S, 400 * S]);
}

#[derive(Clone, Copy, Debug)]
enum Act {
    New { ct: u64, host: u8 },
    Free { ct: u64 },
    Refused { host: u8 },
    Evicted { ct: u64, host: u8 },
}

/// Few addresses, so that frees go missing (overwrites), news go missing (unknown frees), and both repeat.
fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0u64..12, 1u8..20).prop_map(|(ct, host)| Act::New { ct, host }),
        4 => (0u64..12).prop_map(|ct| Act::Free { ct }),
        1 => (1u8..20).prop_map(|host| Act::Refused { host }),
        1 => (0u64..12, 1u8..20).prop_map(|(ct, host)| Act::Evicted { ct, host }),
    ];
    prop::collection::vec(act, 0..200)
}

/// What must come out, kept the plain way.
#[derive(Default)]
struct Model {
    live: BTreeMap<u64, u8>,
    sums: BTreeMap<u8, Sums>,
    unknown_free: u64,
    overwritten: u64,
}

impl Model {
    fn act(&mut self, act: Act) {
        match act {
            Act::New { ct, host } => {
                self.sums.entry(host).or_default().new += 1;
                if let Some(old) = self.live.insert(ct, host) {
                    self.overwritten += 1;
                    self.sums.entry(old).or_default().freed += 1;
                }
            }
            Act::Free { ct } => match self.live.remove(&ct) {
                Some(host) => self.sums.entry(host).or_default().freed += 1,
                None => self.unknown_free += 1,
            },
            Act::Refused { host } => self.sums.entry(host).or_default().refused += 1,
            Act::Evicted { host, .. } => self.sums.entry(host).or_default().evicted += 1,
        }
    }

    fn held(&self, host: u8) -> u64 {
        self.live.values().filter(|holder| **holder == host).count() as u64
    }
}

fn record(act: Act, ktime_ns: u64) -> Record {
    match act {
        Act::New { ct, host } => new(ct, ktime_ns, host),
        Act::Free { ct } => free(ct, ktime_ns),
        Act::Refused { host } => Record::Refused(testing::refused(ktime_ns, host, 512, 512)),
        Act::Evicted { ct, host } => Record::Evicted(testing::evicted(ct, ktime_ns, host, 7)),
    }
}

/// A record of some kind with anything in it. Numbers are small or large, so that they meet now and then.
#[derive(Clone, Copy, Debug)]
struct Any {
    kind: usize,
    words: [u64; 13],
}

impl Arbitrary for Any {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        let word = prop_oneof![0u64..3, 0x0001_0001_0101..0x0001_0001_0104u64, any::<u64>(), Just(u64::MAX)];
        (0usize..15, prop::array::uniform13(word)).prop_map(|(kind, words)| Self { kind, words }).boxed()
    }
}

impl Any {
    fn bytes(&self) -> Vec<u8> {
        const SIZES: [usize; 15] = [64, 24, 64, 88, 64, 32, 64, 80, 40, 112, 24, 64, 40, 64, 24];
        let mut bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.resize(SIZES[self.kind], 0);
        bytes[0] = self.kind as u8 + 1;
        bytes
    }
}

proptest! {
    #[test]
    fn agrees_with_a_plain_model(acts in acts(), per_batch in 1usize..50, max_sources in 1usize..30, k in 0usize..25) {
        let mut engine = Engine::new(Config { max_sources, ..engine().config });
        let mut model = Model::default();
        let mut told = 0;
        let stamped: Vec<(u64, Act)> = (1..).zip(acts).collect();
        for chunk in stamped.chunks(per_batch) {
            let is_entry = |act: &Act| matches!(act, Act::New { .. } | Act::Free { .. });
            let (entries, incidents): (Vec<_>, Vec<_>) = chunk.iter().partition(|(_, act)| is_entry(act));
            let records = |acts: &[(u64, Act)]| acts.iter().map(|(at, act)| record(*act, *at)).collect::<Vec<_>>();
            let last = chunk.last().map_or(0, |(at, _)| *at);
            let batch = batch(last, &records(&entries), &records(&incidents));
            engine.apply(&batch, |notice| told += u64::from(!matches!(notice, Notice::Edge { .. })));
            chunk.iter().for_each(|(_, act)| model.act(*act));

            // Every source tracked says what the model says, and the others are in `other`.
            let mut sum = engine.sources.other();
            for source in engine.sources.iter() {
                let (_, last) = (1u8..20).map(|last| (host(last), last)).find(|(src, _)| *src == source.src).expect("a host");
                prop_assert_eq!(u64::from(source.entries), model.held(last));
                if engine.sources.other() == Sums::default() {
                    prop_assert_eq!(source.sums, model.sums[&last]);
                }
                sum.add(&source.sums);
            }
            let mut expected = Sums::default();
            model.sums.values().for_each(|sums| expected.add(sums));
            prop_assert_eq!(sum, expected);
            prop_assert_eq!(engine.live.len(), model.live.len());
            prop_assert_eq!((engine.events.older_free, engine.events.overwritten), (model.unknown_free, model.overwritten));
        }
        engine.flush(|_| told += 1);
        prop_assert_eq!(told, engine.events.seen - engine.events.older_free, "all told, but frees of nobody");

        // What a snapshot lists and its `other` are the totals.
        let snapshot = testing::snapshot(&mut engine, k, &Filter::default());
        let mut sum = snapshot.table.other.sums;
        snapshot.table.rows.iter().for_each(|row| sum.add(&row.sums));
        let totals = snapshot.totals;
        prop_assert_eq!(sum, snapshot::sums(&totals, 0));
        let listed: u64 = snapshot.table.rows.iter().map(|row| row.entries).sum();
        prop_assert_eq!(listed + snapshot.table.other.entries, snapshot.entries);
        prop_assert!(snapshot.table.rows.is_sorted_by_key(|row| std::cmp::Reverse(row.entries)));
        prop_assert_eq!(snapshot.table.rows.len(), k.min(snapshot.table.groups));
        let rows: u64 = snapshot.netns.iter().map(|row| row.entries).sum();
        prop_assert_eq!(rows, snapshot.entries);
    }

    #[test]
    fn arbitrary_bytes_never_panic(entries: Vec<u8>, any in any::<[Any; 30]>()) {
        let incidents: Vec<u8> = any.iter().flat_map(|any| any.bytes()).collect();
        let mut engine = engine();
        let batch = Batch { entries: entries.into(), incidents: incidents.into(), ..batch(u64::MAX, &[], &[]) };
        engine.apply(&batch, |_| ());
        engine.flush(|_| ());
        testing::snapshot(&mut engine, 10, &Filter::default());
        engine.summary();
        engine.suspects();
    }
}

#[test]
fn the_ledger_makes_good_what_lost_incidents_left_out() {
    let mut engine = engine();
    let refused = Record::Refused(testing::refused(10, 5, 512, 512));
    let ledger = |count| Record::Ledger(testing::ledger(20, 5, count));
    apply(&mut engine, &batch(30, &[], &[refused, ledger(7), ledger(6)]));
    apply(
        &mut engine,
        &Batch {
            totals: Some(Totals { refused_table_full: 9, lost_incidents: 8, ..Totals::default() }),
            ..batch(40, &[], &[])
        },
    );
    let snapshot = testing::snapshot(&mut engine, 10, &Filter::default());
    assert_eq!(snapshot.table.rows[0].sums.refused, 7);
    assert_eq!(snapshot.netns[0].sums.refused, 7);
    assert_eq!(snapshot.table.other.sums.refused, 2, "what the ledger forgot");

    // A record from before the ledger was read brings nothing new, one from after it does.
    let late = [19, 21].map(|at| Record::Refused(testing::refused(at, 5, 512, 512)));
    apply(&mut engine, &batch(50, &[], &late));
    let snapshot = testing::snapshot(&mut engine, 10, &Filter::default());
    assert_eq!((snapshot.table.rows[0].sums.refused, snapshot.netns[0].sums.refused), (8, 8));
}

#[test]
fn a_failed_insertion_names_whom_and_why() {
    let mut engine = engine();
    let mut chain = testing::insert_failed(2, 40, 6);
    chain.cause = InsertCause::ChainTooLong as u8;
    let mut nonsense = chain;
    nonsense.cause = 9;
    let incidents = [testing::insert_failed(1, 30, 5), chain, nonsense].map(Record::InsertFailed);
    let not_inserted = Record::Free(Free { end: End::NotInserted as u8, status: 0, ..testing::free(1, 31) });
    let told = apply(&mut engine, &batch(S, &[new(1, 10, 5), new(2, 20, 6), not_inserted], &incidents));
    let failure = told.iter().find_map(|notice| match notice {
        Notice::InsertFailed(failure) => Some(*failure),
        _ => None,
    });
    let failure = failure.expect("told");
    assert_eq!((failure.connection, failure.cause), (testing::connection(5), InsertCause::NatPorts));
    assert_eq!((failure.reply.dst, failure.reply.dport), (IpAddr::from([203, 0, 113, 1]), 60_000));
    let ends: Vec<_> = told
        .iter()
        .filter_map(|it| if let Notice::Free(freed) = it { Some(freed.end) } else { None })
        .collect();
    assert_eq!(ends, [End::NotInserted]);
    let snapshot = testing::snapshot(&mut engine, 10, &Filter::default());
    assert_eq!((snapshot.totals.failed_nat_ports, snapshot.totals.failed_chain_too_long), (1, 1));
    assert_eq!((snapshot.totals.insert_failed(), snapshot.totals.unconfirmed), (2, 0));
    assert_eq!(snapshot.table.rows.iter().map(|row| row.sums.failed).collect::<Vec<_>>(), [1, 1]);
    assert_eq!((snapshot.netns[0].sums.failed, snapshot.table.other.sums.failed), (2, 0));
    assert_eq!((snapshot.events.seen, snapshot.events.decode_errors), (5, 1));
}

#[test]
fn a_rule_that_drops_is_no_failure() {
    let mut engine = engine();
    let unconfirmed =
        |ct, end: End| Record::Free(Free { end: end as u8, status: 0, ..testing::free(ct, 50) });
    let entries = [
        new(1, 10, 5),
        new(2, 20, 5),
        unconfirmed(1, End::Other),
        unconfirmed(2, End::Evicted),
        unconfirmed(9, End::Other),
    ];
    apply(&mut engine, &batch(S, &entries, &[]));
    let snapshot = testing::snapshot(&mut engine, 10, &Filter::default());
    assert_eq!((snapshot.totals.unconfirmed, snapshot.totals.insert_failed()), (2, 0));
    assert_eq!((snapshot.table.rows[0].sums.unconfirmed, snapshot.netns[0].sums.unconfirmed), (1, 1));
    assert_eq!(snapshot.table.other.sums.unconfirmed, 1, "of nobody known");
}

#[test]
fn a_filter_asks_each_notice_what_it_knows() {
    let mut engine = engine();
    let told = apply(
        &mut engine,
        &batch(
            S,
            &[Record::Gap(testing::gap(true, 1, 2))],
            &[
                Record::InsertFailed(testing::insert_failed(1, 30, 5)),
                Record::Stats(conntrack_common::Stats { alone: 1, ..testing::stats(40, 0, 1, 0) }),
            ],
        ),
    );
    let passing = |filter: Filter| {
        let kind = |it: &Notice| match it {
            Notice::Gap(_) => "gap",
            Notice::InsertFailed(_) => "failed",
            Notice::Counted(_) => "counted",
            Notice::Edge { .. } => "edge",
            _ => "else",
        };
        told.iter().filter(|it| it.passes(&filter)).map(kind).collect::<Vec<_>>()
    };
    assert_eq!(passing(Filter::default()), ["gap", "failed", "edge", "counted"]);
    let netns = Filter { netns: Some(vec![2]), ..Filter::default() };
    assert_eq!(passing(netns), ["gap"]);
    // The original direction's source is 10.1.0.5; the reply's is not asked.
    for (network, expected) in
        [("10.1.0.5", &["gap", "failed", "edge", "counted"][..]), ("10.99.0.1", &["gap", "edge", "counted"])]
    {
        let src = Some(crate::engine::filter::parse_network(network).expect("a network"));
        assert_eq!(passing(Filter { src, ..Filter::default() }), expected);
    }
}

#[test]
fn a_namespace_knows_its_causes_lifetimes_and_episodes() {
    let mut engine = engine();
    let mut chain = testing::insert_failed(2, 40, 6);
    chain.cause = InsertCause::ChainTooLong as u8;
    let no_memory =
        conntrack_common::Refused { cause: Cause::NoMemory as u8, ..testing::refused(50, 2, 10, 512) };
    let incidents = [
        Record::InsertFailed(testing::insert_failed(1, 30, 5)),
        Record::InsertFailed(chain),
        Record::Refused(no_memory),
        Record::Refused(testing::refused(3 * S, 2, 512, 512)),
        Record::Ledger(testing::ledger(3 * S + 1, 2, 7)),
        Record::Evicted(testing::evicted(1, 4 * S, 5, 7)),
        Record::Count(testing::count(5 * S, 2, 512)),
    ];
    let dropped = Record::Free(Free { status: 0, ..testing::free(2, 3 * S) });
    let entries = [new(1, 10, 5), new(2, 20, 6), free(1, 2 * S + 10), dropped];
    apply(&mut engine, &batch(9 * S, &entries, &incidents));
    let stats = conntrack_common::Stats { alone: 1, chaintoolong: 1, ..testing::stats(10 * S, 3, 2, 3) };
    apply(&mut engine, &batch(10 * S + 1, &[], &[Record::Stats(stats)]));
    let snapshot = testing::snapshot(&mut engine, 1, &Filter::default());
    let row = &snapshot.netns[0];
    // The statistics tell of one refusal, two evictions, and three failures of which one is a chain's.
    let expected = [6 + 1, 1, 0, 1 + 2, 0, 1 + 1, 1, 0, 2, 1];
    assert_eq!(row.causes.numbers(), expected, "{:?}", row.causes);
    assert_eq!(
        row.causes.numbers().iter().sum::<u64>() - 1,
        row.sums.refused + row.sums.evicted + row.sums.failed
    );
    assert_eq!((row.histogram.up_to()[..2].to_vec(), row.lifetimes.number()), (vec![0, 2], 2));
    assert_eq!(row.lifetimes.sum_ns(), u128::from(2 * S + 3 * S - 20));
    assert_eq!((row.episodes, row.last_episode_ktime_ns, row.in_episode), (2, Some(10 * S), true));
}
