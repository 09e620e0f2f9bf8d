//! How full one network namespace is and what the kernel does about it: a state machine over its incidents
//! and its level.
//!
//! *high* is a count of `warn_percent` of the limit or more, *low* one below `clear_percent`; between them
//! and where either number is unknown nothing is high. *Calm* is a time of `calm_ns` without the incidents
//! named. `in_episode` is true from the first incident to the recovery.
//!
//! | from | on | to | stamped |
//! |---|---|---|---|
//! | ok | high | pressure | the event that crossed |
//! | pressure | low, not in an episode | ok | the event that crossed |
//! | pressure | low, in an episode | recovered | the event that crossed |
//! | ok, pressure, recovered | eviction | evicting | the eviction |
//! | any but refusing | refusal | refusing | the refusal |
//! | refusing | calm of refusals, evictions go on | evicting | end of the calm |
//! | refusing, evicting | calm of both, low | recovered | end of the calm |
//! | refusing, evicting | calm of both, not low | pressure | end of the calm |
//! | recovered | high | pressure | the event that crossed |
//! | recovered | `settle_ns` passed | ok | its end |
//!
//! It cannot flap: pressure comes and goes only with a move across the band between the two levels, and
//! every step down from evicting or refusing costs a calm. A table that stays high after the last incident is
//! under pressure, still in the same episode, and has recovered only once it is low.

use super::gauge::Level;

/// What the kernel does with new connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// There is room.
    #[default]
    Ok,
    /// Saturated until a moment ago, now below the warn level.
    Recovered,
    /// Above the warn level.
    Pressure,
    /// `early_drop` frees unassured entries of others to make room.
    Evicting,
    /// The table is full and allocations fail.
    Refusing,
}

impl State {
    /// As it is written in every format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Recovered => "recovered",
            Self::Pressure => "pressure",
            Self::Evicting => "evicting",
            Self::Refusing => "refusing",
        }
    }

    /// The state that a record names by its number, if any: they count up from 0 in the order of this list.
    pub fn from_byte(byte: u8) -> Option<Self> {
        let all = [Self::Ok, Self::Recovered, Self::Pressure, Self::Evicting, Self::Refusing];
        all.get(usize::from(byte)).copied()
    }
}

/// When a level is high or low and how long a calm is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// From this share of the limit on there is pressure.
    pub warn_percent: u8,
    /// Below this share there is none any more.
    pub clear_percent: u8,
    /// So long without an incident the kernel is no longer evicting or refusing.
    pub calm_ns: u64,
    /// So long a recovery is shown as one.
    pub settle_ns: u64,
}

impl Thresholds {
    /// Warns at a share of the limit, clears five hundredths below it.
    pub fn warn_at(warn_percent: u8) -> Self {
        Self {
            warn_percent,
            clear_percent: warn_percent.saturating_sub(5),
            calm_ns: 1_000_000_000,
            settle_ns: 10_000_000_000,
        }
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self::warn_at(80)
    }
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The state before.
    pub was: State,
    /// The state from now on.
    pub state: State,
    /// The kernel's stamp of what caused it, or the end of the calm that did.
    pub ktime_ns: u64,
    /// Count and limit then.
    pub level: Level,
}

/// The state of one network namespace. Events must come in the order of time, each after
/// [`expire`](Self::expire) was called for every earlier [`deadline`](Self::deadline).
#[derive(Clone, Debug)]
pub struct Saturation {
    thresholds: Thresholds,
    state: State,
    since_ktime_ns: u64,
    last_refused: Option<u64>,
    last_evicted: Option<u64>,
    in_episode: bool,
    /// Whether states go only where a recording says.
    is_replayed: bool,
}

impl Saturation {
    /// Begins in `ok`.
    pub fn new(thresholds: Thresholds, since_ktime_ns: u64) -> Self {
        Self {
            thresholds,
            state: State::Ok,
            since_ktime_ns,
            last_refused: None,
            last_evicted: None,
            in_episode: false,
            is_replayed: false,
        }
    }

    /// One that goes only where a [recording says](Self::replay).
    pub fn replayed(since_ktime_ns: u64) -> Self {
        Self { is_replayed: true, ..Self::new(Thresholds::default(), since_ktime_ns) }
    }

    /// One that begins in `ok` with the same thresholds.
    pub fn anew(&self, since_ktime_ns: u64) -> Self {
        Self { is_replayed: self.is_replayed, ..Self::new(self.thresholds, since_ktime_ns) }
    }

    /// Goes where a recording says.
    pub fn replay(&mut self, edge: &Edge) {
        (self.state, self.since_ktime_ns) = (edge.state, edge.ktime_ns);
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.state
    }

    /// Since when.
    pub fn since_ktime_ns(&self) -> u64 {
        self.since_ktime_ns
    }

    /// The table was full and an allocation failed.
    pub fn refused(&mut self, ktime_ns: u64, level: Level) -> Option<Edge> {
        self.last_refused = self.last_refused.max(Some(ktime_ns));
        if self.state == State::Refusing { None } else { self.go(State::Refusing, ktime_ns, level) }
    }

    /// `early_drop` freed an entry.
    pub fn evicted(&mut self, ktime_ns: u64, level: Level) -> Option<Edge> {
        self.last_evicted = self.last_evicted.max(Some(ktime_ns));
        if self.state < State::Evicting { self.go(State::Evicting, ktime_ns, level) } else { None }
    }

    /// The count or the limit moved.
    pub fn moved(&mut self, ktime_ns: u64, level: Level) -> Option<Edge> {
        match self.state {
            State::Ok | State::Recovered if level.reaches(self.thresholds.warn_percent) => {
                self.go(State::Pressure, ktime_ns, level)
            }
            State::Pressure if self.is_low(level) => {
                let state = if self.in_episode { State::Recovered } else { State::Ok };
                self.go(state, ktime_ns, level)
            }
            _ => None,
        }
    }

    /// When [`expire`](Self::expire) is due, if nothing happens before.
    pub fn deadline(&self) -> Option<u64> {
        let Thresholds { calm_ns, settle_ns, .. } = self.thresholds;
        match self.state {
            _ if self.is_replayed => None,
            State::Ok | State::Pressure => None,
            State::Recovered => Some(self.since_ktime_ns.saturating_add(settle_ns)),
            State::Evicting => self.last_evicted.map(|last| last.saturating_add(calm_ns)),
            State::Refusing => self.last_refused.map(|last| last.saturating_add(calm_ns)),
        }
    }

    /// The deadline passed and nothing had happened.
    pub fn expire(&mut self, level: Level) -> Option<Edge> {
        let deadline = self.deadline()?;
        let evicted_meanwhile =
            self.last_evicted.is_some_and(|last| last.saturating_add(self.thresholds.calm_ns) > deadline);
        let state = match self.state {
            State::Recovered => State::Ok,
            State::Refusing if evicted_meanwhile => State::Evicting,
            _ if self.is_low(level) => State::Recovered,
            _ => State::Pressure,
        };
        self.go(state, deadline, level)
    }

    fn is_low(&self, level: Level) -> bool {
        !level.reaches(self.thresholds.clear_percent)
    }

    fn go(&mut self, state: State, ktime_ns: u64, level: Level) -> Option<Edge> {
        if self.is_replayed {
            return None;
        }
        let was = std::mem::replace(&mut self.state, state);
        self.since_ktime_ns = ktime_ns;
        self.in_episode = match state {
            State::Evicting | State::Refusing => true,
            State::Recovered | State::Ok => false,
            State::Pressure => self.in_episode,
        };
        Some(Edge { was, state, ktime_ns, level })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What may befall a namespace.
    #[derive(Clone, Copy, Debug)]
    enum Act {
        Refused,
        Evicted,
        Count(u32),
        Nothing,
    }
    use Act::{Count, Evicted, Nothing, Refused};

    /// Drives the machine as the engine does; all times in milliseconds, the limit 100.
    fn run(timeline: &[(u64, Act)]) -> Vec<Edge> {
        let mut machine = Saturation::new(Thresholds::default(), 0);
        let (mut level, mut edges) = (Level::new(0, 100), Vec::new());
        for (ms, act) in timeline {
            let now = ms * 1_000_000;
            while machine.deadline().is_some_and(|deadline| deadline <= now) {
                edges.extend(machine.expire(level));
            }
            edges.extend(match act {
                Refused => machine.refused(now, level),
                Evicted => machine.evicted(now, level),
                Count(count) => {
                    level.count = Some(*count);
                    machine.moved(now, level)
                }
                Nothing => None,
            });
        }
        edges
    }

    fn written(edges: &[Edge]) -> String {
        let edge = |edge: &Edge| format!("{} {}", edge.ktime_ns / 1_000_000, edge.state.as_str());
        edges.iter().map(edge).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn timelines() {
        type Case = (&'static str, &'static [(u64, Act)], &'static str);
        let cases: &[Case] = &[
            ("a quiet gateway", &[(0, Count(10)), (5000, Count(79))], ""),
            (
                "pressure and relief, no incident",
                &[(1, Count(80)), (2, Count(75)), (3, Count(74))],
                "1 pressure, 3 ok",
            ),
            (
                "no flapping inside the band",
                &[(1, Count(80)), (2, Count(79)), (3, Count(81)), (4, Count(75))],
                "1 pressure",
            ),
            (
                "the whole story",
                &[
                    (1, Count(85)),
                    (10, Count(100)),
                    (11, Evicted),
                    (400, Evicted),
                    (900, Refused),
                    (950, Refused),
                    (1000, Evicted),
                    (1500, Count(40)),
                    (20_000, Nothing),
                ],
                "1 pressure, 11 evicting, 900 refusing, 1950 evicting, 2000 recovered, 12000 ok",
            ),
            (
                "straight from ok to refusing",
                &[(5, Refused), (6, Count(100)), (7, Count(10)), (1005, Nothing)],
                "5 refusing, 1005 recovered",
            ),
            (
                "still high after the last refusal, then low: one episode, recovered at the crossing",
                &[
                    (1, Count(100)),
                    (2, Refused),
                    (3000, Count(76)),
                    (4000, Count(74)),
                    (13_999, Nothing),
                    (14_000, Nothing),
                ],
                "1 pressure, 2 refusing, 1002 pressure, 4000 recovered, 14000 ok",
            ),
            (
                "an incident again before it was low",
                &[(1, Count(100)), (2, Evicted), (1500, Evicted), (2600, Count(10))],
                "1 pressure, 2 evicting, 1002 pressure, 1500 evicting, 2500 pressure, 2600 recovered",
            ),
            (
                "refusals of one second apart are one state",
                &[(1, Refused), (1000, Refused), (1999, Refused), (2998, Nothing)],
                "1 refusing",
            ),
            (
                "full again while the recovery is shown",
                &[(1, Refused), (2, Count(10)), (1500, Count(90)), (1600, Count(60)), (20_000, Nothing)],
                "1 refusing, 1001 recovered, 1500 pressure, 1600 ok",
            ),
            (
                "refused again while the recovery is shown",
                &[(1, Refused), (1500, Refused), (1600, Evicted), (2600, Nothing)],
                "1 refusing, 1001 recovered, 1500 refusing, 2500 evicting, 2600 recovered",
            ),
        ];
        for (name, timeline, expected) in cases {
            assert_eq!(written(&run(timeline)), *expected, "{name}");
        }
    }

    #[test]
    fn without_a_level_the_calm_alone_decides() {
        let mut machine = Saturation::new(Thresholds::default(), 0);
        let unknown = Level::default();
        assert_eq!(machine.refused(7, unknown).map(|edge| edge.state), Some(State::Refusing));
        assert_eq!(machine.expire(unknown).map(|edge| edge.state), Some(State::Recovered));
    }

    #[test]
    fn a_raised_limit_ends_the_pressure() {
        let mut machine = Saturation::new(Thresholds::default(), 0);
        assert!(machine.moved(1, Level::new(90, 100)).is_some());
        assert_eq!(machine.moved(2, Level::new(90, 200)).map(|edge| edge.state), Some(State::Ok));
    }

    fn legal(was: State, state: State) -> bool {
        use State::{Evicting, Ok, Pressure, Recovered, Refusing};
        match was {
            Ok => matches!(state, Pressure | Evicting | Refusing),
            Pressure => matches!(state, Ok | Recovered | Evicting | Refusing),
            Evicting => matches!(state, Refusing | Pressure | Recovered),
            Refusing => matches!(state, Evicting | Pressure | Recovered),
            Recovered => matches!(state, Ok | Pressure | Evicting | Refusing),
        }
    }

    fn timeline() -> impl Strategy<Value = Vec<(u64, Act)>> {
        let act = prop_oneof![
            Just(Refused),
            Just(Evicted),
            (0u32..=100).prop_map(Count),
            (72u32..=82).prop_map(Count),
            Just(Nothing),
        ];
        let step = prop_oneof![0u64..50, 900u64..1100, 0u64..12_000];
        prop::collection::vec((step, act), 0..80).prop_map(|steps| {
            let at = |now: &mut u64, (step, act): (u64, Act)| {
                *now += step;
                Some((*now, act))
            };
            steps.into_iter().scan(0, at).collect()
        })
    }

    proptest! {
        #[test]
        fn edges_are_legal_and_never_flap(timeline in timeline()) {
            let edges = run(&timeline);
            let mut was = (State::Ok, 0);
            let mut in_episode = false;
            for edge in &edges {
                prop_assert_eq!(edge.was, was.0, "edges are a chain");
                prop_assert!(edge.ktime_ns >= was.1, "in the order of time");
                prop_assert!(legal(edge.was, edge.state), "{:?}", edge);
                let saturated = |state| matches!(state, State::Evicting | State::Refusing);
                let incidents = timeline.iter().filter(|(_, act)| matches!(act, Refused | Evicted));
                if saturated(edge.was) && !saturated(edge.state) {
                    let last = incidents.map(|(ms, _)| ms * 1_000_000).filter(|at| *at < edge.ktime_ns).max();
                    prop_assert_eq!(last, Some(edge.ktime_ns - 1_000_000_000), "left exactly one calm after the last incident");
                }
                match edge.state {
                    State::Pressure if !saturated(edge.was) => prop_assert!(edge.level.reaches(80)),
                    State::Pressure => prop_assert!(edge.level.reaches(75)),
                    State::Recovered => prop_assert!(in_episode && !edge.level.reaches(75)),
                    State::Ok => prop_assert!(!in_episode),
                    State::Evicting | State::Refusing => in_episode = true,
                }
                in_episode &= edge.state != State::Recovered;
                was = (edge.state, edge.ktime_ns);
            }
        }
    }
}
