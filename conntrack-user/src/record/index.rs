//! Where the blocks of a file are and what times they have, from their heads alone.

use std::io::{self, Read, Seek};

use super::block::{HEAD, HEADER, Head};
use super::reader::Source;

/// Blocks in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: Vec<Entry>,
    /// Up to here the file was looked through.
    end: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: u64,
    end: u64,
    sequence: u32,
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
        let mut at = self.end;
        while at < source.length {
            match source.head(at)? {
                Some(head) if at + head.block_bytes() > source.length => at = source.magic_after(at + 1)?,
                Some(head) => at = self.add(at, &head, source)?,
                None => at = source.magic_after(at + 1)?,
            }
        }
        Ok(())
    }

    /// Takes a block up; tells where the next one is to be looked for.
    fn add<R: Read + Seek>(&mut self, at: u64, head: &Head, source: &mut Source<R>) -> io::Result<u64> {
        let end = at + head.block_bytes();
        let next = self.entries.last().map_or(0, |last| last.sequence.saturating_add(1));
        let records = head.what != HEADER;
        if records && head.sequence.get() >= next {
            let before = self.entries.last().map_or(0, |last| last.last_ktime_ns);
            let last_ktime_ns = before.max(head.last_ktime_ns.get());
            self.entries.push(Entry { at, end, sequence: head.sequence.get(), last_ktime_ns });
        }
        self.end = end;
        // Where its payload was cut off by a failed write, its end is somewhere in a later block.
        let whole = end == source.length || source.head(end)?.is_some();
        if whole { Ok(end) } else { source.magic_after(at + HEAD as u64) }
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
