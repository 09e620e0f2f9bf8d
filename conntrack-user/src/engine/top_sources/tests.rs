//! Who is named and when, and that all sums add up at every step.

use std::collections::BTreeMap;

use conntrack_common::{AuditPhase, AuditTrigger, Cause, InsertCause, Totals};
use proptest::prelude::*;

use super::*;
use crate::engine::batch::{Batch, WallClock};
use crate::engine::monitor::{Config, Engine};
use crate::engine::snapshot::Trust;
use crate::engine::testing::{self, Record, S};

fn engine() -> Engine {
    Engine::new(Config { max_sources: 12, ..Config::new(0, WallClock::default(), Trust::default()) })
}

fn apply(
    engine: &mut Engine,
    ktime_ns: u64,
    entries: &[Record],
    incidents: &[Record],
    totals: Option<Totals>,
) {
    let batch = Batch {
        ktime_ns,
        wall: WallClock::default(),
        entries: testing::bytes(entries).into(),
        incidents: testing::bytes(incidents).into(),
        totals,
        trust: None,
    };
    engine.apply(&batch, |_| ());
}

fn new(ct: u64, ktime_ns: u64, host: u8) -> Record {
    Record::New(testing::new(ct, ktime_ns, host))
}

fn hosts(top: &TopSources) -> Vec<u8> {
    let last = |src: IpAddr| if let IpAddr::V4(v4) = src { v4.octets()[3] } else { 0 };
    top.named.iter().map(|it| last(it.src)).collect()
}

/// Each host with that many entries.
fn holding(engine: &mut Engine, at: u64, hosts: &[(u8, u64)]) {
    for (host, entries) in hosts {
        let ct = |n: u64| at * 1_000_000 + u64::from(*host) * 1_000 + n;
        let births: Vec<_> = (0..*entries).map(|n| new(ct(n), at * S, *host)).collect();
        apply(engine, at * S, &births, &[], None);
    }
}

#[test]
fn the_heaviest_are_named_and_a_newcomer_must_be_heavier_by_a_tenth() {
    let (mut engine, mut chooser) = (engine(), Chooser::new());
    holding(&mut engine, 1, &[(1, 100), (2, 50), (3, 10)]);
    assert_eq!(hosts(&engine.top_sources(&mut chooser, 1)), [1]);
    // Another has more, but not by a tenth.
    holding(&mut engine, 20, &[(2, 58)]);
    let all_named: Vec<_> = (2..200)
        .map(|at| {
            apply(&mut engine, at * 11 * S, &[], &[], None);
            hosts(&engine.top_sources(&mut chooser, 1))
        })
        .collect();
    assert!(all_named.iter().all(|named| *named == [1]), "the named one never stops to matter");
    // Now by more; still the one who is named stays for ten minutes.
    let last_mattered = 199 * 11;
    holding(&mut engine, last_mattered + 1, &[(2, 10)]);
    let named_at = |engine: &mut Engine, chooser: &mut Chooser, at: u64| {
        apply(engine, at * S, &[], &[], None);
        hosts(&engine.top_sources(chooser, 1))
    };
    assert_eq!(named_at(&mut engine, &mut chooser, last_mattered + 599), [1]);
    assert_eq!(named_at(&mut engine, &mut chooser, last_mattered + 610), [2]);
}

#[test]
fn who_is_refused_is_named_though_it_holds_nothing() {
    let (mut engine, mut chooser) = (engine(), Chooser::new());
    holding(&mut engine, 1, &[(1, 100), (2, 50), (3, 10)]);
    assert_eq!(hosts(&engine.top_sources(&mut chooser, 4)), [1], "a quarter of four names of each kind");
    let refused = |at: u64| Record::Refused(testing::refused(at * S, 9, 512, 512));
    apply(&mut engine, 5 * S, &[], &[refused(5)], None);
    assert_eq!(hosts(&engine.top_sources(&mut chooser, 4)), [1], "not before ten seconds are over");
    apply(&mut engine, 12 * S, &[], &[], None);
    let top = engine.top_sources(&mut chooser, 4);
    assert_eq!(hosts(&top), [1, 9]);
    assert_eq!((top.named[1].sums.refused, top.others[1].sums.refused), (0, 1), "it was before");
    apply(&mut engine, 13 * S, &[], &[refused(13), refused(13)], None);
    let top = engine.top_sources(&mut chooser, 4);
    assert_eq!((top.named[1].sums.refused, top.others[1].sums.refused), (2, 1));
    // It has not mattered for long, but nobody needs its name.
    apply(&mut engine, 2_000 * S, &[], &[], None);
    assert_eq!(hosts(&engine.top_sources(&mut chooser, 4)), [1, 9]);
    let top = engine.top_sources(&mut chooser, 1);
    assert_eq!((hosts(&top), top.others[1].sums.refused), (vec![1], 3), "fewer names");
}

#[test]
fn who_is_refused_now_counts_more_than_who_was_once() {
    let (mut engine, mut chooser) = (engine(), Chooser::new());
    let refused = |at: u64, host: u8, number: usize| {
        vec![Record::Refused(testing::refused(at * S, host, 512, 512)); number]
    };
    apply(&mut engine, 5 * S, &[], &refused(5, 8, 100), None);
    assert_eq!(hosts(&engine.top_sources(&mut chooser, 4)), [8]);
    apply(&mut engine, 30 * S, &[], &refused(30, 9, 2), None);
    assert_eq!(hosts(&engine.top_sources(&mut chooser, 4)), [8, 9]);
}

#[test]
fn who_matters_again_keeps_its_name_though_it_has_not_for_long() {
    let (mut engine, mut chooser) = (engine(), Chooser::new());
    let refused = |at: u64| Record::Refused(testing::refused(at * S, 8, 512, 512));
    apply(&mut engine, 5 * S, &[], &[refused(5)], None);
    assert_eq!(hosts(&engine.top_sources(&mut chooser, 1)), [8]);
    holding(&mut engine, 900, &[(1, 100)]);
    apply(&mut engine, 901 * S, &[], &[refused(901)], None);
    assert_eq!(hosts(&engine.top_sources(&mut chooser, 1)), [8]);
    apply(&mut engine, 1_502 * S, &[], &[], None);
    assert_eq!(hosts(&engine.top_sources(&mut chooser, 1)), [1]);
}

#[test]
fn a_flood_from_ever_new_addresses_makes_no_more_series_than_names_in_ten_minutes() {
    let (mut engine, mut chooser) = (engine(), Chooser::new());
    let mut ever = std::collections::BTreeSet::new();
    for at in 1..60 {
        let host = at as u8;
        holding(&mut engine, at * 10, &[(host, at * 2)]);
        ever.extend(hosts(&engine.top_sources(&mut chooser, 8)));
    }
    assert!((4..=8).contains(&ever.len()), "{ever:?}");
}

#[derive(Clone, Copy, Debug)]
enum Act {
    New {
        ct: u64,
        host: u8,
        netns: u32,
    },
    Free {
        ct: u64,
        dropped: bool,
    },
    Refused {
        host: u8,
        netns: u32,
        cause: Cause,
    },
    Evicted {
        ct: u64,
        host: u8,
    },
    Failed {
        host: u8,
        cause: InsertCause,
    },
    Ledger {
        host: u8,
        count: u64,
    },
    Stats {
        failed: u64,
    },
    /// The kernel has counted so much more than was told.
    Lost {
        new: u64,
        freed: u64,
        refused: u64,
    },
    Gone {
        cookie: u64,
    },
    /// An audit finds an entry that was not told, or a dump lists it.
    Found {
        ct: u64,
        host: u8,
        listed: bool,
    },
    /// What a dump may have listed is told.
    Told {
        host: u8,
    },
    Wait {
        seconds: u64,
    },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let cause = prop_oneof![Just(Cause::TableFull), Just(Cause::NoMemory), Just(Cause::Ctnetlink)];
    let insert = prop_oneof![
        Just(InsertCause::Clash),
        Just(InsertCause::ChainTooLong),
        Just(InsertCause::NatPorts),
        Just(InsertCause::Dying)
    ];
    let host = || 1u8..24;
    let act = prop_oneof![
        12 => (0u64..30, host(), 1u32..4).prop_map(|(ct, host, netns)| Act::New { ct, host, netns }),
        8 => (0u64..30, any::<bool>()).prop_map(|(ct, dropped)| Act::Free { ct, dropped }),
        6 => (host(), 0u32..4, cause).prop_map(|(host, netns, cause)| Act::Refused { host, netns, cause }),
        2 => (0u64..30, host()).prop_map(|(ct, host)| Act::Evicted { ct, host }),
        2 => (host(), insert).prop_map(|(host, cause)| Act::Failed { host, cause }),
        2 => (host(), 0u64..30).prop_map(|(host, count)| Act::Ledger { host, count }),
        1 => (0u64..9).prop_map(|failed| Act::Stats { failed }),
        3 => (0u64..9, 0u64..9, 0u64..9).prop_map(|(new, freed, refused)| Act::Lost { new, freed, refused }),
        1 => (1u64..4).prop_map(|cookie| Act::Gone { cookie }),
        4 => (0u64..30, host(), any::<bool>()).prop_map(|(ct, host, listed)| Act::Found { ct, host, listed }),
        2 => host().prop_map(|host| Act::Told { host }),
        6 => (1u64..400).prop_map(|seconds| Act::Wait { seconds }),
    ];
    prop::collection::vec(act, 0..150)
}

fn records(act: Act, at: u64) -> (Vec<Record>, Vec<Record>) {
    match act {
        Act::New { ct, host, netns } => {
            (vec![Record::New(conntrack_common::New { netns, ..testing::new(ct, at, host) })], vec![])
        }
        Act::Free { ct, dropped } => {
            let status = if dropped { 0 } else { 0x0a };
            (vec![Record::Free(conntrack_common::Free { status, ..testing::free(ct, at) })], vec![])
        }
        Act::Refused { host, netns, cause } => {
            let cause = cause as u8;
            let refused = conntrack_common::Refused { netns, cause, ..testing::refused(at, host, 10, 10) };
            (vec![], vec![Record::Refused(refused)])
        }
        Act::Evicted { ct, host } => (vec![], vec![Record::Evicted(testing::evicted(ct, at, host, 7))]),
        Act::Failed { host, cause } => {
            let cause = cause as u8;
            let failed = conntrack_common::InsertFailed { cause, ..testing::insert_failed(1, at, host) };
            (vec![], vec![Record::InsertFailed(failed)])
        }
        Act::Ledger { host, count } => (vec![], vec![Record::Ledger(testing::ledger(at, host, count))]),
        Act::Stats { failed } => {
            let stats =
                conntrack_common::Stats { alone: 1, netns: 3, ..testing::stats(at, failed, 1, failed) };
            (vec![], vec![Record::Stats(stats)])
        }
        Act::Gone { cookie } => {
            (vec![], vec![Record::Count(conntrack_common::Count { cookie, ..testing::count(at, 1, 10) })])
        }
        Act::Found { ct, host, listed } => {
            let step = |phase| Record::Audit(testing::audit(phase, AuditTrigger::Lost, 1, at, at));
            let seen = if listed { testing::listed(at, host) } else { testing::seen(ct, at, host) };
            (vec![step(AuditPhase::Began), Record::Seen(seen), step(AuditPhase::Ended)], vec![])
        }
        Act::Told { host } => {
            let ct = testing::connection(host).key();
            (
                vec![Record::New(conntrack_common::New { may_be_seen: 1, ..testing::new(ct, at, host) })],
                vec![],
            )
        }
        Act::Lost { .. } | Act::Wait { .. } => (vec![], vec![]),
    }
}

/// What the text of metrics has: one number by namespace, name and kind.
type Series = BTreeMap<(u32, Option<IpAddr>, usize), u64>;

fn series(top: &TopSources) -> Series {
    let named = top.named.iter().map(|it| (it.netns, Some(it.src), it.sums));
    let others = top.others.iter().map(|it| (it.netns, None, it.sums));
    let of = |(netns, src, sums): (u32, Option<IpAddr>, Sums)| {
        numbers(&sums).into_iter().enumerate().map(move |(kind, number)| ((netns, src, kind), number))
    };
    named.chain(others).flat_map(of).collect()
}

proptest! {
    #[test]
    fn sums_add_up_at_every_step_and_nothing_goes_back(acts in acts(), k in 0usize..10) {
        let (mut engine, mut chooser) = (engine(), Chooser::new());
        let mut now = S;
        let (mut before, mut totals_before): (Series, Vec<NetnsTotals>) = Default::default();
        let (mut most, mut gone) = ([0; NUMBERS], NetnsTotals::default());
        for act in acts {
            now += 1;
            let mut totals = None;
            match act {
                Act::Wait { seconds } => now += seconds * S,
                Act::Lost { new, freed, refused } => {
                    // The kernel's sums have what is known as well.
                    let mut kernel = engine.summary().totals;
                    kernel.new += new;
                    kernel.freed += freed;
                    kernel.refused_table_full += refused;
                    totals = Some(kernel);
                }
                _ => {}
            }
            let (entries, incidents) = records(act, now);
            apply(&mut engine, now, &entries, &incidents, totals);
            let top = engine.top_sources(&mut chooser, k);
            prop_assert!(top.named.len() <= k);

            // Namespaces add up to the totals: all causes, new and freed. Those never go back either.
            let summary = engine.summary();
            let Totals { new, freed, .. } = summary.totals;
            let causes = Causes::of(&summary.totals, summary.failed_unknown);
            let all = NetnsTotals { new, freed, causes, ..NetnsTotals::default() }.numbers();
            most = std::array::from_fn(|at| all[at].max(most[at]));
            let with_gone = || top.netns.iter().chain([&top.gone]);
            let sum = |at: usize| with_gone().map(|it| it.numbers()[at]).sum::<u64>();
            prop_assert_eq!(std::array::from_fn(sum), most);
            prop_assert_eq!(top.netns.iter().map(|it| it.entries).sum::<u64>(), engine.live().len() as u64);

            // Sources add up to their namespaces.
            let series = series(&top);
            for netns in &top.netns {
                let of_netns = |kind: usize| {
                    series.iter().filter(|((it, _, its), _)| (*it, *its) == (netns.netns, kind)).map(|(_, n)| n).sum::<u64>()
                };
                prop_assert_eq!(std::array::from_fn(of_netns), numbers(&netns.sums()));
                let named: u64 = top.named.iter().filter(|it| it.netns == netns.netns).map(|it| it.entries).sum();
                let others: u64 = top.others.iter().filter(|it| it.netns == netns.netns).map(|it| it.entries).sum();
                prop_assert_eq!(named + others, netns.entries);
            }

            // No series goes back as long as it is there.
            for (key, number) in &series {
                prop_assert!(before.get(key).is_none_or(|before| before <= number), "{:?}", key);
            }
            for it in &top.netns {
                let same = totals_before.iter().find(|before| before.netns == it.netns);
                if let Some(same) = same {
                    let pairs = same.numbers().into_iter().zip(it.numbers());
                    prop_assert!(pairs.into_iter().all(|(before, now)| before <= now), "{:?} {:?}", same, it);
                }
            }
            prop_assert!(gone.numbers().into_iter().zip(top.gone.numbers()).all(|(before, now)| before <= now));
            (before, totals_before, gone) = (series, top.netns, top.gone);
        }
    }
}
