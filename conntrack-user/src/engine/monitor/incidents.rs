//! Incidents: what was refused, evicted or not inserted, and by whom it was held or for whom it was done.

use conntrack_common::{
    Cause, Evicted, InsertCause, InsertFailed, Ledger, RefusalKey, Refused, RoomMade, Tuple,
};

use super::Engine;
use crate::engine::breakdown::What;
use crate::engine::gauge::Level;
use crate::engine::notice::{Eviction, Failure, Notice, Refusal};
use crate::engine::sources::Sums;
use crate::engine::tuple::{Connection, Status, address};

impl Engine {
    pub(super) fn refused(&mut self, record: &Refused, tell: &mut impl FnMut(Notice)) {
        let Refused { kind: _, cause, zone, netns, ktime_ns, count, max, ref tuple } = *record;
        let Some(cause) = Cause::from_byte(cause) else {
            self.events.decode_errors += 1;
            return;
        };
        self.events.seen += 1;
        match cause {
            Cause::TableFull => self.own.refused_table_full += 1,
            Cause::NoMemory => self.own.refused_no_memory += 1,
            Cause::Ctnetlink => self.own.refused_ctnetlink += 1,
        }
        let caught = netns != 0 && *tuple != Tuple::ZERO;
        let connection = caught.then(|| Connection::new(netns, zone, tuple));
        let refusal = Refusal { ktime_ns, netns, cause, connection, level: Level::new(count, max) };
        let counts = match &refusal.connection {
            Some(connection) => {
                self.break_down(connection, What::Refused);
                self.sources.refused(netns, connection.src, ktime_ns)
            }
            None => {
                self.sources.unknown(&Sums { refused: 1, ..Sums::default() });
                true
            }
        };
        if netns != 0 {
            self.refused_in(netns, &refusal, counts, tell);
        }
        tell(Notice::Refused(refusal));
    }

    fn refused_in(&mut self, netns: u32, refusal: &Refusal, counts: bool, tell: &mut impl FnMut(Notice)) {
        let edge = self.netns.get(netns).refused(refusal, counts);
        self.edge(netns, edge, tell);
        if let Some(open) = &mut self.netns.get(netns).open {
            open.refused(refusal);
        }
    }

    pub(super) fn evicted(&mut self, record: &Evicted, tell: &mut impl FnMut(Notice)) {
        let &Evicted { zone, netns, ktime_ns, count, max, ct, ref tuple, status, mark, hash, .. } = record;
        let victim = Connection::new(netns, zone, tuple);
        let level = Level::new(count, max);
        self.events.seen += 1;
        self.own.evicted += 1;
        self.sources.evicted(netns, victim.src);
        self.break_down(&victim, What::Evicted);
        let edge = self.netns.get(netns).evicted(ktime_ns, level);
        self.edge(netns, edge, tell);
        if let Some(open) = &mut self.netns.get(netns).open {
            open.evicted(victim.src);
        }
        let age_ns = self.age_ns(ct, &victim, ktime_ns);
        let status = Status(status);
        let eviction = Eviction { ktime_ns, victim, age_ns, status, mark, level, for_whom: None };
        if let Some(oldest) = self.held.push(hash, eviction) {
            tell(Notice::Evicted(oldest));
        }
    }

    /// How old a connection's entry is. Where the entries ring lags behind, its address may still hold the
    /// entry before.
    fn age_ns(&self, ct: u64, connection: &Connection, ktime_ns: u64) -> Option<u64> {
        let entry = self.live.get(ct)?;
        let source = self.sources.get(entry.source);
        (entry.connection(source.netns, source.src) == *connection).then(|| entry.age_ns(ktime_ns))?
    }

    pub(super) fn room_made(&mut self, record: &RoomMade, tell: &mut impl FnMut(Notice)) {
        let newcomer = Connection::new(record.netns, record.zone, &record.tuple);
        self.held.claim(record.hash, newcomer, |eviction| tell(Notice::Evicted(eviction)));
    }

    #[cold]
    pub(super) fn insert_failed(&mut self, record: &InsertFailed, tell: &mut impl FnMut(Notice)) {
        let &InsertFailed { cause, zone, netns, ktime_ns, ref original, ref reply, status, .. } = record;
        let Some(cause) = InsertCause::from_byte(cause) else {
            self.events.decode_errors += 1;
            return;
        };
        self.events.seen += 1;
        match cause {
            InsertCause::Clash => self.own.failed_clash += 1,
            InsertCause::ChainTooLong => self.own.failed_chain_too_long += 1,
            InsertCause::NatPorts => self.own.failed_nat_ports += 1,
            InsertCause::Dying => self.own.failed_dying += 1,
        }
        let connection = Connection::new(netns, zone, original);
        self.sources.failed(netns, connection.src);
        self.break_down(&connection, What::Failed);
        self.netns.get(netns).failed(ktime_ns, cause, 1);
        let reply = Connection::new(netns, zone, reply);
        tell(Notice::InsertFailed(Failure { ktime_ns, cause, connection, reply, status: Status(status) }));
    }

    /// Makes good what lost incidents left out of a source's sums. That they were lost is told by the totals.
    pub(super) fn ledger(&mut self, record: &Ledger) {
        let RefusalKey { netns, l3num, src } = record.key;
        if netns == 0 {
            return;
        }
        let missed = self.sources.refused_in_all(netns, address(l3num, src), &record.refusals);
        // The ledger has no causes; but where refusals are so many that records are lost, the table is full.
        self.netns.get(netns).refusals(Cause::TableFull, missed);
    }
}
