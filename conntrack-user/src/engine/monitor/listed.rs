//! Entries that a dump listed. ctnetlink tells no addresses, so they are known by their connections alone, and no
//! `Free` can be told to be theirs: that one is gone shows when a `New` has its connection, or the next dump lacks it.

use conntrack_common::{New, Seen};
use hashbrown::HashMap;

use super::Engine;
use crate::engine::live::Entry;
use crate::engine::tuple::Connection;

/// Two entries or more of one connection, not all of which can be confirmed: a look at each address tells.
const SEVERAL: u64 = 0;

/// What is known besides of the entries that a dump listed. Nothing where tables are walked.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// While an audit by dump lists: the address of the entry of each connection, by its key.
    addresses: Option<HashMap<u64, u64>>,
    /// When the last of them was listed.
    until_ktime_ns: u64,
    /// `Free`s of entries that are not known by address, which so are the ends of some that were listed.
    unclaimed: u64,
    /// Those that came since the last audit began.
    unclaimed_since: u64,
    /// Entries that were found to be gone before their `Free` came.
    owed: u64,
}

impl Listed {
    /// Whether a dump is being matched with what is known.
    #[inline]
    pub(super) fn is_matching(&self) -> bool {
        self.addresses.is_some()
    }

    /// Whether the `Free` of an entry that was listed may still come though it is known to be gone.
    pub(super) fn awaits_free(&self) -> bool {
        self.owed > 0
    }

    pub(super) fn audit_began(&mut self) {
        self.addresses = None;
        self.unclaimed_since = 0;
    }

    /// The dump is complete.
    pub(super) fn stop_matching(&mut self) {
        self.addresses = None;
    }

    /// After a complete one, what came before it and nothing has claimed were no ends of entries that were listed.
    pub(super) fn audit_over(&mut self, abandoned: bool) {
        self.addresses = None;
        if !abandoned {
            self.unclaimed = self.unclaimed.min(self.unclaimed_since);
            self.owed = 0;
        }
    }
}

impl Engine {
    /// A dump listed an entry of this connection. Others that the engine knows by address are matched with it.
    #[cold]
    pub(super) fn seen_listed(&mut self, record: &Seen, connection: &Connection) {
        if !self.audits.is_running() {
            return;
        }
        self.listed.until_ktime_ns = self.listed.until_ktime_ns.max(record.ktime_ns);
        if self.listed.addresses.is_none() {
            self.listed.addresses = Some(self.addresses());
        }
        let key = connection.key();
        if self.mark_seen(key, connection) {
            return;
        }
        let address = self.listed.addresses.as_ref().and_then(|addresses| addresses.get(&key)).copied();
        if address.is_some_and(|ct| ct == SEVERAL || self.mark_seen(ct, connection)) {
            return;
        }
        let born = self.confirmed_ktime_ns(record);
        self.found_now(key, connection, born, true);
    }

    /// Where each connection lives whose address is known.
    fn addresses(&self) -> HashMap<u64, u64> {
        let mut addresses = HashMap::with_capacity(self.live.len());
        for (ct, entry) in self.live.addressed() {
            let source = self.sources.get(entry.source);
            let key = entry.connection(source.netns, source.src).key();
            addresses.entry(key).and_modify(|several| *several = SEVERAL).or_insert(ct);
        }
        addresses
    }

    /// A `New` came while there are entries that were listed, or some are being listed.
    #[cold]
    #[inline(never)]
    pub(super) fn told_beside_list(&mut self, record: &New, connection: &Connection) {
        let key = connection.key();
        if let Some(addresses) = &mut self.listed.addresses
            && let Some(old) = addresses.insert(key, record.ct)
            && old != record.ct
            && (old == SEVERAL || self.live.get(old).is_some_and(|it| self.is(it, connection)))
            && let Some(addresses) = &mut self.listed.addresses
        {
            addresses.insert(key, SEVERAL);
        }
        if record.ktime_ns <= self.listed.until_ktime_ns {
            // The dump had it already when this was still in the ring.
            return self.no_longer_listed(connection);
        }
        // At most one confirmed entry has this connection, and now that is another.
        if let Some(old) = self.take_listed(connection)
            && !self.ends_listed(&old)
        {
            self.freed_unseen(&old);
            self.listed.owed += 1;
        }
    }

    /// What was listed has become known by its address.
    pub(super) fn no_longer_listed(&mut self, connection: &Connection) {
        if let Some(old) = self.take_listed(connection) {
            self.found_twice(&old);
        }
    }

    fn take_listed(&mut self, connection: &Connection) -> Option<Entry> {
        let key = connection.key();
        let entry = self.live.get(key)?;
        if entry.listed && self.is(entry, connection) { self.live.remove(key) } else { None }
    }

    fn is(&self, entry: &Entry, connection: &Connection) -> bool {
        let source = self.sources.get(entry.source);
        entry.connection(source.netns, source.src) == *connection
    }

    /// An entry that was listed is gone. True if a `Free` came that nobody had claimed: it was this one's, and has
    /// been counted.
    pub(super) fn ends_listed(&mut self, entry: &Entry) -> bool {
        if self.listed.unclaimed == 0 {
            return false;
        }
        self.listed.unclaimed -= 1;
        self.events.older_free = self.events.older_free.saturating_sub(1);
        let (netns, _) = self.sources.freed(entry.source);
        self.netns.get(netns).freed_unseen();
        true
    }

    /// A `Free` of an entry not known by its address, while there are entries of which none is: no miss, but an
    /// audit tells which is gone.
    pub(super) fn freed_of_somebody_listed(&mut self) {
        if self.listed.owed > 0 {
            self.listed.owed -= 1;
            self.own.freed -= 1;
            return;
        }
        self.events.older_free += 1;
        self.listed.unclaimed += 1;
        self.listed.unclaimed_since += 1;
        self.audits.want();
    }
}

#[cfg(test)]
mod tests;
