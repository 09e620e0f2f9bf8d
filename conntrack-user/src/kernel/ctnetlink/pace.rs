//! How often the table is dumped: often enough to be right, seldom enough to be cheap.

use std::time::Duration;

use conntrack_common::AuditTrigger;

use crate::kernel::sysctl;

/// `nf_conntrack_events` of this network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Events {
    /// 0: no events at all.
    Off,
    /// 1: every entry made since then has events. The default until 5.18.
    On,
    /// 2: an entry has events if somebody listened when it was made. The default since 5.19.
    Auto,
}

impl Events {
    /// Reads it; where it cannot be read, what is the default.
    pub fn read() -> Self {
        match sysctl::netfilter("nf_conntrack_events") {
            Some(0) => Self::Off,
            Some(1) => Self::On,
            _ => Self::Auto,
        }
    }
}

/// When the next dump is due.
#[derive(Debug)]
pub struct Pace {
    /// Between two dumps when nothing calls for one.
    interval: Duration,
    /// When the last dump began, the CPU time it cost (the kernel makes it while we read it, on our thread), and
    /// how many events had been lost by then.
    last: Option<(u64, Duration, u64)>,
    /// Why a dump is asked for, if it is.
    pub wanted: Option<AuditTrigger>,
}

/// Dumps cost a twentieth of a CPU at most, or a fourth while they repair.
const SHARE: u32 = 20;
const SHARE_REPAIRING: u32 = 4;

/// Between two dumps that repair.
const REPAIRING: Duration = Duration::from_secs(1);
/// Between two dumps when only dumps tell anything.
const WITHOUT_EVENTS: Duration = Duration::from_secs(2);
/// Between two dumps while there are entries whose end nobody will hear of.
const SILENT_ENTRIES: Duration = Duration::from_secs(5);

impl Pace {
    pub fn new(interval: Duration) -> Self {
        Self { interval, last: None, wanted: None }
    }

    /// Why a dump is due, if it is.
    pub fn due(&self, now_ns: u64, lost: u64, events: Events, silent_entries: bool) -> Option<AuditTrigger> {
        let Some((began_ns, cost, lost_before)) = self.last else {
            return Some(AuditTrigger::Attached);
        };
        let since = Duration::from_nanos(now_ns.saturating_sub(began_ns));
        let interval = match events {
            Events::Off => self.interval.min(WITHOUT_EVENTS),
            _ if silent_entries => self.interval.min(SILENT_ENTRIES),
            _ => self.interval,
        };
        if since < REPAIRING.max(cost * SHARE_REPAIRING) {
            None
        } else if lost > lost_before {
            Some(AuditTrigger::Lost)
        } else if self.wanted == Some(AuditTrigger::Missed) {
            self.wanted
        } else if since < interval.max(cost * SHARE) {
            self.wanted.filter(|_| since >= cost * SHARE)
        } else {
            Some(AuditTrigger::Interval)
        }
    }

    /// A dump has been made.
    pub fn done(&mut self, began_ns: u64, cost: Duration, lost_before: u64) {
        self.last = Some((began_ns, cost, lost_before));
        self.wanted = None;
    }

    /// The next is to be as if it were the first.
    pub fn restart(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn after(cost: Duration) -> Pace {
        let mut pace = Pace::new(Duration::from_secs(60));
        assert_eq!(pace.due(0, 0, Events::On, false), Some(AuditTrigger::Attached));
        pace.done(0, cost, 7);
        pace
    }

    #[test]
    fn what_is_known_less_well_is_asked_more_often() {
        let pace = after(Duration::from_millis(10));
        for (events, silent, seconds) in [
            (Events::On, false, 60),
            (Events::Auto, true, 5),
            (Events::Off, true, 2),
            (Events::Off, false, 2),
        ] {
            let due = |ns| pace.due(ns, 7, events, silent);
            assert_eq!(due(seconds * SECOND - 1), None, "{events:?} {silent}");
            assert_eq!(due(seconds * SECOND), Some(AuditTrigger::Interval), "{events:?} {silent}");
        }
    }

    #[test]
    fn a_dump_that_costs_much_is_made_seldom() {
        let pace = after(Duration::from_secs(4));
        assert_eq!(pace.due(79 * SECOND, 7, Events::Auto, true), None);
        assert_eq!(pace.due(80 * SECOND, 7, Events::Auto, true), Some(AuditTrigger::Interval));
        assert_eq!(pace.due(15 * SECOND, 8, Events::On, false), None);
        assert_eq!(pace.due(16 * SECOND, 8, Events::On, false), Some(AuditTrigger::Lost));
    }

    #[test]
    fn what_is_only_wanted_costs_no_more_than_what_is_due() {
        let mut pace = after(Duration::from_millis(100));
        pace.wanted = Some(AuditTrigger::Asked);
        assert_eq!(pace.due(2 * SECOND - 1, 7, Events::On, false), None);
        assert_eq!(pace.due(2 * SECOND, 7, Events::On, false), Some(AuditTrigger::Asked));
        assert_eq!(pace.due(60 * SECOND, 7, Events::On, false), Some(AuditTrigger::Interval));
    }

    #[test]
    fn a_loss_or_a_miss_is_repaired_within_a_second() {
        let mut pace = after(Duration::from_millis(10));
        assert_eq!(pace.due(SECOND - 1, 8, Events::On, false), None);
        assert_eq!(pace.due(SECOND, 8, Events::On, false), Some(AuditTrigger::Lost));
        pace.wanted = Some(AuditTrigger::Missed);
        assert_eq!(pace.due(SECOND, 7, Events::On, false), Some(AuditTrigger::Missed));
        pace.done(SECOND, Duration::ZERO, 8);
        assert_eq!(pace.due(3 * SECOND, 8, Events::On, false), None);
        pace.restart();
        assert_eq!(pace.due(3 * SECOND, 8, Events::On, false), Some(AuditTrigger::Attached));
    }
}
