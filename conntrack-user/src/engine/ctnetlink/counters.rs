//! What the kernel counts per CPU and network namespace (`struct ip_conntrack_stat`), and its sums.

use super::attributes::Attributes;

/// The counters of one CPU; each wraps at 32 bits. Zero where the kernel has no such counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Look-ups that found an entry while a free tuple was looked for.
    pub found: u32,
    /// Packets that belong to no connection.
    pub invalid: u32,
    /// Entries inserted by ctnetlink or BPF; never by packets.
    pub insert: u32,
    /// Entries not inserted.
    pub insert_failed: u32,
    /// Packets dropped: table full, no memory, clash, NAT ports exhausted.
    pub drop: u32,
    /// Entries evicted.
    pub early_drop: u32,
    /// ICMP errors that could not be handled.
    pub error: u32,
    /// Look-ups that began anew because a chain changed under them.
    pub search_restart: u32,
    /// Clashes resolved (5.10+ in this message).
    pub clash_resolve: u32,
    /// Chains too long (5.15+).
    pub chain_toolong: u32,
}

impl Counters {
    /// Reads `CTA_STATS_*`; numbers this does not know are passed over.
    pub(super) fn read(attributes: Attributes<'_>) -> Self {
        let mut counters = Self::default();
        for attribute in attributes {
            let counter = match attribute.kind {
                2 => &mut counters.found,
                4 => &mut counters.invalid,
                8 => &mut counters.insert,
                9 => &mut counters.insert_failed,
                10 => &mut counters.drop,
                11 => &mut counters.early_drop,
                12 => &mut counters.error,
                13 => &mut counters.search_restart,
                14 => &mut counters.clash_resolve,
                15 => &mut counters.chain_toolong,
                _ => continue,
            };
            *counter = attribute.u32().unwrap_or(0);
        }
        counters
    }
}

/// What was added to the counters of all CPUs since some moment; too wide to wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// As in [`Counters`].
    pub drop: u64,
    /// As in [`Counters`].
    pub early_drop: u64,
    /// As in [`Counters`].
    pub insert_failed: u64,
    /// As in [`Counters`].
    pub chain_toolong: u64,
    /// As in [`Counters`].
    pub clash_resolve: u64,
    /// As in [`Counters`].
    pub invalid: u64,
}

impl Sums {
    /// Adds what one CPU counted between two readings less than 2^32 events apart.
    pub fn add(&mut self, before: &Counters, now: &Counters) {
        let added = |before: u32, now: u32| u64::from(now.wrapping_sub(before));
        self.drop += added(before.drop, now.drop);
        self.early_drop += added(before.early_drop, now.early_drop);
        self.insert_failed += added(before.insert_failed, now.insert_failed);
        self.chain_toolong += added(before.chain_toolong, now.chain_toolong);
        self.clash_resolve += added(before.clash_resolve, now.clash_resolve);
        self.invalid += added(before.invalid, now.invalid);
    }
}
