//! Where the blocks of a file are, in which order they were written and what times they have, from their heads alone.

use std::io::{self, Read, Seek};

use super::block::{HEAD, HEADER, Head};
use super::reader::Source;

/// Blocks by sequence, which is the order they were written in, wherever they stand.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: Vec<Entry>,
    /// Up to here the file was looked through.
    end: u64,
    /// Whether some stand in another order than they were written in: the file was put together by somebody else.
    is_disordered: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: u64,
    end: u64,
    sequence: u32,
    /// The latest time in this block.
    own_last_ktime_ns: u64,
    /// The latest time in this block and those before.
    last_ktime_ns: u64,
}

/// Where to go on reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Start {
    pub at: u64,
    /// Of the block to be expected there.
    pub sequence: u32,
    /// The latest time before.
    pub after_ktime_ns: Option<u64>,
}

impl Index {
    /// Looks through what was not looked through yet.
    pub fn extend<R: Read + Seek>(&mut self, source: &mut Source<R>) -> io::Result<()> {
        let (mut at, known) = (self.end, self.entries.len());
        while at < source.length {
            match source.head(at)? {
                Some(head) if at + head.block_bytes() > source.length => at = source.magic_after(at + 1)?,
                Some(head) => at = self.add(at, &head, source)?,
                None => at = source.magic_after(at + 1)?,
            }
        }
        self.sort(known);
        Ok(())
    }

    /// Takes a block up; tells where the next one is to be looked for.
    fn add<R: Read + Seek>(&mut self, at: u64, head: &Head, source: &mut Source<R>) -> io::Result<u64> {
        let end = at + head.block_bytes();
        if head.what != HEADER {
            let (sequence, own_last_ktime_ns) = (head.sequence.get(), head.last_ktime_ns.get());
            self.entries.push(Entry { at, end, sequence, own_last_ktime_ns, last_ktime_ns: 0 });
        }
        self.end = end;
        // Where its payload was cut off by a failed write, its end is somewhere in a later block.
        let whole = end == source.length || source.head(end)?.is_some();
        if whole { Ok(end) } else { source.magic_after(at + HEAD as u64) }
    }

    /// Puts those from `known` on in order among the others.
    fn sort(&mut self, known: usize) {
        let from = known.saturating_sub(1);
        let rises = |pair: &[Entry]| pair[0].sequence < pair[1].sequence;
        let from = if self.entries[from.min(self.entries.len())..].windows(2).all(rises) {
            known
        } else {
            self.is_disordered = true;
            self.entries.sort_by_key(|entry| (entry.sequence, entry.at));
            0
        };
        let mut last = from.checked_sub(1).map_or(0, |before| self.entries[before].last_ktime_ns);
        for entry in &mut self.entries[from..] {
            last = last.max(entry.own_last_ktime_ns);
            entry.last_ktime_ns = last;
        }
    }

    /// Whether blocks must be read by sequence, because in the order of the file some would be passed over.
    pub fn is_disordered(&self) -> bool {
        self.is_disordered
    }

    /// The first of those of this sequence or later.
    pub fn first_of(&self, sequence: u32) -> usize {
        self.entries.partition_point(|entry| entry.sequence < sequence)
    }

    /// From where to where the so manieth is said to be, if there are so many.
    pub fn place(&self, nth: usize) -> Option<(u64, u64)> {
        self.entries.get(nth).map(|entry| (entry.at, entry.end))
    }

    /// Up to here the file has nothing else.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Right behind the last block that has nothing of a time or later.
    pub fn before(&self, ktime_ns: u64) -> Start {
        let first = self.entries.partition_point(|entry| entry.last_ktime_ns < ktime_ns);
        let Some(before) = first.checked_sub(1).and_then(|before| self.entries.get(before)) else {
            return Start::default();
        };
        let at = self.entries.get(first).map_or(before.end, |after| after.at.min(before.end));
        Start { at, sequence: before.sequence.saturating_add(1), after_ktime_ns: Some(before.last_ktime_ns) }
    }
}
