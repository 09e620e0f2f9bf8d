//! What recordings cost, in bytes and in time; nothing is asserted but that they come back.
//!
//! `cargo test --release -p conntrack-user --lib record::tests::measure -- --ignored --nocapture`

use std::collections::VecDeque;
use std::time::Instant;

use conntrack_common::{Free, New};

use super::*;
use crate::engine::recorded::{Holder, Holding, NetnsSecond};

/// Numbers that look like nothing (splitmix64), the same in each run.
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// New and Free in equal numbers: 60,000 entries from 10,000 sources, any source port, 200 destinations, six ports;
/// 1 to 50 us apart; slab objects of 320 bytes that are used again soon after they are free.
fn entries(events: usize) -> Vec<u8> {
    let mut noise = Noise(1);
    let mut free: Vec<u64> =
        (0..80_000).map(|slot| 0xffff_8881_0a00_0000 + slot / 12 * 4096 + slot % 12 * 320).collect();
    let mut live = VecDeque::new();
    let (mut records, mut ktime) = (Vec::new(), 86_400_000_000_000);
    for event in 0..events {
        ktime += 1_000 + noise.below(49_000);
        if live.len() < 60_000 || event % 2 == 0 {
            let last = free.len() as u64 - 1;
            let ct = free.swap_remove((last - noise.below(last.min(30) + 1)) as usize);
            live.push_back(ct);
            records.extend_from_slice(new_entry(&mut noise, ct, ktime).as_bytes());
        } else {
            let ended = live.swap_remove_front(noise.below(live.len() as u64) as usize).unwrap();
            free.push(ended);
            let status = [0x18e, 0x188, 0x1ce, 0x18a][noise.below(4) as usize];
            let record = Free { kind: 2, end: 0, status, mark: 0, ktime_ns: ktime, ct: ended };
            records.extend_from_slice(record.as_bytes());
        }
    }
    records
}

fn new_entry(noise: &mut Noise, ct: u64, ktime_ns: u64) -> New {
    let mut new = testing::new(ct, ktime_ns, 1);
    let source = noise.below(10_000) as u16;
    new.netns = 4_026_531_840;
    new.tuple.src[2..4].copy_from_slice(&source.to_be_bytes());
    new.tuple.sport = (1_024 + noise.below(64_000) as u16).to_be_bytes();
    let (host, port) = (noise.below(200) as u8, noise.below(6) as usize);
    new.tuple.dst[3] = host;
    new.tuple.dport = [443u16, 443, 80, 53, 53, 8_080][port].to_be_bytes();
    new.tuple.protonum = if port >= 3 { 17 } else { 6 };
    new
}

/// The rows of one second without entries, at `rate` new connections: a namespace, the kernel's sums, ten drains.
fn thin_second(noise: &mut Noise, second: u64, rate: u64) -> Vec<u8> {
    let ktime_ns = 86_400_000_000_000 + second * 1_000_000_000;
    let mut records = Vec::new();
    for tenth in 0..10 {
        records.extend(drain(
            ktime_ns + tenth * 100_000_000 + noise.below(1_000_000),
            17 * 100_000_000_000_000_000 + noise.below(80) as i64,
        ));
    }
    let new = second * rate + noise.below(rate / 10);
    let row = NetnsSecond {
        kind: RecordedKind::NetnsSecond as u8,
        state: 0,
        reserved: 0,
        netns: 4_026_531_840,
        ktime_ns,
        count: 60_000 + noise.below(500) as u32,
        max: 262_144,
        peak: 60_500 + noise.below(500) as u32,
        entries: 60_000 + noise.below(500) as u32,
        new,
        freed: new - 60_000.min(new) + noise.below(500),
        refused: 0,
        evicted: 0,
        failed: 0,
        unconfirmed: second * 3 + noise.below(3),
        lifetimes: new / 2,
        mean_lifetime_ns: 60_000_000_000 + noise.below(1_000_000_000),
    };
    records.extend_from_slice(row.as_bytes());
    let totals = Totals { new, freed: row.freed, unconfirmed: row.unconfirmed, ..Totals::default() };
    let counters =
        Counters { kind: RecordedKind::Counters as u8, reserved: [0; 7], ktime_ns: ktime_ns + 5_000, totals };
    records.extend_from_slice(counters.as_bytes());
    records
}

/// Fifty sources and the others, as at an interval's end.
fn holders(noise: &mut Noise, ktime_ns: u64) -> Vec<u8> {
    let row = |rank: u16, noise: &mut Noise| {
        let base = 200_000 / (u64::from(rank) + 1);
        let mut src = testing::tuple(1).src;
        src[2..4].copy_from_slice(&(noise.below(10_000) as u16).to_be_bytes());
        Holder {
            kind: RecordedKind::Holder as u8,
            reserved: 0,
            rank: if rank == 50 { Holder::OTHER } else { rank },
            netns: 4_026_531_840,
            ktime_ns,
            src,
            l3num: 2,
            entries: base as u32 / 10 + noise.below(50) as u32,
            new: base + noise.below(base),
            freed: base + noise.below(base),
            refused: 0,
            evicted: 0,
            failed: 0,
            unconfirmed: noise.below(9),
            lifetimes: base + noise.below(base),
            mean_lifetime_ns: noise.below(90_000_000_000),
        }
    };
    (0..=50).flat_map(|rank| row(rank, noise).as_bytes().to_vec()).collect()
}

/// The incidents of one second of an episode, within the budget of detail, and the picture at its beginning.
fn episode_second(noise: &mut Noise, ktime_ns: u64, first: bool) -> Vec<u8> {
    let mut records = Vec::new();
    for i in 0..2_000 {
        let mut refused =
            testing::refused(ktime_ns + i * 500_000 + noise.below(400_000), 1, 262_144, 262_144);
        refused.tuple = new_entry(noise, 0, 0).tuple;
        records.extend_from_slice(refused.as_bytes());
    }
    for rank in (0..200).filter(|_| first) {
        let holding = Holding {
            kind: RecordedKind::Holding as u8,
            dimension: (rank / 25) as u8,
            rank,
            netns: 4_026_531_840,
            ktime_ns,
            address: new_entry(noise, 0, 0).tuple.src,
            l3num: 2,
            port: 443,
            protonum: 6,
            prefix_len: 24,
            reserved: 0,
            value: noise.below(60_000),
        };
        records.extend_from_slice(holding.as_bytes());
    }
    records
}

/// Bytes per record, and records per second written and read.
fn measured(name: &str, records: &[u8]) -> f64 {
    let events = count(records) as f64;
    let empty = file(&[]).len();
    let began = Instant::now();
    let mut writer = Writer::new(Vec::with_capacity(records.len()), &header()).unwrap();
    writer.push(records).unwrap();
    let bytes = writer.finish().unwrap();
    let (written, size) = (began.elapsed(), bytes.len() - empty);
    let mut reader = open(bytes);
    let began = Instant::now();
    let mut read = 0;
    while let Some(piece) = reader.next().unwrap() {
        let Piece::Block(block) = piece else { panic!("{piece:?}") };
        assert_eq!(block.records, records[read..][..block.records.len()]);
        read += block.records.len();
    }
    let millions = |time: std::time::Duration| events / time.as_secs_f64() / 1e6;
    println!(
        "{name:<40} {:>6.2} B/record of {:>5.1}, written {:>6.2} M/s, read {:>6.2} M/s",
        size as f64 / events,
        records.len() as f64 / events,
        millions(written),
        millions(began.elapsed()),
    );
    size as f64 / events
}

/// Bytes of blocks that are closed once a second.
fn in_seconds(seconds: impl Iterator<Item = Vec<u8>>) -> f64 {
    (file(&seconds.collect::<Vec<_>>()).len() - file(&[]).len()) as f64
}

#[test]
#[ignore = "a measurement: optimised, on a quiet machine"]
fn bytes_and_time_per_record() {
    let mut noise = Noise(2);
    let thin: Vec<u8> = (0..40_000).flat_map(|second| thin_second(&mut noise, second, 1_000)).collect();
    measured("New and Free", &entries(2_000_000));
    measured("rows of seconds, in full blocks", &thin);

    const WEEK_S: f64 = 7.0 * 86_400.0;
    let quiet = in_seconds((0..3_000).map(|second| thin_second(&mut noise, second, 1_000))) / 3_000.0;
    let pictures = in_seconds((0..300).map(|second| holders(&mut noise, second * 10_000_000_000))) / 300.0;
    let episode = in_seconds((0..60).map(|s| episode_second(&mut noise, s * 1_000_000_000, s == 0)));
    // 2,000 events a second, a block a second.
    let all = entries(400_000);
    let mut rest = &all[60_000 * 64..];
    let seconds = std::iter::from_fn(|| {
        let (mut second, mut left) = (Vec::new(), 2_000);
        while let Some((record, after)) = first(rest, sizes()).filter(|_| left > 0) {
            second.extend_from_slice(record);
            (rest, left) = (after, left - 1);
        }
        (left == 0).then_some(second)
    });
    let seconds: Vec<_> = seconds.collect();
    let per_second = in_seconds(seconds.iter().cloned()) / seconds.len() as f64;
    let thin = WEEK_S * (quiet + pictures / 10.0) + 7.0 * 24.0 * episode;
    println!("a week at 1,000 new connections a second, a block a second, 50 holders every 10 s,");
    println!("an episode of 60 s with 2,000 refusals a second in detail every hour:");
    println!(
        "  a second {quiet:.0} B, holders {pictures:.0} B, an episode {episode:.0} B, entries {per_second:.0} B a second"
    );
    println!("  thin {:.2} GB, with entries {:.2} GB", thin / 1e9, (thin + WEEK_S * per_second) / 1e9);
}
