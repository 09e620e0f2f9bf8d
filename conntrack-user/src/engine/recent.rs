//! What happened last: for each kind so much, so that no flood of one pushes the others out.

use std::cmp::Reverse;
use std::collections::VecDeque;

use super::filter::Filter;
use super::notice::{Notice, Refusal};
use super::query::Focus;

/// Refusals kept.
const REFUSALS: usize = 256;
/// Of evictions, of failures and of all else together, each.
const OTHERS: usize = 128;
/// Refusals kept of the source looked at closely.
const OF_FOCUS: usize = 64;

/// What happened last. Keeps nothing unless told to.
#[derive(Debug, Default)]
pub struct Recent {
    keeps: bool,
    refusals: VecDeque<Notice>,
    evictions: VecDeque<Notice>,
    failures: VecDeque<Notice>,
    others: VecDeque<Notice>,
    focus: Option<(Focus, VecDeque<Refusal>)>,
}

impl Recent {
    /// Nothing yet. Unless it `keeps`, only the refusals of a source looked at closely are kept.
    pub fn new(keeps: bool) -> Self {
        Self { keeps, ..Self::default() }
    }

    /// Takes note of what is news.
    #[inline]
    pub fn note(&mut self, notice: &Notice) {
        // Nothing is done for entries that come and go: they are the bulk.
        if !matches!(notice, Notice::New { .. } | Notice::Free(_)) {
            self.note_incident(notice);
        }
    }

    #[inline(never)]
    fn note_incident(&mut self, notice: &Notice) {
        if let (Some((focus, refusals)), Notice::Refused(refusal)) = (&mut self.focus, notice)
            && is_of(focus, refusal)
        {
            push(refusals, OF_FOCUS, *refusal);
        }
        if !self.keeps {
            return;
        }
        let (ring, most) = match notice {
            Notice::Refused(_) => (&mut self.refusals, REFUSALS),
            Notice::Evicted(_) => (&mut self.evictions, OTHERS),
            Notice::InsertFailed(_) => (&mut self.failures, OTHERS),
            Notice::Audited(audited) if !audited.is_news() => return,
            Notice::Edge { .. }
            | Notice::Lost(_)
            | Notice::Audited(_)
            | Notice::Gap(_)
            | Notice::Counted(_)
            | Notice::Summed(_)
            | Notice::Unrecorded(_) => (&mut self.others, OTHERS),
            Notice::New { .. } | Notice::Free(_) => return,
        };
        push(ring, most, *notice);
    }

    /// Looks at a source closely, or at none.
    pub fn focus(&mut self, focus: Option<Focus>) {
        if focus == self.focus.as_ref().map(|(focus, _)| *focus) {
            return;
        }
        self.focus = focus.map(|focus| {
            let mut refusals = VecDeque::new();
            for notice in &self.refusals {
                if let Notice::Refused(refusal) = notice
                    && is_of(&focus, refusal)
                {
                    push(&mut refusals, OF_FOCUS, *refusal);
                }
            }
            (focus, refusals)
        });
    }

    /// The last refusals of the source looked at closely, newest first.
    pub fn of_focus(&self) -> Vec<Refusal> {
        let kept = self.focus.iter().flat_map(|(_, refusals)| refusals);
        newest_first(kept.copied().collect(), |refusal| refusal.ktime_ns)
    }

    /// What a filter lets through, newest first.
    pub fn passing(&self, filter: &Filter) -> Vec<Notice> {
        let Self { keeps: _, refusals, evictions, failures, others, focus: _ } = self;
        let all = others.iter().chain(refusals).chain(evictions).chain(failures);
        newest_first(all.filter(|it| it.passes(filter)).copied().collect(), Notice::ktime_ns)
    }
}

fn is_of(focus: &Focus, refusal: &Refusal) -> bool {
    refusal.connection.is_some_and(|it| it.netns == focus.netns && it.src == focus.src)
}

fn push<T>(ring: &mut VecDeque<T>, most: usize, one: T) {
    if ring.len() == most {
        ring.pop_front();
    }
    ring.push_back(one);
}

/// Of one time, what came last is first.
fn newest_first<T>(mut all: Vec<T>, ktime_ns: impl Fn(&T) -> u64) -> Vec<T> {
    all.reverse();
    all.sort_by_key(|one| Reverse(ktime_ns(one)));
    all
}

#[cfg(test)]
mod tests {
    use conntrack_common::Cause;

    use super::*;
    use crate::engine::gauge::Level;
    use crate::engine::notice::{Audited, Lost};
    use crate::engine::testing;

    fn refused(ktime_ns: u64, host: u8) -> Notice {
        let connection = Some(testing::connection(host));
        let (cause, level) = (Cause::TableFull, Level::default());
        Notice::Refused(Refusal { ktime_ns, netns: 1, cause, connection, level })
    }

    fn focus(host: u8) -> Focus {
        Focus { netns: 1, src: testing::connection(host).src }
    }

    fn times(notices: &[Notice]) -> Vec<u64> {
        notices.iter().map(Notice::ktime_ns).collect()
    }

    #[test]
    fn a_flood_of_refusals_leaves_the_rest() {
        let mut recent = Recent::new(true);
        recent.note(&Notice::Lost(Lost { ktime_ns: 1, entries: 5, ..Lost::default() }));
        (2..1002).for_each(|at| recent.note(&refused(at, 5)));
        recent.note(&Notice::New { ktime_ns: 2000, connection: testing::connection(5) });
        let all = times(&recent.passing(&Filter::default()));
        let expected: Vec<u64> = (746..1002).rev().chain([1]).collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn merged_by_time_and_filtered() {
        let mut recent = Recent::new(true);
        [(5, 1), (7, 2), (6, 1)].into_iter().for_each(|(at, host)| recent.note(&refused(at, host)));
        recent.note(&Notice::Lost(Lost { ktime_ns: 6, ..Lost::default() }));
        assert_eq!(times(&recent.passing(&Filter::default())), [7, 6, 6, 5]);
        let filter =
            Filter { src: crate::engine::filter::parse_network("10.1.0.1").ok(), ..Filter::default() };
        assert_eq!(times(&recent.passing(&filter)), [6, 6, 5]);
    }

    #[test]
    fn an_audit_that_finds_nothing_is_no_news() {
        use conntrack_common::AuditTrigger::{Asked, Attached, Interval};
        let (_, told) = testing::audited_story();
        let audited = told.iter().find_map(|it| if let Notice::Audited(it) = it { Some(*it) } else { None });
        let Audited { mut report, .. } = audited.expect("told");
        report.repaired = Default::default();
        let mut recent = Recent::new(true);
        for trigger in [Interval, Asked] {
            report.trigger = trigger;
            recent.note(&Notice::Audited(Audited { report, abandoned: false }));
        }
        assert_eq!(recent.passing(&Filter::default()), []);
        report.trigger = Attached;
        recent.note(&Notice::Audited(Audited { report, abandoned: false }));
        assert_eq!(recent.passing(&Filter::default()).len(), 1);
    }

    #[test]
    fn a_focus_begins_with_what_is_kept_and_goes_on() {
        let mut recent = Recent::new(true);
        (0..10).for_each(|at| recent.note(&refused(at, (at % 2) as u8)));
        recent.focus(Some(focus(1)));
        let times = |recent: &Recent| recent.of_focus().iter().map(|it| it.ktime_ns).collect::<Vec<_>>();
        assert_eq!(times(&recent), [9, 7, 5, 3, 1]);
        (10..1000).for_each(|at| recent.note(&refused(at, 0)));
        recent.focus(Some(focus(1)));
        recent.note(&refused(1000, 1));
        assert_eq!(times(&recent), [1000, 9, 7, 5, 3, 1], "the others' flood does not push them out");
        (1001..1101).for_each(|at| recent.note(&refused(at, 1)));
        assert_eq!((times(&recent).len(), times(&recent)[63]), (64, 1037));
        recent.focus(None);
        assert!(times(&recent).is_empty());
    }

    #[test]
    fn nothing_is_kept_unasked_but_for_a_focus() {
        let mut recent = Recent::default();
        recent.note(&refused(1, 1));
        recent.focus(Some(focus(1)));
        recent.note(&refused(2, 1));
        assert_eq!((recent.passing(&Filter::default()), recent.of_focus().len()), (vec![], 1));
    }
}
