//! What is read rather than hooked: counts, the kernel's statistics and sums, which namespaces there are, and
//! whether conntrack is there at all.

use std::collections::BTreeMap;

use conntrack_common::{Cause, Census, Count, Gap, Missed, NetnsName, Stats, Totals};

use super::Engine;
use super::netns::Netns;
use crate::engine::gauge::Level;
use crate::engine::notice::{self, Counted, Lost, Notice, Refusal};
use crate::engine::sources::Sums;
use crate::engine::statistics::Counters;

/// Sums of programs that were attached before: those of the present ones began at 0.
#[derive(Debug, Default)]
pub(super) struct Before {
    kernel: Totals,
    missed: BTreeMap<String, u64>,
}

impl Engine {
    pub(super) fn count(&mut self, record: &Count, tell: &mut impl FnMut(Notice)) {
        let Count { netns, ktime_ns, cookie, .. } = *record;
        let it = self.netns.get(netns);
        if it.cookie != 0 && cookie != 0 && it.cookie != cookie {
            let last_counted = it.counted_ktime_ns;
            self.forget_netns(netns, ktime_ns, last_counted);
        }
        let it = self.netns.get(netns);
        it.cookie = if cookie == 0 { it.cookie } else { cookie };
        it.counted_ktime_ns = ktime_ns;
        let edge = it.observed(ktime_ns, Level::new(record.count, record.max));
        self.edge(netns, edge, tell);
    }

    #[cold]
    pub(super) fn census(&mut self, record: &Census) {
        for netns in self.netns.uncounted(record.counts, record.began_ktime_ns) {
            self.forget_netns(netns, record.ktime_ns, u64::MAX);
        }
    }

    /// A namespace is gone, and with it its entries, as far as they were born until `born_by`: later ones are of
    /// another that has its inode number now.
    fn forget_netns(&mut self, netns: u32, ktime_ns: u64, born_by: u64) {
        self.close_episode(netns, ktime_ns);
        if self.netns.get(netns).entries() > 0 {
            let members = self.sources.of_netns(netns);
            let left = self.live.extract(|it| members.contains(it.source) && it.born_ktime_ns <= born_by);
            self.events.repaired.removed += if self.events.bootstrapped { left.len() as u64 } else { 0 };
            left.iter().for_each(|entry| self.freed_unseen(entry));
        }
        let sources = self.sources.retire(netns);
        self.tell_gone(netns, ktime_ns, sources);
        let kept = self.netns.get(netns).entries();
        self.netns.retire(netns);
        (0..kept).for_each(|_| self.netns.get(netns).found(false));
    }

    #[cold]
    pub(super) fn statistics(&mut self, record: &Stats, tell: &mut impl FnMut(Notice)) {
        let it = self.netns.get(record.netns);
        let kernel = Counters::new(record);
        let since = kernel.since(&it.reckoning.last());
        it.reckoning.read(kernel);
        it.statistics_alone = record.alone != 0;
        if it.statistics_alone {
            self.counted_alone(record, &since, tell);
        }
    }

    /// Nothing else tells of refusals, evictions and failures: whoever they befell.
    fn counted_alone(&mut self, record: &Stats, since: &Counters, tell: &mut impl FnMut(Notice)) {
        let Stats { netns, ktime_ns, .. } = *record;
        // The kernel counts in 32 bits: more at a time is nonsense.
        let sane = |count: u64| count.min(u32::MAX.into());
        let failed = sane(since.insert_failed);
        let chain_too_long = since.chaintoolong.min(failed);
        // A chain that is too long is a failure, but no drop.
        let refused = sane(since.drop).saturating_add(chain_too_long).saturating_sub(failed);
        let evicted = sane(since.early_drop);
        if refused + evicted + failed == 0 {
            return;
        }
        self.own.refused_table_full += refused;
        self.own.evicted += evicted;
        self.own.failed_chain_too_long += chain_too_long;
        self.failed_unknown += failed - chain_too_long;
        self.sources.unknown(&Sums { refused, evicted, failed, ..Sums::default() });
        let it = self.netns.get(netns);
        it.failures(failed, chain_too_long);
        if evicted > 0 {
            let edge = it.evictions(ktime_ns, evicted);
            self.edge(netns, edge, tell);
        }
        let (cause, level) = (Cause::TableFull, Level::default());
        let refusal = Refusal { ktime_ns, netns, cause, connection: None, level };
        if refused > 0 {
            let it = self.netns.get(netns);
            it.refusals(cause, refused);
            let edge = it.refused(&refusal, false);
            self.edge(netns, edge, tell);
        }
        if let Some(open) = &mut self.netns.get(netns).open {
            open.counted(&refusal, refused, evicted);
        }
        tell(Notice::Counted(Counted { ktime_ns, netns, refused, evicted, failed }));
    }

    #[cold]
    pub(super) fn missed(&mut self, record: &Missed) {
        let program = text(&record.program);
        let before = self.before.missed.get(&program).copied().unwrap_or(0);
        let now = before.saturating_add(record.missed);
        let known = self.events.missed_by_program.entry(program).or_insert(0);
        if now > *known {
            *known = now;
            self.audits.want();
        }
    }

    #[cold]
    pub(super) fn netns_name(&mut self, record: &NetnsName) {
        self.netns.name(record.netns, text(&record.name));
    }

    #[cold]
    pub(super) fn gap(&mut self, record: &Gap, tell: &mut impl FnMut(Notice)) {
        let Gap { over, ktime_ns, from_ktime_ns, .. } = *record;
        let over = over != 0;
        if self.events.gaps.since_ktime_ns.is_none() {
            self.gone(from_ktime_ns);
        }
        let notice = notice::Gap { ktime_ns, from_ktime_ns, over };
        if over {
            let gaps = &mut self.events.gaps;
            gaps.since_ktime_ns = None;
            gaps.duration_ns = gaps.duration_ns.saturating_add(notice.length_ns());
            self.before = Before { kernel: self.kernel, missed: self.events.missed_by_program.clone() };
        }
        tell(Notice::Gap(notice));
    }

    /// conntrack is gone with all entries. They are nobody's fault and in no sum.
    fn gone(&mut self, ktime_ns: u64) {
        self.events.gaps.count += 1;
        self.events.gaps.since_ktime_ns = Some(ktime_ns);
        let open = |it: &Netns| Some((it.open.as_ref()?.start_ktime_ns(), it.inum));
        let mut open: Vec<_> = self.netns.iter().filter_map(open).collect();
        open.sort_unstable();
        open.into_iter().for_each(|(_, netns)| self.close_episode(netns, ktime_ns));
        self.live.clear();
        self.passes.forget();
        self.sources.release_all();
        self.netns.release_all(ktime_ns);
        self.forget_audits();
    }

    pub(super) fn reconcile(&mut self, totals: &Totals, tell: &mut impl FnMut(Notice)) {
        let mut kernel = self.before.kernel;
        kernel.add(totals);
        let before = std::mem::replace(&mut self.kernel, kernel);
        let lost = Lost {
            ktime_ns: self.ktime_ns,
            entries: kernel.lost_entries.saturating_sub(before.lost_entries),
            incidents: kernel.lost_incidents.saturating_sub(before.lost_incidents),
            unmatched: kernel.unmatched.saturating_sub(before.unmatched),
        };
        if lost.entries + lost.incidents + lost.unmatched > 0 {
            tell(Notice::Lost(lost));
        }
    }
}

/// A zero-terminated name.
fn text(bytes: &[u8]) -> String {
    let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests;
