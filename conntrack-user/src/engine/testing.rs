//! Records and connections for the tests of this room.

use std::net::IpAddr;

use conntrack_common::{
    Audit, AuditPhase, AuditTrigger, Cause, Census, Count, Evicted, Free, Gap, InsertCause, InsertFailed,
    Kind, Ledger, Missed, NetnsName, New, RefusalKey, Refusals, Refused, RoomMade, Seen, Stats, Totals,
    Tuple,
};
use zerocopy::IntoBytes;

use super::batch::{Batch, WallClock};
use super::decode;
use super::filter::Filter;
use super::monitor::{Config, Engine};
use super::notice::Notice;
use super::query::Query;
use super::snapshot::{Snapshot, Trust};
use super::tuple::{Connection, Proto};

/// A snapshot of the first `k` sources that a filter lets through; it ends the interval.
pub fn snapshot(engine: &mut Engine, k: usize, filter: &Filter) -> Snapshot {
    engine.ask(Query { rows: k, filter: filter.clone(), ..Query::default() });
    engine.end_interval();
    engine.snapshot()
}

/// UDP from 10.1.0.`host`:1024 to 10.99.0.1:5000.
pub fn tuple(host: u8) -> Tuple {
    let bytes = |address: [u8; 4]| std::array::from_fn(|i| address.get(i).copied().unwrap_or(0));
    Tuple {
        src: bytes([10, 1, 0, host]),
        sport: 1024u16.to_be_bytes(),
        l3num: 2,
        dst: bytes([10, 99, 0, 1]),
        dport: 5000u16.to_be_bytes(),
        protonum: 17,
        dir: 0,
    }
}

/// The same as a connection in netns 1.
pub fn connection(host: u8) -> Connection {
    Connection {
        netns: 1,
        zone: 0,
        proto: Proto::UDP,
        src: IpAddr::from([10, 1, 0, host]),
        dst: IpAddr::from([10, 99, 0, 1]),
        sport: 1024,
        dport: 5000,
    }
}

pub fn new(ct: u64, ktime_ns: u64, host: u8) -> New {
    New { kind: Kind::New as u8, may_be_seen: 0, zone: 0, netns: 1, ktime_ns, ct, tuple: tuple(host) }
}

pub fn free(ct: u64, ktime_ns: u64) -> Free {
    Free { kind: Kind::Free as u8, end: 0, status: 0x0a, mark: 0, ktime_ns, ct }
}

pub fn refused(ktime_ns: u64, host: u8, count: u32, max: u32) -> Refused {
    Refused {
        kind: Kind::Refused as u8,
        cause: Cause::TableFull as u8,
        zone: 0,
        netns: 1,
        ktime_ns,
        count,
        max,
        tuple: tuple(host),
    }
}

pub fn evicted(ct: u64, ktime_ns: u64, host: u8, hash: u32) -> Evicted {
    Evicted {
        kind: Kind::Evicted as u8,
        reserved: 0,
        zone: 0,
        netns: 1,
        ktime_ns,
        count: 513,
        max: 512,
        ct,
        tuple: tuple(host),
        status: 0x08,
        mark: 0,
        hash,
        reserved2: 0,
    }
}

pub fn room_made(ktime_ns: u64, host: u8, hash: u32) -> RoomMade {
    RoomMade {
        kind: Kind::RoomMade as u8,
        reserved: 0,
        zone: 0,
        netns: 1,
        ktime_ns,
        hash,
        victims: 1,
        tuple: tuple(host),
    }
}

pub fn count(ktime_ns: u64, count: u32, max: u32) -> Count {
    Count { kind: Kind::Count as u8, reserved: [0; 3], netns: 1, ktime_ns, count, max, cookie: 0 }
}

pub fn ledger(ktime_ns: u64, host: u8, count: u64) -> Ledger {
    let tuple = tuple(host);
    Ledger {
        kind: Kind::Ledger as u8,
        reserved: [0; 3],
        reserved2: 0,
        ktime_ns,
        key: RefusalKey { netns: 1, l3num: tuple.l3num.into(), src: tuple.src },
        refusals: Refusals { count, first_ktime_ns: 0, last_ktime_ns: ktime_ns },
    }
}

pub fn seen(ct: u64, ktime_ns: u64, host: u8) -> Seen {
    Seen {
        kind: Kind::Seen as u8,
        alive: 1,
        zone: 0,
        netns: 1,
        ktime_ns,
        ct,
        tuple: tuple(host),
        confirmed_unix_ns: 0,
        status: 0x0a,
        listed: 0,
        tcp_state: u8::MAX,
        reserved: 0,
    }
}

/// As a dump lists it.
pub fn listed(ktime_ns: u64, host: u8) -> Seen {
    Seen { listed: 1, ..seen(connection(host).key(), ktime_ns, host) }
}

pub fn dead(ct: u64, ktime_ns: u64) -> Seen {
    Seen { alive: 0, netns: 0, tuple: Tuple::ZERO, status: 0, ..seen(ct, ktime_ns, 0) }
}

pub fn audit(phase: AuditPhase, trigger: AuditTrigger, number: u32, began: u64, ktime_ns: u64) -> Audit {
    Audit {
        kind: Kind::Audit as u8,
        phase: phase as u8,
        trigger: trigger as u8,
        reserved: 0,
        number,
        ktime_ns,
        began_ktime_ns: began,
        buckets: 65_536,
        restarts: 0,
        cut_short: 0,
    }
}

/// NAT to 203.0.113.1 found no port.
pub fn insert_failed(ct: u64, ktime_ns: u64, host: u8) -> InsertFailed {
    let original = tuple(host);
    let mut nat = original.dst;
    nat[..4].copy_from_slice(&[203, 0, 113, 1]);
    InsertFailed {
        kind: Kind::InsertFailed as u8,
        cause: InsertCause::NatPorts as u8,
        zone: 0,
        netns: 1,
        ktime_ns,
        ct,
        original,
        reply: Tuple {
            src: original.dst,
            sport: original.dport,
            dst: nat,
            dport: 60_000u16.to_be_bytes(),
            dir: 1,
            ..original
        },
        status: 0x80,
        reserved: 0,
    }
}

pub fn census(counts: u32, began: u64, ktime_ns: u64) -> Census {
    Census { kind: Kind::Census as u8, reserved: [0; 3], counts, ktime_ns, began_ktime_ns: began }
}

pub fn stats(ktime_ns: u64, drop: u64, early_drop: u64, insert_failed: u64) -> Stats {
    Stats {
        kind: Kind::Stats as u8,
        alone: 0,
        reserved: 0,
        netns: 1,
        ktime_ns,
        drop,
        early_drop,
        insert_failed,
        chaintoolong: 0,
        clash_resolve: 0,
        invalid: 0,
    }
}

pub fn missed(ktime_ns: u64, program: &str, missed: u64) -> Missed {
    Missed { kind: Kind::Missed as u8, reserved: [0; 7], ktime_ns, program: name(program), missed }
}

pub fn netns_name(ktime_ns: u64, netns: u32, text: &str) -> NetnsName {
    NetnsName { kind: Kind::NetnsName as u8, reserved: [0; 3], netns, ktime_ns, name: name(text) }
}

pub fn gap(over: bool, from_ktime_ns: u64, ktime_ns: u64) -> Gap {
    Gap { kind: Kind::Gap as u8, over: over.into(), reserved: [0; 6], ktime_ns, from_ktime_ns }
}

fn name<const N: usize>(text: &str) -> [u8; N] {
    std::array::from_fn(|i| text.as_bytes().get(i).copied().unwrap_or(0))
}

/// A record of either ring, to write or read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    New(New),
    Free(Free),
    Refused(Refused),
    Evicted(Evicted),
    RoomMade(RoomMade),
    Count(Count),
    Ledger(Ledger),
    Seen(Seen),
    Audit(Audit),
    InsertFailed(InsertFailed),
    Census(Census),
    Stats(Stats),
    Missed(Missed),
    NetnsName(NetnsName),
    Gap(Gap),
}

impl From<decode::Record<'_>> for Record {
    fn from(record: decode::Record<'_>) -> Self {
        match record {
            decode::Record::New(record) => Self::New(record.get()),
            decode::Record::Free(record) => Self::Free(record.get()),
            decode::Record::Refused(record) => Self::Refused(record.get()),
            decode::Record::Evicted(record) => Self::Evicted(record.get()),
            decode::Record::RoomMade(record) => Self::RoomMade(record.get()),
            decode::Record::Count(record) => Self::Count(record.get()),
            decode::Record::Ledger(record) => Self::Ledger(record.get()),
            decode::Record::Seen(record) => Self::Seen(record.get()),
            decode::Record::Audit(record) => Self::Audit(record.get()),
            decode::Record::InsertFailed(record) => Self::InsertFailed(record.get()),
            decode::Record::Census(record) => Self::Census(record.get()),
            decode::Record::Stats(record) => Self::Stats(record.get()),
            decode::Record::Missed(record) => Self::Missed(record.get()),
            decode::Record::NetnsName(record) => Self::NetnsName(record.get()),
            decode::Record::Gap(record) => Self::Gap(record.get()),
            decode::Record::Recorded(_) => panic!("recordings are tested where they are made"),
        }
    }
}

/// The records as a ring would hold them.
pub fn bytes(records: &[Record]) -> Vec<u8> {
    let bytes = |record: &Record| match record {
        Record::New(record) => record.as_bytes().to_vec(),
        Record::Free(record) => record.as_bytes().to_vec(),
        Record::Refused(record) => record.as_bytes().to_vec(),
        Record::Evicted(record) => record.as_bytes().to_vec(),
        Record::RoomMade(record) => record.as_bytes().to_vec(),
        Record::Count(record) => record.as_bytes().to_vec(),
        Record::Ledger(record) => record.as_bytes().to_vec(),
        Record::Seen(record) => record.as_bytes().to_vec(),
        Record::Audit(record) => record.as_bytes().to_vec(),
        Record::InsertFailed(record) => record.as_bytes().to_vec(),
        Record::Census(record) => record.as_bytes().to_vec(),
        Record::Stats(record) => record.as_bytes().to_vec(),
        Record::Missed(record) => record.as_bytes().to_vec(),
        Record::NetnsName(record) => record.as_bytes().to_vec(),
        Record::Gap(record) => record.as_bytes().to_vec(),
    };
    records.iter().flat_map(bytes).collect()
}

/// One second, for scripts.
pub const S: u64 = 1_000_000_000;

/// 2026-11-20T10:15:00Z at monotonic zero.
pub const WALL: WallClock = WallClock { offset_ns: 1_795_169_700_000_000_000 };

/// A table of 10 that two hosts fill, with an eviction, two refusals and the recovery; all that was told.
pub fn story() -> (Engine, Vec<Notice>) {
    let trust = Trust { backend: "kprobe".into(), degradations: vec!["fexit: no module BTF".into()] };
    let mut engine = Engine::new(Config::new(0, WALL, trust));
    engine.name_netns(1, "gw".into());
    let births = (0..8).map(|ct| Record::New(new(ct, S + ct * 1000, if ct < 6 { 5 } else { 6 })));
    let entries: Vec<_> =
        births.chain([Record::Free(free(0, 2 * S)), Record::New(new(9, 2 * S + 700, 7))]).collect();
    let incidents = [
        Record::Count(count(S - 1, 2, 10)),
        Record::Evicted(Evicted { count: 11, max: 10, ..evicted(0, 2 * S, 5, 77) }),
        Record::RoomMade(room_made(2 * S + 700, 7, 77)),
        Record::Refused(refused(2 * S + 250_123_456, 8, 10, 10)),
        Record::Refused(refused(2 * S + 300_000_000, 9, 10, 10)),
        Record::Count(count(4 * S, 8, 10)),
    ];
    let mut told = Vec::new();
    let batch = Batch {
        ktime_ns: 4 * S,
        wall: WALL,
        entries: bytes(&entries).into(),
        incidents: bytes(&incidents).into(),
        totals: Some(Totals { lost_entries: 3, ..Totals::default() }),
        trust: None,
    };
    engine.apply(&batch, |notice| told.push(notice));
    (engine, told)
}

/// The story goes on: the first audit finds an older entry, which is freed; a connection finds no NAT port; the
/// second audit finds an entry whose `New` was lost; the third is given up. The kernel has dropped one packet more.
pub fn audited_story() -> (Engine, Vec<Notice>) {
    let (mut engine, _) = story();
    let (began, ended) = (5 * S, 5 * S + 310_000_000);
    let step = |phase, trigger, number| {
        Record::Audit(audit(
            phase,
            trigger,
            number,
            began,
            if phase == AuditPhase::Ended { ended } else { began },
        ))
    };
    use AuditPhase::{Abandoned, Began, Ended};
    use AuditTrigger::{Attached, Lost, Missed};
    let live = (1..8).map(|ct| Record::Seen(seen(ct, began, if ct < 6 { 5 } else { 6 })));
    let entries = [step(Began, Attached, 1)]
        .into_iter()
        .chain(live)
        .chain([
            Record::Seen(seen(100, began, 9)),
            Record::Seen(seen(101, began, 9)),
            Record::Free(Free { status: 0x0e, ..free(101, began) }),
            Record::Free(free(102, began)),
            step(Ended, Attached, 1),
            step(Began, Lost, 2),
            Record::Seen(seen(103, began, 9)),
            step(Ended, Lost, 2),
            Record::Free(free(104, 6 * S)),
            step(Began, Missed, 3),
            Record::Audit(audit(Abandoned, Missed, 3, began, ended)),
        ])
        .collect::<Vec<_>>();
    let incidents = [
        Record::InsertFailed(insert_failed(5, ended, 5)),
        Record::Stats(stats(7 * S, 4, 1, 1)),
        Record::Missed(missed(7 * S, "alloc", 4)),
    ];
    let mut told = Vec::new();
    let batch = Batch {
        ktime_ns: 8 * S,
        wall: WALL,
        entries: bytes(&entries).into(),
        incidents: bytes(&incidents).into(),
        totals: None,
        trust: None,
    };
    engine.apply(&batch, |notice| told.push(notice));
    (engine, told)
}
