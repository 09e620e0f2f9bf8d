//! Values of the maps: sums that stay exact whatever happens to the rings.

#[cfg(feature = "user")]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Sums since attach, kept per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Totals {
    /// Allocations that returned an entry.
    pub new: u64,
    /// Calls of `nf_conntrack_free`.
    pub freed: u64,
    /// Packets refused because the table was full.
    pub refused_table_full: u64,
    /// Packets refused because there was no memory.
    pub refused_no_memory: u64,
    /// Entries refused to ctnetlink or a BPF kfunc.
    pub refused_ctnetlink: u64,
    /// Entries freed by `early_drop`.
    pub evicted: u64,
    /// Records the entries ring had no room for.
    pub lost_entries: u64,
    /// Records the incidents ring had no room for.
    pub lost_incidents: u64,
    /// Returns whose call was not caught (kprobe only): a refusal among them has no tuple.
    pub unmatched: u64,
}

/// The `early_drop` this CPU is in, until the allocation that called it returns.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct EarlyDrop {
    /// `current` when it was entered; 0 when there is none.
    pub task: u64,
    /// Its `hash` argument, which is the allocation's.
    pub hash: u32,
    /// Entries it freed so far.
    pub victims: u32,
}

/// The one value of the per-CPU map: one look-up serves a whole hook.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct PerCpu {
    /// Sums since attach.
    pub totals: Totals,
    /// Scratch of the programs.
    pub early_drop: EarlyDrop,
}

/// Key of the refusal ledger; aligned as [`Tuple`](crate::Tuple) is.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct RefusalKey {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub l3num: u32,
    /// Original source address.
    pub src: [u8; 16],
}

/// What the ledger holds of one source: an LRU map, so quiet sources may leave it under pressure; the
/// difference to [`Totals`] is shown as "other".
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Refusals {
    /// Refusals of this source, all causes.
    pub count: u64,
    /// The first of them.
    pub first_ktime_ns: u64,
    /// The last of them.
    pub last_ktime_ns: u64,
}

const _: () = {
    assert!(size_of::<Totals>() == 72);
    assert!(size_of::<EarlyDrop>() == 16);
    assert!(size_of::<PerCpu>() == 88);
    assert!(size_of::<RefusalKey>() == 24);
    assert!(size_of::<Refusals>() == 24);
};

impl Totals {
    /// Adds another CPU's sums.
    pub fn add(&mut self, other: &Self) {
        let Self {
            new,
            freed,
            refused_table_full,
            refused_no_memory,
            refused_ctnetlink,
            evicted,
            lost_entries,
            lost_incidents,
            unmatched,
        } = other;
        self.new += new;
        self.freed += freed;
        self.refused_table_full += refused_table_full;
        self.refused_no_memory += refused_no_memory;
        self.refused_ctnetlink += refused_ctnetlink;
        self.evicted += evicted;
        self.lost_entries += lost_entries;
        self.lost_incidents += lost_incidents;
        self.unmatched += unmatched;
    }

    /// Refusals of all causes.
    pub const fn refused(&self) -> u64 {
        self.refused_table_full + self.refused_no_memory + self.refused_ctnetlink
    }

    /// Records that reached neither ring.
    pub const fn lost(&self) -> u64 {
        self.lost_entries + self.lost_incidents
    }
}
