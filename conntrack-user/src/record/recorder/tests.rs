use std::fs::File;
use std::io::{Cursor, Read as _};

use bytes::Bytes;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;
use crate::engine::decode::{Record, Records};
use crate::engine::recorded::Recorded;
use crate::engine::testing::{self, Record as Sent, S, WALL, bytes};
use crate::record::{Piece, Reader};

/// A drain of so many entries that nothing packs well.
fn drain(ktime_ns: u64) -> Batch {
    let entry = |n: u64| {
        let scattered = (ktime_ns + n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut new = testing::new(scattered, ktime_ns + n, 1);
        new.tuple.src =
            [scattered, !scattered.rotate_left(9)].map(u64::to_ne_bytes).concat().try_into().expect("16");
        Sent::New(new)
    };
    Batch {
        ktime_ns,
        wall: WALL,
        entries: Bytes::from(bytes(&(0..4096).map(entry).collect::<Vec<_>>())),
        incidents: Bytes::new(),
        totals: None,
        trust: None,
    }
}

/// What is recorded through a pipe that nobody reads until it is full.
#[test]
fn what_the_queue_does_not_take_is_counted_and_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    let mut end = File::options().read(true).write(true).open(&pipe).expect("its other end");
    let store = Store::create(&pipe, true, crate::record::tests::header()).expect("a recording");
    let mut recorder = Recorder::start(store, Thinning::new(true, 0), Trust::default()).expect("a thread");
    let offered = 3 * QUEUE as u64;
    let taken = (1..=offered).filter(|at| recorder.offer(&drain(at * S), &[], false)).count() as u64;
    assert!(taken < offered, "a queue of {QUEUE} took {taken}");

    let reading = thread::spawn(move || {
        let (mut all, mut some) = (Vec::new(), vec![0; 1 << 16]);
        loop {
            let count = end.read(&mut some).expect("a pipe is readable");
            all.extend_from_slice(&some[..count]);
            if all.ends_with(b"the end") {
                return all;
            }
        }
    });
    while !recorder.offer(&drain((offered + 1) * S), &[], true) {
        thread::yield_now();
    }
    let left_out = recorder.skipped_drains;
    let outcome = recorder.finish();
    assert_eq!((outcome.skipped_drains, outcome.failed_blocks), (left_out, 0), "{:?}", outcome.error);
    std::io::Write::write_all(&mut File::options().write(true).open(&pipe).expect("the pipe"), b"the end")
        .expect("written");

    let mut reader = Reader::open(Cursor::new(reading.join().expect("read"))).expect("a recording");
    let (mut told, mut new) = (Vec::new(), 0);
    while let Some(Piece::Block(block)) = reader.next().expect("memory is readable") {
        for record in Records::new(&block.records) {
            match record.expect("a record") {
                Record::New(_) => new += 1,
                Record::Recorded(Recorded::Unrecorded(it)) => told.push(it.get()),
                _ => {}
            }
        }
    }
    assert_eq!(new, (taken + 1) * 4096, "all that was taken is there");
    assert_eq!(told.iter().map(|it| it.drains).sum::<u64>(), left_out);
    assert_eq!(told[0].reason, Unrecorded::QUEUE_FULL);
    assert!(told[0].from_ktime_ns < told[0].ktime_ns, "{told:?}");
}
