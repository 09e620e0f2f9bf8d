//! The recorded and the predicted table side by side, driven by events in the order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hashbrown::{HashMap, HashSet};

use super::super::collector;
use super::report::{Both, Losses, Peak};
use super::sample::{Sample, mixed};

/// Events that wait for their time, at most: 64 bytes each. Beyond, the earliest happen before all is known that may
/// come before them.
const MOST_WAITING: usize = 4_000_000;

const _: () = assert!(size_of::<Queued>() <= 64);

/// Up to here the mean of how long entries stay after their time means nothing.
const FEW_LAGS: u64 = 100;

/// Time between rounds until the predicted table has filled: of few entries the collector would seem to come late, and
/// the first round would find more than any later one.
const FILLING_NS: u64 = 1_000_000_000;

/// Connections whose lives are averaged by source, protocol and port, at most.
const MOST_KEYS: usize = 65_536;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// An entry was allocated; `tuple` is a hash of it.
    Born { id: u64, tuple: u64 },
    /// An entry was freed, and is so in the prediction as well, or is not.
    Freed { id: u64, predicted: bool },
    /// An entry was evicted. Spared, it expires at `until`; if that is 0, its time was up before.
    Evicted { id: u64, until: u64 },
    /// In the prediction an entry's time is up.
    Expires { id: u64 },
    /// In the prediction something is freed: that many.
    Gone { id: u64, weight: u32, tuple: u64 },
    /// Allocations were refused: that many, of a connection if `tuple` is not 0.
    Attempt { tuple: u64, who: Who, weight: u32 },
    /// The limit was this from now on.
    Limit { max: u32 },
    /// The kernel's collector comes round.
    Collect,
}

/// Whose lives are like whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    /// Hash of namespace, source, protocol and port; 0 if not known.
    pub key: u64,
    /// Protocol; 255 if not known.
    pub proto: u8,
}

type Queued = Reverse<(u64, u64, u32, Event)>;

/// One namespace.
#[derive(Clone, Debug, Default)]
pub struct Space {
    pub entries: Both<u64>,
    pub peak: Both<Peak>,
    /// Entry-nanoseconds so far.
    pub area: Both<u128>,
    since_ns: u64,
    pub refused: Losses,
    pub evicted: Losses,
    /// Of the predicted ones, those whose time is up.
    expired: u64,
    /// What an entry of each protocol would live in the mean.
    lives: HashMap<u8, Mean>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    count: u64,
    sum_ns: u128,
}

impl Mean {
    fn add(&mut self, ns: u64) {
        self.count += 1;
        self.sum_ns += u128::from(ns);
    }

    fn get(&self) -> Option<u64> {
        (self.count > 0).then(|| (self.sum_ns / u128::from(self.count)) as u64)
    }
}

impl Space {
    /// Time goes on before something changes.
    fn pass(&mut self, now: u64) {
        let span = u128::from(now.saturating_sub(self.since_ns));
        if self.since_ns > 0 {
            self.area.recorded += span * u128::from(self.entries.recorded);
            self.area.predicted += span * u128::from(self.entries.predicted);
        }
        self.since_ns = self.since_ns.max(now);
    }

    fn look(&mut self, now: u64) {
        for (peak, entries) in [
            (&mut self.peak.recorded, self.entries.recorded),
            (&mut self.peak.predicted, self.entries.predicted),
        ] {
            if entries > peak.entries {
                *peak = Peak { entries, ktime_ns: now };
            }
        }
    }

    /// How many more would have had room than had, where the recorded table was full.
    fn room(&self, max: Both<Option<u32>>) -> u64 {
        let Both { recorded: Some(was), predicted: Some(is) } = max else { return 0 };
        let more = i64::from(is) - i64::from(was);
        let (recorded, predicted) = (self.entries.recorded as i64, self.entries.predicted as i64);
        u64::try_from(more - (predicted - recorded)).unwrap_or(0)
    }

    /// Whether a recorded new entry would have had room. Where the recorded one was above the limit, as it is for a
    /// moment now and then, so may the predicted one.
    fn admits(&self, max: Both<Option<u32>>) -> bool {
        let Some(is) = max.predicted else { return true };
        let was = u64::from(max.recorded.unwrap_or(u32::MAX));
        let above = (self.entries.recorded + 1).saturating_sub(was);
        self.entries.predicted < u64::from(is) + above
    }
}

/// Both tables of all namespaces.
pub struct Future {
    queue: BinaryHeap<Queued>,
    order: u64,
    pub spaces: Vec<Space>,
    pub max: Both<Option<u32>>,
    /// Entries that the prediction lacks although they were born or admitted.
    absent: HashSet<u64>,
    /// Entries that were there when the recording began, and would not have been.
    gone_before: HashSet<u64>,
    /// Connections that the prediction has and the recording refused, by tuple.
    admitted: HashMap<u64, u64>,
    lives: HashMap<u64, Mean>,
    /// Numbers for the admitted, which no recorded entry has.
    next_id: u64,
    pub collector: Collector,
    now: u64,
    pub cut_short: u64,
    changed_max: Option<u32>,
    /// The limit that was read last, which may be ahead of the present one.
    pub latest_max: Option<u32>,
}

/// The collector, as it is recorded and as it would be.
pub struct Collector {
    pace: collector::Pace,
    /// Ticks of the kernel in a second.
    pub hz: u64,
    pub sample: Sample,
    /// Time between rounds.
    pub interval_ns: Both<u64>,
    /// From here on the predicted table is as full as it should be.
    pub settled_ns: u64,
    /// When the next round is, in the prediction.
    next_ns: u64,
    /// How long entries stay after their time, as recorded: decaying mean.
    lag_ns: f64,
    lags: u64,
    /// How often packets find an expired entry, per second.
    finding_rate: f64,
    begun: bool,
}

impl Collector {
    /// An entry stayed this long after its time.
    pub fn lagged(&mut self, lag_ns: u64) {
        self.lags += 1;
        let share = (1.0 / self.lags as f64).max(1e-4);
        self.lag_ns += (lag_ns as f64 - self.lag_ns) * share;
    }

    /// How long before the latest possible moment an entry's time was up that was found `at` last: anything up to the
    /// longest that entries stay. Were it the same for all, those of one round would have expired at one moment.
    pub fn some_lag_ns(&self, id: u64, at: u64, latest: u64) -> u64 {
        let longest = if self.lags < FEW_LAGS { self.interval_ns.recorded } else { self.longest_lag_ns() };
        (longest.saturating_sub(at - latest) as f64 * uniform(id)) as u64
    }

    /// How long entries stay after their time at most: they expire at any moment between two rounds.
    pub fn longest_lag_ns(&self) -> u64 {
        (2.0 * self.lag_ns) as u64
    }

    /// A round: what was freed, and when the next is.
    fn round(&mut self, now: u64, entries: Both<u64>) {
        let left = self.sample.left_ns(now);
        self.interval_ns = Both {
            recorded: self.pace.interval_ns(self.hz, entries.recorded, &left.recorded),
            predicted: self.pace.interval_ns(self.hz, entries.predicted, &left.predicted),
        };
        self.finding_rate = match self.lags {
            0..FEW_LAGS => 0.0,
            _ => collector::finding_rate(self.lag_ns, self.interval_ns.recorded),
        };
        self.next_ns = now + if now < self.settled_ns { FILLING_NS } else { self.interval_ns.predicted };
    }

    /// When packets find an entry that expires now, if the collector does not come first.
    fn found(&self, now: u64, id: u64) -> Option<u64> {
        if self.finding_rate <= 0.0 {
            return None;
        }
        let after_s = -uniform(id).ln() / self.finding_rate;
        let at = now + (after_s.min(1e6) * 1e9) as u64;
        (at < self.next_ns).then_some(at)
    }
}

/// A number between 0 and 1, always the same for an entry.
fn uniform(id: u64) -> f64 {
    (mixed(id) >> 11).max(1) as f64 / (1u64 << 53) as f64
}

impl Future {
    pub fn new(pace: collector::Pace, changed_max: Option<u32>) -> Self {
        let start = pace.longest_ns();
        Self {
            queue: BinaryHeap::new(),
            order: 0,
            spaces: Vec::new(),
            max: Both { recorded: None, predicted: changed_max },
            absent: HashSet::new(),
            gone_before: HashSet::new(),
            admitted: HashMap::new(),
            lives: HashMap::new(),
            next_id: 1 << 63,
            collector: Collector {
                pace,
                hz: collector::USUAL_HZ,
                sample: Sample::default(),
                interval_ns: Both { recorded: start, predicted: start },
                settled_ns: 0,
                next_ns: 0,
                lag_ns: 0.0,
                lags: 0,
                finding_rate: 0.0,
                begun: false,
            },
            now: 0,
            cut_short: 0,
            changed_max,
            latest_max: None,
        }
    }

    /// Lets something happen at its time.
    pub fn at(&mut self, ktime_ns: u64, space: usize, event: Event) {
        if ktime_ns < self.now {
            self.cut_short += 1;
        }
        self.order += 1;
        self.queue.push(Reverse((ktime_ns, self.order, space as u32, event)));
        if self.queue.len() > MOST_WAITING {
            self.step();
        }
    }

    /// An entry is not to be in the prediction at all, if its beginning has not happened yet; else false.
    pub fn never(&mut self, id: u64, born: u64) -> bool {
        let in_time = born > self.now;
        if in_time {
            self.gone_before.insert(id);
        }
        in_time
    }

    /// Everything up to a time happens: nothing will be told of it any more.
    pub fn pass(&mut self, until: u64) {
        while self.queue.peek().is_some_and(|Reverse((at, ..))| *at <= until) {
            self.step();
        }
    }

    /// The recording is over: what was to come later does not count.
    pub fn end(&mut self, ktime_ns: u64) {
        self.pass(ktime_ns);
        self.spaces.iter_mut().for_each(|space| space.pass(ktime_ns));
    }

    /// An entry that ended so would live that long.
    pub fn lived(&mut self, space: usize, who: Who, ns: u64) {
        self.spaces[space].lives.entry(who.proto).or_default().add(ns);
        self.spaces[space].lives.entry(u8::MAX).or_default().add(ns);
        if self.lives.len() < MOST_KEYS || self.lives.contains_key(&who.key) {
            self.lives.entry(who.key).or_default().add(ns);
        }
    }

    fn life_ns(&self, space: usize, who: Who) -> u64 {
        // Of a connection of which nothing was seen to end: the default of UDP and ICMP.
        const NOTHING_KNOWN_NS: u64 = 30_000_000_000;
        let of_space = &self.spaces[space].lives;
        let known = self.lives.get(&who.key).and_then(Mean::get);
        let known = known.or_else(|| of_space.get(&who.proto)?.get());
        known.or_else(|| of_space.get(&u8::MAX)?.get()).unwrap_or(NOTHING_KNOWN_NS)
    }

    fn step(&mut self) {
        let Some(Reverse((at, _, index, event))) = self.queue.pop() else { return };
        let now = at.max(self.now);
        self.now = now;
        let space = index as usize;
        match event {
            Event::Collect => return self.collect(now),
            Event::Limit { max } => {
                self.max = Both { recorded: Some(max), predicted: Some(self.changed_max.unwrap_or(max)) };
                return;
            }
            _ => self.spaces[space].pass(now),
        }
        self.happen(now, space, event);
        self.spaces[space].look(now);
    }

    fn happen(&mut self, now: u64, space: usize, event: Event) {
        match event {
            Event::Born { id, .. } if self.gone_before.remove(&id) => {
                self.spaces[space].entries.recorded += 1
            }
            Event::Born { id, tuple } => self.born(space, id, tuple),
            Event::Freed { id, predicted } => {
                self.spaces[space].entries.recorded -= 1;
                if predicted {
                    self.leave(space, id, 1);
                }
            }
            Event::Evicted { id, until } => self.evicted(now, space, id, until),
            Event::Expires { id } => match self.collector.found(now, id) {
                _ if self.absent.remove(&id) => {}
                Some(at) => self.at(at, space, Event::Gone { id, weight: 1, tuple: 0 }),
                None => {
                    self.spaces[space].expired += 1;
                    // When it really comes round first is not known; what expires first is found at once.
                    if !std::mem::replace(&mut self.collector.begun, true) {
                        self.at(now, space, Event::Collect);
                    }
                }
            },
            Event::Gone { id, weight, tuple } => {
                if tuple != 0 && self.admitted.get(&tuple) == Some(&id) {
                    self.admitted.remove(&tuple);
                }
                self.leave(space, id, u64::from(weight));
            }
            Event::Attempt { tuple, who, weight } => self.attempt(now, space, tuple, who, weight),
            Event::Limit { .. } | Event::Collect => {}
        }
    }

    fn leave(&mut self, space: usize, id: u64, weight: u64) {
        if !self.absent.remove(&id) {
            self.spaces[space].entries.predicted -= weight;
        }
    }

    fn born(&mut self, space: usize, id: u64, tuple: u64) {
        let here = &mut self.spaces[space];
        let admits = here.admits(self.max);
        here.entries.recorded += 1;
        if let Some(earlier) = self.admitted.remove(&tuple) {
            // Its first attempt, which was refused, has made the entry already.
            self.absent.insert(earlier);
        } else if admits {
            here.entries.predicted += 1;
        } else {
            here.refused.caused += 1;
            self.absent.insert(id);
        }
    }

    fn evicted(&mut self, now: u64, space: usize, id: u64, until: u64) {
        let here = &mut self.spaces[space];
        here.evicted.recorded += 1;
        let room = here.room(self.max);
        here.entries.recorded -= 1;
        if until == 0 {
            here.evicted.avoided += 1;
            return;
        }
        if self.absent.contains(&id) || room > 0 {
            here.evicted.avoided += 1;
        }
        if self.absent.contains(&id) || room == 0 {
            self.leave(space, id, 1);
        } else {
            self.at(until.max(now), space, Event::Expires { id });
        }
    }

    fn attempt(&mut self, now: u64, space: usize, tuple: u64, who: Who, weight: u32) {
        let here = &mut self.spaces[space];
        here.refused.recorded += u64::from(weight);
        if tuple != 0 && self.admitted.contains_key(&tuple) {
            here.refused.avoided += u64::from(weight);
            return;
        }
        let admitted = here.room(self.max).min(u64::from(weight));
        if admitted == 0 {
            return;
        }
        here.refused.avoided += admitted;
        here.entries.predicted += admitted;
        let (id, life_ns) = (self.next_id, self.life_ns(space, who));
        self.next_id += 1;
        if tuple != 0 {
            self.admitted.insert(tuple, id);
        }
        self.at(now.saturating_add(life_ns), space, Event::Gone { id, weight: admitted as u32, tuple });
    }

    /// Frees what has expired, and comes again.
    fn collect(&mut self, now: u64) {
        let mut entries = Both::default();
        for space in &mut self.spaces {
            space.pass(now);
            space.entries.predicted -= std::mem::take(&mut space.expired);
            entries.recorded += space.entries.recorded;
            entries.predicted += space.entries.predicted;
        }
        self.collector.round(now, entries);
        let next = self.collector.next_ns;
        self.at(next, 0, Event::Collect);
    }
}
