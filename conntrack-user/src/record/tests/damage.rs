//! Bits, pieces and pages that are not as they were written.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::sync::LazyLock;

use proptest::test_runner::Config;

use super::*;

/// Twelve blocks, each with a drain of its own at its beginning so that no two are equal.
static CHUNKS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let chunk = |block: u64| {
        let ktime = |i: u64| block * 1_000_000 + i * 7_919 % 100_000;
        let records = (0..5 + block * 9).flat_map(|i| match i % 3 {
            0 => testing::new(block << 20 | i, ktime(i), (i % 200) as u8).as_bytes().to_vec(),
            1 => testing::free(block << 20 | i, ktime(i)).as_bytes().to_vec(),
            _ => testing::refused(ktime(i), (i % 7) as u8, 512, 512).as_bytes().to_vec(),
        });
        [drain(block * 1_000_000, block as i64), records.collect()].concat()
    };
    (1..=12).map(chunk).collect()
});
static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| file(&CHUNKS));

/// Where each block is.
static PLACES: LazyLock<Vec<Range<usize>>> = LazyLock::new(|| {
    let mut reader = open(FILE.clone());
    let mut begin = header_bytes();
    let ends = std::iter::from_fn(|| reader.next().unwrap().map(|_| reader.position() as usize));
    let ends: Vec<_> = ends.collect();
    ends.into_iter().map(|end| std::mem::replace(&mut begin, end)..end).collect()
});

/// Both copies.
fn header_bytes() -> usize {
    file(&[]).len()
}

/// What may happen to a file; places are shares of its length.
#[derive(Clone, Debug)]
enum Mishap {
    Flip {
        at: u32,
        bit: u8,
    },
    Zero {
        at: u32,
        bytes: usize,
    },
    Cut {
        at: u32,
        bytes: usize,
    },
    Truncate {
        at: u32,
    },
    Garbage {
        at: u32,
        noise: Vec<u8>,
    },
    Magic {
        at: u32,
        noise: Vec<u8>,
    },
    /// A piece of the file once more, at another place.
    Again {
        from: u32,
        at: u32,
        bytes: usize,
    },
}

fn any_mishap() -> impl Strategy<Value = Mishap> {
    let noise = || prop::collection::vec(any::<u8>(), 1..300);
    prop_oneof![
        4 => (any::<u32>(), 0u8..8).prop_map(|(at, bit)| Mishap::Flip { at, bit }),
        2 => (any::<u32>(), 1usize..5_000).prop_map(|(at, bytes)| Mishap::Zero { at, bytes }),
        2 => (any::<u32>(), 1usize..2_000).prop_map(|(at, bytes)| Mishap::Cut { at, bytes }),
        1 => any::<u32>().prop_map(|at| Mishap::Truncate { at }),
        1 => (any::<u32>(), noise()).prop_map(|(at, noise)| Mishap::Garbage { at, noise }),
        1 => (any::<u32>(), noise()).prop_map(|(at, noise)| Mishap::Magic { at, noise }),
        2 => (any::<u32>(), any::<u32>(), 1usize..9_000)
            .prop_map(|(from, at, bytes)| Mishap::Again { from, at, bytes }),
    ]
}

/// Bytes, and where each was in the file if it is still what it was.
type Traced = Vec<(u8, Option<usize>)>;

impl Mishap {
    /// Most happen behind the header.
    fn happen(&self, file: &mut Traced) {
        let length = file.len();
        let place = |share: u32| {
            let from = if share.is_multiple_of(16) { 0 } else { header_bytes().min(length) };
            from + ((u64::from(share) * (length - from) as u64) >> 32) as usize
        };
        let new = |bytes: &[u8]| bytes.iter().map(|byte| (*byte, None)).collect::<Traced>();
        match self {
            Self::Flip { at, bit } => {
                if let Some((byte, origin)) = file.get_mut(place(*at)) {
                    (*byte, *origin) = (*byte ^ (1 << bit), None);
                }
            }
            Self::Zero { at, bytes } => {
                file.iter_mut().skip(place(*at)).take(*bytes).for_each(|byte| *byte = (0, None));
            }
            Self::Cut { at, bytes } => {
                let at = place(*at);
                file.drain(at..(at + bytes).min(length));
            }
            Self::Truncate { at } => file.truncate(place(*at)),
            Self::Garbage { at, noise } => {
                let at = place(*at);
                file.splice(at..at, new(noise));
            }
            Self::Magic { at, noise } => {
                let at = place(*at);
                file.splice(at..at, new(&[&FILE[..12], noise].concat()));
            }
            Self::Again { from, at, bytes } => {
                let (from, at) = (place(*from), place(*at));
                let piece: Traced =
                    file[from..(from + bytes).min(length)].iter().map(|(byte, _)| (*byte, None)).collect();
                file.splice(at..at, piece);
            }
        }
    }
}

/// Blocks whose bytes are all there, one after the other.
fn untouched(file: &Traced) -> Vec<usize> {
    let whole = |place: &Range<usize>| {
        let begin = file.iter().rposition(|(_, origin)| *origin == Some(place.start))?;
        let bytes = file.get(begin..begin + place.len())?;
        bytes.iter().zip(place.clone()).all(|((_, origin), at)| *origin == Some(at)).then_some(())
    };
    (0..PLACES.len()).filter(|block| whole(&PLACES[*block]).is_some()).collect()
}

/// What was read is some of what was written, in order, and what is missing was told with the times around it.
fn check(pieces: &[Piece], untouched: &[usize]) {
    let (mut next, mut latest, mut told) = (0, None, None);
    for piece in pieces {
        match piece {
            Piece::Damage(damage) => {
                assert_eq!(told.replace(*damage), None, "two in a row are one");
                assert_eq!(damage.after_ktime_ns, latest);
            }
            Piece::Block(block) => {
                let chunk = CHUNKS[next..].iter().position(|chunk| *chunk == block.records);
                let chunk = next + chunk.expect("nothing is invented, or out of order");
                assert!((next..chunk).all(|missing| !untouched.contains(&missing)), "block {next} is whole");
                assert!(chunk == next || told.is_some(), "block {next} is missing silently");
                if let Some(damage) = told.take() {
                    assert_eq!(damage.before_ktime_ns, Some(block.first_ktime_ns));
                    assert_ne!(damage.what, DamageKind::Tail);
                }
                (next, latest) = (chunk + 1, Some(block.last_ktime_ns));
            }
        }
    }
    assert!(untouched.iter().all(|block| *block < next), "block {next} and later");
    if let Some(damage) = told {
        assert_eq!((damage.what, damage.before_ktime_ns), (DamageKind::Tail, None));
    }
}

proptest! {
    #![proptest_config(Config { cases: Config::default().cases.max(500), ..Config::default() })]
    #[test]
    fn what_is_untouched_is_read_and_the_rest_told(mishaps in prop::collection::vec(any_mishap(), 1..6)) {
        let mut traced: Traced = FILE.iter().enumerate().map(|(at, byte)| (*byte, Some(at))).collect();
        mishaps.iter().for_each(|mishap| mishap.happen(&mut traced));
        let bytes: Vec<u8> = traced.iter().map(|(byte, _)| *byte).collect();
        // Both headers may be among it.
        if let Ok(mut reader) = Reader::open(Cursor::new(bytes)) {
            let untouched = untouched(&traced);
            check(&pieces(&mut reader), &untouched);
            let ktime_ns = u64::from(mishaps.len() as u32) * 2_000_000;
            reader.seek(ktime_ns).unwrap();
            let sought = blocks(&pieces(&mut reader));
            let due = untouched.into_iter().map(|block| &CHUNKS[block]);
            let due: Vec<_> = due.filter(|chunk| times(chunk).1 >= ktime_ns).collect();
            assert!(due.iter().all(|chunk| sought.contains(chunk)), "seeking misses nothing");
        }
    }

    /// As only a program could write it: any bytes in place of times and planes, and some too few or too many.
    #[test]
    fn a_block_that_is_checked_but_makes_no_sense_never_panics(
        kinds in prop::collection::vec(0..layouts().len(), 0..20), noise in any::<[u8; 31]>(),
        other in any::<[u8; 28]>(), packed in 0u8..3, more in 0usize..5
    ) {
        let length: usize = kinds.iter().map(|kind| layouts()[*kind].size).sum();
        let numbers = kinds.iter().map(|kind| layouts()[*kind].number);
        let payload: Vec<u8> =
            numbers.chain(noise.into_iter().cycle()).take((length + more).saturating_sub(2)).collect();
        let (bytes, records) = ((payload.len() as u32).to_le_bytes(), kinds.len() as u32);
        let mut block = [&FILE[..16], &bytes, &bytes, &records.to_le_bytes(), &other[..]].concat();
        (block[10], block[11]) = (2, packed);
        block.extend(crc32fast::hash(&payload).to_le_bytes());
        block.extend(crc32fast::hash(&block).to_le_bytes());
        let read = blocks(&pieces(&mut open([&FILE[..header_bytes()], &block, &payload].concat())));
        prop_assert_eq!(read.len() == 1, packed == 0 && payload.len() == length && length > 0);
        for records in read {
            prop_assert_eq!((records.len(), count(&records)), (length, kinds.len()));
        }
    }

    #[test]
    fn bytes_that_are_no_recording_never_panic(bytes: Vec<u8>, behind_header: bool, again: Vec<u8>) {
        let bytes = if behind_header { [&FILE[..header_bytes()], &bytes].concat() } else { bytes };
        if let Ok(mut reader) = Reader::open(Cursor::new([bytes, again].concat())) {
            assert!(blocks(&pieces(&mut reader)).is_empty());
        }
    }
}

#[test]
fn each_flipped_bit_costs_the_block_it_is_in() {
    for (block, place) in PLACES.iter().enumerate().take(3) {
        for at in place.clone() {
            let mut bytes = FILE.clone();
            bytes[at] ^= 1 << (at % 8);
            let pieces = pieces(&mut open(bytes));
            let others: Vec<_> = (0..CHUNKS.len()).filter(|other| *other != block).collect();
            assert_eq!(pieces.len(), others.len() + 1, "byte {at}");
            check(&pieces, &others);
            let [damage] = damages(&pieces)[..] else { panic!("byte {at}") };
            assert_eq!((damage.offset, damage.bytes), (place.start as u64, place.len() as u64));
        }
    }
}

#[test]
fn either_copy_of_the_header_is_enough() {
    let all: Vec<_> = (0..CHUNKS.len()).collect();
    let copy = header_bytes() / 2;
    for from in [0, copy] {
        let mut bytes = FILE.clone();
        bytes[from..from + copy].fill(0);
        let pieces = pieces(&mut open(bytes));
        assert_eq!(damages(&pieces).len(), 1);
        check(&pieces, &all);
    }
}

#[test]
fn a_block_that_was_cut_out_is_missed() {
    let mut bytes = FILE.clone();
    bytes.drain(PLACES[4].clone());
    let pieces = pieces(&mut open(bytes));
    let missing = Damage {
        offset: PLACES[4].start as u64,
        bytes: 0,
        after_ktime_ns: Some(times(&CHUNKS[3]).1),
        before_ktime_ns: Some(times(&CHUNKS[5]).0),
        what: DamageKind::Missing,
    };
    assert_eq!(damages(&pieces), [missing]);
}

/// Copied there before what it is a copy of, and moved there.
#[test]
fn blocks_are_read_in_the_order_they_were_written_in() {
    let late = FILE[PLACES[7].start..PLACES[9].end].to_vec();
    let mut copied = FILE.clone();
    copied.splice(PLACES[2].end..PLACES[2].end, late.clone());
    let mut moved = FILE.clone();
    moved.drain(PLACES[7].start..PLACES[9].end);
    moved.splice(PLACES[2].end..PLACES[2].end, late.clone());
    for bytes in [copied, moved] {
        let mut reader = open(bytes);
        let read = pieces(&mut reader);
        assert_eq!(blocks(&read), *CHUNKS);
        let damage = Damage {
            offset: PLACES[2].end as u64,
            bytes: PLACES[7].len() as u64,
            after_ktime_ns: Some(times(&CHUNKS[2]).1),
            before_ktime_ns: Some(times(&CHUNKS[3]).0),
            what: DamageKind::Damaged,
        };
        assert_eq!(damages(&read), [damage]);
        reader.seek(times(&CHUNKS[8]).0).unwrap();
        assert_eq!(blocks(&pieces(&mut reader)), CHUNKS[8..]);
    }
}

#[test]
fn blocks_of_another_file_are_not_taken() {
    let other = Header { session: "another".to_owned(), ..header() };
    let mut writer = Writer::new(Vec::new(), &other).unwrap();
    for ktime in 1..200 {
        writer.push(testing::free(ktime, ktime).as_bytes()).unwrap();
        writer.flush().unwrap();
    }
    let other = writer.finish().unwrap();
    let mut bytes = FILE.clone();
    bytes.splice(PLACES[2].end..PLACES[2].end, other);
    let pieces = pieces(&mut open(bytes));
    assert_eq!(blocks(&pieces), *CHUNKS);
    assert_eq!(damages(&pieces).len(), 1);
}

#[test]
fn a_length_beyond_all_bounds_takes_no_memory() {
    let mut bytes = FILE[..header_bytes()].to_vec();
    let mut head = FILE[PLACES[0].start..][..64].to_vec();
    head[16..20].fill(0xff);
    let crc = crc32fast::hash(&head[..60]);
    head[60..].copy_from_slice(&crc.to_le_bytes());
    bytes.extend(head);
    let pieces = pieces(&mut open(bytes));
    assert_eq!(damages(&pieces).len(), 1);
}

/// Two ends of the same growing file.
#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>, u64);

impl io::Read for Shared {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = Cursor::new(&*self.0.borrow()).seek_read(self.1, into)?;
        self.1 += read as u64;
        Ok(read)
    }
}

impl io::Seek for Shared {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.1 = match to {
            io::SeekFrom::Start(at) => at,
            io::SeekFrom::End(_) => self.0.borrow().len() as u64,
            io::SeekFrom::Current(_) => self.1,
        };
        Ok(self.1)
    }
}

/// Reads from a place.
trait SeekRead {
    fn seek_read(self, at: u64, into: &mut [u8]) -> io::Result<usize>;
}

impl SeekRead for Cursor<&Vec<u8>> {
    fn seek_read(mut self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        self.set_position(at);
        io::Read::read(&mut self, into)
    }
}

#[test]
fn a_file_is_read_while_it_is_written() {
    let shared = Shared(Rc::new(RefCell::new(FILE[..header_bytes()].to_vec())), 0);
    let mut reader = Reader::open(shared.clone()).unwrap();
    let (mut read, mut tails) = (Vec::new(), 0);
    for piece in FILE[header_bytes()..].chunks(97) {
        shared.0.borrow_mut().extend(piece);
        for piece in pieces(&mut reader) {
            match piece {
                Piece::Block(block) => read.push(block.records.to_vec()),
                Piece::Damage(damage) => {
                    assert_eq!(damage.what, DamageKind::Tail);
                    tails += 1;
                }
            }
        }
        assert_eq!(reader.next().unwrap(), None, "told once");
    }
    assert_eq!(read, *CHUNKS);
    assert!((1..=CHUNKS.len()).contains(&tails), "{tails}");
}

#[test]
fn a_tail_that_was_torn_is_damage_once_there_is_more() {
    let torn = PLACES[5].start + 70;
    let shared = Shared(Rc::new(RefCell::new(FILE[..torn].to_vec())), 0);
    let mut reader = Reader::open(shared.clone()).unwrap();
    let before = pieces(&mut reader);
    assert_eq!(damages(&before)[0].what, DamageKind::Tail);
    // The writer went on without the rest of it.
    for (block, place) in PLACES.iter().enumerate().skip(6) {
        shared.0.borrow_mut().extend(&FILE[place.clone()]);
        let now = pieces(&mut reader);
        assert_eq!(blocks(&now), [&CHUNKS[block][..]]);
        let what: Vec<_> = damages(&now).iter().map(|damage| (damage.what, damage.bytes)).collect();
        assert_eq!(what, if block == 6 { vec![(DamageKind::Damaged, 70)] } else { vec![] });
    }
}

/// Fails now and then, having written some of what it was given.
struct Flaky {
    written: Vec<u8>,
    room: usize,
}

impl io::Write for Flaky {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.room.min(bytes.len()) {
            0 => Err(io::ErrorKind::StorageFull.into()),
            fits => {
                self.written.extend(&bytes[..fits]);
                self.room -= fits;
                Ok(fits)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_writer_goes_on_after_an_error() {
    for room in [0, 1, 63, 64, 65, 200] {
        let sink = Flaky { written: Vec::new(), room: usize::MAX };
        let mut writer = Writer::new(sink, &header()).unwrap();
        let mut failed = Vec::new();
        for (block, chunk) in CHUNKS.iter().enumerate() {
            writer.sink_mut().room = if block % 5 == 2 { room } else { usize::MAX };
            writer.push(chunk).unwrap();
            if writer.flush().is_err() {
                failed.push(block);
            }
        }
        assert_eq!(failed, [2, 7], "room {room}");
        let told = writer.bytes_written();
        let bytes = writer.finish().unwrap().written;
        assert_eq!(told, bytes.len() as u64);
        let read = pieces(&mut open(bytes));
        let whole: Vec<_> = (0..CHUNKS.len()).filter(|block| !failed.contains(block)).collect();
        assert_eq!(damages(&read).len(), 2);
        check(&read, &whole);
    }
}

#[test]
fn each_reason_not_to_open_is_told_apart() {
    let error = |bytes: &[u8]| Reader::open(Cursor::new(bytes.to_vec())).unwrap_err().to_string();
    let mut newer = FILE.clone();
    newer[8] = 2;
    newer[FILE.len() / 2] ^= 1;
    let copy = header_bytes() / 2;
    newer[copy + 8] = 2;
    assert!(error(&newer).contains("version 2"), "{}", error(&newer));
    assert!(error(b"").contains("empty"));
    assert!(error(&[7; 999]).contains("not a recording"));
    assert!(error(b"#!/bin/sh\n").contains("not a recording"));
    for torn in [3, 30, 64, 1_000] {
        assert!(error(&FILE[..torn]).contains("ends within"), "{torn}");
    }
    let mut damaged = FILE.clone();
    damaged[200] ^= 1;
    damaged[copy + 200] ^= 1;
    assert!(error(&damaged).contains("both copies"));
}
