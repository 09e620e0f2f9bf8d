//! Times the engine on one core: events applied per second, memory per entry, an audit, snapshot and holders pass.
//!
//! Run with `cargo run --release --example engine_timing`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use conntrack_common::{Audit, AuditPhase, AuditTrigger, Free, Kind, New, Seen, Tuple};
use conntrack_user::engine::batch::{Batch, WallClock};
use conntrack_user::engine::filter::Filter;
use conntrack_user::engine::holders::Holders;
use conntrack_user::engine::query::{Focus, Query, View};
use conntrack_user::engine::snapshot::Trust;
use conntrack_user::engine::tuple::Proto;
use conntrack_user::engine::{Config, Engine};
use zerocopy::IntoBytes;

const ENTRIES: u64 = 262_144;
const BATCH: u64 = 4096;

fn main() {
    for sources in [100, 10_000, 65_536] {
        let mut load =
            Load { sources, born: 0, clock: 1_000_000_000, live: VecDeque::new(), freed: Vec::new() };
        let mut engine = Engine::new(Config::new(0, WallClock::default(), Trust::default()));
        println!("{sources} sources");

        time("fill the table", &mut engine, (0..ENTRIES / BATCH).map(|_| load.births(BATCH)));
        let bytes = engine.live().allocated() as u64;
        println!("  live table: {} bytes per entry, {} MiB", bytes / ENTRIES, bytes >> 20);

        let churn = (0..400).map(|_| load.churn(BATCH / 2));
        time("one New and one Free in turn, at a full table", &mut engine, churn);

        let audit = load.audit();
        let taken = fastest(|| {
            engine.apply(&audit, |_| ());
            engine.suspects()
        });
        println!("  walk over {} entries: {taken:?}", engine.live().len());
        assert_eq!(engine.summary().events.repaired.total(), 0, "all are known");

        for k in [10, 1000, usize::MAX] {
            engine.ask(Query { rows: k, ..Query::default() });
            let taken = fastest(|| engine.snapshot());
            println!("  snapshot of {} sources: {taken:?}", k.min(engine.sources().len()));
        }
        time_views(&mut engine);
        let taken = fastest(|| Holders::freeze(1, load.clock, 0, engine.live(), engine.sources()));
        println!("  holders of {} entries: {taken:?}", engine.live().len());

        engine.ask(Query { view: View::Destinations, rows: 50, ..Query::default() });
        let churn = (0..400).map(|_| load.churn(BATCH / 2));
        time("the same, with destinations broken down", &mut engine, churn);
        engine.end_interval();
        let groups = engine.snapshot().table.groups;
        let taken = fastest(|| engine.snapshot());
        println!("  snapshot of the first of {groups} destinations: {taken:?}\n");
    }
}

/// Each view twice: with the pass over the live table that an interval brings, and without.
fn time_views(engine: &mut Engine) {
    let filter = Filter { proto: Some(Proto::UDP), ..Filter::default() };
    let with_filter = View::ALL[..3].iter().map(|view| (*view, filter.clone(), None));
    let views = View::ALL.iter().map(|view| (*view, Filter::default(), None));
    let focus = engine.sources().iter().next().map(|it| Focus { netns: it.netns, src: it.src });
    let close = [(View::Sources, Filter::default(), focus)];
    for (view, filter, focus) in views.chain(with_filter).chain(close) {
        let also = match (filter.is_empty(), focus) {
            (true, None) => "",
            (false, _) => " of UDP",
            (true, Some(_)) => " and a source close up",
        };
        engine.ask(Query { view, filter, focus, rows: 50, ..Query::default() });
        let passing = fastest(|| {
            engine.end_interval();
            engine.snapshot()
        });
        let again = fastest(|| engine.snapshot());
        println!("  {}{also}: {passing:?} with the end of an interval, then {again:?}", view.as_str());
    }
}

/// Applies the batches, each made before its clock runs, and prints the median speed: another process on this
/// core spoils some batches but not most.
fn time(what: &str, engine: &mut Engine, batches: impl Iterator<Item = (u64, Batch)>) {
    let mut per_event = Vec::new();
    for (events, batch) in batches {
        let (mut told, start) = (0, Instant::now());
        engine.apply(&batch, |_| told += 1);
        per_event.push(start.elapsed().as_nanos() as f64 / events as f64);
        assert_eq!(told, events, "one notice per event");
    }
    per_event.sort_by(f64::total_cmp);
    let median = per_event[per_event.len() / 2];
    println!("  {what}: {:.1} million events per second ({median:.0} ns each)", 1e3 / median);
}

/// The fastest of some runs: the one that was not disturbed.
fn fastest<T>(mut run: impl FnMut() -> T) -> Duration {
    let timed = |_| {
        let start = Instant::now();
        std::hint::black_box(run());
        start.elapsed()
    };
    (0..15).map(timed).min().unwrap_or_default()
}

/// Entries born, and freed oldest first. Addresses are handed out as the slab allocator does: what was freed
/// last comes first, and the fresh ones lie scattered.
struct Load {
    sources: u64,
    born: u64,
    clock: u64,
    live: VecDeque<(u64, Tuple)>,
    freed: Vec<u64>,
}

impl Load {
    fn births(&mut self, count: u64) -> (u64, Batch) {
        let mut bytes = Vec::new();
        (0..count).for_each(|_| bytes.extend(self.birth().as_bytes()));
        (count, self.batch(bytes))
    }

    fn churn(&mut self, pairs: u64) -> (u64, Batch) {
        let mut bytes = Vec::new();
        for _ in 0..pairs {
            bytes.extend(self.death().as_bytes());
            bytes.extend(self.birth().as_bytes());
        }
        (2 * pairs, self.batch(bytes))
    }

    fn birth(&mut self) -> New {
        self.clock += 500;
        self.born += 1;
        let ct = self.freed.pop().unwrap_or_else(|| fresh(self.born));
        let mix = self.born.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let [_, _, _, _, _, a, b, c] = (mix % self.sources).to_be_bytes();
        let address = |bytes: [u8; 4]| std::array::from_fn(|i| bytes.get(i).copied().unwrap_or(0));
        let tuple = Tuple {
            src: address([10, a, b, c]),
            sport: (mix as u16).to_be_bytes(),
            l3num: 2,
            dst: address([192, 0, (mix >> 40) as u8, (mix >> 48) as u8]),
            dport: ((mix >> 32) as u16 % 50).to_be_bytes(),
            protonum: 17,
            dir: 0,
        };
        self.live.push_back((ct, tuple));
        New { kind: Kind::New as u8, may_be_seen: 0, zone: 0, netns: 1, ktime_ns: self.clock, ct, tuple }
    }

    /// A walk that finds all entries where they are known to be.
    fn audit(&mut self) -> Batch {
        self.clock += 500;
        let mut bytes = self.step(AuditPhase::Began).as_bytes().to_vec();
        for (ct, tuple) in &self.live {
            let seen = Seen {
                kind: Kind::Seen as u8,
                alive: 1,
                zone: 0,
                netns: 1,
                ktime_ns: self.clock,
                ct: *ct,
                tuple: *tuple,
                confirmed_unix_ns: 0,
                status: 0x0a,
                listed: 0,
                tcp_state: u8::MAX,
                reserved: 0,
            };
            bytes.extend(seen.as_bytes());
        }
        bytes.extend(self.step(AuditPhase::Walked).as_bytes());
        self.batch(bytes)
    }

    fn step(&self, phase: AuditPhase) -> Audit {
        Audit {
            kind: Kind::Audit as u8,
            phase: phase as u8,
            trigger: AuditTrigger::Interval as u8,
            reserved: 0,
            number: 1,
            ktime_ns: self.clock,
            began_ktime_ns: self.clock,
            buckets: 0,
            restarts: 0,
            cut_short: 0,
        }
    }

    fn death(&mut self) -> Free {
        self.clock += 500;
        let (ct, _) = self.live.pop_front().expect("the table is full");
        self.freed.push(ct);
        Free { kind: Kind::Free as u8, end: 0, status: 0x0a, mark: 0, ktime_ns: self.clock, ct }
    }

    fn batch(&self, bytes: Vec<u8>) -> Batch {
        Batch {
            ktime_ns: self.clock,
            wall: WallClock::default(),
            entries: Bytes::from(bytes),
            incidents: Bytes::new(),
            totals: None,
            trust: None,
        }
    }
}

/// The n-th fresh address: 256 bytes each.
fn fresh(n: u64) -> u64 {
    0xffff_8880_0000_0000 + n.wrapping_mul(0x9e37_79b1) % (2 * ENTRIES) * 256
}
