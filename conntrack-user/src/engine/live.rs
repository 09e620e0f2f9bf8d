//! The live table: every entry the kernel holds, keyed by the address of its `nf_conn`; but one that a dump listed,
//! and nothing else tells of, by the key of its connection.
//!
//! The address is the only identity that cannot drift: a tuple may be held twice for a moment and a bare
//! count goes wrong with the first missed event, whereas here a missed `Free` shows as an overwrite and a
//! missed `New` as an unknown `Free`, and either is mended by being seen.

use std::net::IpAddr;

use hashbrown::HashMap;

use super::sources::SourceId;
use super::state::Sight;
use super::tuple::{Connection, Proto};

/// One live entry; its netns and source address are those of its [`SourceId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it was allocated; 0 if that was not seen and the kernel does not tell.
    pub born_ktime_ns: u64,
    /// Who opened it.
    pub source: SourceId,
    /// Original destination.
    pub dst: IpAddr,
    /// Layer 4 protocol.
    pub proto: Proto,
    /// Conntrack zone.
    pub zone: u16,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Mark of the last audit that saw it; 0 if none did.
    pub seen: u16,
    /// How it came to be known.
    pub origin: Origin,
    /// Its state when an audit saw it last.
    pub sight: Sight,
}

/// How an entry came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Its `New` told.
    Told,
    /// The first audit found it: it was there before.
    Found,
    /// A later audit found it: its `New` was lost or missed.
    Missed,
    /// As found, but a dump listed it: then it stands under [`Connection::key`] instead of its address.
    FoundListed,
    /// As missed, but a dump listed it.
    MissedListed,
}

impl Origin {
    /// Of an entry that an audit found: whether its `New` was missed, and whether a dump listed it.
    pub const fn found(missed: bool, listed: bool) -> Self {
        match (missed, listed) {
            (false, false) => Self::Found,
            (true, false) => Self::Missed,
            (false, true) => Self::FoundListed,
            (true, true) => Self::MissedListed,
        }
    }

    /// Whether its `New` was lost or missed.
    pub const fn is_missed(self) -> bool {
        matches!(self, Self::Missed | Self::MissedListed)
    }

    /// Whether a dump listed it.
    #[inline]
    pub const fn is_listed(self) -> bool {
        matches!(self, Self::FoundListed | Self::MissedListed)
    }
}

// With hashbrown's load of at most 7/8 and growth by two: 56 to 112 bytes per entry.
const _: () = assert!(size_of::<(u64, Entry)>() == 48);

impl Entry {
    /// The entry that a connection of that source becomes.
    #[inline]
    pub fn new(connection: &Connection, source: SourceId, born_ktime_ns: u64) -> Self {
        let Connection { netns: _, zone, proto, src: _, dst, sport, dport } = *connection;
        let (seen, origin, sight) = (0, Origin::Told, Sight::default());
        Self { born_ktime_ns, source, dst, proto, zone, sport, dport, seen, origin, sight }
    }

    /// The connection it is, given the namespace and address its source stands for.
    #[inline]
    pub fn connection(&self, netns: u32, src: IpAddr) -> Connection {
        let Self { dst, proto, zone, sport, dport, .. } = *self;
        Connection { netns, zone, proto, src, dst, sport, dport }
    }

    /// When it was allocated, if that is known.
    pub fn born(&self) -> Option<u64> {
        (self.born_ktime_ns != 0).then_some(self.born_ktime_ns)
    }

    /// How old it is at a time, if that is known.
    #[inline]
    pub fn age_ns(&self, ktime_ns: u64) -> Option<u64> {
        Some(ktime_ns.saturating_sub(self.born()?))
    }
}

/// Entries there is room for from the beginning, because each growth moves all of them. So many are in the
/// caches anyway: about 3 MiB, which no one pays for before they are used.
pub const CACHED: usize = 1 << 15;

/// Entries there is room made for before they are seen: the kernel's count may be wrong.
const MOST_EXPECTED: usize = 1 << 20;

/// The live table. It grows with the kernel's and, like the kernel's, does not shrink.
#[derive(Debug)]
pub struct Live {
    entries: HashMap<u64, Entry>,
    /// How many of them a dump listed.
    listed: usize,
}

impl Default for Live {
    fn default() -> Self {
        Self { entries: HashMap::with_capacity(CACHED), listed: 0 }
    }
}

impl Live {
    /// Makes room for so many entries at once, where growing step by step would move each of them several times.
    pub fn expect(&mut self, entries: usize) {
        self.entries.reserve(entries.min(MOST_EXPECTED).saturating_sub(self.entries.len()));
    }

    /// Enters what `New` announced. An entry returned was overwritten: its `Free` was missed.
    #[inline]
    #[must_use = "an overwritten entry must leave the sums"]
    pub fn insert(&mut self, ct: u64, entry: Entry) -> Option<Entry> {
        self.listed += usize::from(entry.origin.is_listed());
        let old = self.entries.insert(ct, entry);
        if let Some(old) = &old {
            self.listed -= usize::from(old.origin.is_listed());
        }
        old
    }

    /// Takes out what `Free` announced. None: its `New` was missed, or it is older than the attachment.
    #[must_use = "a removed entry must leave the sums"]
    pub fn remove(&mut self, ct: u64) -> Option<Entry> {
        let entry = self.entries.remove(&ct)?;
        self.listed -= usize::from(entry.origin.is_listed());
        Some(entry)
    }

    /// The entry at an address.
    pub fn get(&self, ct: u64) -> Option<&Entry> {
        self.entries.get(&ct)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, ct: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&ct)
    }

    /// How many were listed by a dump and are known by their connection alone.
    #[inline]
    pub fn listed(&self) -> usize {
        self.listed
    }

    /// Address and entry of each whose address is known, in no order.
    pub fn addressed(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.entries.iter().filter(|(_, entry)| !entry.origin.is_listed()).map(|(ct, entry)| (*ct, entry))
    }

    /// Every entry, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Addresses of the entries that are `wanted`, in no order.
    pub fn select(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<u64> {
        let wanted = |(ct, entry): (&u64, &Entry)| wanted(entry).then_some(*ct);
        self.entries.iter().filter_map(wanted).collect()
    }

    /// Takes out the entries that are `doomed`.
    #[must_use = "removed entries must leave the sums"]
    pub fn extract(&mut self, doomed: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let gone: Vec<_> =
            self.entries.extract_if(|_, entry| doomed(entry)).map(|(_, entry)| entry).collect();
        self.listed -= gone.iter().filter(|entry| entry.origin.is_listed()).count();
        gone
    }

    /// Takes out all.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.listed = 0;
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes the table occupies.
    pub fn allocated(&self) -> usize {
        self.entries.allocation_size()
    }
}
