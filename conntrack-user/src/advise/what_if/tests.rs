//! Predictions of streams made by hand, and what must hold of any.

use std::collections::{BTreeMap, BTreeSet};

use conntrack_common::Evicted;
use proptest::prelude::*;
use zerocopy::IntoBytes as _;

use super::*;
use crate::advise::collector::Pace;
use crate::engine::recorded::{Drain, RecordedKind};
use crate::engine::testing::{self, S};

const CONFIRMED: u16 = 8;
const NEW_KERNEL: &str = "6.12.107";

/// Records to play in the order of time.
#[derive(Clone, Default)]
struct Tape(Vec<(u64, Vec<u8>)>);

impl Tape {
    fn set(&mut self, name: &str, value: u64) {
        self.set_at(0, name, value);
    }

    /// Before what else is of that time.
    fn set_at(&mut self, ktime_ns: u64, name: &str, value: u64) {
        let name = std::array::from_fn(|at| name.as_bytes().get(at).copied().unwrap_or(0));
        let kind = RecordedKind::Setting as u8;
        let setting = Setting { kind, reserved: [0; 3], netns: 1, ktime_ns, value, name };
        self.0.insert(0, (ktime_ns, setting.as_bytes().to_vec()));
    }

    fn born(&mut self, ktime_ns: u64, ct: u64, host: u8) {
        self.0.push((ktime_ns, testing::new(ct, ktime_ns, host).as_bytes().to_vec()));
    }

    fn free(&mut self, ktime_ns: u64, ct: u64, end: End, status: u16) {
        let free = Free { status, end: end as u8, ..testing::free(ct, ktime_ns) };
        self.0.push((ktime_ns, free.as_bytes().to_vec()));
    }

    /// A UDP entry of one packet, which expired and was found at once.
    fn udp(&mut self, born: u64, ct: u64, timeout_s: u64) {
        self.born(born, ct, 1);
        self.free(born + timeout_s * S, ct, End::Other, CONFIRMED);
    }

    fn evict(&mut self, ktime_ns: u64, ct: u64, max: u32) {
        let evicted = Evicted { max, ..testing::evicted(ct, ktime_ns, 1, 1) };
        self.0.push((ktime_ns, evicted.as_bytes().to_vec()));
        self.free(ktime_ns, ct, End::Evicted, CONFIRMED);
    }

    fn refuse(&mut self, ktime_ns: u64, host: u8, max: u32) {
        self.0.push((ktime_ns, testing::refused(ktime_ns, host, max, max).as_bytes().to_vec()));
    }

    /// Before the records of the second before.
    fn drain(&mut self, ktime_ns: u64) {
        let drain = Drain { kind: RecordedKind::Drain as u8, reserved: [0; 7], ktime_ns, wall_offset_ns: 0 };
        self.0.insert(0, (ktime_ns - S, drain.as_bytes().to_vec()));
    }

    /// Drained once a second, and until ten minutes after the last record.
    fn play(self, changes: &str) -> Prediction {
        let end = self.0.iter().map(|(at, _)| *at).max().unwrap_or(0);
        self.play_until(end / S + 600, changes)
    }

    /// Drained once a second, until then.
    fn play_until(mut self, end_s: u64, changes: &str) -> Prediction {
        let first_s = self.0.iter().map(|(at, _)| *at / S).min().unwrap_or(0);
        (first_s + 1..=end_s).for_each(|second| self.drain(second * S));
        self.0.sort_by_key(|(at, _)| *at);
        let changes = if changes.is_empty() { Changes::default() } else { changes.parse().expect(changes) };
        let mut simulation = Simulation::new(changes, NEW_KERNEL);
        for (_, record) in &self.0 {
            simulation.play(record).expect("records");
        }
        let prediction = simulation.finish();
        assert_eq!(prediction.doubts.cut_short, 0, "something came too late to be in order");
        prediction
    }

    /// Of the one namespace.
    fn one(self, changes: &str) -> NetnsPrediction {
        let mut all = self.play(changes).netns;
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }
}

/// One UDP entry every 10 ms, for so long.
fn steady(seconds: u64, timeout_s: u64) -> Tape {
    let mut tape = Tape::default();
    tape.set("udp_timeout", timeout_s);
    (0..seconds * 100).for_each(|n| tape.udp(S + n * S / 100, n, timeout_s));
    tape
}

#[test]
fn without_a_change_both_are_the_same() {
    let it = steady(60, 30).one("");
    assert_eq!(it.peak.recorded, it.peak.predicted);
    assert_eq!(it.peak.recorded.entries, 3_000);
    assert_eq!(it.mean.recorded, it.mean.predicted);
}

#[test]
fn a_shorter_timeout_lowers_the_peak_as_much() {
    let it = steady(120, 30).one("udp=10");
    assert_eq!(it.peak.recorded.entries, 3_000);
    // Found at once, as in the recording; the collector itself would be late.
    assert!((1_000..1_120).contains(&it.peak.predicted.entries), "{:?}", it.peak);
}

#[test]
fn a_longer_timeout_raises_it() {
    let it = steady(200, 10).one("udp=60");
    assert_eq!(it.peak.recorded.entries, 1_000);
    assert!((6_000..6_600).contains(&it.peak.predicted.entries), "{:?}", it.peak);
}

/// As the kernel's collector would have it: rounds of `interval_s`, which find all that is due.
fn collected(seconds: u64, timeout_s: u64, interval_s: u64) -> Tape {
    let mut tape = Tape::default();
    tape.set("udp_timeout", timeout_s);
    for n in 0..seconds * 100 {
        let born = S + n * S / 100;
        tape.born(born, n, 1);
        let due = born + timeout_s * S;
        tape.free(due.next_multiple_of(interval_s * S), n, End::Other, CONFIRMED);
    }
    tape
}

#[test]
fn the_collector_comes_more_often_for_shorter_timeouts() {
    // 100 entries a second of 30 s: the mean left is about 15 s, and so is the interval.
    let it = collected(300, 30, 16).one("udp=10");
    assert!((4_400..=4_600).contains(&it.peak.recorded.entries), "{:?}", it.peak);
    // Of 10 s: 5 s, and with the hundred of 60 s that are pretended and what rounds to nothing 9 s.
    assert!((1_750..1_950).contains(&it.peak.predicted.entries), "{:?}", it.peak);
}

/// The kernel's collector, entry by entry, in whole ticks of 4 ms; see `advise::collector` for what it does.
struct Kernel {
    rate: u64,
    timeout_s: u64,
    /// How often packets walk the chain of an entry in a second.
    walks: f64,
}

impl Kernel {
    const HZ: u64 = 250;
    /// It is recorded after the table is full.
    const SINCE_S: u64 = 150;

    /// What is recorded of it from [`Self::SINCE_S`] on, for so long, and the peak.
    fn record(&self, seconds: u64) -> (Tape, u64) {
        let (since, until) = (Self::SINCE_S * Self::HZ, (Self::SINCE_S + seconds) * Self::HZ);
        let mut tape = Tape::default();
        let at = |tick: u64| tick * (S / Self::HZ);
        // Number and end of each, by a hash that is its place in the table; and when packets find which.
        let (mut table, mut found) = (BTreeMap::new(), BTreeSet::new());
        let (mut born, mut round, mut peak) = (0, 0, 0);
        for now in 0..until {
            if now == since {
                for (ct, _) in table.values() {
                    tape.0.push((at(now), testing::seen(*ct, at(now), 1).as_bytes().to_vec()));
                }
            }
            while born * Self::HZ < now * self.rate {
                born += 1;
                let (place, expires) = (sample::mixed(born), now + self.timeout_s * Self::HZ);
                let chance = sample::mixed(!born) as f64 / u64::MAX as f64;
                let after_s = (-chance.ln() / self.walks).min(1e6);
                table.insert(place, (born, expires));
                found.insert((expires + (after_s * Self::HZ as f64) as u64, place));
                if now >= since {
                    tape.born(at(now) + 1, born, 1);
                }
            }
            if now >= since {
                peak = peak.max(table.len() as u64);
            }
            let mut gone = Vec::new();
            while found.first().is_some_and(|(at, _)| *at <= now) {
                gone.extend(found.pop_first().and_then(|(_, place)| table.remove(&place)));
            }
            if now == round {
                gone.extend(table.extract_if(.., |_, (_, expires)| *expires <= now).map(|(_, it)| it));
                let (mut mean, mut count) = (60 * Self::HZ as i64, 100);
                // Each counts twice, somewhere in the table.
                for (_, expires) in table.values().chain(table.values()) {
                    count += 1;
                    mean += ((expires - now).clamp(Self::HZ, 300 * Self::HZ) as i64 - mean) / count;
                }
                round = now + (mean as u64).clamp(Self::HZ, 60 * Self::HZ);
            }
            if now >= since {
                gone.iter().for_each(|(ct, _)| tape.free(at(now) + 2, *ct, End::Other, CONFIRMED));
            }
        }
        tape.set_at(at(since), "udp_timeout", self.timeout_s);
        (tape, peak)
    }
}

#[test]
fn the_same_load_under_the_other_timeout_comes_to_what_was_predicted() {
    for (rate, walks) in [(200, 0.01), (200, 1e-9), (200, 3.0)] {
        let [long, short] = [20, 6].map(|timeout_s| Kernel { rate, timeout_s, walks });
        for (was, is) in [(&long, &short), (&short, &long)] {
            let ((tape, _), (_, truth)) = (was.record(120), is.record(120));
            let prediction = tape.play_until(Kernel::SINCE_S + 120, &format!("udp={}", is.timeout_s));
            let peak = prediction.netns[0].peak;
            let off = peak.predicted.entries as f64 / truth as f64 - 1.0;
            println!(
                "{rate}/s, {walks} walks, {} to {} s: {peak:?}, {truth} came",
                was.timeout_s, is.timeout_s
            );
            assert!(off.abs() < 0.05, "{:+.1} %: {peak:?}, {truth} came", off * 100.0);
        }
    }
}

#[test]
fn the_end_of_a_recording_is_left_out_where_a_shorter_timeout_is_tried() {
    // Cut off after 100 s, while 3,000 entries wait for their 30 s.
    let cut_off = |changes: &str| {
        let mut tape = steady(100, 30);
        tape.0.retain(|(at, _)| *at <= 100 * S);
        tape.play_until(100, changes)
    };
    let known_s = |changes: &str| cut_off(changes).known_until_ktime_ns as f64 / S as f64;
    assert!((known_s("udp=10") - 80.0).abs() < 1.0, "{}", known_s("udp=10"));
    assert!((known_s("udp=60,time_wait=5") - 100.0).abs() < 0.1);
    let prediction = cut_off("udp=10");
    let it = &prediction.netns[0];
    assert!((1_000..1_120).contains(&it.peak.predicted.entries), "{:?}", it.peak);
    assert!(
        prediction.caveats().iter().any(|it| it.starts_with("the last 20 s")),
        "{:?}",
        prediction.caveats()
    );
    // Shorter by more than half of the recording, most of which would be left out.
    let mut tape = steady(100, 70);
    tape.0.retain(|(at, _)| *at <= 100 * S);
    let prediction = tape.play_until(100, "udp=10");
    assert_eq!(prediction.known_until_ktime_ns, prediction.ended_ktime_ns);
    assert!(prediction.caveats().iter().any(|it| it.contains("too short for udp=10")));
}

#[test]
fn what_was_there_before_may_not_have_been() {
    let mut tape = Tape::default();
    // A hundred of UDP, seen at 100 s; they were freed at 105 s, so their last packet came at 75 s or before.
    (0..100).for_each(|n| {
        tape.0.push((100 * S, testing::seen(n, 100 * S, 7).as_bytes().to_vec()));
        tape.free(105 * S, n, End::Other, CONFIRMED);
    });
    tape.udp(101 * S, 1_000, 30);
    let it = tape.one("udp=10");
    assert_eq!((it.peak.recorded.entries, it.peak.predicted.entries), (101, 1));
}

#[test]
fn only_what_waited_the_timeout_out_is_moved() {
    let mut tape = steady(60, 30);
    // Deleted after 5 s; a timeout of 20 s would not have ended it before.
    (0..50).for_each(|n| {
        tape.born(10 * S, 100_000 + n, 2);
        tape.free(15 * S, 100_000 + n, End::Other, CONFIRMED);
    });
    let prediction = tape.play("udp=20");
    assert_eq!(prediction.doubts.killed, 50);
    let [waiting] = prediction.netns[0].occupancy.waiting[..] else { panic!("{prediction:?}") };
    assert_eq!((waiting.timeout, waiting.ended), (Timeout::Udp, 6_000));
    assert_eq!(waiting.seconds, Both { recorded: 30, predicted: 20 });
    let active_s = prediction.netns[0].occupancy.active
        * ((prediction.ended_ktime_ns - prediction.began_ktime_ns) as f64 / 1e9);
    assert!((active_s - 250.0).abs() < 1e-3, "{active_s}");
}

#[test]
fn a_refused_connection_that_would_have_room_lives_like_others_of_its_kind() {
    let mut tape = Tape::default();
    tape.set("max", 2);
    tape.udp(S, 1, 30);
    tape.udp(2 * S, 2, 30);
    // The same connection three times; host 4 once.
    for second in [3, 4, 5] {
        tape.refuse(second * S, 3, 2);
    }
    tape.refuse(6 * S, 4, 2);
    let it = tape.clone().one("max=3");
    assert_eq!(it.refused, Losses { recorded: 4, avoided: 3, caused: 0 });
    assert_eq!((it.peak.recorded.entries, it.peak.predicted.entries), (2, 3));
    let it = tape.one("max=4");
    assert_eq!(it.refused, Losses { recorded: 4, avoided: 4, caused: 0 });
    assert_eq!(it.peak.predicted.entries, 4);
}

#[test]
fn an_attempt_that_succeeds_later_is_one_entry() {
    let mut tape = Tape::default();
    tape.set("max", 1);
    tape.udp(S, 1, 30);
    tape.refuse(30 * S, 3, 1);
    tape.born(31 * S + 1, 2, 3);
    tape.free(61 * S + 1, 2, End::Other, CONFIRMED);
    let it = tape.one("max=2");
    assert_eq!(it.refused, Losses { recorded: 1, avoided: 1, caused: 0 });
    assert_eq!(it.peak.predicted.entries, 2);
    assert_eq!(it.alive, 0);
}

#[test]
fn a_smaller_limit_refuses_what_was_admitted() {
    let mut tape = Tape::default();
    tape.set("max", 10);
    (1..=5).for_each(|n| tape.udp(n * S, n, 30));
    let it = tape.one("max=3");
    assert_eq!(it.refused, Losses { recorded: 0, avoided: 0, caused: 2 });
    assert_eq!((it.peak.recorded.entries, it.peak.predicted.entries), (5, 3));
    assert_eq!(it.max, Both { recorded: Some(10), predicted: Some(3) });
}

#[test]
fn what_would_not_be_evicted_lives_until_its_timeout() {
    let mut tape = Tape::default();
    tape.set("max", 2);
    tape.born(S, 1, 1);
    tape.born(2 * S, 2, 2);
    tape.evict(3 * S, 1, 2);
    tape.born(3 * S + 1, 3, 3);
    tape.free(33 * S, 2, End::Other, CONFIRMED);
    tape.free(34 * S, 3, End::Other, CONFIRMED);
    let it = tape.clone().one("max=3");
    assert_eq!(it.evicted, Losses { recorded: 1, avoided: 1, caused: 0 });
    assert_eq!((it.peak.recorded.entries, it.peak.predicted.entries), (2, 3));
    // It would have expired after one second already.
    let it = tape.clone().one("udp=1");
    assert_eq!(it.evicted, Losses { recorded: 1, avoided: 1, caused: 0 });
    let it = tape.one("");
    assert_eq!(it.evicted, Losses { recorded: 1, avoided: 0, caused: 0 });
}

#[test]
fn what_the_recording_lacks_is_said() {
    let mut tape = steady(2, 30);
    tape.0.push((S, testing::seen(900_000, S, 7).as_bytes().to_vec()));
    tape.free(3 * S, 800_000, End::Other, CONFIRMED);
    tape.born(4 * S, 700_000, 3);
    let prediction = tape.play("udp=10");
    let Doubts { older, unknown_free, no_entries, .. } = prediction.doubts;
    assert_eq!((older, unknown_free, no_entries), (1, 1, false));
    let it = &prediction.netns[0];
    assert_eq!((it.alive, it.alive_perhaps_gone), (2, 2));
    assert!(Tape::default().play("udp=10").doubts.no_entries);
    assert!(prediction.assumptions().iter().any(|it| it.contains("pauses")));
    let caveats = |changes: &str| steady(2, 30).play(changes).caveats().join("\n");
    assert!(caveats("udp=3600").contains("the recording is shorter than udp=3600"));
    assert!(!caveats("udp=10").contains("shorter"));
}

#[test]
fn what_ended_where_records_are_missing_ends_with_the_next_audit() {
    let played = |torn: bool| {
        let mut simulation = Simulation::new(Changes::default(), NEW_KERNEL);
        let audit = |phase, at| testing::audit(phase, conntrack_common::AuditTrigger::Interval, 2, at, at);
        simulation.play(testing::new(1, S, 1).as_bytes()).expect("a record");
        simulation.play(testing::new(2, S, 2).as_bytes()).expect("a record");
        if torn {
            simulation.missing();
        }
        simulation.play(audit(AuditPhase::Began, 5 * S).as_bytes()).expect("a record");
        simulation.play(testing::seen(2, 6 * S, 2).as_bytes()).expect("a record");
        simulation.play(audit(AuditPhase::Ended, 7 * S).as_bytes()).expect("a record");
        let prediction = simulation.finish();
        (prediction.doubts.lost, prediction.netns[0].alive)
    };
    assert_eq!(played(true), (1, 1));
    assert_eq!(played(false), (0, 2));
}

#[test]
fn memory_is_entries_and_buckets() {
    let mut tape = steady(60, 30);
    tape.set("buckets", 1_024);
    tape.set("object_bytes", 320);
    tape.set("max", 65_536);
    let memory = tape.play("max=131072,buckets=4096").memory;
    assert_eq!(memory.entry_bytes, 448);
    assert_eq!(memory.at_peak, Both { recorded: 3_000 * 448 + 8_192, predicted: 3_000 * 448 + 32_768 });
    let at_limit = Both { recorded: Some(65_536 * 448 + 8_192), predicted: Some(131_072 * 448 + 32_768) };
    assert_eq!(memory.at_limit, at_limit);
}

/// A connection that is asked for.
#[derive(Clone, Debug)]
struct Asked {
    at_ms: u64,
    host: u8,
    life_ms: u64,
}

prop_compose! {
    fn asked()(at_ms in 0..60_000_u64, host in 1..6_u8, life_ms in 1..50_000_u64) -> Asked {
        Asked { at_ms, host, life_ms }
    }
}

/// What a kernel with a limit would have recorded: it refuses at the limit, or evicts the oldest.
fn recorded(asked: &[Asked], max: usize, evicts: bool) -> Tape {
    const MS: u64 = 1_000_000;
    let mut tape = Tape::default();
    tape.set("max", max as u64);
    let mut asked: Vec<_> = asked.to_vec();
    asked.sort_by_key(|it| it.at_ms);
    let mut living: Vec<(u64, u64)> = Vec::new();
    for (ct, it) in asked.iter().enumerate() {
        let now = (it.at_ms + 1) * MS + ct as u64;
        living.sort_unstable();
        while living.first().is_some_and(|(death, _)| *death <= now) {
            let (death, ct) = living.remove(0);
            tape.free(death, ct, End::Other, CONFIRMED);
        }
        if living.len() == max && evicts {
            let (_, victim) = living.remove(0);
            tape.evict(now, victim, max as u32);
        } else if living.len() == max {
            tape.refuse(now, it.host, max as u32);
            continue;
        }
        tape.born(now + 1, ct as u64, it.host);
        living.push((now + it.life_ms * MS + 2, ct as u64));
    }
    for (death, ct) in living {
        tape.free(death, ct, End::Other, CONFIRMED);
    }
    tape
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn no_change_predicts_what_was(
        all in prop::collection::vec(asked(), 1..120), max in 1..40_usize, evicts: bool,
    ) {
        for changes in [String::new(), format!("max={max}"), "udp=30".to_owned(), "time_wait=5".to_owned()] {
            for it in recorded(&all, max, evicts).play(&changes).netns {
                prop_assert_eq!(it.peak.recorded, it.peak.predicted);
                prop_assert_eq!(it.refused, Losses { recorded: it.refused.recorded, ..Losses::default() });
                prop_assert_eq!(it.evicted, Losses { recorded: it.evicted.recorded, ..Losses::default() });
                prop_assert_eq!(it.mean.recorded, it.mean.predicted);
            }
        }
    }

    #[test]
    fn a_larger_limit_never_refuses_more(
        all in prop::collection::vec(asked(), 1..120), max in 1..20_usize, by in 0..20_usize, evicts: bool,
    ) {
        let of = |changed: usize| {
            let it = recorded(&all, max, evicts).one(&format!("max={changed}"));
            it.refused.predicted() + it.evicted.predicted()
        };
        prop_assert!(of(max + by + 1) <= of(max + by));
        let below = max.saturating_sub(by).max(1);
        prop_assert!(of(below + 1) <= of(below));
    }

    /// By more than the collector may be late with the shorter one: when its rounds come hangs on what there is, and
    /// a peak on when they come.
    #[test]
    fn a_longer_timeout_or_more_entries_never_lower_the_peak(
        all in prop::collection::vec(asked(), 2..120), timeout in 1..100_u64, by in 0..100_u64, without in 1..60_usize,
    ) {
        let late = Pace::Adaptive.longest_ns() / S;
        let peak = |all: &[Asked], timeout: u64| {
            recorded(all, 1_000, false).one(&format!("udp={timeout}")).peak.predicted.entries
        };
        let whole = peak(&all, timeout);
        let longer = peak(&all, timeout + late);
        prop_assert!(longer >= whole);
        prop_assert!(peak(&all, timeout + late + by) >= whole);
        prop_assert!(peak(&all[without.min(all.len() - 1)..], timeout) <= longer);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let mut simulation = Simulation::new("udp=1,max=3".parse().expect("changes"), "");
        let _whatever_it_says = simulation.play(&bytes);
        simulation.finish();
    }
}
