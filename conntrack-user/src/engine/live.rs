//! The live table: every entry the kernel holds, keyed by the address of its `nf_conn`.
//!
//! The address is the only identity that cannot drift: a tuple may be held twice for a moment and a bare
//! count goes wrong with the first missed event, whereas here a missed `Free` shows as an overwrite and a
//! missed `New` as an unknown `Free`, and either is mended by being seen.

use std::net::IpAddr;

use hashbrown::HashMap;

use super::sources::SourceId;
use super::tuple::{Connection, Proto};

/// One live entry; its netns and source address are those of its [`SourceId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it was allocated.
    pub born_ktime_ns: u64,
    /// Who opened it.
    pub source: SourceId,
    /// Inode number of the network namespace (also known to the source; kept here for passes over the table).
    pub netns: u32,
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
}

// With hashbrown's load of at most 7/8 and growth by two: 56 to 112 bytes per entry.
const _: () = assert!(size_of::<(u64, Entry)>() == 48);

impl Entry {
    /// The entry that a connection of that source becomes.
    pub fn new(connection: &Connection, source: SourceId, born_ktime_ns: u64) -> Self {
        let Connection { netns, zone, proto, src: _, dst, sport, dport } = *connection;
        Self { born_ktime_ns, source, netns, dst, proto, zone, sport, dport }
    }

    /// The connection it is, given the address its source stands for.
    pub fn connection(&self, src: IpAddr) -> Connection {
        let Self { born_ktime_ns: _, source: _, netns, dst, proto, zone, sport, dport } = *self;
        Connection { netns, zone, proto, src, dst, sport, dport }
    }
}

/// Entries there is room for from the beginning, because each growth moves all of them. So many are in the
/// caches anyway: about 3 MiB, which no one pays for before they are used.
pub const CACHED: usize = 1 << 15;

/// The live table. It grows with the kernel's and, like the kernel's, does not shrink.
#[derive(Debug)]
pub struct Live {
    entries: HashMap<u64, Entry>,
}

impl Default for Live {
    fn default() -> Self {
        Self { entries: HashMap::with_capacity(CACHED) }
    }
}

impl Live {
    /// Enters what `New` announced. An entry returned was overwritten: its `Free` was missed.
    #[inline]
    #[must_use = "an overwritten entry must leave the sums"]
    pub fn insert(&mut self, ct: u64, entry: Entry) -> Option<Entry> {
        self.entries.insert(ct, entry)
    }

    /// Takes out what `Free` announced. None: its `New` was missed, or it is older than the attachment.
    #[must_use = "a removed entry must leave the sums"]
    pub fn remove(&mut self, ct: u64) -> Option<Entry> {
        self.entries.remove(&ct)
    }

    /// The entry at an address.
    pub fn get(&self, ct: u64) -> Option<&Entry> {
        self.entries.get(&ct)
    }

    /// Every entry, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
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
