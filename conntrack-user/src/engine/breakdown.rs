//! What happens, by groups that nothing else sums: counted from when it is first asked for.
//!
//! Each takes at most 16 MiB, and there are at most five; while none is asked for, an event costs one comparison.
//! What only the ledger tells of, and statistics, is in nobody's row: they know no destinations.

use hashbrown::HashMap;

use super::filter::Filter;
use super::grouping::{By, Grouping};
use super::lifetimes::Lifetimes;
use super::pass::Groups;
use super::sources::{Sums, per_second};
use super::table::Key;
use super::tuple::Connection;

/// Groups of each breakdown that are counted. What befalls others is in nobody's row.
const GROUPS: usize = 65_536;

/// What happens to a connection.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// Its entry was allocated.
    New,
    /// It was not after all: it is one that was told before.
    NotNew,
    /// Its entry was freed.
    Freed {
        /// How long it lived, if that is known.
        lifetime_ns: Option<u64>,
        /// Whether a rule had dropped its packet.
        unconfirmed: bool,
    },
    /// It was refused.
    Refused,
    /// Its entry was evicted.
    Evicted,
    /// Its entry was not inserted.
    Failed,
}

/// What happened to one group.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// What happened.
    pub sums: Sums,
    /// How long the entries that ended had lived.
    pub lifetimes: Lifetimes,
    new_before: u64,
    new_in_interval: u64,
}

impl Counts {
    fn count(&mut self, what: What) {
        let sums = &mut self.sums;
        match what {
            What::New => sums.new += 1,
            What::NotNew => sums.new = sums.new.saturating_sub(1),
            What::Freed { lifetime_ns, unconfirmed } => {
                sums.freed += 1;
                sums.unconfirmed += u64::from(unconfirmed);
                self.lifetimes.ended(lifetime_ns);
            }
            What::Refused => sums.refused += 1,
            What::Evicted => sums.evicted += 1,
            What::Failed => sums.failed += 1,
        }
    }

    fn weight(&self) -> u64 {
        let Sums { new, freed, refused, evicted, failed, unconfirmed: _ } = self.sums;
        new + freed + refused + evicted + failed
    }
}

/// Counts by one kind of group.
#[derive(Debug)]
pub struct Breakdown {
    by: By,
    groups: HashMap<Key, Counts>,
    /// When it began.
    pub since_ktime_ns: u64,
    /// The totals when it began.
    pub before: Sums,
    /// How much of the last interval was counted: it may have begun in the middle.
    interval_ns: u64,
}

/// All that are kept: of one filter, each by another kind of group.
#[derive(Debug, Default)]
pub struct Breakdowns {
    filter: Filter,
    all: Vec<Breakdown>,
}

impl Breakdowns {
    /// Whether anything is counted.
    #[inline]
    pub fn are_on(&self) -> bool {
        !self.all.is_empty()
    }

    /// Begins to count, unless it does already: then it is false. Those of another filter, or of prefixes of another
    /// length, end.
    pub fn ask(&mut self, grouping: &Grouping, ktime_ns: u64, totals: Sums) -> bool {
        self.keep(&grouping.filter);
        let Grouping { by, filter } = grouping;
        if !by.has_sums() || self.all.iter().any(|it| it.by == *by) {
            return false;
        }
        self.filter = filter.clone();
        self.all.retain(|it| !it.by.is_same_view(by));
        self.all.push(Breakdown {
            by: *by,
            groups: HashMap::new(),
            since_ktime_ns: ktime_ns,
            before: totals,
            interval_ns: 0,
        });
        true
    }

    /// Ends those of another filter.
    pub fn keep(&mut self, filter: &Filter) {
        if self.filter != *filter {
            self.all.clear();
        }
    }

    /// Something happened to a connection.
    // Neither inlined nor given a reference: both would burden the path where nothing is asked for.
    #[cold]
    #[inline(never)]
    pub fn count(&mut self, connection: Connection, what: What) {
        if !self.filter.matches(&connection, 0) {
            return;
        }
        for it in &mut self.all {
            let key = it.by.key_of_event(&connection);
            if let Some(counts) = it.groups.get_mut(&key) {
                counts.count(what);
            } else if it.groups.len() < GROUPS {
                it.groups.entry(key).or_default().count(what);
            }
        }
    }

    /// Ends an interval of so many nanoseconds and begins the next.
    pub fn end_interval(&mut self, ktime_ns: u64, length_ns: u64) {
        for it in &mut self.all {
            it.interval_ns = length_ns.min(ktime_ns.saturating_sub(it.since_ktime_ns));
            for counts in it.groups.values_mut() {
                counts.new_in_interval = counts.sums.new.saturating_sub(counts.new_before);
                counts.new_before = counts.sums.new;
            }
        }
    }

    /// The one of these groups.
    pub fn get(&self, grouping: &Grouping) -> Option<&Breakdown> {
        self.all.iter().find(|it| it.by == grouping.by)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, grouping: &Grouping) -> Option<&mut Breakdown> {
        self.all.iter_mut().find(|it| it.by == grouping.by)
    }
}

impl Breakdown {
    /// Every group counted, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Counts)> {
        self.groups.iter()
    }

    /// New entries of a group per second over the interval.
    pub fn new_per_s(&self, counts: &Counts) -> f64 {
        per_second(counts.new_in_interval, self.interval_ns)
    }

    /// Once three quarters are taken, the half of the groups that hold nothing to which least happened leave.
    pub fn make_room(&mut self, held: &Groups) {
        if self.groups.len() < GROUPS / 4 * 3 {
            return;
        }
        let idle = |key: &Key| !held.contains_key(key);
        let mut weights: Vec<u64> =
            self.groups.iter().filter(|(key, _)| idle(key)).map(|(_, counts)| counts.weight()).collect();
        if weights.is_empty() {
            return;
        }
        let middle = weights.len() / 2;
        let (_, median, _) = weights.select_nth_unstable(middle);
        let median = *median;
        self.groups.retain(|key, counts| !idle(key) || counts.weight() > median);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::engine::pass::Held;
    use crate::engine::query::{PrefixLengths, Query, View};
    use crate::engine::testing;

    fn to(number: u32) -> Connection {
        Connection { dst: IpAddr::from(number.to_be_bytes()), ..testing::connection(1) }
    }

    fn grouping(view: View) -> Grouping {
        Grouping::of(&Query { view, ..Query::default() }).expect("no sums of sources answer it")
    }

    #[test]
    fn memory_is_bounded_and_groups_that_hold_something_stay() {
        let mut all = Breakdowns::default();
        let destinations = grouping(View::Destinations);
        assert!(!all.are_on());
        assert!(all.ask(&destinations, 5, Sums::default()) && all.are_on());
        assert!(!all.ask(&destinations, 6, Sums::default()), "it counts already");
        let groups = GROUPS as u32;
        (0..2 * groups).for_each(|number| all.count(to(number), What::New));
        all.count(to(7), What::Refused);
        let it = all.get_mut(&destinations).expect("asked for");
        assert_eq!((it.iter().count(), it.since_ktime_ns), (GROUPS, 5));

        let held: Groups = (0..3).map(|number| (Key::Destination(to(number).dst), Held::default())).collect();
        it.make_room(&held);
        let mut left: Vec<_> = it.iter().map(|(key, counts)| (*key, counts.sums.new)).collect();
        left.sort_unstable();
        assert_eq!(left, [0, 1, 2, 7].map(|number| (Key::Destination(to(number).dst), 1)));
        it.make_room(&Groups::new());
        assert_eq!(it.iter().count(), 4, "there is room");
        all.count(to(2 * groups), What::New);
        assert_eq!(all.get(&destinations).map(|it| it.iter().count()), Some(5));
    }

    #[test]
    fn one_length_of_prefixes_at_a_time() {
        let mut all = Breakdowns::default();
        let filter = Filter { dport: Some(53), ..Filter::default() };
        let prefixes = |v4| {
            let (view, prefix) = (View::Prefixes, PrefixLengths { v4, v6: 64 });
            Grouping::of(&Query { view, prefix, filter: filter.clone(), ..Query::default() })
                .expect("beyond sources")
        };
        all.ask(&prefixes(24), 1, Sums::default());
        all.ask(&prefixes(16), 2, Sums::default());
        assert!(all.get(&prefixes(24)).is_none() && all.get(&prefixes(16)).is_some());
        let ports = Grouping { filter: filter.clone(), ..grouping(View::Ports) };
        all.ask(&ports, 3, Sums::default());
        assert!(all.get(&prefixes(16)).is_some(), "another view ends nothing");
        all.keep(&Filter::default());
        assert!(!all.are_on(), "another filter does");
    }

    #[test]
    fn the_rate_is_over_what_was_counted_of_the_interval() {
        const S: u64 = 1_000_000_000;
        let (mut all, destinations) = (Breakdowns::default(), grouping(View::Destinations));
        all.ask(&destinations, 18 * S, Sums::default());
        let mut new_per_s = |at: u64, events: usize| {
            (0..events).for_each(|_| all.count(to(1), What::New));
            all.end_interval(at, 10 * S);
            let it = all.get(&destinations).expect("asked for");
            it.iter().map(|(_, counts)| it.new_per_s(counts)).collect::<Vec<_>>()
        };
        // Asked for two seconds before the first of these intervals of ten ends.
        assert_eq!(
            [(20 * S, 6), (30 * S, 20), (40 * S, 0)].map(|(at, events)| new_per_s(at, events)),
            [[3.0], [2.0], [0.0]]
        );
    }

    #[test]
    fn what_is_not_new_after_all_is_taken_back() {
        let mut counts = Counts::default();
        [What::New, What::New, What::NotNew, What::Evicted, What::Failed]
            .into_iter()
            .for_each(|what| counts.count(what));
        let freed = |lifetime_ns, unconfirmed| What::Freed { lifetime_ns, unconfirmed };
        [freed(Some(8), false), freed(None, true), freed(Some(4), false)]
            .into_iter()
            .for_each(|what| counts.count(what));
        let sums = Sums { new: 1, freed: 3, evicted: 1, failed: 1, unconfirmed: 1, ..Sums::default() };
        assert_eq!((counts.sums, counts.lifetimes.mean_ns()), (sums, Some(6)));
    }
}
