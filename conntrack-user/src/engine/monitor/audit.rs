//! Audits: the live table against what a walk over the kernel's finds, and what becomes of the difference.

use conntrack_common::{Audit, AuditPhase, AuditTrigger, New, Seen};

use super::Engine;
use super::listed::Listed;
use crate::engine::account::{AuditReport, Repaired};
use crate::engine::breakdown::What;
use crate::engine::holders::Holders;
use crate::engine::live::{Entry, Origin};
use crate::engine::notice::{Audited, Notice};
use crate::engine::sources::SourceId;
use crate::engine::state::Sight;
use crate::engine::tuple::{Connection, Status};

/// Where audits stand.
#[derive(Debug, Default)]
pub(super) struct Audits {
    running: Option<Running>,
    /// Entries that the walk should have seen and did not, until they are asked for.
    suspects: Option<Vec<u64>>,
    wanted: Wanted,
}

#[derive(Debug)]
struct Running {
    number: u32,
    trigger: AuditTrigger,
    began_ktime_ns: u64,
    repaired_before: Repaired,
}

/// What is known to be at an address where an audit sees a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing.
    Nothing,
    /// That connection.
    Same,
    /// Another.
    Other(Entry),
}

/// Whether a miss calls for an audit.
#[derive(Debug, Default, PartialEq, Eq)]
enum Wanted {
    #[default]
    No,
    Yes,
    /// The caller has been told.
    Told,
}

impl Running {
    /// What entries bear that it saw. Never 0, which those bear that none saw.
    fn mark(&self) -> u16 {
        (self.number % u32::from(u16::MAX)) as u16 + 1
    }
}

impl Audits {
    /// An event was found missing.
    pub(super) fn want(&mut self) {
        if self.wanted == Wanted::No {
            self.wanted = Wanted::Yes;
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Of the audit that is running; else 0.
    pub(super) fn mark(&self) -> u16 {
        self.running.as_ref().map_or(0, Running::mark)
    }
}

impl Engine {
    /// The addresses that a walk should have found and did not, to be looked up one by one: once after each
    /// walk, and perhaps none.
    pub fn suspects(&mut self) -> Option<Vec<u64>> {
        self.audits.suspects.take()
    }

    /// Whether an event was found missing since the last audit began. True once.
    pub fn wants_audit(&mut self) -> bool {
        let wanted = self.audits.wanted == Wanted::Yes;
        if wanted {
            self.audits.wanted = Wanted::Told;
        }
        wanted
    }

    /// Whether the first audit has ended, since when all entries are known.
    pub fn bootstrapped(&self) -> bool {
        self.events.bootstrapped
    }

    #[cold]
    pub(super) fn audit(&mut self, record: &Audit, tell: &mut impl FnMut(Notice)) {
        let phase = AuditPhase::from_byte(record.phase);
        let (Some(phase), Some(trigger)) = (phase, AuditTrigger::from_byte(record.trigger)) else {
            self.events.decode_errors += 1;
            return;
        };
        match phase {
            AuditPhase::Began => self.audit_began(record, trigger),
            _ if self.audits.running.as_ref().is_none_or(|it| it.number != record.number) => {
                self.events.decode_errors += 1;
            }
            AuditPhase::Walked => self.audit_walked(),
            AuditPhase::Ended => self.audit_over(record, false, tell),
            AuditPhase::Abandoned => self.audit_over(record, true, tell),
        }
    }

    fn audit_began(&mut self, record: &Audit, trigger: AuditTrigger) {
        self.audits = Audits {
            running: Some(Running {
                number: record.number,
                trigger,
                began_ktime_ns: record.began_ktime_ns,
                repaired_before: self.events.repaired,
            }),
            ..Audits::default()
        };
        self.listed.audit_began();
        if !self.events.bootstrapped {
            self.live.expect(self.netns.count() as usize);
        }
    }

    fn audit_walked(&mut self) {
        let Some(running) = &self.audits.running else { return };
        let (mark, began) = (running.mark(), running.began_ktime_ns);
        let suspect = |entry: &Entry| entry.seen != mark && entry.born_ktime_ns < began;
        self.audits.suspects = Some(self.live.select(suspect));
    }

    fn audit_over(&mut self, record: &Audit, abandoned: bool, tell: &mut impl FnMut(Notice)) {
        self.audits.suspects = None;
        let Some(running) = self.audits.running.take() else { return };
        self.listed.audit_over(abandoned);
        let report = AuditReport {
            number: running.number,
            trigger: running.trigger,
            began_ktime_ns: running.began_ktime_ns,
            ended_ktime_ns: record.ktime_ns,
            entries: self.live.len() as u64,
            repaired: self.events.repaired.since(running.repaired_before),
            buckets: record.buckets,
            restarts: record.restarts,
            cut_short: record.cut_short,
        };
        if abandoned {
            self.events.abandoned = Some(report);
        } else {
            if !std::mem::replace(&mut self.events.bootstrapped, true) {
                self.freeze_holders_again(record.ktime_ns);
            }
            (self.events.last_audit, self.events.abandoned) = (Some(report), None);
        }
        tell(Notice::Audited(Audited { report, abandoned }));
    }

    /// Of an episode that began before all entries were known, the holders come to be known only now.
    fn freeze_holders_again(&mut self, ktime_ns: u64) {
        let since = self.config.since_ktime_ns;
        for netns in self.netns.iter_mut() {
            if let Some(open) = &mut netns.open {
                let holders = Holders::freeze(netns.inum, ktime_ns, since, &self.live, &self.sources);
                self.digest.picture(netns.inum, &holders);
                open.set_holders(holders);
            }
        }
    }

    /// conntrack is gone: whatever was being audited is gone too, and all must be learnt anew.
    pub(super) fn forget_audits(&mut self) {
        self.audits = Audits::default();
        self.listed = Listed::default();
        self.events.bootstrapped = false;
    }

    // Not inlined, for it would burden the path of `New` and `Free`.
    #[inline(never)]
    pub(super) fn seen(&mut self, record: &Seen) {
        let &Seen { alive, zone, netns, ct, ref tuple, .. } = record;
        if alive == 0 {
            return self.seen_dead(ct);
        }
        let connection = Connection::new(netns, zone, tuple);
        if record.listed != 0 {
            return self.seen_listed(record, &connection);
        }
        if self.listed.is_matching() {
            self.found_by_look(record, &connection);
        }
        let known = self.mark_seen(ct, &connection, sight(record));
        if known == Known::Same {
            return;
        }
        if self.live.listed() > 0 {
            self.no_longer_listed(&connection);
        }
        let Known::Other(old) = known else {
            return self.found_now(ct, &connection, record);
        };
        let old_connection = self.connection_of(&old);
        self.freed_unseen(&old);
        self.events.repaired.replaced += 1;
        self.found(ct, &connection, record, true);
        self.gone_by_look(&old_connection);
    }

    /// The audit has seen this connection there, if that is what is there.
    pub(super) fn mark_seen(&mut self, ct: u64, connection: &Connection, sight: Sight) -> Known {
        let mark = self.audits.mark();
        let Some(entry) = self.live.get_mut(ct) else { return Known::Nothing };
        let source = self.sources.get(entry.source);
        if entry.connection(source.netns, source.src) != *connection {
            return Known::Other(*entry);
        }
        (entry.seen, entry.sight) = (mark, sight);
        Known::Same
    }

    /// What nothing told of: it was there before, or its `New` was missed.
    pub(super) fn found_now(&mut self, ct: u64, connection: &Connection, record: &Seen) {
        let missed = self.events.bootstrapped;
        self.events.repaired.added += u64::from(missed);
        self.found(ct, connection, record, missed);
    }

    /// The nearest to its allocation that the kernel tells; 0 if it tells nothing.
    fn confirmed_ktime_ns(&self, record: &Seen) -> u64 {
        if record.confirmed_unix_ns == 0 {
            return 0;
        }
        let ktime_ns = i128::from(record.confirmed_unix_ns) - i128::from(self.wall.offset_ns);
        ktime_ns.clamp(1, i128::from(record.ktime_ns).max(1)) as u64
    }

    fn found(&mut self, ct: u64, connection: &Connection, record: &Seen, missed: bool) {
        let born = self.confirmed_ktime_ns(record);
        let origin = Origin::found(missed, record.listed != 0);
        self.own.new += u64::from(missed);
        if missed {
            self.break_down(connection, What::New);
        }
        let source = self.sources.found_entry(connection.netns, connection.src, missed);
        self.netns.get(connection.netns).found(missed);
        let (seen, sight) = (self.audits.mark(), sight(record));
        let entry = Entry { seen, origin, sight, ..Entry::new(connection, source, born) };
        // What was there has left the sums, if anything was.
        let _old = self.live.insert(ct, entry);
    }

    /// Nothing lives there: what is known of it was freed unseen, unless it is younger than the audit.
    fn seen_dead(&mut self, ct: u64) {
        let Some(running) = &self.audits.running else { return };
        if self.live.get(ct).is_some_and(|entry| entry.born_ktime_ns < running.began_ktime_ns)
            && let Some(entry) = self.live.remove(ct)
        {
            let connection = self.connection_of(&entry);
            let told = entry.origin.is_listed() && self.ends_listed(&entry);
            if !told {
                self.freed_unseen(&entry);
            }
            self.events.repaired.removed += u64::from(!told);
            self.gone_by_look(&connection);
        }
    }

    /// Takes an entry out of all sums whose `Free` did not come.
    pub(super) fn freed_unseen(&mut self, entry: &Entry) {
        self.own.freed += 1;
        let (netns, src) = self.sources.freed(entry.source, None);
        self.break_down(&entry.connection(netns, src), What::Freed { lifetime_ns: None, unconfirmed: false });
        self.netns.get(netns).freed_unseen();
    }

    /// There was an entry where a `New` was told. ctnetlink may list one before it tells of it; else the
    /// kernel has reused the address, so the old one was freed unseen.
    #[cold]
    pub(super) fn known_already(&mut self, record: &New, old: &Entry) {
        let connection = Connection::new(record.netns, record.zone, &record.tuple);
        let same = self.connection_of(old) == connection;
        if !same || record.may_be_seen == 0 || old.origin == Origin::Told {
            self.freed_unseen(old);
            self.events.overwritten += 1;
            self.audits.want();
            return;
        }
        self.found_twice(old);
        if let Some(entry) = self.live.get_mut(record.ct) {
            (entry.seen, entry.sight) = (old.seen, old.sight);
        }
    }

    /// What was found is what is told, or found by its address, now: one entry, and one allocation.
    pub(super) fn found_twice(&mut self, old: &Entry) {
        let source = self.sources.get(old.source);
        let (netns, src, missed) = (source.netns, source.src, old.origin.is_missed());
        if missed {
            self.break_down(&old.connection(netns, src), What::NotNew);
        }
        self.own.new -= u64::from(missed);
        self.events.repaired.added = self.events.repaired.added.saturating_sub(missed.into());
        self.sources.found_is_told(old.source, missed);
        self.netns.get(netns).found_is_told(missed);
    }

    /// A rule dropped the packet of an entry, freed just now, before it was confirmed.
    #[cold]
    pub(super) fn unconfirmed(&mut self, netns: u32, source: SourceId) {
        self.netns.get(netns).sums.unconfirmed += 1;
        self.sources.unconfirmed(source);
    }

    /// A `Free` of an entry that is not known: older than the attachment, or its `New` did not come.
    #[cold]
    pub(super) fn freed_of_nobody(&mut self) {
        if self.live.listed() > 0 || self.listed.awaits_free() {
            self.freed_of_somebody_listed();
        } else if self.events.bootstrapped {
            self.events.unknown_free += 1;
            self.audits.want();
        } else {
            self.events.older_free += 1;
        }
    }
}

/// What an audit saw of an entry's state.
pub(super) fn sight(record: &Seen) -> Sight {
    Sight::new(Status(record.status), record.tcp_state)
}

#[cfg(test)]
pub(super) mod tests;
