//! What views ask for: queries, intervals, and the snapshots that answer.

use hashbrown::HashMap;

use super::Engine;
use super::recorded::RATE_NS;
use crate::engine::breakdown::{Breakdown, Counts};
use crate::engine::grouping::{Grouping, prefix};
use crate::engine::holders::ROWS;
use crate::engine::lifetimes::{Lifetimes, Oldest};
use crate::engine::minute;
use crate::engine::pass::{Grouped, Groups, Held, Wanted};
use crate::engine::query::{Focus, Query, View};
use crate::engine::snapshot::{self, CAUSES, CauseRow, Close, NetnsRow, Snapshot, Trust};
use crate::engine::sources::{Aside, Source, SourceId, Sums, per_second};
use crate::engine::table::{All, Key, Row, Table};

/// What cannot be told of a recording without entries.
const NO_ENTRIES: &str = "destinations, ports, states and ages are not recorded: record with --entries";

/// The last interval that ended, and where the running one began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Interval {
    began_ktime_ns: u64,
    length_ns: u64,
    new: u64,
    new_before: u64,
    causes: [u64; CAUSES],
    causes_before: [u64; CAUSES],
}

impl Interval {
    /// The first begins.
    pub(super) fn began(ktime_ns: u64) -> Self {
        Self { began_ktime_ns: ktime_ns, ..Self::default() }
    }

    fn end(&mut self, ktime_ns: u64, new: u64, causes: [u64; CAUSES]) {
        let since = |now: u64, before: u64| now.saturating_sub(before);
        *self = Self {
            began_ktime_ns: ktime_ns,
            length_ns: since(ktime_ns, self.began_ktime_ns),
            new: since(new, self.new_before),
            new_before: new,
            causes: std::array::from_fn(|at| since(causes[at], self.causes_before[at])),
            causes_before: causes,
        };
    }
}

/// Sources summed.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    entries: u64,
    sums: Sums,
    lifetimes: Lifetimes,
    oldest: Oldest,
    new_in_interval: u64,
}

impl Sum {
    fn add(&mut self, source: &Source, aside: &Aside) {
        self.entries += u64::from(source.entries);
        self.sums.add(&source.sums);
        self.lifetimes.add(&source.lifetimes);
        self.new_in_interval = self.new_in_interval.saturating_add(aside.new_in_interval);
        if source.entries > 0 {
            self.oldest.add(&aside.oldest);
        }
    }
}

impl Engine {
    /// From now on snapshots show what is asked for here. What nothing sums yet is counted from here on.
    pub fn ask(&mut self, query: Query) {
        self.breakdowns.keep(&query.filter);
        if let Some(grouping) = Grouping::of(&query) {
            let totals = self.sums();
            if self.breakdowns.ask(&grouping, self.ktime_ns, totals) {
                self.passes.drop_table(&grouping);
            }
        }
        self.recent.focus(query.focus);
        self.query = query;
    }

    /// Ends an interval: until the next ends, rates are over this one, and what takes a pass over the live table is
    /// of one that the first snapshot makes that asks for it.
    pub fn end_interval(&mut self) {
        let causes = snapshot::causes(&self.totals(), self.failed_unknown).map(|(_, total)| total);
        self.interval.end(self.ktime_ns, self.own.new, causes);
        let length_ns = self.interval.length_ns;
        // The rates of a recording's sources are as it lists them.
        if !self.config.recorded {
            self.sources.end_interval();
        }
        self.netns.end_interval(length_ns);
        self.breakdowns.end_interval(self.ktime_ns, length_ns);
        self.passes.forget();
    }

    /// The state of the world, as far as was asked for.
    pub fn snapshot(&mut self) -> Snapshot {
        let grouping = Grouping::of(&self.query);
        self.pass_over(grouping.as_ref());
        let totals = self.totals();
        let netns = self.netns_rows();
        Snapshot {
            ktime_ns: self.ktime_ns,
            wall: self.wall,
            since_ktime_ns: self.config.since_ktime_ns,
            interval_ns: self.interval.length_ns,
            trust: self.trust_in_views(),
            thresholds: self.config.thresholds,
            events: self.events.clone(),
            totals,
            failed_unknown: self.failed_unknown,
            statistics: self.netns.statistics(totals.clash_resolved),
            entries: self.entries(),
            history: self.netns.history(self.query.netns, &netns),
            netns,
            table: self.table(grouping.as_ref()),
            causes: self.causes(),
            recent: self.recent.passing(&self.query.filter),
            focus: self.query.focus.and_then(|focus| self.close(focus)),
            episodes: self.episodes(),
        }
    }

    /// A recording without entries lacks more than its backend did.
    fn trust_in_views(&self) -> Trust {
        let mut trust = self.config.trust.clone();
        if self.config.recorded {
            trust.degradations.push(NO_ENTRIES.to_owned());
        }
        trust
    }

    /// Finds out what the query needs of the live table and no pass of this interval has found.
    fn pass_over(&mut self, grouping: Option<&Grouping>) {
        let Query { view, rows, focus, .. } = self.query;
        let sources = self.config.live_view || focus.is_some() || (view.has_table() && rows > 0);
        let wanted = Wanted { sources, grouping, focus };
        let groups = self.passes.find(wanted, self.ktime_ns, &self.live, &mut self.sources);
        if let (Some(grouping), Some(groups)) = (grouping, groups) {
            if let Some(breakdown) = self.breakdowns.get_mut(grouping) {
                breakdown.make_room(&groups);
            }
            let rows = self.grouped_rows(self.breakdowns.get(grouping), groups);
            self.passes.keep(grouping, Grouped { ktime_ns: self.ktime_ns, rows });
        }
    }

    fn netns_rows(&self) -> Vec<NetnsRow> {
        let mut rows = self.netns.rows();
        for row in &mut rows {
            let held = self.passes.netns(row.netns);
            row.evictable = held.evictable.min(row.entries);
            row.unseen = held.unseen.min(row.entries);
            if self.config.recorded {
                row.unseen = row.entries;
            }
        }
        rows
    }

    fn causes(&self) -> Vec<CauseRow> {
        let causes =
            snapshot::causes(&self.totals(), self.failed_unknown).into_iter().zip(self.interval.causes);
        let per_s = |events| per_second(events, self.interval.length_ns);
        causes.map(|((cause, total), events)| CauseRow { cause, total, per_s: per_s(events) }).collect()
    }

    /// Entries in the live table.
    pub(super) fn entries(&self) -> u64 {
        if self.config.recorded { self.netns.entries() } else { self.live.len() as u64 }
    }

    /// The totals the way sources are summed.
    pub(super) fn sums(&self) -> Sums {
        snapshot::sums(&self.totals(), self.failed_unknown)
    }

    fn table(&self, grouping: Option<&Grouping>) -> Table {
        let all = All {
            entries: self.entries(),
            sums: self.sums(),
            since_ktime_ns: self.config.since_ktime_ns,
            new_per_s: per_second(self.interval.new, self.interval.length_ns),
        };
        let Query { view, sort, rows: k, ref filter, prefix: lengths, .. } = self.query;
        let by_netns = filter.src.is_none() && filter.family.is_none();
        let rows = match (grouping, view) {
            (Some(grouping), _) => return self.grouped_table(grouping, all),
            (None, View::Sources) => {
                self.passing_sources().map(|(id, source)| self.source_row(id, source)).collect()
            }
            (None, View::Prefixes) => self.summed_rows(|source| Key::Prefix(prefix(source.src, lengths))),
            (None, View::Netns) if by_netns => self.netns_table(),
            (None, View::Netns) => self.summed_rows(|source| Key::Netns(source.netns)),
            (None, _) => Vec::new(),
        };
        Table::new(view, &rows, sort, k, &all)
    }

    /// What the new entries of a source are counted over.
    fn source_rate_ns(&self) -> u64 {
        if self.config.recorded { RATE_NS } else { self.interval.length_ns }
    }

    fn passing_sources(&self) -> impl Iterator<Item = (SourceId, &Source)> {
        let filter = &self.query.filter;
        self.sources.iter_ids().filter(|(_, source)| filter.matches_source(source.netns, source.src))
    }

    fn source_row(&self, id: SourceId, source: &Source) -> Row {
        let Source { netns, src, entries, sums, lifetimes, .. } = source;
        let Aside { oldest, new_in_interval, .. } = self.sources.aside(id);
        Row {
            key: Key::Source(*src, *netns),
            entries: u64::from(*entries),
            new_per_s: per_second(*new_in_interval, self.source_rate_ns()),
            sums: *sums,
            mean_lifetime_ns: lifetimes.mean_ns(),
            oldest_ns: if *entries > 0 { oldest.age_ns(self.ktime_ns) } else { None },
        }
    }

    /// By what is the same of several sources.
    fn summed_rows(&self, key: impl Fn(&Source) -> Key) -> Vec<Row> {
        let mut groups: HashMap<Key, Sum> = HashMap::new();
        for (id, source) in self.passing_sources() {
            groups.entry(key(source)).or_default().add(source, self.sources.aside(id));
        }
        let row = |(key, sum): (Key, Sum)| Row {
            key,
            entries: sum.entries,
            new_per_s: per_second(sum.new_in_interval, self.source_rate_ns()),
            sums: sum.sums,
            mean_lifetime_ns: sum.lifetimes.mean_ns(),
            oldest_ns: sum.oldest.age_ns(self.ktime_ns),
        };
        groups.into_iter().map(row).collect()
    }

    fn netns_table(&self) -> Vec<Row> {
        let filter = &self.query.filter;
        let passing = self.netns.iter().filter(|it| !it.is_idle() && filter.matches_netns(it.inum));
        let row = |it: &super::netns::Netns| Row {
            key: Key::Netns(it.inum),
            entries: it.entries(),
            new_per_s: it.rates().new,
            sums: it.sums,
            mean_lifetime_ns: it.lifetimes.mean_ns(),
            oldest_ns: self.passes.netns(it.inum).oldest.age_ns(self.ktime_ns).filter(|_| it.entries() > 0),
        };
        passing.map(row).collect()
    }

    /// The table that the pass left, of what was counted since its breakdown began.
    fn grouped_table(&self, grouping: &Grouping, mut all: All) -> Table {
        let Query { view, sort, rows: k, .. } = self.query;
        if let Some(breakdown) = self.breakdowns.get(grouping) {
            all.sums = all.sums.since(&breakdown.before);
            all.since_ktime_ns = breakdown.since_ktime_ns;
        }
        let Some(grouped) = self.passes.grouped(grouping) else {
            return Table::new(view, &[], sort, k, &all);
        };
        let mut table = Table::new(view, &grouped.rows, sort, k, &all);
        let since = self.ktime_ns.saturating_sub(grouped.ktime_ns);
        table.rows.iter_mut().for_each(|row| row.oldest_ns = row.oldest_ns.map(|age| age + since));
        table
    }

    /// Entries by the pass; what happened by a breakdown, if there is one, and since that began.
    fn grouped_rows(&self, breakdown: Option<&Breakdown>, mut held: Groups) -> Vec<Row> {
        let row = |key: Key, held: Held, counts: &Counts| Row {
            key,
            entries: held.entries,
            new_per_s: breakdown.map_or(0.0, |it| it.new_per_s(counts)),
            sums: counts.sums,
            mean_lifetime_ns: counts.lifetimes.mean_ns(),
            oldest_ns: held.oldest.age_ns(self.ktime_ns),
        };
        let counted = breakdown.into_iter().flat_map(|it| it.iter());
        let mut rows: Vec<Row> =
            counted.map(|(key, counts)| row(*key, held.remove(key).unwrap_or_default(), counts)).collect();
        rows.extend(held.into_iter().map(|(key, held)| row(key, held, &Counts::default())));
        rows
    }

    /// The source looked at closely.
    fn close(&self, focus: Focus) -> Option<Close> {
        let Focus { netns, src } = focus;
        let picture = self.passes.picture(&focus)?;
        let id = self.sources.find(netns, src);
        let nothing = Row {
            key: Key::Source(src, netns),
            entries: 0,
            new_per_s: 0.0,
            sums: Sums::default(),
            mean_lifetime_ns: None,
            oldest_ns: None,
        };
        let began = self.config.since_ktime_ns.max(minute::window_start(self.ktime_ns));
        let arrivals = id.map_or(0, |id| self.sources.get(id).minute.count(self.ktime_ns));
        Some(Close {
            focus,
            row: id.map_or(nothing, |id| self.source_row(id, self.sources.get(id))),
            destinations: picture.profile.destinations(),
            ports: picture.profile.ports(),
            states: picture.states.ranking(ROWS),
            ages: picture.profile.ages,
            age_unknown: picture.profile.age_unknown,
            arrivals_per_s: per_second(arrivals, self.ktime_ns.saturating_sub(began)),
            refusals: self.recent.of_focus(),
        })
    }
}

#[cfg(test)]
mod tests;
