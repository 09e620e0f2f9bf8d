//! Records that a recorder adds to those of the rings: what a recording without entries has instead of `New` and
//! `Free`, and what cannot be had from events at all.
//!
//! They follow the same rules as the records of the rings (`conntrack_common`): the first byte is the kind and fixes
//! the size, a multiple of eight; eight bytes on comes a CLOCK_MONOTONIC time in nanoseconds. Counts named *so far*
//! are since counting began: whatever is lost of a recording, the next such record puts them right.

use conntrack_common::Totals;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unalign};

/// What a record is; its first byte. Lower numbers are [`conntrack_common::Kind`]'s.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordedKind {
    /// [`Drain`]
    Drain = 64,
    /// [`Counters`]
    Counters = 65,
    /// [`NetnsSecond`]
    NetnsSecond = 66,
    /// [`Holder`]
    Holder = 67,
    /// [`Holding`]
    Holding = 68,
    /// [`Crossed`]
    Crossed = 69,
    /// [`AuditDone`]
    AuditDone = 70,
    /// [`Summed`]
    Summed = 71,
    /// [`Unrecorded`]
    Unrecorded = 72,
    /// [`Text`]
    Text = 73,
    /// [`Setting`]
    Setting = 74,
    /// [`Ended`]
    Ended = 75,
}

impl RecordedKind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Drain,
        Self::Counters,
        Self::NetnsSecond,
        Self::Holder,
        Self::Holding,
        Self::Crossed,
        Self::AuditDone,
        Self::Summed,
        Self::Unrecorded,
        Self::Text,
        Self::Setting,
        Self::Ended,
    ];

    /// The kind a record's first byte names, if any.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// One of these records, where it lies.
#[derive(Clone, Copy)]
pub enum Recorded<'a> {
    /// One drain of the rings begins.
    Drain(&'a Unalign<Drain>),
    /// The kernel's sums.
    Counters(&'a Unalign<Counters>),
    /// A second of a network namespace.
    NetnsSecond(&'a Unalign<NetnsSecond>),
    /// A source that held or was refused most.
    Holder(&'a Unalign<Holder>),
    /// A row of the picture of an episode.
    Holding(&'a Unalign<Holding>),
    /// A network namespace changed its state.
    Crossed(&'a Unalign<Crossed>),
    /// An audit is over.
    AuditDone(&'a Unalign<AuditDone>),
    /// Incidents left out one by one.
    Summed(&'a Unalign<Summed>),
    /// What the recorder could not take.
    Unrecorded(&'a Unalign<Unrecorded>),
    /// A piece of a text.
    Text(&'a Unalign<Text>),
    /// A kernel setting.
    Setting(&'a Unalign<Setting>),
    /// The recording ended.
    Ended(&'a Unalign<Ended>),
}

impl<'a> Recorded<'a> {
    /// Reads one of a kind from the beginning of `bytes`, and what follows it; none if they end before it does.
    pub fn read(kind: RecordedKind, bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        match kind {
            RecordedKind::Drain => prefix(bytes, Self::Drain),
            RecordedKind::Counters => prefix(bytes, Self::Counters),
            RecordedKind::NetnsSecond => prefix(bytes, Self::NetnsSecond),
            RecordedKind::Holder => prefix(bytes, Self::Holder),
            RecordedKind::Holding => prefix(bytes, Self::Holding),
            RecordedKind::Crossed => prefix(bytes, Self::Crossed),
            RecordedKind::AuditDone => prefix(bytes, Self::AuditDone),
            RecordedKind::Summed => prefix(bytes, Self::Summed),
            RecordedKind::Unrecorded => prefix(bytes, Self::Unrecorded),
            RecordedKind::Text => prefix(bytes, Self::Text),
            RecordedKind::Setting => prefix(bytes, Self::Setting),
            RecordedKind::Ended => prefix(bytes, Self::Ended),
        }
    }

    /// Its time.
    pub fn ktime_ns(self) -> u64 {
        match self {
            Self::Drain(record) => record.get().ktime_ns,
            Self::Counters(record) => record.get().ktime_ns,
            Self::NetnsSecond(record) => record.get().ktime_ns,
            Self::Holder(record) => record.get().ktime_ns,
            Self::Holding(record) => record.get().ktime_ns,
            Self::Crossed(record) => record.get().ktime_ns,
            Self::AuditDone(record) => record.get().ktime_ns,
            Self::Summed(record) => record.get().ktime_ns,
            Self::Unrecorded(record) => record.get().ktime_ns,
            Self::Text(record) => record.get().ktime_ns,
            Self::Setting(record) => record.get().ktime_ns,
            Self::Ended(record) => record.get().ktime_ns,
        }
    }
}

fn prefix<'a, T>(bytes: &'a [u8], of: fn(&'a Unalign<T>) -> Recorded<'a>) -> Option<(Recorded<'a>, &'a [u8])>
where
    T: FromBytes + KnownLayout + Immutable,
{
    let (record, rest) = Unalign::ref_from_prefix(bytes).ok()?;
    Some((of(record), rest))
}

/// What follows, up to the next of these, came with one drain of the rings: first the entries, in order, then the
/// incidents. Its time is the batch's.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Drain {
    /// [`RecordedKind::Drain`]
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 7],
    /// When the drain began. Everything stamped before was drained.
    pub ktime_ns: u64,
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC then: the clock was set where it differs from the one before.
    pub wall_offset_ns: i64,
}

/// The kernel's sums so far, of all network namespaces.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Counters {
    /// [`RecordedKind::Counters`]
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 7],
    /// When they were read.
    pub ktime_ns: u64,
    /// What they said.
    pub totals: Totals,
}

/// A second of one network namespace; none of one in which nothing moved, but for one a minute. Namespace 0 stands for
/// what is in the totals and of no namespace: those that are gone, calls that were not caught, frees of entries not
/// known. So the last row of each that is not gone adds up to all that was counted.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct NetnsSecond {
    /// [`RecordedKind::NetnsSecond`]
    pub kind: u8,
    /// The state at its end: the number of a [`State`](super::saturation::State), or [`NetnsSecond::GONE`].
    pub state: u8,
    /// Zero.
    pub reserved: u16,
    /// Inode number.
    pub netns: u32,
    /// When it ended.
    pub ktime_ns: u64,
    /// `nf_conntrack_count` at its end, or [`ABSENT`](conntrack_common::ABSENT).
    pub count: u32,
    /// `nf_conntrack_max` at its end, or [`ABSENT`](conntrack_common::ABSENT).
    pub max: u32,
    /// The highest count seen in it; 0 if none was.
    pub peak: u32,
    /// Entries in the live table at its end.
    pub entries: u32,
    /// Entries allocated so far.
    pub new: u64,
    /// Entries freed so far.
    pub freed: u64,
    /// Allocations refused so far.
    pub refused: u64,
    /// Entries evicted so far.
    pub evicted: u64,
    /// Entries not inserted so far.
    pub failed: u64,
    /// Entries freed unconfirmed so far, though nothing failed.
    pub unconfirmed: u64,
    /// Entries freed so far whose age was known.
    pub lifetimes: u64,
    /// Their mean age in nanoseconds.
    pub mean_lifetime_ns: u64,
}

/// One of the sources that held or were refused most at an interval's end; heaviest first, one right after the other,
/// then [`Holder::OTHER`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Holder {
    /// [`RecordedKind::Holder`]
    pub kind: u8,
    /// Zero.
    pub reserved: u8,
    /// Its place, from 0; [`Holder::OTHER`] for all other sources together, of every namespace.
    pub rank: u16,
    /// Inode number of its network namespace; 0 for the others.
    pub netns: u32,
    /// When.
    pub ktime_ns: u64,
    /// Its address as in a [`Tuple`](conntrack_common::Tuple).
    pub src: [u8; 16],
    /// `AF_INET` (2) or `AF_INET6` (10); 0 for the others.
    pub l3num: u32,
    /// Entries it held.
    pub entries: u32,
    /// Entries allocated so far.
    pub new: u64,
    /// Entries freed so far.
    pub freed: u64,
    /// Allocations refused so far.
    pub refused: u64,
    /// Entries evicted so far.
    pub evicted: u64,
    /// Entries not inserted so far.
    pub failed: u64,
    /// Entries freed unconfirmed so far, though nothing failed.
    pub unconfirmed: u64,
    /// Entries freed so far whose age was known.
    pub lifetimes: u64,
    /// Their mean age in nanoseconds.
    pub mean_lifetime_ns: u64,
}

impl NetnsSecond {
    /// The state of a namespace that is gone: the last of it, with no level and no entries. Its inode number may come
    /// again with another, whose sums begin anew.
    pub const GONE: u8 = u8::MAX;
}

impl Holder {
    /// The rank of all others together. For them `entries` is what the live table holds of them.
    pub const OTHER: u16 = u16::MAX;
}

/// By what a [`Holding`] counts.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// All entries of the namespace; the first of its kind, so it begins a picture.
    Total = 0,
    /// By source address.
    Source = 1,
    /// By source network.
    Prefix = 2,
    /// By original destination address.
    Destination = 3,
    /// By protocol and destination port.
    Port = 4,
    /// By protocol.
    Protocol = 5,
    /// By age: `port` is the bucket, under each of [`AGE_BOUNDS_S`](super::holders::AGE_BOUNDS_S) and over the last.
    Age = 6,
    /// Those whose age is not known.
    AgeUnknown = 7,
    /// New entries of the minute before by source address, not entries held.
    Arrivals = 8,
    /// How long that minute was, in nanoseconds; the last of its kind, so it ends a picture.
    ArrivalsWindow = 9,
}

impl Dimension {
    /// All of them by number.
    pub const ALL: [Self; 10] = [
        Self::Total,
        Self::Source,
        Self::Prefix,
        Self::Destination,
        Self::Port,
        Self::Protocol,
        Self::Age,
        Self::AgeUnknown,
        Self::Arrivals,
        Self::ArrivalsWindow,
    ];

    /// The dimension a [`Holding`] names, if any.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }
}

/// One row of the picture of who holds a namespace's table, taken when an episode begins.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Holding {
    /// [`RecordedKind::Holding`]
    pub kind: u8,
    /// A [`Dimension`].
    pub dimension: u8,
    /// Its place in that dimension, from 0; [`Holder::OTHER`] for the rest together.
    pub rank: u16,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// When the picture was taken.
    pub ktime_ns: u64,
    /// Address or network, as in a [`Tuple`](conntrack_common::Tuple).
    pub address: [u8; 16],
    /// `AF_INET` (2) or `AF_INET6` (10); 0 where there is no address.
    pub l3num: u16,
    /// Port, or bucket.
    pub port: u16,
    /// IPPROTO_*.
    pub protonum: u8,
    /// Bits of a network.
    pub prefix_len: u8,
    /// Zero.
    pub reserved: u16,
    /// How many.
    pub value: u64,
}

/// A network namespace changed its state.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Crossed {
    /// [`RecordedKind::Crossed`]
    pub kind: u8,
    /// The state before: the number of a [`State`](super::saturation::State).
    pub was: u8,
    /// The state from now on.
    pub state: u8,
    /// Zero.
    pub reserved: u8,
    /// Inode number.
    pub netns: u32,
    /// The kernel's stamp of what caused it, or the end of the calm that did.
    pub ktime_ns: u64,
    /// Count then, or [`ABSENT`](conntrack_common::ABSENT).
    pub count: u32,
    /// Limit then, or [`ABSENT`](conntrack_common::ABSENT).
    pub max: u32,
}

/// An audit is over: an [`AuditReport`](super::account::AuditReport).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct AuditDone {
    /// [`RecordedKind::AuditDone`]
    pub kind: u8,
    /// An [`AuditTrigger`](conntrack_common::AuditTrigger).
    pub trigger: u8,
    /// 1 if it was given up and proves nothing.
    pub abandoned: u8,
    /// Zero.
    pub reserved: u8,
    /// 1 for the first, and so on.
    pub number: u32,
    /// When it ended or was given up.
    pub ktime_ns: u64,
    /// When it began.
    pub began_ktime_ns: u64,
    /// Entries in the live table then.
    pub entries: u64,
    /// What it repaired.
    pub added: u64,
    /// What it repaired.
    pub removed: u64,
    /// What it repaired.
    pub replaced: u64,
    /// Buckets walked.
    pub buckets: u64,
    /// Times the walk began anew because the table was resized.
    pub restarts: u32,
    /// Buckets whose chain was too long to be walked to its end.
    pub cut_short: u32,
}

/// More of the same than a recording has room for: so many incidents of one source within a second, whose records
/// were left out.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Summed {
    /// [`RecordedKind::Summed`]
    pub kind: u8,
    /// What they were: the number of `Kind::Refused`, `Kind::Evicted` or `Kind::InsertFailed`.
    pub of: u8,
    /// A [`Cause`](conntrack_common::Cause) or [`InsertCause`](conntrack_common::InsertCause); 0 for evictions.
    pub cause: u8,
    /// Zero.
    pub reserved: u8,
    /// Inode number of the network namespace; 0 if it was not caught.
    pub netns: u32,
    /// When the last of them was.
    pub ktime_ns: u64,
    /// When the first of them was.
    pub first_ktime_ns: u64,
    /// How many.
    pub count: u64,
    /// The source (of a victim, for evictions), as in a [`Tuple`](conntrack_common::Tuple).
    pub src: [u8; 16],
    /// `AF_INET` (2) or `AF_INET6` (10); 0 if it was not caught.
    pub l3num: u32,
    /// `nf_conntrack_count` at the last of them, or [`ABSENT`](conntrack_common::ABSENT).
    pub level_count: u32,
    /// `nf_conntrack_max` at the last of them, or [`ABSENT`](conntrack_common::ABSENT).
    pub level_max: u32,
    /// Zero.
    pub reserved2: u32,
}

/// What the recorder could not take: it fell behind, or could not write.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Unrecorded {
    /// [`RecordedKind::Unrecorded`]
    pub kind: u8,
    /// [`Unrecorded::QUEUE_FULL`] or [`Unrecorded::NOT_WRITTEN`].
    pub reason: u8,
    /// Zero.
    pub reserved: [u8; 6],
    /// From then on it took everything again.
    pub ktime_ns: u64,
    /// Until then it had taken everything.
    pub from_ktime_ns: u64,
    /// Drains left out.
    pub drains: u64,
    /// Bytes of records left out.
    pub bytes: u64,
}

/// A piece of a text; they follow each other, and the last has a zero byte or is followed by another text.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Text {
    /// [`RecordedKind::Text`]
    pub kind: u8,
    /// What it is: [`Text::TRUST`].
    pub subject: u8,
    /// 0 for the first piece, and so on.
    pub piece: u16,
    /// Zero.
    pub reserved: u32,
    /// When it was said.
    pub ktime_ns: u64,
    /// UTF-8 once all pieces are put together, zero-filled.
    pub text: [u8; Text::BYTES],
}

/// A kernel setting, when it was first read and whenever it has changed.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Setting {
    /// [`RecordedKind::Setting`]
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Inode number of the network namespace it was read in.
    pub netns: u32,
    /// When it was read.
    pub ktime_ns: u64,
    /// Its value; times are seconds.
    pub value: u64,
    /// Its name below `/proc/sys/net/netfilter/nf_conntrack_`, zero-filled.
    pub name: [u8; 40],
}

/// The recording ended as it should: what happened later was not recorded.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Ended {
    /// [`RecordedKind::Ended`]
    pub kind: u8,
    /// [`Ended::RUN_ENDED`] or [`Ended::ANOTHER_FILE`].
    pub reason: u8,
    /// Zero.
    pub reserved: [u8; 6],
    /// When.
    pub ktime_ns: u64,
}

const _: () = {
    assert!(size_of::<Drain>() == 24);
    assert!(size_of::<Counters>() == 136);
    assert!(size_of::<NetnsSecond>() == 96);
    assert!(size_of::<Holder>() == 104);
    assert!(size_of::<Holding>() == 48);
    assert!(size_of::<Crossed>() == 24);
    assert!(size_of::<AuditDone>() == 72);
    assert!(size_of::<Summed>() == 64);
    assert!(size_of::<Unrecorded>() == 40);
    assert!(size_of::<Text>() == 64);
    assert!(size_of::<Setting>() == 64);
    assert!(size_of::<Ended>() == 16);
};

const _: () = {
    assert!(std::mem::offset_of!(Drain, ktime_ns) == 8);
    assert!(std::mem::offset_of!(Counters, ktime_ns) == 8);
    assert!(std::mem::offset_of!(NetnsSecond, ktime_ns) == 8);
    assert!(std::mem::offset_of!(Holder, ktime_ns) == 8);
    assert!(std::mem::offset_of!(Holding, ktime_ns) == 8);
    assert!(std::mem::offset_of!(Crossed, ktime_ns) == 8);
    assert!(std::mem::offset_of!(AuditDone, ktime_ns) == 8);
    assert!(std::mem::offset_of!(Summed, ktime_ns) == 8);
    assert!(std::mem::offset_of!(Unrecorded, ktime_ns) == 8);
    assert!(std::mem::offset_of!(Text, ktime_ns) == 8);
    assert!(std::mem::offset_of!(Setting, ktime_ns) == 8);
    assert!(std::mem::offset_of!(Ended, ktime_ns) == 8);
};

impl Unrecorded {
    /// The recorder fell behind, and its queue was full.
    pub const QUEUE_FULL: u8 = 1;
    /// The file could not be written.
    pub const NOT_WRITTEN: u8 = 2;
    /// The file cannot be read: no recorder writes that, a reader says it.
    pub const DAMAGED: u8 = 3;
}

impl Text {
    /// Of one piece.
    pub const BYTES: usize = 48;
    /// Backend and degradations as JSON: `{"backend": …, "degradations": […]}`.
    pub const TRUST: u8 = 1;
}

impl Ended {
    /// The run is over.
    pub const RUN_ENDED: u8 = 1;
    /// Another file goes on.
    pub const ANOTHER_FILE: u8 = 2;
}
