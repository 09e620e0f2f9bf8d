//! Sums so far beside what was told one by one: how much was only counted, within a time.

use std::collections::VecDeque;

use super::Moment;

/// What a recorder tells in sums it tells up to a second late; what came before a reading may be told so long after it.
const LATE_NS: u64 = 2_500_000_000;

/// Times in which the account ran ahead that are kept; later ones are added to the last.
const GROWTHS: usize = 10_000;

/// One account of the kernel or the engine, `N` sums that only grow, and how many of each were told one by one
/// meanwhile. What is counted and was not told is *missing*.
///
/// ```text
///   missing(time) = so far(time) - told until then - what both were when reading began
/// ```
#[derive(Clone, Debug)]
pub struct SoFar<const N: usize> {
    told: [u64; N],
    base: Option<[i128; N]>,
    last: [u64; N],
    /// What the account had reached when it began anew from 0.
    before: [u64; N],
    missing: [i128; N],
    /// Missing at the beginning of the time looked at, and at its end.
    window: Option<[[i128; N]; 2]>,
    closed: bool,
    waiting: VecDeque<Reading<N>>,
    last_at: Option<Moment>,
    /// Of so many of the sums, the first ones, it is kept when they ran ahead.
    watched: usize,
    growths: Vec<Growth<N>>,
}

/// A reading that waits for what is told late.
#[derive(Clone, Copy, Debug)]
struct Reading<const N: usize> {
    at: Moment,
    so_far: [u64; N],
    told: [u64; N],
    before_window: bool,
    after_window: bool,
}

/// So much was counted and not told between two readings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth<const N: usize> {
    /// The reading before.
    pub from: Moment,
    /// The reading that shows it.
    pub until: Moment,
    /// How much.
    pub by: [u64; N],
}

impl<const N: usize> SoFar<N> {
    /// `complete` if all that was ever counted will be told, from 0 on: else the first reading is where it begins.
    pub fn new(complete: bool, watched: usize) -> Self {
        Self {
            told: [0; N],
            base: complete.then_some([0; N]),
            last: [0; N],
            before: [0; N],
            missing: [0; N],
            window: complete.then_some([[0; N]; 2]),
            closed: false,
            waiting: VecDeque::new(),
            last_at: None,
            watched,
            growths: Vec::new(),
        }
    }

    /// So many were told, whether they are looked at or not.
    pub fn tell(&mut self, at: usize, count: u64, ktime_ns: u64) {
        self.told[at] = self.told[at].saturating_add(count);
        for reading in self.waiting.iter_mut().filter(|reading| reading.at.ktime_ns >= ktime_ns) {
            reading.told[at] = reading.told[at].saturating_add(count);
        }
    }

    /// The account was read. Up to `since` it moves where the window begins, and the first reading at or after `until` is
    /// the last that counts: readings are a second apart, so what a window has by sums is to the second.
    pub fn read(&mut self, at: Moment, so_far: [u64; N], before_window: bool, after_window: bool) {
        while self.waiting.front().is_some_and(|it| it.at.ktime_ns.saturating_add(LATE_NS) <= at.ktime_ns) {
            self.settle();
        }
        self.waiting.push_back(Reading { at, so_far, told: self.told, before_window, after_window });
    }

    fn settle(&mut self) {
        let Some(Reading { at, so_far, told, before_window, after_window }) = self.waiting.pop_front() else {
            return;
        };
        for ((before, last), now) in self.before.iter_mut().zip(self.last).zip(so_far) {
            // If it is less, conntrack was loaded again.
            *before = before.saturating_add(if now < last { last } else { 0 });
        }
        let ahead: [i128; N] = std::array::from_fn(|sum| {
            i128::from(self.before[sum]) + i128::from(so_far[sum]) - i128::from(told[sum])
        });
        let base = self.base.get_or_insert(ahead);
        let missing = std::array::from_fn(|sum| ahead[sum] - base[sum]);
        let before = std::mem::replace(&mut self.missing, missing);
        self.grow(at, &before);
        self.last = so_far;
        self.last_at = Some(at);
        let [begin, end] = self.window.get_or_insert([self.missing; 2]);
        if before_window {
            *begin = self.missing;
        }
        if !self.closed {
            *end = self.missing;
        }
        self.closed |= after_window;
    }

    fn grow(&mut self, until: Moment, before: &[i128; N]) {
        let by: [u64; N] =
            std::array::from_fn(|sum| u64::try_from(self.missing[sum] - before[sum]).unwrap_or(0));
        if by.iter().take(self.watched).all(|more| *more == 0) {
            return;
        }
        let from = self.last_at.unwrap_or(until);
        if self.growths.len() < GROWTHS {
            self.growths.push(Growth { from, until, by });
        } else if let Some(last) = self.growths.last_mut() {
            last.by = std::array::from_fn(|sum| last.by[sum].saturating_add(by[sum]));
        }
    }

    /// Nothing is told any more. What was counted within the window and not told, and when it was.
    pub fn finish(mut self) -> ([u64; N], Vec<Growth<N>>) {
        while !self.waiting.is_empty() {
            self.settle();
        }
        let Some([begin, end]) = self.window else { return ([0; N], self.growths) };
        (std::array::from_fn(|sum| u64::try_from(end[sum] - begin[sum]).unwrap_or(0)), self.growths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn at(second: u64) -> Moment {
        Moment { unix_ns: 0, ktime_ns: second * S }
    }

    #[test]
    fn what_was_told_is_not_missing() {
        let mut sums = SoFar::<2>::new(true, 1);
        sums.tell(0, 5, S);
        sums.read(at(1), [5, 0], false, false);
        sums.read(at(2), [8, 1], false, false);
        sums.tell(0, 2, 3 * S);
        sums.read(at(3), [10, 1], false, false);
        let (missing, growths) = sums.finish();
        assert_eq!(missing, [3, 1]);
        assert_eq!(growths, [Growth { from: at(1), until: at(2), by: [3, 1] }]);
    }

    #[test]
    fn what_is_told_late_is_not_missing_either() {
        let mut sums = SoFar::<1>::new(true, 1);
        sums.read(at(5), [40], false, true);
        sums.tell(0, 30, 5 * S);
        sums.tell(0, 10, 5 * S + 1);
        sums.read(at(9), [40], false, true);
        assert_eq!(sums.finish().0, [10], "up to the end of the window");
    }

    #[test]
    fn a_recording_without_its_beginning_starts_with_the_first_reading() {
        let mut sums = SoFar::<1>::new(false, 0);
        sums.tell(0, 2, 0);
        sums.read(at(1), [1002], false, false);
        sums.tell(0, 1, 2 * S);
        sums.read(at(2), [1007], false, false);
        assert_eq!(sums.finish(), ([4], vec![]));
    }

    #[test]
    fn counting_that_begins_anew_goes_on() {
        let mut sums = SoFar::<1>::new(true, 0);
        sums.tell(0, 6, S);
        sums.read(at(1), [10], false, false);
        sums.tell(0, 1, 2 * S);
        sums.read(at(2), [3], false, false);
        assert_eq!(sums.finish().0, [6], "4 before, and 2 of the 3 since");
    }

    #[test]
    fn a_window_has_what_came_between_its_readings() {
        let mut sums = SoFar::<1>::new(true, 0);
        sums.read(at(1), [3], true, false);
        sums.read(at(2), [5], true, false);
        sums.read(at(3), [9], false, false);
        sums.read(at(4), [12], false, true);
        sums.read(at(5), [90], false, true);
        assert_eq!(sums.finish().0, [7]);
    }
}
