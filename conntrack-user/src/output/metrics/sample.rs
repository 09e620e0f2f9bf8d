//! A gateway that is made up, and has something of everything: for tests of what reads metrics, here and elsewhere.

use std::path::PathBuf;

use conntrack_common::{
    Audit, AuditPhase, AuditTrigger, Cause, Count, Evicted, Free, InsertCause, InsertFailed, Kind, Missed,
    New, Refused, Seen, Stats, Totals, Tuple,
};
use zerocopy::{Immutable, IntoBytes};

use super::{Durations, Hook, Options, Own, Recording, Scrape};
use crate::engine::batch::{Batch, WallClock};
use crate::engine::query::Query;
use crate::engine::snapshot::Trust;
use crate::engine::top_sources::Chooser;
use crate::engine::{Config, Engine};

/// The namespace of the first process, whose table has room but fills.
pub const INIT: u32 = 4_026_531_840;
/// One whose table is full.
pub const FULL: u32 = 4_026_532_500;

const S: u64 = 1_000_000_000;
/// 2026-11-20T10:15:00Z.
const ATTACHED_UNIX_NS: i64 = 1_795_169_700_000_000_000;

/// A gateway, watched for as many seconds as scrapes were taken of it, and half a minute more.
#[derive(Debug)]
pub struct Gateway {
    engine: Engine,
    chooser: Chooser,
    second: u64,
    names: usize,
}

impl Gateway {
    /// Of which so many sources are named at most.
    pub fn new(names: usize) -> Self {
        let degradations = vec!["fexit: the kernel has no BTF for \"nf_conntrack\"".to_owned()];
        let trust = Trust { backend: "kprobe".to_owned(), degradations };
        let mut engine = Engine::new(Config::new(0, WallClock { offset_ns: ATTACHED_UNIX_NS }, trust));
        engine.name_netns(INIT, "init".to_owned());
        // The pass that finds out what is evictable is made for a view of sources.
        engine.ask(Query { rows: 1, ..Query::default() });
        let mut gateway = Self { engine, chooser: Chooser::new(), second: 0, names };
        (0..30).for_each(|_| gateway.pass_second());
        gateway
    }

    /// All that is known of it a second later.
    pub fn scrape(&mut self) -> Scrape {
        self.pass_second();
        let sources = self.engine.top_sources(&mut self.chooser, self.names);
        Scrape {
            snapshot: self.engine.snapshot(),
            sources,
            own: own(self.second),
            options: Options::default(),
        }
    }

    fn pass_second(&mut self) {
        self.second += 1;
        let at = self.second * S;
        let (mut entries, mut incidents) = (Vec::new(), Vec::new());
        if self.second == 2 {
            bootstrap(&mut entries, at);
        }
        for host in 1..=9 {
            arrivals(&mut entries, self.second, host);
        }
        saturation(&mut entries, &mut incidents, self.second);
        readings(&mut incidents, self.second, self.engine.live().len());
        let batch = Batch {
            ktime_ns: at + S - 1,
            wall: WallClock { offset_ns: ATTACHED_UNIX_NS },
            entries: entries.into(),
            incidents: incidents.into(),
            totals: Some(Totals {
                // Two of a second's new entries were lost on the way.
                new: (NEW_IN_SECOND + 2) * self.second,
                clash_resolved: 3 * self.second,
                lost_entries: 2 * self.second,
                lost_incidents: 1,
                unmatched: 1,
                ..Totals::default()
            }),
            trust: None,
        };
        self.engine.apply(&batch, |_| ());
        self.engine.end_interval();
        // Sources are chosen as time goes by.
        self.engine.top_sources(&mut self.chooser, self.names);
    }
}

fn put(to: &mut Vec<u8>, record: &(impl IntoBytes + Immutable)) {
    to.extend_from_slice(record.as_bytes());
}

/// UDP from a host to a resolver.
fn tuple(host: u8, port: u16) -> Tuple {
    let bytes = |address: [u8; 4]| std::array::from_fn(|at| address.get(at).copied().unwrap_or(0));
    Tuple {
        src: bytes([192, 0, 2, host]),
        sport: port.to_be_bytes(),
        l3num: 2,
        dst: bytes([198, 51, 100, 53]),
        dport: 53_u16.to_be_bytes(),
        protonum: 17,
        dir: 0,
    }
}

fn new(netns: u32, ct: u64, ktime_ns: u64, host: u8) -> New {
    let tuple = tuple(host, (ct % 60_000) as u16 + 1024);
    New { kind: Kind::New as u8, may_be_seen: 0, zone: 0, netns, ktime_ns, ct, tuple }
}

fn free(ct: u64, ktime_ns: u64, status: u16) -> Free {
    Free { kind: Kind::Free as u8, end: 0, status, mark: 0, ktime_ns, ct }
}

/// New entries of all hosts and both tables.
const NEW_IN_SECOND: u64 = 3 * 45 + 6;

/// Confirmed, and a reply was seen.
const CONFIRMED: u16 = 0x0a;

/// A host's new entries of a second, and those that end in it: the lower its number, the more.
fn arrivals(entries: &mut Vec<u8>, second: u64, host: u8) {
    let ct = |second: u64, n: u64| second << 20 | u64::from(host) << 12 | n;
    let number = 3 * (10 - u64::from(host));
    for n in 0..number {
        put(entries, &new(INIT, ct(second, n), second * S + n * 1000, host));
        // One in three stays.
        let lives = [0, 2, 25][n as usize % 3];
        if lives > 0 && second > lives {
            put(entries, &free(ct(second - lives, n), second * S + n * 1000 + 500, CONFIRMED));
        }
    }
}

/// The first audit finds two entries that were there before.
fn bootstrap(entries: &mut Vec<u8>, ktime_ns: u64) {
    let audit = |phase: AuditPhase| Audit {
        kind: Kind::Audit as u8,
        phase: phase as u8,
        trigger: AuditTrigger::Attached as u8,
        reserved: 0,
        number: 1,
        ktime_ns: ktime_ns + if phase == AuditPhase::Ended { 12_000_000 } else { 0 },
        began_ktime_ns: ktime_ns,
        buckets: 65_536,
        restarts: 0,
        cut_short: 0,
    };
    put(entries, &audit(AuditPhase::Began));
    for ct in 1..=2 {
        let seen = Seen {
            kind: Kind::Seen as u8,
            alive: 1,
            zone: 0,
            netns: INIT,
            ktime_ns,
            ct,
            tuple: tuple(200, ct as u16),
            confirmed_unix_ns: 0,
            status: CONFIRMED.into(),
            listed: 0,
            tcp_state: u8::MAX,
            reserved: 0,
        };
        put(entries, &seen);
    }
    put(entries, &audit(AuditPhase::Ended));
}

/// A table of 12 that is full: whatever can go wrong does.
fn saturation(entries: &mut Vec<u8>, incidents: &mut Vec<u8>, second: u64) {
    let ct = |second: u64, n: u64| 1 << 60 | second << 8 | n;
    let at = second * S;
    for n in 0..6 {
        put(entries, &new(FULL, ct(second, n), at + n, 50));
        if second > 2 {
            put(entries, &free(ct(second - 2, n), at + 100 + n, if n == 0 { 0 } else { CONFIRMED }));
        }
    }
    for (cause, host) in
        [(Cause::TableFull, 60), (Cause::TableFull, 61), (Cause::NoMemory, 62), (Cause::Ctnetlink, 62)]
    {
        let refused = Refused {
            kind: Kind::Refused as u8,
            cause: cause as u8,
            zone: 0,
            netns: FULL,
            ktime_ns: at + 200,
            count: 12,
            max: 12,
            tuple: tuple(host, 9),
        };
        put(incidents, &refused);
    }
    let evicted = Evicted {
        kind: Kind::Evicted as u8,
        reserved: 0,
        zone: 0,
        netns: FULL,
        ktime_ns: at + 300,
        count: 13,
        max: 12,
        ct: ct(second, 1),
        tuple: tuple(50, 9),
        status: 8,
        mark: 0,
        hash: 7,
        reserved2: 0,
    };
    put(incidents, &evicted);
    for cause in [InsertCause::Clash, InsertCause::ChainTooLong, InsertCause::NatPorts, InsertCause::Dying] {
        let failed = InsertFailed {
            kind: Kind::InsertFailed as u8,
            cause: cause as u8,
            zone: 0,
            netns: FULL,
            ktime_ns: at + 400,
            ct: ct(second, 2),
            original: tuple(50, 9),
            reply: tuple(50, 9),
            status: 0x80,
            reserved: 0,
        };
        put(incidents, &failed);
    }
}

/// Counts of both tables, the kernel's statistics, and what it says it missed.
fn readings(incidents: &mut Vec<u8>, second: u64, live: usize) {
    let ktime_ns = second * S + S / 2;
    let in_init = u32::try_from(live).unwrap_or(u32::MAX).saturating_add(90);
    for (netns, count, max) in [(INIT, in_init, 262_144), (FULL, 12, 12)] {
        put(
            incidents,
            &Count { kind: Kind::Count as u8, reserved: [0; 3], netns, ktime_ns, count, max, cookie: 0 },
        );
        let stats = Stats {
            kind: Kind::Stats as u8,
            alone: 0,
            reserved: 0,
            netns,
            ktime_ns,
            drop: if netns == FULL { 5 * second } else { 0 },
            early_drop: if netns == FULL { second } else { 0 },
            insert_failed: if netns == FULL { 4 * second } else { 0 },
            chaintoolong: if netns == FULL { second } else { 0 },
            clash_resolve: 3 * second,
            invalid: 2 * second,
        };
        put(incidents, &stats);
    }
    let program = std::array::from_fn(|at| b"ctw_alloc".get(at).copied().unwrap_or(0));
    put(incidents, &Missed { kind: Kind::Missed as u8, reserved: [0; 7], ktime_ns, program, missed: 4 });
}

fn own(second: u64) -> Own {
    let done =
        |number: u64, each_ns: u64| Durations { number, sum_ns: number * each_ns, max_ns: 3 * each_ns };
    let recording = |name, bytes| Recording {
        name,
        dir: PathBuf::from("/var/lib/ctwatch").join(name),
        is_writing: true,
        bytes: bytes * second,
        skipped_drains: 0,
        failed_blocks: 1,
    };
    Own {
        rss_bytes: 54_525_952,
        cpu_ns: second * 7_500_000,
        open_files: 41,
        started_unix_ns: ATTACHED_UNIX_NS - 500_000_000,
        drains: done(second * 20, 120_000),
        snapshots: done(second, 900_000),
        scrapes: done(second / 15, 2_100_000),
        requests_refused: 3,
        connections: 2,
        recordings: vec![recording("detail", 65_536), recording("aggregate", 512)],
        hook: Some(Hook { runs: 2, failed: 1, timed_out: 0, suppressed: 5 }),
        reloads: (1, 1),
    }
}
