//! The records of the two rings that hooks write. The first byte of each record is its [`Kind`], which fixes its
//! size; eight bytes on comes its time, CLOCK_MONOTONIC in nanoseconds (`bpf_ktime_get_ns`), taken in the hook.
//!
//! `CTW_ENTRIES` carries [`New`] and [`Free`]; `CTW_INCIDENTS` carries [`Refused`], [`Evicted`],
//! [`RoomMade`] and [`InsertFailed`]. What is read besides goes the same two ways, see [`survey`](crate::Seen).

#[cfg(feature = "user")]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a record is; its first byte.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`New`]
    New = 1,
    /// [`Free`]
    Free = 2,
    /// [`Refused`]
    Refused = 3,
    /// [`Evicted`]
    Evicted = 4,
    /// [`RoomMade`]
    RoomMade = 5,
    /// [`Count`](crate::Count)
    Count = 6,
    /// [`Ledger`](crate::Ledger)
    Ledger = 7,
    /// [`Seen`](crate::Seen)
    Seen = 8,
    /// [`Audit`](crate::Audit)
    Audit = 9,
    /// [`InsertFailed`]
    InsertFailed = 10,
    /// [`Census`](crate::Census)
    Census = 11,
    /// [`Stats`](crate::Stats)
    Stats = 12,
    /// [`Missed`](crate::Missed)
    Missed = 13,
    /// [`NetnsName`](crate::NetnsName)
    NetnsName = 14,
    /// [`Gap`](crate::Gap)
    Gap = 15,
}

/// Why the kernel refused an allocation.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The count was over `nf_conntrack_max` and `early_drop` found nothing to evict.
    TableFull = 1,
    /// The slab allocator had no memory.
    NoMemory = 2,
    /// Not a packet: ctnetlink or a BPF kfunc asked for the entry (it passes hash 0).
    Ctnetlink = 3,
}

/// Why a new entry was not inserted into the table, and its packet dropped.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InsertCause {
    /// Another packet of the same connection was inserted first, on another CPU (`nf_ct_resolve_clash`).
    Clash = 1,
    /// A hash chain was too long (`__nf_conntrack_confirm`, 5.15+).
    ChainTooLong = 2,
    /// NAT found no free port and left the last one it tried, which another connection has.
    NatPorts = 3,
    /// The entry was killed (a flush) before its first packet left.
    Dying = 4,
}

/// How an entry ended.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// In any other way: its time was up, it was deleted, or its packet was dropped before it was confirmed.
    Other = 0,
    /// `early_drop` freed it, on this CPU for this task.
    Evicted = 1,
    /// It was not inserted: an [`InsertFailed`] told why, or it lost a clash that was resolved.
    NotInserted = 2,
}

/// `struct nf_conntrack_tuple` (include/net/netfilter/nf_conntrack_tuple.h) byte for byte, 5.10 to 7.3.
///
/// The loader refuses to attach where the running kernel's BTF lays it out otherwise. Aligned so that it is
/// copied in words: BPF has no memcpy, and byte by byte a copy is 240 instructions.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Tuple {
    /// `src.u3`: an IPv4 address in the first four bytes, or an IPv6 address.
    pub src: [u8; 16],
    /// `src.u`: port, ICMP identifier or GRE key; network order.
    pub sport: [u8; 2],
    /// `src.l3num`: `AF_INET` (2) or `AF_INET6` (10).
    pub l3num: u16,
    /// `dst.u3`, as `src`.
    pub dst: [u8; 16],
    /// `dst.u`: port, or ICMP type and code; network order.
    pub dport: [u8; 2],
    /// `dst.protonum`: IPPROTO_*.
    pub protonum: u8,
    /// `dst.dir`: 0 original, 1 reply.
    pub dir: u8,
}

/// `__nf_conntrack_alloc` returned an entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct New {
    /// [`Kind::New`]
    pub kind: u8,
    /// 1 if the same entry may have been [`Seen`](crate::Seen) already (ctnetlink, which tells later than it lists).
    pub may_be_seen: u8,
    /// Conntrack zone.
    pub zone: u16,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// When the allocation returned.
    pub ktime_ns: u64,
    /// Address of the `nf_conn`: the entry's identity until it is freed.
    pub ct: u64,
    /// The original direction.
    pub tuple: Tuple,
}

/// `nf_conntrack_free` was called.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Free {
    /// [`Kind::Free`]
    pub kind: u8,
    /// In the low four bits an [`End`], in the high four the TCP state: see [`Free::tell_end`].
    pub end: u8,
    /// `nf_conn.status`, IPS_* bits (15 of them exist).
    pub status: u16,
    /// `nf_conn.mark` if [`Settings::read_mark`](crate::Settings) is set, else 0.
    pub mark: u32,
    /// When the function was entered.
    pub ktime_ns: u64,
    /// Address of the `nf_conn`.
    pub ct: u64,
}

impl Free {
    /// What [`Free::end`] holds of an entry that ended so in this TCP state: the state is kept as its number plus one, so
    /// that zero says nothing is known of it. No kernel has more than 12 states; a number above 14 is none.
    #[inline(always)]
    pub const fn tell_end(end: End, tcp_state: u8) -> u8 {
        let state = if tcp_state < 15 { tcp_state + 1 } else { 0 };
        end as u8 | state << 4
    }

    /// How it ended, if that is a known way.
    #[inline(always)]
    pub const fn end(&self) -> Option<End> {
        End::from_byte(self.end & 0xf)
    }

    /// `nf_conn.proto.tcp.state` when it was freed. None of another protocol, where it is not known, and unless
    /// [`Settings::read_tcp_state`](crate::Settings) is set.
    #[inline(always)]
    pub const fn tcp_state(&self) -> Option<u8> {
        (self.end >> 4).checked_sub(1)
    }
}

/// `__nf_conntrack_alloc` returned an error.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Refused {
    /// [`Kind::Refused`]
    pub kind: u8,
    /// A [`Cause`].
    pub cause: u8,
    /// Conntrack zone.
    pub zone: u16,
    /// Inode number of the network namespace; 0 if the call's arguments were not caught.
    pub netns: u32,
    /// When the allocation returned.
    pub ktime_ns: u64,
    /// `nf_conntrack_count` of the namespace, or [`ABSENT`](crate::ABSENT).
    pub count: u32,
    /// `nf_conntrack_max`, or [`ABSENT`](crate::ABSENT).
    pub max: u32,
    /// The connection that was refused; all zero if the call's arguments were not caught.
    pub tuple: Tuple,
}

/// An entry freed by `early_drop` to make room; its [`Free`] follows in the other ring.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Evicted {
    /// [`Kind::Evicted`]
    pub kind: u8,
    /// Zero.
    pub reserved: u8,
    /// Conntrack zone of the victim.
    pub zone: u16,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// When the victim was freed: equal to the time of its [`Free`].
    pub ktime_ns: u64,
    /// `nf_conntrack_count` of the namespace, or [`ABSENT`](crate::ABSENT).
    pub count: u32,
    /// `nf_conntrack_max`, or [`ABSENT`](crate::ABSENT).
    pub max: u32,
    /// Address of the victim.
    pub ct: u64,
    /// The victim's original direction.
    pub tuple: Tuple,
    /// The victim's `nf_conn.status`.
    pub status: u32,
    /// The victim's `nf_conn.mark`, or 0 where the kernel keeps none.
    pub mark: u32,
    /// The hash `early_drop` was called with: equal to that of the [`RoomMade`] that follows.
    pub hash: u32,
    /// Zero.
    pub reserved2: u32,
}

/// The connection that lives because `early_drop` evicted others: follows their [`Evicted`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct RoomMade {
    /// [`Kind::RoomMade`]
    pub kind: u8,
    /// Zero.
    pub reserved: u8,
    /// Conntrack zone.
    pub zone: u16,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// When the allocation returned.
    pub ktime_ns: u64,
    /// The hash `early_drop` was called with.
    pub hash: u32,
    /// How many entries were evicted for it.
    pub victims: u32,
    /// The original direction of the new entry.
    pub tuple: Tuple,
}

/// A new entry was not inserted into the table; its [`Free`] follows in the other ring.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct InsertFailed {
    /// [`Kind::InsertFailed`]
    pub kind: u8,
    /// An [`InsertCause`].
    pub cause: u8,
    /// Conntrack zone.
    pub zone: u16,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// When that was decided.
    pub ktime_ns: u64,
    /// Address of the entry.
    pub ct: u64,
    /// The original direction.
    pub original: Tuple,
    /// The reply direction: after source NAT its destination is the address and port that NAT chose.
    pub reply: Tuple,
    /// `nf_conn.status`
    pub status: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = {
    assert!(size_of::<Tuple>() == 40);
    assert!(size_of::<New>() == 64);
    assert!(size_of::<Free>() == 24);
    assert!(size_of::<Refused>() == 64);
    assert!(size_of::<Evicted>() == 88);
    assert!(size_of::<RoomMade>() == 64);
    assert!(size_of::<InsertFailed>() == 112);
};

impl Kind {
    /// The kind a record's first byte names, if any.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::New),
            2 => Some(Self::Free),
            3 => Some(Self::Refused),
            4 => Some(Self::Evicted),
            5 => Some(Self::RoomMade),
            6 => Some(Self::Count),
            7 => Some(Self::Ledger),
            8 => Some(Self::Seen),
            9 => Some(Self::Audit),
            10 => Some(Self::InsertFailed),
            11 => Some(Self::Census),
            12 => Some(Self::Stats),
            13 => Some(Self::Missed),
            14 => Some(Self::NetnsName),
            15 => Some(Self::Gap),
            _ => None,
        }
    }
}

impl Cause {
    /// The cause a [`Refused`] names, if any.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::TableFull),
            2 => Some(Self::NoMemory),
            3 => Some(Self::Ctnetlink),
            _ => None,
        }
    }
}

impl InsertCause {
    /// The cause an [`InsertFailed`] names, if any.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Clash),
            2 => Some(Self::ChainTooLong),
            3 => Some(Self::NatPorts),
            4 => Some(Self::Dying),
            _ => None,
        }
    }
}

impl End {
    /// The end a [`Free`] names, if any.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Other),
            1 => Some(Self::Evicted),
            2 => Some(Self::NotInserted),
            _ => None,
        }
    }
}

impl Tuple {
    /// What a refusal carries whose arguments were not caught.
    pub const ZERO: Self =
        Self { src: [0; 16], sport: [0; 2], l3num: 0, dst: [0; 16], dport: [0; 2], protonum: 0, dir: 0 };
}
