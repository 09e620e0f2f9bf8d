//! What is recorded of a live engine makes another say the same.

use conntrack_common::{Cause, Totals};
use proptest::prelude::*;

use super::*;
use crate::engine::causes::Causes;
use crate::engine::filter::Filter;
use crate::engine::lifetimes::{Histogram, Lifetimes};
use crate::engine::monitor::{Config, Engine};
use crate::engine::notice::{Eviction, Notice, UnrecordedReason};
use crate::engine::recorded::{AuditDone, Counters, Crossed, Drain};
use crate::engine::snapshot::{NetnsRow, Snapshot, Summary};
use crate::engine::sources::Sums;
use crate::engine::table::Row;
use crate::engine::testing::{self, Record as Ring, S, WALL, bytes};

/// An engine that is recorded, as a recorder does it.
struct Recorded {
    engine: Engine,
    entries: bool,
    k: usize,
    told: Vec<Notice>,
}

fn config() -> Config {
    let trust = Trust { backend: "test".into(), degradations: vec!["nothing is real".into()] };
    Config { live_view: true, ..Config::new(0, WALL, trust) }
}

impl Recorded {
    fn new(entries: bool, k: usize) -> Self {
        let engine = Engine::new(Config { for_recording: true, ..config() });
        Self { engine, entries, k, told: Vec::new() }
    }

    /// Applies a batch; what a recording has of it.
    fn apply(&mut self, batch: &Batch) -> Vec<u8> {
        let drain = Drain {
            kind: RecordedKind::Drain as u8,
            reserved: [0; 7],
            ktime_ns: batch.ktime_ns,
            wall_offset_ns: batch.wall.offset_ns,
        };
        let mut bytes = drain.as_bytes().to_vec();
        bytes.extend(self.kept(&batch.entries));
        bytes.extend(self.kept(&batch.incidents));
        let counters = batch.totals.map(|totals| Counters {
            kind: RecordedKind::Counters as u8,
            reserved: [0; 7],
            ktime_ns: batch.ktime_ns,
            totals,
        });
        bytes.extend(counters.iter().flat_map(IntoBytes::as_bytes));
        if let Some(trust) = &batch.trust {
            bytes.extend(trust_texts(batch.ktime_ns, trust).iter().flat_map(IntoBytes::as_bytes));
        }
        let from = self.told.len();
        self.engine.apply(batch, |notice| self.told.push(notice));
        for notice in &self.told[from..] {
            match notice {
                Notice::Edge { netns, edge } => bytes.extend(Crossed::new(*netns, edge).as_bytes()),
                Notice::Audited(audited) => bytes.extend(AuditDone::new(audited).as_bytes()),
                _ => {}
            }
        }
        bytes.extend(self.engine.pictures().iter().flat_map(IntoBytes::as_bytes));
        self.rows(bytes)
    }

    fn rows(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.extend(self.engine.netns_seconds().iter().flat_map(IntoBytes::as_bytes));
        bytes.extend(self.engine.holders_rows(self.k).iter().flat_map(IntoBytes::as_bytes));
        bytes
    }

    fn kept(&self, bytes: &[u8]) -> Vec<u8> {
        let is_kept = |record: &Record<'_>| {
            !matches!(
                record,
                Record::New(_)
                    | Record::Free(_)
                    | Record::Seen(_)
                    | Record::Audit(_)
                    | Record::Count(_)
                    | Record::Census(_)
            )
        };
        let (mut records, mut kept, mut from) = (Records::new(bytes), Vec::new(), 0);
        while let Some(record) = records.next() {
            if self.entries || record.is_ok_and(|it| is_kept(&it)) {
                kept.extend(&bytes[from..records.offset()]);
            }
            from = records.offset();
        }
        kept
    }

    /// The end of the run; the last of the recording.
    fn end(&mut self) -> Vec<u8> {
        self.engine.flush(|notice| self.told.push(notice));
        self.engine.end_second_early();
        self.rows(Vec::new())
    }
}

/// An engine that a recording drives.
struct Replayed {
    batches: Batches,
    engine: Engine,
    told: Vec<Notice>,
}

impl Replayed {
    fn new(entries: bool) -> Self {
        let engine = Engine::new(Config { recorded: !entries, ..config() });
        Self { batches: Batches::new(0, WALL, entries), engine, told: Vec::new() }
    }

    fn play(&mut self) {
        while let Some(batch) = self.batches.pop() {
            self.engine.apply(&batch, |notice| self.told.push(notice));
        }
    }

    fn end(&mut self) {
        self.batches.end();
        self.play();
        self.engine.flush(|notice| self.told.push(notice));
    }
}

/// A record as a recording without entries has it told: entries are not, and how old one was is not known.
fn as_told_without_entries(told: &[Notice]) -> Vec<Notice> {
    let told = told.iter().filter(|it| !matches!(it, Notice::New { .. } | Notice::Free(_)));
    let told = told.map(|it| match *it {
        Notice::Evicted(eviction) => Notice::Evicted(Eviction { age_ns: None, ..eviction }),
        other => other,
    });
    told.collect()
}

fn netns_known(row: &NetnsRow) -> NetnsRow {
    let (causes, histogram) = (Causes::default(), Histogram::default());
    // Of lifetimes a recording has the mean.
    let lifetimes = Lifetimes::of(row.lifetimes.number(), row.lifetimes.mean_ns().unwrap_or(0));
    NetnsRow { evictable: 0, unseen: 0, causes, histogram, lifetimes, ..row.clone() }
}

fn source_known(row: &&Row) -> Option<Row> {
    let known = row.entries > 0 || row.sums.refused > 0;
    known.then_some(Row { new_per_s: 0.0, oldest_ns: None, ..**row })
}

/// All that a recording without entries knows is as it was.
fn expect_same(live: &Snapshot, replayed: &Snapshot, k: usize) -> Result<(), TestCaseError> {
    prop_assert_eq!(live.ktime_ns, replayed.ktime_ns);
    prop_assert_eq!(live.totals, replayed.totals);
    prop_assert_eq!(live.entries, replayed.entries);
    prop_assert_eq!(
        live.netns.iter().map(netns_known).collect::<Vec<_>>(),
        replayed.netns.iter().map(netns_known).collect::<Vec<_>>()
    );
    prop_assert_eq!(&live.causes, &replayed.causes);
    prop_assert_eq!(&live.statistics, &replayed.statistics);
    // A live engine that is busy may leave still seconds out.
    let (seconds, mut said) = (&live.history.seconds, replayed.history.seconds.clone());
    said.retain(|second| {
        second.sums != Sums::default() || seconds.iter().any(|it| it.ktime_ns == second.ktime_ns)
    });
    prop_assert_eq!((live.history.netns, seconds), (replayed.history.netns, &said));
    prop_assert_eq!(&live.episodes, &replayed.episodes);
    prop_assert_eq!(&live.events, &replayed.events);
    let held =
        |snapshot: &Snapshot| snapshot.table.rows.iter().take(k).map(|row| row.entries).collect::<Vec<_>>();
    let (mut held, mut said) = (held(live), held(replayed));
    held.retain(|it| *it > 0);
    said.retain(|it| *it > 0);
    said.truncate(held.len());
    prop_assert_eq!(held, said);
    if k > 40 {
        let rows =
            |of: &Snapshot| of.table.rows.iter().filter_map(|it| source_known(&it)).collect::<Vec<_>>();
        prop_assert_eq!(rows(live), rows(replayed));
    }
    Ok(())
}

fn snapshot(engine: &mut Engine) -> Snapshot {
    testing::snapshot(engine, 100, &Filter::default())
}

/// What may befall two namespaces.
#[derive(Clone, Copy, Debug)]
enum Act {
    New { ct: u64, host: u8 },
    Free { ct: u64 },
    Refused { host: u8, cause: Cause },
    Evicted { ct: u64, host: u8 },
    RoomMade { host: u8 },
    Failed { host: u8 },
    Count { netns: u32, count: u32 },
    Ledger { host: u8, count: u64 },
    Stats { refused: u64 },
    Gone,
    Gap,
    Nothing,
}

fn act() -> impl Strategy<Value = Act> {
    let cause =
        prop_oneof![4 => Just(Cause::TableFull), 1 => Just(Cause::NoMemory), 1 => Just(Cause::Ctnetlink)];
    prop_oneof![
        20 => (0u64..40, 1u8..20).prop_map(|(ct, host)| Act::New { ct, host }),
        20 => (0u64..40).prop_map(|ct| Act::Free { ct }),
        6 => (1u8..20, cause).prop_map(|(host, cause)| Act::Refused { host, cause }),
        4 => (0u64..40, 1u8..20).prop_map(|(ct, host)| Act::Evicted { ct, host }),
        2 => (1u8..20).prop_map(|host| Act::RoomMade { host }),
        2 => (1u8..20).prop_map(|host| Act::Failed { host }),
        4 => (1u32..3, 0u32..=12).prop_map(|(netns, count)| Act::Count { netns, count }),
        1 => (1u8..20, 0u64..9).prop_map(|(host, count)| Act::Ledger { host, count }),
        2 => (0u64..9).prop_map(|refused| Act::Stats { refused }),
        1 => Just(Act::Gone),
        1 => Just(Act::Gap),
        5 => Just(Act::Nothing),
    ]
}

/// Hosts from 10 on are in another namespace.
fn netns(host: u8) -> u32 {
    1 + u32::from(host >= 10)
}

impl Act {
    /// Its record, and whether that is one of entries.
    fn record(self, ktime_ns: u64) -> Option<(bool, Ring)> {
        use testing::{count, evicted, free, gap, insert_failed, new, refused, room_made, stats};
        Some(match self {
            Self::New { ct, host } => {
                (true, Ring::New(conntrack_common::New { netns: netns(host), ..new(ct, ktime_ns, host) }))
            }
            Self::Free { ct } => (true, Ring::Free(free(ct, ktime_ns))),
            Self::Refused { host, cause } => {
                let refused = refused(ktime_ns, host, 10, 10);
                (
                    false,
                    Ring::Refused(conntrack_common::Refused {
                        netns: netns(host),
                        cause: cause as u8,
                        ..refused
                    }),
                )
            }
            Self::Evicted { ct, host } => {
                let evicted = evicted(ct, ktime_ns, host, 7);
                (
                    false,
                    Ring::Evicted(conntrack_common::Evicted {
                        netns: netns(host),
                        count: 11,
                        max: 10,
                        ..evicted
                    }),
                )
            }
            Self::RoomMade { host } => (false, Ring::RoomMade(room_made(ktime_ns, host, 7))),
            Self::Failed { host } => (
                false,
                Ring::InsertFailed(conntrack_common::InsertFailed {
                    netns: netns(host),
                    ..insert_failed(1, ktime_ns, host)
                }),
            ),
            Self::Count { netns, count: of } => {
                (false, Ring::Count(conntrack_common::Count { netns, ..count(ktime_ns, of, 10) }))
            }
            Self::Ledger { host, count } => {
                let mut ledger = testing::ledger(ktime_ns, host, count);
                ledger.key.netns = netns(host);
                (false, Ring::Ledger(ledger))
            }
            Self::Stats { refused } => (false, Ring::Stats(stats(ktime_ns, refused, 1, 0))),
            Self::Gone => (false, Ring::Census(testing::census(0, ktime_ns, ktime_ns))),
            Self::Gap => (true, Ring::Gap(gap(true, ktime_ns - 1, ktime_ns))),
            Self::Nothing => return None,
        })
    }
}

/// Batches that end with a second; the time goes on by these steps.
fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let step = prop_oneof![3 => 1u64..300_000_000, 1 => Just(S / 2), 1 => Just(S), 1 => 0u64..4 * S];
    prop::collection::vec((step, act()), 0..150).prop_map(|acts| {
        let (mut now, mut batches, mut entries, mut incidents) = (S / 2, Vec::new(), Vec::new(), Vec::new());
        let mut totals = Totals::default();
        for (step, act) in acts {
            let over = (now / S + 1) * S;
            now += step;
            if now >= over {
                let batch = Batch {
                    ktime_ns: over,
                    wall: WALL,
                    entries: bytes(&std::mem::take(&mut entries)).into(),
                    incidents: bytes(&std::mem::take(&mut incidents)).into(),
                    totals: Some(totals),
                    trust: None,
                };
                batches.push(batch);
            }
            match act.record(now) {
                Some((true, record)) => entries.push(record),
                Some((false, record)) => incidents.push(record),
                None => {}
            }
            match act {
                Act::New { .. } => totals.new += 1,
                Act::Free { .. } => totals.freed += 1,
                _ => {}
            }
        }
        batches
    })
}

/// Whether an event was found missing: those are counted by nothing that is recorded.
fn is_whole(engine: &Engine) -> bool {
    engine.summary().events.overwritten + engine.summary().events.older_free == 0
}

proptest! {
    #[test]
    fn without_entries_all_that_is_known_is_as_it_was(
        batches in batches(), k in prop_oneof![Just(1000usize), 1usize..8],
    ) {
        let (mut live, mut replayed) = (Recorded::new(false, k), Replayed::new(false));
        for batch in &batches {
            replayed.batches.take(&live.apply(batch));
            replayed.batches.end();
            replayed.play();
            let (mut was, is) = (snapshot(&mut live.engine), snapshot(&mut replayed.engine));
            (was.events.overwritten, was.events.older_free) = (0, 0);
            was.events.seen = is.events.seen;
            expect_same(&was, &is, k)?;
        }
        prop_assert_eq!(as_told_without_entries(&live.told), &replayed.told[..]);
        let last = live.end();
        replayed.batches.take(&last);
        replayed.end();
        prop_assert_eq!(as_told_without_entries(&live.told), &replayed.told[..]);
        if is_whole(&live.engine) {
            // What ended early with a second is told just after.
            let was = Summary { ktime_ns: replayed.engine.summary().ktime_ns, ..live.engine.summary() };
            prop_assert_eq!(was, replayed.engine.summary());
        }
    }

    #[test]
    fn with_entries_all_is_as_it_was(batches in batches(), k in 0usize..8) {
        let (mut live, mut replayed) = (Recorded::new(true, k), Replayed::new(true));
        for batch in &batches {
            replayed.batches.take(&live.apply(batch));
            replayed.batches.end();
            replayed.play();
            prop_assert_eq!(snapshot(&mut live.engine), snapshot(&mut replayed.engine));
        }
        replayed.batches.take(&live.end());
        replayed.end();
        prop_assert_eq!(live.engine.summary(), replayed.engine.summary());
        prop_assert_eq!(&live.told, &replayed.told);
    }
}

/// Batches as a block of records brings them.
fn play(engine: &mut Engine, batches: &mut Batches, block: &[u8]) -> Vec<Notice> {
    let mut told = Vec::new();
    batches.take(block);
    while let Some(batch) = batches.pop() {
        engine.apply(&batch, |notice| told.push(notice));
    }
    told
}

fn drain(ktime_ns: u64, wall_offset_ns: i64) -> Drain {
    Drain { kind: RecordedKind::Drain as u8, reserved: [0; 7], ktime_ns, wall_offset_ns }
}

#[test]
fn a_batch_is_complete_when_the_next_begins_wherever_blocks_end() {
    let mut batches = Batches::new(0, WALL, true);
    let entries = bytes(&[Ring::New(testing::new(1, 5, 1)), Ring::Gap(testing::gap(true, 6, 7))]);
    let incidents =
        bytes(&[Ring::Refused(testing::refused(8, 2, 9, 9)), Ring::Stats(testing::stats(9, 1, 1, 1))]);
    let totals = Totals { new: 77, ..Totals::default() };
    let counters = Counters { kind: RecordedKind::Counters as u8, reserved: [0; 7], ktime_ns: 9, totals };
    let trust = Trust { backend: "fexit".into(), degradations: vec!["é".repeat(40), "none".into()] };
    let said: Vec<u8> = trust_texts(9, &trust).iter().flat_map(|text| text.as_bytes().to_vec()).collect();
    batches.take(&[drain(10, 4).as_bytes(), &entries, &incidents[..64]].concat());
    assert!(batches.pop().is_none(), "more may come");
    let [second, third] = [drain(20, 5), drain(30, 6)];
    let rest = [&incidents[64..], counters.as_bytes(), &said, second.as_bytes(), third.as_bytes()];
    batches.take(&rest.concat());
    let batch = batches.pop().expect("the next has begun");
    assert_eq!((batch.ktime_ns, batch.wall.offset_ns), (10, 4));
    assert_eq!((&batch.entries[..], &batch.incidents[..]), (&entries[..], &incidents[..]));
    assert_eq!((batch.totals, batch.trust.as_deref()), (Some(totals), Some(&trust)));
    let batch = batches.pop().expect("it is empty, but it was");
    assert_eq!((batch.ktime_ns, batch.wall.offset_ns, batch.entries.len()), (20, 5, 0));
    assert!(batches.pop().is_none());
    batches.end();
    assert_eq!(batches.pop().map(|batch| batch.ktime_ns), Some(30));
}

#[test]
fn damage_is_told_with_the_times_that_are_missing() {
    let mut engine = Engine::new(config());
    let mut batches = Batches::new(0, WALL, true);
    play(
        &mut engine,
        &mut batches,
        &[drain(S, 0).as_bytes(), &bytes(&[Ring::New(testing::new(1, S - 1, 1))])].concat(),
    );
    batches.missing(Some(S), Some(3 * S), 500);
    // The beginning of the batch that this is of is among what is missing.
    let rest = bytes(&[Ring::New(testing::new(2, 4 * S, 1))]);
    let told = play(&mut engine, &mut batches, &[&rest, drain(5 * S, 0).as_bytes()].concat());
    let unrecorded =
        told.iter().find_map(|it| if let Notice::Unrecorded(it) = it { Some(*it) } else { None });
    let unrecorded = unrecorded.expect("told");
    assert_eq!((unrecorded.from_ktime_ns, unrecorded.ktime_ns, unrecorded.bytes), (S, 3 * S, 500));
    assert_eq!(unrecorded.reason, UnrecordedReason::Damaged);
    assert_eq!(told.iter().filter(|it| matches!(it, Notice::New { .. })).count(), 2, "nothing else is lost");
    let summary = engine.summary();
    assert_eq!((summary.ktime_ns, summary.events.unrecorded.duration_ns), (4 * S, 2 * S));
    // Nothing is known of the times around it: those of the records next to it.
    batches.missing(None, None, 7);
    batches.end();
    let told = play(&mut engine, &mut batches, &[]);
    assert!(matches!(told[..], [Notice::Unrecorded(it)] if it.from_ktime_ns == it.ktime_ns), "{told:?}");
}
