//! The last so many of something, each with a number of its own, so that a reader knows what it has missed.

use std::collections::VecDeque;

/// Numbered from 0; the oldest go when there is no room.
#[derive(Debug)]
pub struct Kept<T> {
    items: VecDeque<T>,
    first: u64,
    most: usize,
}

impl<T: Copy> Kept<T> {
    /// Room for so many.
    pub fn new(most: usize) -> Self {
        Self { items: VecDeque::new(), first: 0, most }
    }

    /// Keeps another; the one that had to go for it.
    pub fn push(&mut self, item: T) -> Option<T> {
        let gone = if self.items.len() >= self.most { self.items.pop_front() } else { None };
        self.first += u64::from(gone.is_some());
        self.items.push_back(item);
        gone
    }

    /// The number of the oldest that is kept.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The number the next will have.
    pub fn next(&self) -> u64 {
        self.first + self.items.len() as u64
    }

    /// At most so many from this number on, or from the oldest, oldest first.
    pub fn from(&self, number: u64, most: usize) -> Vec<T> {
        let skipped = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.items.range(skipped.min(self.items.len())..).take(most).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_last_are_kept_in_order(most in 1usize..9, all in 0u64..40, number in 0u64..50, few in 0usize..20) {
            let mut kept = Kept::new(most);
            let gone: Vec<u64> = (0..all).filter_map(|item| kept.push(item)).collect();
            prop_assert_eq!(gone.len() as u64, kept.first());
            prop_assert_eq!(kept.next(), all);
            let from = number.max(all.saturating_sub(most as u64));
            let expected: Vec<u64> = (from..all).take(few).collect();
            prop_assert_eq!(kept.from(number, few), expected);
        }
    }
}
