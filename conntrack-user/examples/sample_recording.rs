//! Writes a recording of an incident that never was, to look at what `ctwatch report` makes of it:
//! `cargo run -p conntrack-user --example sample_recording sample.ctw && ctwatch report sample.ctw --html sample.html`

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result};
use conntrack_common::{Cause, Kind, NetnsName, Refused, Totals, Tuple};
use conntrack_user::engine::recorded::{
    Counters, Crossed, Dimension, Drain, Ended, Holder, Holding, NetnsSecond, RecordedKind, Setting, Summed,
    Unrecorded,
};
use conntrack_user::engine::saturation::{State, Thresholds};
use conntrack_user::engine::snapshot::Trust;
use conntrack_user::record::{Header, VERSION, Writer};
use zerocopy::IntoBytes;

const S: u64 = 1_000_000_000;
/// 2026-11-20T08:00:00Z at the beginning.
const WALL: i64 = 1_795_161_600_000_000_000 - (BEGIN * S) as i64;
const BEGIN: u64 = 90_000;
const LENGTH: u64 = 2 * 3600;
const MAX: u32 = 65_536;
const NETNS: u32 = 4_026_531_840;

#[allow(dead_code, reason = "tests of the command line include this file for what it writes")]
fn main() -> Result<()> {
    let path = std::env::args().nth(1).context("name the file to write")?;
    write(Path::new(&path))
}

/// Two hours, of which ninety seconds are missing.
pub fn write(path: &Path) -> Result<()> {
    let header = Header {
        version: VERSION,
        session: "5a3c1f0e-0000-4000-8000-000000000001".into(),
        sequence: 1,
        host: "gw-frankfurt-2".into(),
        kernel: "6.12.48-amd64".into(),
        boot_id: "7d1c0000-0000-4000-8000-000000000002".into(),
        program: env!("CARGO_PKG_VERSION").into(),
        since_ktime_ns: BEGIN * S,
        wall_offset_ns: WALL,
        began_ktime_ns: BEGIN * S,
        trust: Trust {
            backend: "kprobe".into(),
            degradations: vec!["fexit: the module nf_conntrack has no BTF".into()],
        },
        entries: false,
        thresholds: Thresholds::default(),
    };
    let mut writer =
        Writer::new(File::create(path).with_context(|| format!("make {}", path.display()))?, &header)?;
    let mut story = Story { totals: Totals::default(), random: 7, state: State::Ok, flood_new: 0 };
    for at_s in 1..=LENGTH {
        let records = story.second(at_s);
        writer.push(&records)?;
        if at_s.is_multiple_of(5) {
            writer.flush()?;
        }
    }
    let ended = Ended {
        kind: RecordedKind::Ended as u8,
        reason: Ended::RUN_ENDED,
        reserved: [0; 6],
        ktime_ns: (BEGIN + LENGTH) * S,
    };
    writer.push(ended.as_bytes())?;
    writer.finish()?;
    Ok(())
}

struct Story {
    totals: Totals,
    random: u64,
    state: State,
    flood_new: u64,
}

impl Story {
    fn random(&mut self, below: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below.max(1)
    }

    /// What the busiest source holds: two floods, the second too much.
    fn flood(at_s: u64) -> u32 {
        let hill = |from: u64, to: u64, high: u64| match at_s {
            at if at < from || at > to => 0,
            at if at < from + 240 => high * (at - from) / 240,
            at if at > to - 180 => high * (to - at) / 180,
            _ => high,
        };
        (hill(1500, 2400, 30_000) + hill(4000, 5200, 60_000)) as u32
    }

    fn second(&mut self, at_s: u64) -> Vec<u8> {
        let ktime_ns = (BEGIN + at_s) * S;
        let mut out = self.head(at_s, ktime_ns);
        // The recorder is behind for a while.
        if (3000..3090).contains(&at_s) {
            return out;
        }
        if at_s == 3090 {
            let lost = Unrecorded {
                kind: RecordedKind::Unrecorded as u8,
                reason: Unrecorded::QUEUE_FULL,
                reserved: [0; 6],
                ktime_ns,
                from_ktime_ns: ktime_ns - 90 * S,
                drains: 900,
                bytes: 5_000_000,
            };
            out.extend_from_slice(lost.as_bytes());
        }
        let flood = Self::flood(at_s);
        let usual = 18_000 + (self.random(900) as u32) + (2500.0 * (at_s as f64 / 900.0).sin()) as u32;
        let wanted = usual + flood;
        let count = wanted.min(MAX);
        let over = u64::from(wanted - count);
        let new = 420 + self.random(60) + u64::from(flood) / 30;
        self.flood_new += u64::from(flood) / 30;
        self.totals.new += new;
        self.totals.freed += new.saturating_sub(3);
        let evicted = if count * 100 > MAX * 97 { self.random(40) } else { 0 };
        let refused = over / 40;
        self.totals.evicted += evicted;
        self.totals.refused_table_full += refused;
        let state = match (refused, evicted, count) {
            (1.., ..) => State::Refusing,
            (0, 1.., _) => State::Evicting,
            (_, _, count) if count * 100 > MAX * 80 => State::Pressure,
            _ if self.state > State::Pressure => State::Recovered,
            _ => State::Ok,
        };
        self.refusals(&mut out, ktime_ns, refused);
        self.cross(&mut out, ktime_ns, state, count);
        let mut row = NetnsSecond {
            kind: RecordedKind::NetnsSecond as u8,
            state: state as u8,
            reserved: 0,
            netns: NETNS,
            ktime_ns,
            count,
            max: MAX,
            peak: count,
            entries: count,
            new: self.totals.new,
            freed: self.totals.freed,
            refused: self.totals.refused_table_full,
            evicted: self.totals.evicted,
            failed: 0,
            unconfirmed: 0,
            lifetimes: 0,
            mean_lifetime_ns: 0,
        };
        out.extend_from_slice(row.as_bytes());
        (row.netns, row.state, row.count) = (4_026_532_501, State::Ok as u8, 900 + self.random(90) as u32);
        (row.peak, row.refused, row.evicted, row.new, row.freed) = (row.count, 0, 0, at_s * 11, at_s * 10);
        if at_s.is_multiple_of(7) {
            out.extend_from_slice(row.as_bytes());
        }
        if at_s.is_multiple_of(10) {
            self.holders(&mut out, at_s, ktime_ns, count);
        }
        let counters =
            Counters { kind: RecordedKind::Counters as u8, reserved: [0; 7], ktime_ns, totals: self.totals };
        out.extend_from_slice(counters.as_bytes());
        out
    }

    fn head(&self, at_s: u64, ktime_ns: u64) -> Vec<u8> {
        let (kind, reserved) = (RecordedKind::Drain as u8, [0; 7]);
        let mut out = Drain { kind, reserved, ktime_ns, wall_offset_ns: WALL }.as_bytes().to_vec();
        if at_s == 1 {
            for (netns, name) in [(NETNS, "init"), (4_026_532_501, "tenant-a")] {
                let mut bytes = [0; 48];
                bytes[..name.len()].copy_from_slice(name.as_bytes());
                let kind = Kind::NetnsName as u8;
                let record = NetnsName { kind, reserved: [0; 3], netns, ktime_ns, name: bytes };
                out.extend_from_slice(record.as_bytes());
            }
            for (name, value) in [("max", u64::from(MAX)), ("buckets", 65_536), ("udp_timeout_stream", 120)] {
                let mut bytes = [0; 40];
                bytes[..name.len()].copy_from_slice(name.as_bytes());
                let kind = RecordedKind::Setting as u8;
                let record = Setting { kind, reserved: [0; 3], netns: NETNS, ktime_ns, value, name: bytes };
                out.extend_from_slice(record.as_bytes());
            }
        }
        out
    }

    /// A few one by one, the rest of a second summed.
    fn refusals(&mut self, out: &mut Vec<u8>, ktime_ns: u64, refused: u64) {
        let told = refused.min(20);
        for nth in 0..told {
            let host = 10 + self.random(40) as u8;
            let record = Refused {
                kind: Kind::Refused as u8,
                cause: Cause::TableFull as u8,
                zone: 0,
                netns: NETNS,
                ktime_ns: ktime_ns - S + nth * 40_000_000 + self.random(30_000_000),
                count: MAX,
                max: MAX,
                tuple: Tuple {
                    src: address([10, 20, 3, host]),
                    sport: (20_000 + self.random(40_000) as u16).to_be_bytes(),
                    l3num: 2,
                    dst: address([203, 0, 113, 10 + self.random(3) as u8]),
                    dport: 443u16.to_be_bytes(),
                    protonum: 6,
                    dir: 0,
                },
            };
            out.extend_from_slice(record.as_bytes());
        }
        if refused > told {
            let record = Summed {
                kind: RecordedKind::Summed as u8,
                of: Kind::Refused as u8,
                cause: Cause::TableFull as u8,
                reserved: 0,
                netns: NETNS,
                ktime_ns: ktime_ns - 1000,
                first_ktime_ns: ktime_ns - 150_000_000,
                count: refused - told,
                src: address([10, 20, 3, 77]),
                l3num: 2,
                level_count: MAX,
                level_max: MAX,
                reserved2: 0,
            };
            out.extend_from_slice(record.as_bytes());
        }
    }

    fn cross(&mut self, out: &mut Vec<u8>, ktime_ns: u64, state: State, count: u32) {
        if state == self.state {
            return;
        }
        let record = Crossed {
            kind: RecordedKind::Crossed as u8,
            was: self.state as u8,
            state: state as u8,
            reserved: 0,
            netns: NETNS,
            ktime_ns: ktime_ns - 999_000_000,
            count,
            max: MAX,
        };
        out.extend_from_slice(record.as_bytes());
        if state >= State::Evicting && self.state < State::Evicting {
            self.picture(out, ktime_ns, count);
        }
        self.state = state;
    }

    fn picture(&self, out: &mut Vec<u8>, ktime_ns: u64, count: u32) {
        let count = u64::from(count);
        let rows = [
            (Dimension::Total, 0, [0; 4], count),
            (Dimension::Source, 0, [10, 20, 3, 77], count * 68 / 100),
            (Dimension::Source, 1, [10, 20, 3, 12], count * 6 / 100),
            (Dimension::Source, 2, [10, 20, 8, 4], count * 4 / 100),
            (Dimension::Source, Holder::OTHER, [0; 4], count * 22 / 100),
            (Dimension::Prefix, 0, [10, 20, 3, 0], count * 81 / 100),
            (Dimension::Prefix, Holder::OTHER, [0; 4], count * 19 / 100),
            (Dimension::Destination, 0, [203, 0, 113, 10], count * 70 / 100),
            (Dimension::Destination, Holder::OTHER, [0; 4], count * 30 / 100),
            (Dimension::Port, 0, [0; 4], count * 71 / 100),
            (Dimension::Arrivals, 0, [10, 20, 3, 77], 58_000),
            (Dimension::Arrivals, 1, [10, 20, 3, 12], 1_900),
            (Dimension::Arrivals, Holder::OTHER, [0; 4], 22_000),
            (Dimension::ArrivalsWindow, 0, [0; 4], 58 * S),
        ];
        for (dimension, rank, host, value) in rows {
            let record = Holding {
                kind: RecordedKind::Holding as u8,
                dimension: dimension as u8,
                rank,
                netns: NETNS,
                ktime_ns,
                address: address(host),
                l3num: 2,
                port: 443,
                protonum: 6,
                prefix_len: 24,
                reserved: 0,
                value,
            };
            out.extend_from_slice(record.as_bytes());
        }
    }

    fn holders(&mut self, out: &mut Vec<u8>, at_s: u64, ktime_ns: u64, count: u32) {
        let flood = Self::flood(at_s).min(count * 3 / 4);
        let mut left = count - flood;
        let mut rows = vec![([10, 20, 3, 77], flood, at_s * 6 + self.flood_new)];
        for nth in 0..9u8 {
            let own = left / 6 + self.random(120) as u32;
            left = left.saturating_sub(own);
            rows.push((
                [10, 20, 3 + nth % 3, 12 + nth],
                own,
                at_s * (70 - 6 * u64::from(nth)) + self.random(40),
            ));
        }
        rows.sort_by_key(|(_, entries, _)| std::cmp::Reverse(*entries));
        for (rank, (host, entries, new)) in (0..).zip(rows) {
            let mean_lifetime_ns = (20 + u64::from(host[3])) * S;
            let record = holder(ktime_ns, rank, address(host), entries, new, mean_lifetime_ns);
            out.extend_from_slice(record.as_bytes());
        }
        out.extend_from_slice(holder(ktime_ns, Holder::OTHER, [0; 16], left, 0, 0).as_bytes());
    }
}

fn holder(ktime_ns: u64, rank: u16, src: [u8; 16], entries: u32, new: u64, mean_lifetime_ns: u64) -> Holder {
    let other = rank == Holder::OTHER;
    Holder {
        kind: RecordedKind::Holder as u8,
        reserved: 0,
        rank,
        netns: if other { 0 } else { NETNS },
        ktime_ns,
        src,
        l3num: if other { 0 } else { 2 },
        entries,
        new,
        freed: new,
        refused: 0,
        evicted: 0,
        failed: 0,
        unconfirmed: 0,
        lifetimes: new,
        mean_lifetime_ns,
    }
}

fn address(bytes: [u8; 4]) -> [u8; 16] {
    std::array::from_fn(|at| bytes.get(at).copied().unwrap_or(0))
}
