//! What a recording has instead of entries, applied to the engine: sums are set to what is said, nothing is added to
//! them, and states go only where a `Crossed` says. But for what was not recorded, and what was summed, a recording
//! with entries needs none of it: there the records say it all.

use std::net::IpAddr;

use conntrack_common::{Cause, InsertCause, Kind};

use super::Engine;
use crate::engine::digest::Picture;
use crate::engine::gauge::Level;
use crate::engine::lifetimes::Lifetimes;
use crate::engine::notice::{Incident, Notice, Refusal, Summed, Unrecorded};
use crate::engine::recorded::{self, AuditDone, Crossed, Dimension, Holder, Holding, NetnsSecond, Recorded};
use crate::engine::saturation::{Edge, State};
use crate::engine::sources::{SourceSums, Sums};
use crate::engine::tuple::address;

/// Nanoseconds over which the rate of a source is told, however long it was between two lists of sources.
pub(super) const RATE_NS: u64 = 1_000_000_000_000;

/// What is known of a recording without entries only.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// What was said last of no namespace.
    nobody: Sums,
    /// Entries that audits added and took out are in the sums, but no events: so many are still to be told apart.
    mended: u64,
    /// The picture that rows are of.
    picture: Picture,
    /// Sources in the list before and in this one.
    before: Vec<(u32, IpAddr)>,
    listed: Vec<(u32, IpAddr)>,
}

impl Engine {
    #[cold]
    pub(super) fn recorded(&mut self, record: Recorded<'_>, tell: &mut impl FnMut(Notice)) {
        match record {
            Recorded::Unrecorded(record) => self.unrecorded(&record.get(), tell),
            Recorded::Summed(record) => self.summed(&record.get(), tell),
            _ if !self.config.recorded => {}
            Recorded::NetnsSecond(record) => self.netns_second(&record.get()),
            Recorded::Holder(record) => self.holder(&record.get()),
            Recorded::Holding(record) => self.holding(&record.get()),
            Recorded::Crossed(record) => self.recorded_edge(&record.get(), tell),
            Recorded::AuditDone(record) => self.audit_done(&record.get(), tell),
            // Who makes batches of a recording has read them.
            Recorded::Drain(_) | Recorded::Counters(_) | Recorded::Text(_) => {}
            Recorded::Setting(_) | Recorded::Ended(_) => {}
        }
    }

    fn netns_second(&mut self, row: &NetnsSecond) {
        let sums = second_sums(row);
        if row.netns == 0 {
            let before = std::mem::replace(&mut self.replayed.nobody, sums);
            return self.count_entries(&before, &sums);
        }
        if row.state == NetnsSecond::GONE {
            return self.recorded_gone(row);
        }
        let netns = self.netns.get(row.netns);
        let before = std::mem::replace(&mut netns.sums, sums);
        netns.replay(
            row.ktime_ns,
            Level::new(row.count, row.max),
            row.entries.into(),
            Lifetimes::of(row.lifetimes, row.mean_lifetime_ns),
        );
        self.count_entries(&before, &sums);
        self.state_found(row);
    }

    /// Entries that came and went since what was said before: the totals of a recording have no other source of them
    /// than the kernel's own.
    fn count_entries(&mut self, before: &Sums, now: &Sums) {
        let moved = |to: &mut u64, before: u64, now: u64| *to = to.wrapping_add(now).wrapping_sub(before);
        moved(&mut self.own.new, before.new, now.new);
        moved(&mut self.own.freed, before.freed, now.freed);
        moved(&mut self.own.unconfirmed, before.unconfirmed, now.unconfirmed);
        let since = now.since(before);
        let events = since.new.saturating_add(since.freed);
        let mended = self.replayed.mended.min(events);
        self.replayed.mended -= mended;
        self.events.seen = self.events.seen.saturating_add(events - mended);
    }

    /// Its sums are among nobody's from now on.
    fn recorded_gone(&mut self, row: &NetnsSecond) {
        let (before, sums) = (self.netns.get(row.netns).sums, second_sums(row));
        self.close_episode(row.netns, row.ktime_ns);
        self.count_entries(&before, &sums);
        self.replayed.nobody.add(&sums);
        // What they held when they were listed last, they hold no more.
        let held = self.sources.iter().filter(|it| it.netns == row.netns && it.entries > 0).map(|it| it.src);
        held.collect::<Vec<_>>().into_iter().for_each(|src| self.sources.unlisted(row.netns, src));
        self.sources.retire(row.netns);
        self.netns.retire(row.netns);
    }

    /// A state that no edge has told was reached while nothing was recorded: nobody knows when.
    fn state_found(&mut self, row: &NetnsSecond) {
        let was = self.netns.get(row.netns).state();
        let Some(state) = State::from_byte(row.state).filter(|state| *state != was) else { return };
        let edge = Edge { was, state, ktime_ns: row.ktime_ns, level: Level::new(row.count, row.max) };
        self.netns.get(row.netns).replay_edge(&edge);
        match state {
            State::Ok => self.close_episode(row.netns, row.ktime_ns),
            _ => self.begin_or_end_episode(row.netns, &edge),
        }
    }

    fn recorded_edge(&mut self, record: &Crossed, tell: &mut impl FnMut(Notice)) {
        match record.edge() {
            Some(edge) => {
                self.netns.get(record.netns).replay_edge(&edge);
                self.crossed(record.netns, edge, tell);
            }
            None => self.events.decode_errors += 1,
        }
    }

    fn holder(&mut self, row: &Holder) {
        if row.rank == Holder::OTHER {
            let listed = std::mem::take(&mut self.replayed.listed);
            let before = std::mem::replace(&mut self.replayed.before, listed);
            for (netns, src) in before.into_iter().filter(|it| !self.replayed.before.contains(it)) {
                self.sources.unlisted(netns, src);
            }
            return;
        }
        let src = address(row.l3num, row.src);
        self.replayed.listed.push((row.netns, src));
        let said = SourceSums {
            ktime_ns: row.ktime_ns,
            entries: row.entries,
            sums: holder_sums(row),
            lifetimes: Lifetimes::of(row.lifetimes, row.mean_lifetime_ns),
        };
        self.sources.listed(row.netns, src, &said, self.config.since_ktime_ns, RATE_NS);
    }

    fn holding(&mut self, row: &Holding) {
        self.replayed.picture.take(row);
        if row.dimension == Dimension::ArrivalsWindow as u8
            && let Some(open) = &mut self.netns.get(row.netns).open
        {
            open.set_holders(std::mem::take(&mut self.replayed.picture).holders);
        }
    }

    fn audit_done(&mut self, record: &AuditDone, tell: &mut impl FnMut(Notice)) {
        let Some(audited) = record.audited() else {
            self.events.decode_errors += 1;
            return;
        };
        let repaired = audited.report.repaired;
        self.events.repaired.add(repaired);
        for mended in [repaired.total(), repaired.replaced] {
            self.replayed.mended = self.replayed.mended.saturating_add(mended);
        }
        if audited.abandoned {
            self.events.abandoned = Some(audited.report);
        } else {
            self.events.bootstrapped = true;
            (self.events.last_audit, self.events.abandoned) = (Some(audited.report), None);
        }
        tell(Notice::Audited(audited));
    }

    fn unrecorded(&mut self, record: &recorded::Unrecorded, tell: &mut impl FnMut(Notice)) {
        let recorded::Unrecorded { reason, ktime_ns, from_ktime_ns, drains, bytes, .. } = *record;
        let unrecorded = Unrecorded { ktime_ns, from_ktime_ns, reason: reason.into(), drains, bytes };
        self.events.unrecorded.add(&unrecorded);
        tell(Notice::Unrecorded(unrecorded));
    }

    fn summed(&mut self, record: &recorded::Summed, tell: &mut impl FnMut(Notice)) {
        let Some(of) = Incident::from_bytes(record.of, record.cause) else {
            self.events.decode_errors += 1;
            return;
        };
        let &recorded::Summed { netns, ktime_ns, first_ktime_ns, count, src, l3num, .. } = record;
        let summed = Summed {
            ktime_ns,
            first_ktime_ns,
            netns,
            of,
            count,
            src: (l3num != 0).then(|| address(l3num, src)),
            level: Level::new(record.level_count, record.level_max),
        };
        self.events.seen = self.events.seen.saturating_add(count);
        let sums = match of {
            Incident::Refused(_) => Sums { refused: count, ..Sums::default() },
            Incident::Evicted => Sums { evicted: count, ..Sums::default() },
            Incident::Failed(_) => Sums { failed: count, ..Sums::default() },
        };
        match summed.src {
            Some(src) if netns != 0 => self.sources.befell(netns, src, &sums),
            _ => self.sources.unknown(&sums),
        }
        match of {
            Incident::Refused(cause) => self.summed_refusals(&summed, cause, tell),
            Incident::Evicted => self.summed_evictions(&summed, tell),
            Incident::Failed(cause) => self.summed_failures(&summed, cause),
        }
        tell(Notice::Summed(summed));
    }

    fn summed_refusals(&mut self, summed: &Summed, cause: Cause, tell: &mut impl FnMut(Notice)) {
        let Summed { ktime_ns, netns, count, level, .. } = *summed;
        let total = match cause {
            Cause::TableFull => &mut self.own.refused_table_full,
            Cause::NoMemory => &mut self.own.refused_no_memory,
            Cause::Ctnetlink => &mut self.own.refused_ctnetlink,
        };
        *total = total.saturating_add(count);
        if netns == 0 {
            return;
        }
        let last = Refusal { ktime_ns, netns, cause, connection: None, level };
        self.netns.get(netns).refusals(cause, count);
        let edge = self.netns.get(netns).refused(&last, false);
        self.edge(netns, edge, tell);
        if let Some(open) = &mut self.netns.get(netns).open {
            open.refused_many(&last, summed);
        }
    }

    fn summed_evictions(&mut self, summed: &Summed, tell: &mut impl FnMut(Notice)) {
        let Summed { ktime_ns, netns, count, .. } = *summed;
        self.own.evicted = self.own.evicted.saturating_add(count);
        let edge = self.netns.get(netns).evictions(ktime_ns, count);
        self.netns.get(netns).reckoning.running.evicted(count);
        self.edge(netns, edge, tell);
        if let Some(open) = &mut self.netns.get(netns).open {
            open.evicted_many(summed);
        }
    }

    fn summed_failures(&mut self, summed: &Summed, cause: InsertCause) {
        let Summed { ktime_ns, netns, count, .. } = *summed;
        let total = match cause {
            InsertCause::Clash => &mut self.own.failed_clash,
            InsertCause::ChainTooLong => &mut self.own.failed_chain_too_long,
            InsertCause::NatPorts => &mut self.own.failed_nat_ports,
            InsertCause::Dying => &mut self.own.failed_dying,
        };
        *total = total.saturating_add(count);
        self.netns.get(netns).failed(ktime_ns, cause, count);
    }
}

impl Incident {
    /// What the numbers of a kind and a cause name, if anything.
    fn from_bytes(kind: u8, cause: u8) -> Option<Self> {
        match Kind::from_byte(kind)? {
            Kind::Refused => Cause::from_byte(cause).map(Self::Refused),
            Kind::Evicted => Some(Self::Evicted),
            Kind::InsertFailed => InsertCause::from_byte(cause).map(Self::Failed),
            _ => None,
        }
    }
}

fn second_sums(row: &NetnsSecond) -> Sums {
    let &NetnsSecond { new, freed, refused, evicted, failed, unconfirmed, .. } = row;
    Sums { new, freed, refused, evicted, failed, unconfirmed }
}

fn holder_sums(row: &Holder) -> Sums {
    let &Holder { new, freed, refused, evicted, failed, unconfirmed, .. } = row;
    Sums { new, freed, refused, evicted, failed, unconfirmed }
}

#[cfg(test)]
mod tests;
