//! Records and connections for the tests of this room.

use std::net::IpAddr;

use conntrack_common::{
    Audit, Cause, Census, Count, Evicted, Free, Gap, InsertFailed, Kind, Ledger, Missed, NetnsName, New,
    RefusalKey, Refusals, Refused, RoomMade, Seen, Stats, Totals, Tuple,
};
use zerocopy::IntoBytes;

use super::batch::{Batch, WallClock};
use super::decode;
use super::monitor::{Config, Engine};
use super::notice::Notice;
use super::snapshot::Trust;
use super::tuple::{Connection, Proto};

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
