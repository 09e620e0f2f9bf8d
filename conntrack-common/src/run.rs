//! What the loader and the programs that it runs tell each other in maps.

#[cfg(feature = "user")]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The walk over the table: begun by the loader with zeroes, carried on by every run of `ctw_walk`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Walk {
    /// `nf_conntrack_hash` as it was when the walk began.
    pub table: u64,
    /// The node to look at next; an end of chain (odd) between buckets and between runs.
    pub node: u64,
    /// The `struct net` of the last entry, whose inode number is `netns`.
    pub net: u64,
    /// See `net`.
    pub netns: u32,
    /// The bucket after the one being walked.
    pub bucket: u32,
    /// `nf_conntrack_htable_size`, likewise.
    pub size: u32,
    /// `nf_conntrack_generation`, likewise.
    pub generation: u32,
    /// Buckets whose chain did not fit into one run and was not walked to its end.
    pub cut_short: u32,
    /// What the last run came to: a [`Progress`].
    pub progress: u32,
    /// The buckets from this one on are in `heads`; odd if none is.
    pub ahead: u32,
    /// Zero.
    pub reserved: u32,
    /// The first nodes of some buckets, read at once and of use to one run only.
    pub heads: [u64; HEADS],
}

/// Buckets looked into at once, a power of two. The table's size is a multiple of it: it fills whole pages
/// (`nf_ct_alloc_hashtable`, net/netfilter/nf_conntrack_core.c, 5.10 to 7.3).
pub const HEADS: usize = 16;

/// The census: begun by the loader with zeroes, carried on by every run of `ctw_census`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct CensusRun {
    /// Where the next run goes on: a node of `net_namespace_list`; 0 before the first and after the last.
    pub next: u64,
    /// Sum of all counts.
    pub entries: u64,
    /// All cookies xored: it changes when namespaces come or go.
    pub digest: u64,
    /// Namespaces counted.
    pub counts: u32,
    /// `nf_conntrack_htable_size`; 0 if it is not known.
    pub buckets: u32,
}

/// What a run of `ctw_walk` came to. (aya makes every raw tracepoint program return 0.)
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more.
    More = 0,
    /// All is done.
    Complete = 1,
    /// The entries ring has no room to spare; what it holds must be read first.
    NoRoom = 2,
    /// The table was resized under the walk, which must begin anew.
    Resized = 3,
}

/// Entries looked up by one run of `ctw_examine`.
pub const SUSPECTS: usize = 128;

/// The same where there is no `bpf_loop` (before 5.17): the verifier goes through every turn.
pub const SUSPECTS_UNROLLED: usize = 32;

/// Addresses that the loader wants looked up.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Suspects {
    /// How many there are.
    pub len: u32,
    /// How many have been looked up.
    pub done: u32,
    /// Addresses of `nf_conn`s.
    pub ct: [u64; SUSPECTS],
}

const _: () = {
    assert!(size_of::<Walk>() == 56 + 8 * HEADS && HEADS.is_power_of_two());
    assert!(size_of::<CensusRun>() == 32);
    assert!(size_of::<Suspects>() == 8 + 8 * SUSPECTS);
};

impl Progress {
    /// What a returned number means, if anything.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::More),
            1 => Some(Self::Complete),
            2 => Some(Self::NoRoom),
            3 => Some(Self::Resized),
            _ => None,
        }
    }
}
