//! Records of what is read rather than hooked: the walk over the table, counts, statistics, names.
//!
//! [`Seen`] comes from the walker through `CTW_ENTRIES`, in order with `New` and `Free`; [`Count`] from the census
//! through `CTW_INCIDENTS`. The loader writes the others: [`Audit`] and [`Gap`] into the stream of entries, the
//! rest among the incidents.

use crate::{RefusalKey, Refusals, Tuple};
#[cfg(feature = "user")]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What was found at the address of an entry, by the walk over the table or asked for by address; or an entry that
/// a dump listed.
///
/// Its place in the ring was taken before it was looked at. So if it is alive, its `Free` comes later, and if it
/// is not, its `Free` came before. One that was listed has its place before all that the rings held then: its `Free`
/// comes later, its `New` may.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Seen {
    /// [`Kind::Seen`](crate::Kind)
    pub kind: u8,
    /// 1 if an entry lives there. Else all below `ct` is zero.
    pub alive: u8,
    /// Conntrack zone.
    pub zone: u16,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// When it was looked at, or at the latest.
    pub ktime_ns: u64,
    /// Address of the `nf_conn`. Where dumps stand for the walk, of an entry that a dump listed: a key made of
    /// namespace, zone and tuple, with the highest bit clear, which every kernel address has set.
    pub ct: u64,
    /// The original direction.
    pub tuple: Tuple,
    /// When it was confirmed, CLOCK_REALTIME; 0 unless `nf_conntrack_timestamp` was on then.
    pub confirmed_unix_ns: u64,
    /// `nf_conn.status`
    pub status: u32,
    /// 1 if a dump listed it, so that `ct` is no address.
    pub listed: u8,
    /// `nf_conn.proto.tcp.state` of a TCP entry; 255 of any other, and where it is not known.
    pub tcp_state: u8,
    /// Zero.
    pub reserved: u16,
}

/// Where an audit stands.
///
/// ```text
/// Began, Seen... (the walk), Walked, [the engine names entries the walk did not find], Seen... (those), Ended
/// ```
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuditPhase {
    /// What was allocated before this must be seen, or be freed, before the end.
    Began = 1,
    /// The walk is complete: all that is in the table was seen.
    Walked = 2,
    /// Every entry the engine asked for has been looked up.
    Ended = 3,
    /// It was given up and proves nothing: the table was resized again and again, or a ring had no room.
    Abandoned = 4,
}

/// Why an audit was made.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuditTrigger {
    /// The first: learns what was there before.
    Attached = 1,
    /// Its time had come.
    Interval = 2,
    /// Records were lost.
    Lost = 3,
    /// An event was missed.
    Missed = 4,
    /// Somebody wants to see what only audits see.
    Asked = 5,
}

/// One step of an audit.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Audit {
    /// [`Kind::Audit`](crate::Kind)
    pub kind: u8,
    /// An [`AuditPhase`].
    pub phase: u8,
    /// An [`AuditTrigger`].
    pub trigger: u8,
    /// Zero.
    pub reserved: u8,
    /// 1 for the first, and so on.
    pub number: u32,
    /// When this step was taken.
    pub ktime_ns: u64,
    /// When it began.
    pub began_ktime_ns: u64,
    /// Buckets walked so far.
    pub buckets: u64,
    /// Times the walk began anew because the table was resized.
    pub restarts: u32,
    /// Buckets whose chain was too long to be walked to its end.
    pub cut_short: u32,
}

/// `nf_conntrack_count` of one network namespace, read by the census.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Count {
    /// [`Kind::Count`](crate::Kind)
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Inode number of the network namespace.
    pub netns: u32,
    /// When it was read.
    pub ktime_ns: u64,
    /// `nf_conntrack_count`, or [`ABSENT`](crate::ABSENT).
    pub count: u32,
    /// `nf_conntrack_max`, or [`ABSENT`](crate::ABSENT).
    pub max: u32,
    /// What tells this namespace from a later one with the same inode number: `net.net_cookie`, before 5.12 the
    /// address of the `struct net`; 0 if neither was read.
    pub cookie: u64,
}

/// One line of the refusal ledger, put among the incidents by the loader after some of them were lost.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Ledger {
    /// [`Kind::Ledger`](crate::Kind)
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Zero.
    pub reserved2: u32,
    /// When it was read.
    pub ktime_ns: u64,
    /// Whose line it is.
    pub key: RefusalKey,
    /// What it says.
    pub refusals: Refusals,
}

/// A census is complete: a namespace it did not count no longer exists.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Census {
    /// [`Kind::Census`](crate::Kind)
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// How many [`Count`]s it sent; if fewer arrived with stamps from `began_ktime_ns` on, some were lost.
    pub counts: u32,
    /// When it ended.
    pub ktime_ns: u64,
    /// When it began.
    pub began_ktime_ns: u64,
}

/// The kernel's own statistics of one network namespace (`struct ip_conntrack_stat`, as `conntrack -S` shows
/// them): what was added since ctwatch attached, all CPUs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Stats {
    /// [`Kind::Stats`](crate::Kind)
    pub kind: u8,
    /// 1 if nothing else tells of refusals and evictions (the netlink backend), 0 if this is only compared.
    pub alone: u8,
    /// Zero.
    pub reserved: u16,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// When they were read.
    pub ktime_ns: u64,
    /// Packets dropped: table full, no memory, clash, NAT ports exhausted.
    pub drop: u64,
    /// Entries evicted.
    pub early_drop: u64,
    /// Entries not inserted.
    pub insert_failed: u64,
    /// Chains too long; 0 where the kernel does not count them.
    pub chaintoolong: u64,
    /// Clashes resolved.
    pub clash_resolve: u64,
    /// Packets that belong to no connection.
    pub invalid: u64,
}

/// How often the kernel skipped one program since it was attached: `bpf_prog_info.recursion_misses` (5.12+) or
/// `bpf_link_info.perf_event.kprobe.missed` (6.7+).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Missed {
    /// [`Kind::Missed`](crate::Kind)
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 7],
    /// When it was read.
    pub ktime_ns: u64,
    /// Name of the program, zero-terminated.
    pub program: [u8; 16],
    /// How often.
    pub missed: u64,
}

/// What people call a network namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct NetnsName {
    /// [`Kind::NetnsName`](crate::Kind)
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Inode number of the network namespace.
    pub netns: u32,
    /// When it was found.
    pub ktime_ns: u64,
    /// UTF-8, zero-terminated, cut off if longer.
    pub name: [u8; 48],
}

/// conntrack was away (its module was unloaded), with all entries; from here on everything is counted anew.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Gap {
    /// [`Kind::Gap`](crate::Kind)
    pub kind: u8,
    /// 1 if conntrack is there again and ctwatch is attached to it, 0 if it has just been found gone.
    pub over: u8,
    /// Zero.
    pub reserved: [u8; 6],
    /// When that was noticed, or when ctwatch had attached again.
    pub ktime_ns: u64,
    /// When it was found gone.
    pub from_ktime_ns: u64,
}

const _: () = {
    assert!(size_of::<Seen>() == 80);
    assert!(size_of::<Audit>() == 40);
    assert!(size_of::<Count>() == 32);
    assert!(size_of::<Ledger>() == 64);
    assert!(size_of::<Census>() == 24);
    assert!(size_of::<Stats>() == 64);
    assert!(size_of::<Missed>() == 40);
    assert!(size_of::<NetnsName>() == 64);
    assert!(size_of::<Gap>() == 24);
};

impl AuditPhase {
    /// The phase an [`Audit`] names, if any.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Began),
            2 => Some(Self::Walked),
            3 => Some(Self::Ended),
            4 => Some(Self::Abandoned),
            _ => None,
        }
    }
}

impl AuditTrigger {
    /// The trigger an [`Audit`] names, if any.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Attached),
            2 => Some(Self::Interval),
            3 => Some(Self::Lost),
            4 => Some(Self::Missed),
            5 => Some(Self::Asked),
            _ => None,
        }
    }
}
