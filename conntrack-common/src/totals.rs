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
    /// Entries not inserted: [`InsertCause::Clash`](crate::InsertCause).
    pub failed_clash: u64,
    /// Entries not inserted: [`InsertCause::ChainTooLong`](crate::InsertCause).
    pub failed_chain_too_long: u64,
    /// Entries not inserted: [`InsertCause::NatPorts`](crate::InsertCause).
    pub failed_nat_ports: u64,
    /// Entries not inserted: [`InsertCause::Dying`](crate::InsertCause).
    pub failed_dying: u64,
    /// Clashes resolved: the packet went on with the entry that was there first, or with one of its own.
    pub clash_resolved: u64,
    /// Entries freed unconfirmed though nothing failed: a rule dropped their packet.
    pub unconfirmed: u64,
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

/// What this CPU knows of entries that are not inserted, from the verdict on to their end.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Insertion {
    /// The entry that is losing a clash: `nf_ct_resolve_clash` is deciding about it; 0 outside.
    pub clashing: u64,
    /// The node of the table that it met.
    pub winner: u64,
    /// An [`InsertCause`](crate::InsertCause) if that clash is lost for good.
    pub cause: u64,
    /// The last entry that was not inserted: it is freed next.
    pub failed: u64,
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
    /// Scratch of the programs.
    pub insertion: Insertion,
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
    assert!(size_of::<Totals>() == 120);
    assert!(size_of::<EarlyDrop>() == 16);
    assert!(size_of::<Insertion>() == 32);
    assert!(size_of::<PerCpu>() == 168);
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
            failed_clash,
            failed_chain_too_long,
            failed_nat_ports,
            failed_dying,
            clash_resolved,
            unconfirmed,
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
        self.failed_clash += failed_clash;
        self.failed_chain_too_long += failed_chain_too_long;
        self.failed_nat_ports += failed_nat_ports;
        self.failed_dying += failed_dying;
        self.clash_resolved += clash_resolved;
        self.unconfirmed += unconfirmed;
        self.lost_entries += lost_entries;
        self.lost_incidents += lost_incidents;
        self.unmatched += unmatched;
    }

    /// Refusals of all causes.
    pub const fn refused(&self) -> u64 {
        self.refused_table_full + self.refused_no_memory + self.refused_ctnetlink
    }

    /// Entries not inserted, all causes.
    pub const fn insert_failed(&self) -> u64 {
        self.failed_clash + self.failed_chain_too_long + self.failed_nat_ports + self.failed_dying
    }

    /// Records that reached neither ring.
    pub const fn lost(&self) -> u64 {
        self.lost_entries + self.lost_incidents
    }
}
