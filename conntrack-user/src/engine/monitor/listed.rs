//! Entries that a dump listed. ctnetlink tells no addresses, so they are known by their connections alone, and no
//! `Free` can be told to be theirs: that one is gone shows when a `New` has its connection, or the next dump lacks it.
//!
//! After an audit during which nothing happened, the live table has as many entries of each connection as the kernel,
//! whatever was lost before. At which address is another matter: where `Free` and `New` of a connection were lost, it
//! is taken to be where it was, until something else is found there.

use conntrack_common::{New, Seen};
use hashbrown::HashMap;

use super::Engine;
use super::audit::{Known, sight};
use crate::engine::breakdown::What;
use crate::engine::live::Entry;
use crate::engine::tuple::{Connection, Status};

/// Where the confirmed entry of a connection may be, by what is known.
#[derive(Clone, Copy, Debug)]
enum Place {
    At(u64),
    /// Two entries or more of one connection, not all of which can be confirmed: a look at each address tells.
    Several(u32),
}

/// A connection that the dump listed and that may be at several addresses.
#[derive(Debug)]
struct Sought {
    listed: Seen,
    /// At so many it has not been found to be gone.
    places: u32,
}

/// What is known besides of the entries that a dump listed. Nothing where tables are walked.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// During an audit by dump: the place of the entry of each connection, by its key.
    places: Option<HashMap<u64, Place>>,
    /// By the key.
    sought: HashMap<u64, Sought>,
    /// When the last of them was listed.
    until_ktime_ns: u64,
    /// `Free`s of entries that are not known by address, which so are the ends of some that were listed.
    unclaimed: u64,
    /// Those that came since the last audit began.
    unclaimed_since: u64,
    /// Entries that were found to be gone before their `Free` came.
    owed: u64,
}

impl Place {
    /// Another entry has this connection.
    fn add(&mut self) {
        let known = if let Self::Several(known) = *self { known } else { 1 };
        *self = Self::Several(known + 1);
    }
}

impl Listed {
    /// Whether a dump is being matched with what is known.
    #[inline]
    pub(super) fn is_matching(&self) -> bool {
        self.places.is_some()
    }

    /// Whether the `Free` of an entry that was listed may still come though it is known to be gone.
    pub(super) fn awaits_free(&self) -> bool {
        self.owed > 0
    }

    pub(super) fn audit_began(&mut self) {
        self.stop_matching();
        self.unclaimed_since = 0;
    }

    fn stop_matching(&mut self) {
        self.places = None;
        self.sought = HashMap::new();
    }

    fn place(&self, key: u64) -> Option<Place> {
        self.places.as_ref()?.get(&key).copied()
    }

    /// After a complete one, what came before it and nothing has claimed were no ends of entries that were listed.
    pub(super) fn audit_over(&mut self, abandoned: bool) {
        self.stop_matching();
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
        if self.listed.places.is_none() {
            self.listed.places = Some(self.places());
        }
        let key = connection.key();
        if self.mark_seen(key, connection, sight(record)) == Known::Same {
            return;
        }
        match self.listed.place(key) {
            Some(Place::At(ct)) if self.mark_seen(ct, connection, sight(record)) == Known::Same => {}
            Some(Place::Several(places)) => {
                self.listed.sought.insert(key, Sought { listed: *record, places });
            }
            _ => self.found_now(key, connection, record),
        }
    }

    /// Where each connection lives whose address is known.
    fn places(&self) -> HashMap<u64, Place> {
        let mut places = HashMap::with_capacity(self.live.len());
        for (ct, entry) in self.live.addressed() {
            let key = self.connection_of(entry).key();
            places.entry(key).and_modify(Place::add).or_insert(Place::At(ct));
        }
        places
    }

    /// A look, after the dump, found an entry of this connection.
    #[cold]
    pub(super) fn found_by_look(&mut self, record: &Seen, connection: &Connection) {
        // Of those that are not confirmed there may be others.
        if !Status(record.status).confirmed() {
            return;
        }
        let key = connection.key();
        self.listed.sought.remove(&key);
        // It is the one that was listed, and so not where that was taken to be.
        let mark = self.audits.mark();
        if let Some(Place::At(ct)) = self.listed.place(key)
            && ct != record.ct
            && self.live.get(ct).is_some_and(|it| it.seen == mark && self.is(it, connection))
            && let Some(old) = self.live.remove(ct)
        {
            self.freed_unseen(&old);
            self.events.repaired.removed += 1;
        }
    }

    /// A look found that an entry of this connection, known by its address, is gone. If all are of one that was
    /// listed, then that is elsewhere.
    pub(super) fn gone_by_look(&mut self, connection: &Connection) {
        let key = connection.key();
        let Some(sought) = self.listed.sought.get_mut(&key) else { return };
        sought.places -= 1;
        if sought.places == 0
            && let Some(Sought { listed, .. }) = self.listed.sought.remove(&key)
        {
            self.found_now(key, connection, &listed);
        }
    }

    /// A `New` came while there are entries that were listed, or some are being listed.
    #[cold]
    #[inline(never)]
    pub(super) fn told_beside_list(&mut self, record: &New, connection: &Connection) {
        self.told_at(record.ct, connection);
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

    fn told_at(&mut self, ct: u64, connection: &Connection) {
        let key = connection.key();
        let place = match self.listed.place(key) {
            Some(Place::At(old))
                if old == ct || !self.live.get(old).is_some_and(|it| self.is(it, connection)) =>
            {
                Place::At(ct)
            }
            Some(mut several) => {
                several.add();
                several
            }
            None => Place::At(ct),
        };
        if let Some(places) = &mut self.listed.places {
            places.insert(key, place);
        }
        self.listed.sought.remove(&key);
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
        if entry.origin.is_listed() && self.is(entry, connection) { self.live.remove(key) } else { None }
    }

    fn is(&self, entry: &Entry, connection: &Connection) -> bool {
        self.connection_of(entry) == *connection
    }

    pub(super) fn connection_of(&self, entry: &Entry) -> Connection {
        let source = self.sources.get(entry.source);
        entry.connection(source.netns, source.src)
    }

    /// An entry that was listed is gone. True if a `Free` came that nobody had claimed: it was this one's, and has
    /// been counted.
    pub(super) fn ends_listed(&mut self, entry: &Entry) -> bool {
        if self.listed.unclaimed == 0 {
            return false;
        }
        self.listed.unclaimed -= 1;
        self.events.older_free = self.events.older_free.saturating_sub(1);
        let (netns, src) = self.sources.freed(entry.source, None);
        self.break_down(&entry.connection(netns, src), What::Freed { lifetime_ns: None, unconfirmed: false });
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
