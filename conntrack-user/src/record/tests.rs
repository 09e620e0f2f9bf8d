//! A file through what may happen to it.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod damage;
mod measure;
mod page;
mod places;
mod versions;

use std::io::{self, Cursor};

use conntrack_common::Totals;
use proptest::prelude::*;
use zerocopy::IntoBytes as _;

use super::layouts::{layouts, sizes};
use super::schema::first;
use super::*;
use crate::engine::decode::Records;
use crate::engine::recorded::{Counters, Drain, RecordedKind};
use crate::engine::saturation::Thresholds;
use crate::engine::snapshot::Trust;
use crate::engine::testing;

pub(super) fn header() -> Header {
    Header {
        version: VERSION,
        session: "5e55-1".to_owned(),
        sequence: 1,
        host: "gw".to_owned(),
        kernel: "6.12.107".to_owned(),
        boot_id: "b007".to_owned(),
        program: "0.1.0".to_owned(),
        since_ktime_ns: 1_000,
        wall_offset_ns: 1_700_000_000_000_000_000,
        began_ktime_ns: 1_000,
        trust: Trust { backend: "fexit".to_owned(), degradations: vec!["no reason".to_owned()] },
        entries: true,
        thresholds: Thresholds::default(),
    }
}

fn drain(ktime_ns: u64, wall_offset_ns: i64) -> Vec<u8> {
    Drain { kind: RecordedKind::Drain as u8, reserved: [0; 7], ktime_ns, wall_offset_ns }.as_bytes().to_vec()
}

/// Each chunk a block of its own.
fn file(chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &header()).unwrap();
    for chunk in chunks {
        writer.push(chunk).unwrap();
        writer.flush().unwrap();
    }
    writer.finish().unwrap()
}

fn open(bytes: Vec<u8>) -> Reader<Cursor<Vec<u8>>> {
    Reader::open(Cursor::new(bytes)).unwrap()
}

/// Up to the end.
fn pieces<R: io::Read + io::Seek>(reader: &mut Reader<R>) -> Vec<Piece> {
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

fn blocks(pieces: &[Piece]) -> Vec<Vec<u8>> {
    let block = |piece: &Piece| match piece {
        Piece::Block(block) => Some(block.records.to_vec()),
        Piece::Damage(_) => None,
    };
    pieces.iter().filter_map(block).collect()
}

fn damages(pieces: &[Piece]) -> Vec<Damage> {
    let damage = |piece: &Piece| match piece {
        Piece::Block(_) => None,
        Piece::Damage(damage) => Some(*damage),
    };
    pieces.iter().filter_map(damage).collect()
}

/// Any bytes that are a record.
fn any_record() -> impl Strategy<Value = Vec<u8>> {
    (0..layouts().len(), 0u64..3_000_000, any::<[u8; 8]>()).prop_map(|(kind, ktime, noise)| {
        let layout = &layouts()[kind];
        let mut record: Vec<u8> = noise.iter().copied().cycle().take(layout.size).collect();
        record[0] = layout.number;
        record[8..16].copy_from_slice(&(ktime * u64::from(noise[0])).to_ne_bytes());
        record
    })
}

fn any_chunks(blocks: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let chunk = prop::collection::vec(any_record(), 1..20).prop_map(|records| records.concat());
    prop::collection::vec(chunk, blocks)
}

/// Earliest and latest time.
fn times(records: &[u8]) -> (u64, u64) {
    let times = || Records::new(records).map(|record| record.unwrap().ktime_ns());
    (times().min().unwrap(), times().max().unwrap())
}

#[test]
fn a_header_comes_back() {
    let reader = open(file(&[]));
    assert_eq!(*reader.header(), header());
    assert_eq!(reader.kinds(), layouts());
}

#[test]
fn a_block_closes_with_its_last_record_and_tells_its_times_and_offset() {
    let mut writer = Writer::new(Vec::new(), &header()).unwrap();
    let records: Vec<u8> =
        (0..5_000).flat_map(|i| testing::free(i, 10_000 - i).as_bytes().to_vec()).collect();
    writer.push(&records[..24 * 100]).unwrap();
    writer.push(&drain(50_000, -7)).unwrap();
    writer.push(&records[24 * 100..]).unwrap();
    assert_eq!(writer.waiting(), 5_001 - 4_096);
    let bytes = writer.finish().unwrap();
    let pieces = pieces(&mut open(bytes));
    let [Piece::Block(first), Piece::Block(second)] = &pieces[..] else { panic!("{pieces:?}") };
    assert_eq!((first.first_ktime_ns, first.last_ktime_ns), (10_000 - 4_094, 50_000));
    assert_eq!((first.wall_offset_ns, second.wall_offset_ns), (header().wall_offset_ns, -7));
    assert_eq!(second.last_ktime_ns, 10_000 - 4_095);
}

#[test]
fn what_is_no_record_is_refused_and_the_rest_kept() {
    let mut writer = Writer::new(Vec::new(), &header()).unwrap();
    let good = testing::free(1, 2);
    let error = writer.push(&[good.as_bytes(), &[200; 64]].concat()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let pieces = pieces(&mut open(writer.finish().unwrap()));
    assert_eq!(blocks(&pieces), [good.as_bytes()]);
}

#[test]
fn totals_of_the_kernel_come_back() {
    let counters = Counters {
        kind: RecordedKind::Counters as u8,
        reserved: [0; 7],
        ktime_ns: 5,
        totals: Totals { new: u64::MAX, unmatched: 3, ..Totals::default() },
    };
    let pieces = pieces(&mut open(file(&[counters.as_bytes().to_vec()])));
    assert_eq!(blocks(&pieces), [counters.as_bytes()]);
}

proptest! {
    #[test]
    fn what_is_written_is_read(chunks in any_chunks(0..12)) {
        let mut reader = open(file(&chunks));
        let pieces = pieces(&mut reader);
        prop_assert_eq!(blocks(&pieces), chunks.clone());
        prop_assert_eq!(pieces.len(), chunks.len(), "no damage");
        for (piece, chunk) in pieces.iter().zip(&chunks) {
            let Piece::Block(block) = piece else { unreachable!() };
            prop_assert_eq!((block.first_ktime_ns, block.last_ktime_ns), times(chunk));
        }
        prop_assert_eq!(reader.position(), reader.len());
    }

    #[test]
    fn seeking_gives_the_first_block_that_has_the_time(
        chunks in any_chunks(1..12), at in 0..(3_000_000u64 * 256), again in 0..3_000_000u64
    ) {
        let mut reader = open(file(&chunks));
        for at in [at, again] {
            reader.seek(at).unwrap();
            let first = chunks.iter().position(|chunk| times(chunk).1 >= at).unwrap_or(chunks.len());
            let read = pieces(&mut reader);
            prop_assert_eq!(blocks(&read), chunks[first..].to_vec());
            prop_assert!(damages(&read).is_empty());
        }
    }
}

/// How many records there are.
fn count(mut records: &[u8]) -> usize {
    let mut count = 0;
    while let Some((_, rest)) = first(records, sizes()) {
        (count, records) = (count + 1, rest);
    }
    count
}
