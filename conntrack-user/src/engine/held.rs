//! Evictions waiting to learn for whom: the newcomer is known only when its allocation returns.

use std::collections::VecDeque;

use super::notice::Eviction;
use super::tuple::Connection;

/// After this long nobody will claim it: the `RoomMade` was lost, or the allocation failed after all.
const PATIENCE_NS: u64 = 1_000_000_000;

/// Far more than the victims that all CPUs can have made at one time; beyond it the oldest goes unnamed.
const CAPACITY: usize = 1024;

/// Evictions in the order they came, each with the hash its `RoomMade` will carry.
#[derive(Debug, Default)]
pub struct Held {
    waiting: VecDeque<(u32, Eviction)>,
}

impl Held {
    /// Holds one back; the one returned has waited long enough.
    #[must_use = "an eviction pushed out must still be told"]
    pub fn push(&mut self, hash: u32, eviction: Eviction) -> Option<Eviction> {
        let oldest = if self.waiting.len() == CAPACITY { self.waiting.pop_front() } else { None };
        self.waiting.push_back((hash, eviction));
        oldest.map(|(_, eviction)| eviction)
    }

    /// Tells those that made room for a connection.
    pub fn claim(&mut self, hash: u32, newcomer: Connection, mut tell: impl FnMut(Eviction)) {
        self.waiting.retain(|(its_hash, eviction)| {
            let claimed = *its_hash == hash && eviction.victim.netns == newcomer.netns;
            if claimed {
                tell(Eviction { for_whom: Some(newcomer), ..*eviction });
            }
            !claimed
        });
    }

    /// Tells those whose patience has run out.
    pub fn expire(&mut self, ktime_ns: u64, mut tell: impl FnMut(Eviction)) {
        while let Some((_, eviction)) = self.waiting.front()
            && eviction.ktime_ns.saturating_add(PATIENCE_NS) <= ktime_ns
        {
            tell(*eviction);
            self.waiting.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::gauge::Level;
    use crate::engine::testing;
    use crate::engine::tuple::Status;

    fn eviction(ktime_ns: u64) -> Eviction {
        Eviction {
            ktime_ns,
            victim: testing::connection(1),
            age_ns: None,
            status: Status(8),
            mark: 0,
            level: Level::default(),
            for_whom: None,
        }
    }

    fn told(act: impl FnOnce(&mut dyn FnMut(Eviction))) -> Vec<(u64, bool)> {
        let mut told = Vec::new();
        act(&mut |eviction: Eviction| told.push((eviction.ktime_ns, eviction.for_whom.is_some())));
        told
    }

    #[test]
    fn claimed_by_hash_or_expired_after_a_second() {
        let mut held = Held::default();
        for (hash, ktime_ns) in [(7, 1), (8, 2), (7, 3)] {
            assert_eq!(held.push(hash, eviction(ktime_ns)), None);
        }
        assert_eq!(told(|tell| held.claim(7, testing::connection(9), tell)), [(1, true), (3, true)]);
        let elsewhere = Connection { netns: 2, ..testing::connection(9) };
        assert_eq!(told(|tell| held.claim(8, elsewhere, tell)), []);
        assert_eq!(told(|tell| held.expire(1_000_000_001, tell)), []);
        assert_eq!(told(|tell| held.expire(1_000_000_002, tell)), [(2, false)]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut held = Held::default();
        let pushed_out = (0..2 * CAPACITY as u64).filter_map(|at| held.push(0, eviction(at))).count();
        assert_eq!((pushed_out, held.waiting.len()), (CAPACITY, CAPACITY));
    }
}
