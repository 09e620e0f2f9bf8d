//! The kernel's own statistics (`conntrack -S`) beside what was counted here: two accounts of the same packets.
//!
//! Which of ours is in which of theirs: net/netfilter/nf_conntrack_core.c, `nf_conntrack_in` (drop),
//! `early_drop_list` (early_drop), `__nf_conntrack_confirm` (insert_failed, chaintoolong) and
//! `nf_ct_resolve_clash` (drop, insert_failed, clash_resolve), 5.10 to 7.3.

use conntrack_common::{Cause, InsertCause, Stats};

/// What the kernel counted in one network namespace since attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets dropped: table full, no memory, clash, NAT ports exhausted.
    pub drop: u64,
    /// Entries evicted.
    pub early_drop: u64,
    /// Entries not inserted.
    pub insert_failed: u64,
    /// Chains too long.
    pub chaintoolong: u64,
    /// Clashes resolved.
    pub clash_resolve: u64,
    /// Packets that belong to no connection.
    pub invalid: u64,
}

impl Counters {
    /// As they were read.
    pub const fn new(stats: &Stats) -> Self {
        let Stats { drop, early_drop, insert_failed, chaintoolong, clash_resolve, invalid, .. } = *stats;
        Self { drop, early_drop, insert_failed, chaintoolong, clash_resolve, invalid }
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.pair(other, u64::saturating_add);
    }

    /// What came since `earlier`.
    pub fn since(mut self, earlier: &Self) -> Self {
        self.pair(earlier, u64::saturating_sub);
        self
    }

    fn pair(&mut self, other: &Self, op: impl Fn(u64, u64) -> u64) {
        let Self { drop, early_drop, insert_failed, chaintoolong, clash_resolve, invalid } = other;
        self.drop = op(self.drop, *drop);
        self.early_drop = op(self.early_drop, *early_drop);
        self.insert_failed = op(self.insert_failed, *insert_failed);
        self.chaintoolong = op(self.chaintoolong, *chaintoolong);
        self.clash_resolve = op(self.clash_resolve, *clash_resolve);
        self.invalid = op(self.invalid, *invalid);
    }
}

/// What the records told, summed the way the kernel does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Refusals of packets, clashes lost, NAT ports exhausted.
    pub drop: u64,
    /// Evictions.
    pub early_drop: u64,
    /// Failed insertions of every cause.
    pub insert_failed: u64,
    /// Those because of a chain.
    pub chaintoolong: u64,
    /// Clashes resolved; only counted over all namespaces.
    pub clash_resolve: Option<u64>,
}

impl Counted {
    /// Allocations were refused; that of a program drops no packet.
    pub fn refused(&mut self, cause: Cause, refusals: u64) {
        match cause {
            Cause::TableFull | Cause::NoMemory => self.drop = self.drop.saturating_add(refusals),
            Cause::Ctnetlink => {}
        }
    }

    /// Entries were evicted.
    pub fn evicted(&mut self, evictions: u64) {
        self.early_drop = self.early_drop.saturating_add(evictions);
    }

    /// Entries were not inserted.
    pub fn failed(&mut self, cause: InsertCause, failures: u64) {
        let add = |to: &mut u64| *to = to.saturating_add(failures);
        add(&mut self.insert_failed);
        match cause {
            InsertCause::Clash | InsertCause::NatPorts => add(&mut self.drop),
            InsertCause::ChainTooLong => add(&mut self.chaintoolong),
            InsertCause::Dying => {}
        }
    }

    fn add(&mut self, other: &Self) {
        let Self { drop, early_drop, insert_failed, chaintoolong, clash_resolve: _ } = other;
        self.drop = self.drop.saturating_add(*drop);
        self.early_drop += early_drop;
        self.insert_failed += insert_failed;
        self.chaintoolong += chaintoolong;
    }
}

/// Both accounts, ours as it was when theirs was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Theirs.
    pub kernel: Counters,
    /// Ours.
    pub ctwatch: Counted,
}

impl Comparison {
    /// What both count, by conntrack's name: the kernel's figure, then ours.
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, u64, u64)> {
        let Self { kernel, ctwatch } = *self;
        let resolved = ctwatch.clash_resolve.map(|ours| ("clash_resolve", kernel.clash_resolve, ours));
        [
            ("drop", kernel.drop, ctwatch.drop),
            ("early_drop", kernel.early_drop, ctwatch.early_drop),
            ("insert_failed", kernel.insert_failed, ctwatch.insert_failed),
            ("chaintoolong", kernel.chaintoolong, ctwatch.chaintoolong),
        ]
        .into_iter()
        .chain(resolved)
    }

    /// Whether they disagree.
    pub fn differs(&self) -> bool {
        self.pairs().any(|(_, kernel, ctwatch)| kernel != ctwatch)
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.kernel.add(&other.kernel);
        self.ctwatch.add(&other.ctwatch);
    }
}

/// A comparison with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatisticsRow {
    /// Inode number of the network namespace; None for the sum over all, those included that are gone.
    pub netns: Option<u32>,
    /// Its name, if one is known.
    pub name: Option<String>,
    /// Both accounts.
    pub comparison: Comparison,
}

/// Keeps both accounts of one network namespace.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reckoning {
    /// Ours since attach: runs on.
    pub running: Counted,
    /// The kernel's when last read, and ours then.
    read: Option<Comparison>,
    /// What was read before conntrack went away, if it did.
    before: Option<Comparison>,
}

impl Reckoning {
    /// The kernel's were read.
    pub fn read(&mut self, kernel: Counters) {
        self.read = Some(Comparison { kernel, ctwatch: self.running });
    }

    /// The kernel's as last read, since both began.
    pub fn last(&self) -> Counters {
        self.read.map(|both| both.kernel).unwrap_or_default()
    }

    /// Both begin anew. What happened since the last reading is in neither.
    pub fn restart(&mut self) {
        self.before = self.comparison();
        (self.running, self.read) = (Counted::default(), None);
    }

    /// Both, if the kernel's were ever read.
    pub fn comparison(&self) -> Option<Comparison> {
        let (Some(mut sum), read) = (self.before.or(self.read), self.read) else { return None };
        if let (Some(_), Some(read)) = (self.before, read) {
            sum.add(&read);
        }
        Some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_fall_where_the_kernel_counts_them() {
        let mut counted = Counted::default();
        counted.refused(Cause::TableFull, 2);
        counted.refused(Cause::NoMemory, 1);
        counted.refused(Cause::Ctnetlink, 1);
        counted.evicted(1);
        for cause in
            [InsertCause::Clash, InsertCause::ChainTooLong, InsertCause::NatPorts, InsertCause::Dying]
        {
            counted.failed(cause, 1);
        }
        let expected =
            Counted { drop: 5, early_drop: 1, insert_failed: 4, chaintoolong: 1, clash_resolve: None };
        assert_eq!(counted, expected);
    }

    #[test]
    fn ours_is_compared_as_it_was_when_theirs_was_read() {
        let mut reckoning = Reckoning::default();
        assert_eq!(reckoning.comparison(), None);
        reckoning.running.evicted(1);
        reckoning.read(Counters { early_drop: 1, ..Counters::default() });
        reckoning.running.evicted(1);
        assert!(!reckoning.comparison().expect("read").differs());
        reckoning.read(Counters { early_drop: 3, ..Counters::default() });
        assert!(reckoning.comparison().expect("read").differs());
    }

    #[test]
    fn nothing_goes_backwards_when_conntrack_comes_back() {
        let mut reckoning = Reckoning::default();
        reckoning.running.evicted(1);
        reckoning.read(Counters { early_drop: 1, ..Counters::default() });
        reckoning.restart();
        let kernel = |reckoning: &Reckoning| reckoning.comparison().map(|both| both.kernel.early_drop);
        assert_eq!(kernel(&reckoning), Some(1));
        reckoning.running.evicted(1);
        reckoning.read(Counters { early_drop: 1, ..Counters::default() });
        assert_eq!(kernel(&reckoning), Some(2));
        assert!(!reckoning.comparison().expect("read").differs());
    }
}
