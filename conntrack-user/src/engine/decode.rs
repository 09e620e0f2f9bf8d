//! Turns the bytes of a batch into records, and its two streams into one in the order of time.

use std::iter::Peekable;
use std::mem::offset_of;
use std::vec::IntoIter;

use conntrack_common::{
    Audit, Census, Count, Evicted, Free, Gap, InsertFailed, Kind, Ledger, Missed, NetnsName, New, Refused,
    RoomMade, Seen, Stats,
};
use thiserror::Error;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unalign};

use super::recorded::{Recorded, RecordedKind};

/// One record of either ring, where it lies: the bytes owe nobody an alignment.
#[derive(Clone, Copy)]
pub enum Record<'a> {
    /// An entry was allocated.
    New(&'a Unalign<New>),
    /// An entry was freed.
    Free(&'a Unalign<Free>),
    /// An allocation failed.
    Refused(&'a Unalign<Refused>),
    /// `early_drop` freed an entry.
    Evicted(&'a Unalign<Evicted>),
    /// For whom `early_drop` did so.
    RoomMade(&'a Unalign<RoomMade>),
    /// The census read a count.
    Count(&'a Unalign<Count>),
    /// The loader read a line of the refusal ledger.
    Ledger(&'a Unalign<Ledger>),
    /// The loader looked at an address.
    Seen(&'a Unalign<Seen>),
    /// An audit went a step further.
    Audit(&'a Unalign<Audit>),
    /// An entry was not inserted.
    InsertFailed(&'a Unalign<InsertFailed>),
    /// A census is complete.
    Census(&'a Unalign<Census>),
    /// The kernel's own statistics.
    Stats(&'a Unalign<Stats>),
    /// Calls that a program was not told of.
    Missed(&'a Unalign<Missed>),
    /// The name of a network namespace.
    NetnsName(&'a Unalign<NetnsName>),
    /// conntrack was unloaded, or is there again.
    Gap(&'a Unalign<Gap>),
    /// What only recordings hold.
    Recorded(Recorded<'a>),
}

impl Record<'_> {
    /// The kernel's stamp.
    #[inline]
    pub fn ktime_ns(self) -> u64 {
        match self {
            Self::New(record) => record.get().ktime_ns,
            Self::Free(record) => record.get().ktime_ns,
            Self::Refused(record) => record.get().ktime_ns,
            Self::Evicted(record) => record.get().ktime_ns,
            Self::RoomMade(record) => record.get().ktime_ns,
            Self::Count(record) => record.get().ktime_ns,
            Self::Ledger(record) => record.get().ktime_ns,
            Self::Seen(record) => record.get().ktime_ns,
            Self::Audit(record) => record.get().ktime_ns,
            Self::InsertFailed(record) => record.get().ktime_ns,
            Self::Census(record) => record.get().ktime_ns,
            Self::Stats(record) => record.get().ktime_ns,
            Self::Missed(record) => record.get().ktime_ns,
            Self::NetnsName(record) => record.get().ktime_ns,
            Self::Gap(record) => record.get().ktime_ns,
            Self::Recorded(record) => record.ktime_ns(),
        }
    }
}

// Where `Records::next_ktime_ns` looks.
const _: () = assert!(
    offset_of!(New, ktime_ns) == 8
        && offset_of!(Free, ktime_ns) == 8
        && offset_of!(Refused, ktime_ns) == 8
        && offset_of!(Evicted, ktime_ns) == 8
        && offset_of!(RoomMade, ktime_ns) == 8
        && offset_of!(Count, ktime_ns) == 8
        && offset_of!(Ledger, ktime_ns) == 8
        && offset_of!(Seen, ktime_ns) == 8
        && offset_of!(Audit, ktime_ns) == 8
        && offset_of!(InsertFailed, ktime_ns) == 8
        && offset_of!(Census, ktime_ns) == 8
        && offset_of!(Stats, ktime_ns) == 8
        && offset_of!(Missed, ktime_ns) == 8
        && offset_of!(NetnsName, ktime_ns) == 8
        && offset_of!(Gap, ktime_ns) == 8
);

/// Bytes that are no record. Without framing nothing after them can be trusted either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The first byte names no kind.
    #[error("no record kind has number {byte} (offset {offset})")]
    UnknownKind {
        /// Where in the stream.
        offset: usize,
        /// What stands there.
        byte: u8,
    },
    /// The stream ends inside a record.
    #[error("the stream ends {left} bytes into a record of kind {kind} (offset {offset})")]
    ShortTail {
        /// Where the record begins.
        offset: usize,
        /// The number of its kind.
        kind: u8,
        /// How many bytes there are.
        left: usize,
    },
}

/// The records of one stream. The first error is the last item.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    len: usize,
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// Reads from the first byte on.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { len: bytes.len(), rest: bytes }
    }

    /// The next record and its bytes; none at the end and before what is no record.
    pub fn next_with_bytes(&mut self) -> Option<(Record<'a>, &'a [u8])> {
        let bytes = self.rest;
        let record = self.next()?.ok()?;
        Some((record, &bytes[..bytes.len() - self.rest.len()]))
    }

    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Where the next record begins.
    pub fn offset(&self) -> usize {
        self.len - self.rest.len()
    }

    /// The stamp of the next record, read without decoding it; 0 if there is only the beginning of one.
    #[inline]
    fn next_ktime_ns(&self) -> Option<u64> {
        match *self.rest {
            [] => None,
            [_, _, _, _, _, _, _, _, a, b, c, d, e, f, g, h, ..] => {
                Some(u64::from_ne_bytes([a, b, c, d, e, f, g, h]))
            }
            _ => Some(0),
        }
    }

    #[inline]
    fn read<T>(&mut self, kind: Kind) -> Result<&'a Unalign<T>, DecodeError>
    where
        T: FromBytes + KnownLayout + Immutable,
    {
        match Unalign::ref_from_prefix(self.rest) {
            Ok((record, rest)) => {
                self.rest = rest;
                Ok(record)
            }
            Err(_) => {
                Err(DecodeError::ShortTail { offset: self.offset(), kind: kind as u8, left: self.rest.len() })
            }
        }
    }
}

impl<'a> Records<'a> {
    #[cold]
    fn read_recorded(&mut self, byte: u8) -> Result<Record<'a>, DecodeError> {
        let offset = self.offset();
        let Some(kind) = RecordedKind::from_byte(byte) else {
            return Err(DecodeError::UnknownKind { offset, byte });
        };
        let left = self.rest.len();
        let (record, rest) =
            Recorded::read(kind, self.rest).ok_or(DecodeError::ShortTail { offset, kind: byte, left })?;
        self.rest = rest;
        Ok(Record::Recorded(record))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let byte = *self.rest.first()?;
        let record = match Kind::from_byte(byte) {
            Some(kind @ Kind::New) => self.read(kind).map(Record::New),
            Some(kind @ Kind::Free) => self.read(kind).map(Record::Free),
            Some(kind @ Kind::Refused) => self.read(kind).map(Record::Refused),
            Some(kind @ Kind::Evicted) => self.read(kind).map(Record::Evicted),
            Some(kind @ Kind::RoomMade) => self.read(kind).map(Record::RoomMade),
            Some(kind @ Kind::Count) => self.read(kind).map(Record::Count),
            Some(kind @ Kind::Ledger) => self.read(kind).map(Record::Ledger),
            Some(kind @ Kind::Seen) => self.read(kind).map(Record::Seen),
            Some(kind @ Kind::Audit) => self.read(kind).map(Record::Audit),
            Some(kind @ Kind::InsertFailed) => self.read(kind).map(Record::InsertFailed),
            Some(kind @ Kind::Census) => self.read(kind).map(Record::Census),
            Some(kind @ Kind::Stats) => self.read(kind).map(Record::Stats),
            Some(kind @ Kind::Missed) => self.read(kind).map(Record::Missed),
            Some(kind @ Kind::NetnsName) => self.read(kind).map(Record::NetnsName),
            Some(kind @ Kind::Gap) => self.read(kind).map(Record::Gap),
            None => self.read_recorded(byte),
        };
        if record.is_err() {
            self.rest = &[];
        }
        Some(record)
    }
}

/// Both streams of a batch by time; at the same time incidents come first, so that an `Evicted` is seen
/// while its victim is still in the live table.
///
/// Entries keep the ring's order, in which a `New` comes before its `Free`. Incidents are put into the order of
/// time: a record is stamped once it has its place in the ring, and another CPU may come between.
#[derive(Clone)]
pub struct Merged<'a> {
    entries: Records<'a>,
    incidents: Peekable<IntoIter<Result<Record<'a>, DecodeError>>>,
}

impl<'a> Merged<'a> {
    /// Merges the bytes of the two rings.
    pub fn new(entries: &'a [u8], incidents: &'a [u8]) -> Self {
        let mut incidents: Vec<_> = Records::new(incidents).collect();
        incidents.sort_by_key(stamp);
        Self { entries: Records::new(entries), incidents: incidents.into_iter().peekable() }
    }

    /// Whether all was given out.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.incidents.len() == 0
    }

    /// What is left of the entries stream.
    pub fn entries_ahead(&self) -> Records<'a> {
        self.entries.clone()
    }
}

impl<'a> Iterator for Merged<'a> {
    type Item = Result<Record<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let incident_first = self.incidents.peek().is_some_and(|incident| {
            self.entries.next_ktime_ns().is_none_or(|entry| stamp(incident) <= entry)
        });
        if incident_first { self.incidents.next() } else { self.entries.next() }
    }
}

/// When a record was stamped; what is none ends its stream and so comes last.
fn stamp(record: &Result<Record<'_>, DecodeError>) -> u64 {
    record.as_ref().map_or(u64::MAX, |record| record.ktime_ns())
}

#[cfg(test)]
mod tests {
    use conntrack_common::{AuditPhase, AuditTrigger};
    use proptest::prelude::*;

    use super::*;
    use crate::engine::testing::{self, Record, bytes};

    fn one_of_each() -> [(Kind, Record); 15] {
        let audit = testing::audit(AuditPhase::Began, AuditTrigger::Lost, 3, 85, 90);
        [
            (Kind::New, Record::New(testing::new(1, 10, 1))),
            (Kind::Free, Record::Free(testing::free(1, 20))),
            (Kind::Refused, Record::Refused(testing::refused(30, 2, 512, 512))),
            (Kind::Evicted, Record::Evicted(testing::evicted(1, 40, 1, 99))),
            (Kind::RoomMade, Record::RoomMade(testing::room_made(50, 3, 99))),
            (Kind::Count, Record::Count(testing::count(60, 511, 512))),
            (Kind::Ledger, Record::Ledger(testing::ledger(70, 2, 5))),
            (Kind::Seen, Record::Seen(testing::seen(1, 80, 2))),
            (Kind::Audit, Record::Audit(audit)),
            (Kind::InsertFailed, Record::InsertFailed(testing::insert_failed(1, 100, 2))),
            (Kind::Census, Record::Census(testing::census(4, 105, 110))),
            (Kind::Stats, Record::Stats(testing::stats(120, 3, 2, 1))),
            (Kind::Missed, Record::Missed(testing::missed(130, "alloc", 7))),
            (Kind::NetnsName, Record::NetnsName(testing::netns_name(140, 1, "gw"))),
            (Kind::Gap, Record::Gap(testing::gap(true, 145, 150))),
        ]
    }

    fn read<'a>(
        records: impl Iterator<Item = Result<super::Record<'a>, DecodeError>>,
    ) -> Vec<Result<Record, DecodeError>> {
        records.map(|record| record.map(Record::from)).collect()
    }

    #[test]
    fn reads_every_kind_back() {
        let records = one_of_each().map(|(_, record)| record);
        assert_eq!(read(Records::new(&bytes(&records))), records.map(Ok));
    }

    #[test]
    fn a_bad_byte_ends_the_stream() {
        let mut stream = bytes(&[Record::Free(testing::free(1, 20))]);
        stream.extend([77; 64]);
        let items = read(Records::new(&stream));
        assert_eq!(items.len(), 2);
        assert_eq!(items[1], Err(DecodeError::UnknownKind { offset: 24, byte: 77 }));
    }

    #[test]
    fn a_short_tail_ends_the_stream() {
        for (kind, record) in one_of_each() {
            let stream = bytes(&[Record::Free(testing::free(1, 20)), record]);
            let items = read(Records::new(&stream[..stream.len() - 1]));
            let left = stream.len() - 25;
            assert_eq!(items.len(), 2);
            assert_eq!(items[1], Err(DecodeError::ShortTail { offset: 24, kind: kind as u8, left }));
        }
    }

    #[test]
    fn an_eviction_comes_before_its_free() {
        let entries = bytes(&[
            Record::New(testing::new(1, 5, 1)),
            Record::Free(testing::free(1, 40)),
            Record::New(testing::new(2, 50, 1)),
        ]);
        let incidents =
            bytes(&[Record::Evicted(testing::evicted(1, 40, 1, 9)), Record::Count(testing::count(60, 1, 2))]);
        let kinds: Vec<_> = Merged::new(&entries, &incidents)
            .map(|record| {
                record.map(|record| (record.ktime_ns(), matches!(record, super::Record::Evicted(_))))
            })
            .collect();
        assert_eq!(
            kinds,
            [Ok((5, false)), Ok((40, true)), Ok((40, false)), Ok((50, false)), Ok((60, false))]
        );
    }

    #[test]
    fn incidents_committed_late_are_put_into_the_order_of_time() {
        let (early, late) = (testing::evicted(1, 40, 1, 9), testing::evicted(2, 50, 2, 8));
        let mut incidents = bytes(&[Record::Evicted(late), Record::Evicted(early)]);
        incidents.push(77);
        let entries = bytes(&[Record::Free(testing::free(1, 45))]);
        let stamps: Vec<_> = Merged::new(&entries, &incidents)
            .map(|record| record.ok().map(super::Record::ktime_ns))
            .collect();
        assert_eq!(stamps, [Some(40), Some(45), Some(50), None]);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(entries: Vec<u8>, incidents in bytes_like_records()) {
            let alone: Vec<_> = Records::new(&incidents).collect();
            prop_assert!(alone.iter().rev().skip(1).all(Result::is_ok), "nothing follows an error");
            let merged = Merged::new(&entries, &incidents).count();
            prop_assert_eq!(merged, Records::new(&entries).count() + alone.len());
        }
    }

    /// Kind bytes at plausible places, so that the walk gets further than one record.
    fn bytes_like_records() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec((0u8..=7, any::<[u8; 23]>()), 0..40).prop_map(|chunks| {
            chunks.iter().flat_map(|(kind, rest)| [&[*kind], &rest[..]].concat()).collect()
        })
    }
}
