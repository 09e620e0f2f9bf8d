//! What the monitor tells between two snapshots: refusals one by one for those who ask later, and the few things that are
//! worth a line at once. Both in bounded memory.

use conntrack_common::InsertCause;

use super::kept::Kept;
use crate::engine::batch::WallClock;
use crate::engine::gauge::Level;
use crate::engine::notice::{Incident, Notice, Refusal, Summed};

/// Refusals kept. With 136 bytes each they take 1.3 MiB at most.
pub const REFUSALS: usize = 10_000;

/// Lines kept, for those who come back after a broken connection.
pub const LINES: usize = 512;

/// Refusals and failures told one by one in a second; the rest is one line per namespace and cause.
const ONE_BY_ONE: u32 = 5;

/// Namespaces and causes whose rest is summed apart; beyond, all namespaces of a cause together, under number 0.
const APART: usize = 32;

/// Something, and how to tell the wall clock then.
#[derive(Clone, Copy, Debug)]
pub struct Stamped<T> {
    /// What.
    pub it: T,
    /// How to tell the wall clock.
    pub wall: WallClock,
}

/// All that is kept.
#[derive(Debug)]
pub struct Told {
    /// The last refusals.
    pub refusals: Kept<Stamped<Refusal>>,
    /// When the last of those was that are no longer kept, by their wall clock.
    pub gone_unix_ns: Option<i128>,
    /// The last lines.
    pub lines: Kept<Stamped<Notice>>,
    throttle: Throttle,
}

impl Told {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            refusals: Kept::new(REFUSALS),
            gone_unix_ns: None,
            lines: Kept::new(LINES),
            throttle: Throttle::default(),
        }
    }

    /// Another notice, one of those that [`concern`].
    pub fn tell(&mut self, notice: &Notice, wall: WallClock) {
        self.end_second(notice.ktime_ns(), wall);
        if let Notice::Refused(it) = *notice
            && let Some(gone) = self.refusals.push(Stamped { it, wall })
        {
            let unix_ns = gone.wall.unix_ns(gone.it.ktime_ns);
            self.gone_unix_ns = self.gone_unix_ns.max(Some(unix_ns));
        }
        if self.throttle.lets_through(notice) {
            self.lines.push(Stamped { it: *notice, wall });
        }
    }

    /// The time is that now: what was left out of a second that is over becomes lines.
    pub fn end_second(&mut self, ktime_ns: u64, wall: WallClock) {
        for rest in self.throttle.end_second(ktime_ns) {
            self.lines.push(Stamped { it: Notice::Summed(rest), wall });
        }
    }
}

/// Whether there is anything to keep of it.
pub fn concerns(notice: &Notice) -> bool {
    match notice {
        Notice::Edge { .. }
        | Notice::Refused(_)
        | Notice::InsertFailed(_)
        | Notice::Lost(_)
        | Notice::Gap(_)
        | Notice::Counted(_)
        | Notice::Summed(_)
        | Notice::Unrecorded(_) => true,
        Notice::Audited(audited) => audited.abandoned || audited.report.repaired.total() > 0,
        Notice::Evicted(_) | Notice::New { .. } | Notice::Free(_) => false,
    }
}

/// Lets a few through in every second and sums the rest.
#[derive(Debug, Default)]
struct Throttle {
    second: u64,
    told: u32,
    rest: Vec<Summed>,
}

impl Throttle {
    fn end_second(&mut self, ktime_ns: u64) -> Vec<Summed> {
        let second = ktime_ns / 1_000_000_000;
        if second <= self.second {
            return Vec::new();
        }
        (self.second, self.told) = (second, 0);
        std::mem::take(&mut self.rest)
    }

    fn lets_through(&mut self, notice: &Notice) -> bool {
        let (netns, of, level) = match notice {
            Notice::Refused(it) => (it.netns, Incident::Refused(it.cause), it.level),
            Notice::InsertFailed(it) => (it.connection.netns, failed(it.cause), Level::default()),
            _ => return true,
        };
        self.told += 1;
        if self.told > ONE_BY_ONE {
            self.told = ONE_BY_ONE;
            self.sum(netns, of, level, notice.ktime_ns());
            return false;
        }
        true
    }

    fn sum(&mut self, netns: u32, of: Incident, level: Level, ktime_ns: u64) {
        let known = |rest: &[Summed], netns| rest.iter().position(|it| it.netns == netns && it.of == of);
        let netns = if known(&self.rest, netns).is_none() && self.rest.len() >= APART { 0 } else { netns };
        match known(&self.rest, netns) {
            Some(at) => {
                let it = &mut self.rest[at];
                (it.ktime_ns, it.count, it.level) = (it.ktime_ns.max(ktime_ns), it.count + 1, level);
            }
            None => {
                let (src, first_ktime_ns, count) = (None, ktime_ns, 1);
                self.rest.push(Summed { ktime_ns, first_ktime_ns, netns, of, count, src, level });
            }
        }
    }
}

const fn failed(cause: InsertCause) -> Incident {
    Incident::Failed(cause)
}

#[cfg(test)]
mod tests;
