//! One thing that went wrong, however it was told; and lists that keep their ends.

use std::collections::VecDeque;
use std::net::IpAddr;

use conntrack_common::{self as common, Evicted, InsertCause, InsertFailed, Kind, Refused, Tuple};

use super::{Cause, Class, Moment};
use crate::engine::batch::WallClock;
use crate::engine::decode::Record;
use crate::engine::gauge::Level;
use crate::engine::recorded::{Recorded, Summed};
use crate::engine::tuple::{Connection, Status, address};

/// A refusal, an eviction or a failed insertion; or many of one source within a second, where they were too many to be
/// told one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incident {
    /// When; of many, the last.
    pub at: Moment,
    /// When the first was.
    pub first: Moment,
    /// How many: 1 if this is told one by one.
    pub count: u64,
    /// Whether it stands for many.
    pub summed: bool,
    /// Why.
    pub cause: Cause,
    /// Which kind of loss.
    pub class: Class,
    /// Inode number of the network namespace; 0 if it was not caught.
    pub netns: u32,
    /// The source, if it was caught.
    pub src: Option<IpAddr>,
    /// The connection: refused, cut off, or not inserted. None if it was not caught, or of many.
    pub connection: Option<Connection>,
    /// Of a failed insertion: the reply direction, which after source NAT tells what NAT chose.
    pub reply: Option<Connection>,
    /// Of an eviction: the victim's status.
    pub status: Option<Status>,
    /// Count and limit then.
    pub level: Level,
}

impl Incident {
    /// Reads one, if the record tells of one.
    pub fn read(record: Record<'_>, wall: WallClock) -> Option<Self> {
        match record {
            Record::Refused(record) => Self::refused(&record.get(), wall),
            Record::Evicted(record) => Some(Self::evicted(&record.get(), wall)),
            Record::InsertFailed(record) => Self::failed(&record.get(), wall),
            Record::Recorded(Recorded::Summed(record)) => Self::summed(&record.get(), wall),
            _ => None,
        }
    }

    fn one(at: Moment, cause: Cause, class: Class, netns: u32, connection: Option<Connection>) -> Self {
        Self {
            at,
            first: at,
            count: 1,
            summed: false,
            cause,
            class,
            netns,
            src: connection.map(|it| it.src),
            connection,
            reply: None,
            status: None,
            level: Level::default(),
        }
    }

    fn refused(record: &Refused, wall: WallClock) -> Option<Self> {
        let Refused { kind: _, cause, zone, netns, ktime_ns, count, max, ref tuple } = *record;
        let cause = common::Cause::from_byte(cause)?.into();
        let caught = netns != 0 && *tuple != Tuple::ZERO;
        let connection = caught.then(|| Connection::new(netns, zone, tuple));
        let one = Self::one(Moment::at(wall, ktime_ns), cause, Class::Refused, netns, connection);
        Some(Self { level: Level::new(count, max), ..one })
    }

    fn evicted(record: &Evicted, wall: WallClock) -> Self {
        let &Evicted { zone, netns, ktime_ns, count, max, ref tuple, status, .. } = record;
        let victim = Some(Connection::new(netns, zone, tuple));
        let one = Self::one(Moment::at(wall, ktime_ns), Cause::Evicted, Class::Evicted, netns, victim);
        Self { level: Level::new(count, max), status: Some(Status(status)), ..one }
    }

    fn failed(record: &InsertFailed, wall: WallClock) -> Option<Self> {
        let &InsertFailed { cause, zone, netns, ktime_ns, ref original, ref reply, .. } = record;
        let cause = InsertCause::from_byte(cause)?.into();
        let connection = Some(Connection::new(netns, zone, original));
        let one = Self::one(Moment::at(wall, ktime_ns), cause, Class::Failed, netns, connection);
        Some(Self { reply: Some(Connection::new(netns, zone, reply)), ..one })
    }

    fn summed(record: &Summed, wall: WallClock) -> Option<Self> {
        let &Summed { of, cause, netns, ktime_ns, first_ktime_ns, count, src, l3num, .. } = record;
        let (cause, class) = match Kind::from_byte(of)? {
            Kind::Refused => (common::Cause::from_byte(cause)?.into(), Class::Refused),
            Kind::Evicted => (Cause::Evicted, Class::Evicted),
            Kind::InsertFailed => (InsertCause::from_byte(cause)?.into(), Class::Failed),
            _ => return None,
        };
        let at = Moment::at(wall, ktime_ns);
        Some(Self {
            first: Moment::at(wall, first_ktime_ns),
            count,
            summed: true,
            src: (l3num != 0).then(|| address(l3num, src)),
            level: Level::new(record.level_count, record.level_max),
            ..Self::one(at, cause, class, netns, None)
        })
    }
}

/// The first and the last of a list, and how many there were between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept<T> {
    /// The first, oldest first.
    pub first: Vec<T>,
    /// How many came after those and before the last.
    pub left_out: u64,
    /// The last, oldest first.
    pub last: VecDeque<T>,
    each: usize,
}

impl<T> Kept<T> {
    /// Keeps so many at each end.
    pub fn new(each: usize) -> Self {
        Self { first: Vec::new(), left_out: 0, last: VecDeque::new(), each }
    }

    /// Takes the next one in.
    pub fn push(&mut self, it: T) {
        if self.first.len() < self.each {
            return self.first.push(it);
        }
        self.last.push_back(it);
        if self.last.len() > self.each {
            self.last.pop_front();
            self.left_out += 1;
        }
    }

    /// Those kept, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.last)
    }

    /// How many there were in all.
    pub fn total(&self) -> u64 {
        self.first.len() as u64 + self.left_out + self.last.len() as u64
    }

    pub(super) fn latest_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.first.iter_mut().chain(&mut self.last).rev()
    }
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}
