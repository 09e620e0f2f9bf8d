//! One ring of the programs: its records in order, and how far it has been filled and read.
//!
//! A place in the ring is taken before its record is stamped and committed, on any CPU; the reader stops at a place
//! that is taken and not committed. So once it has passed the place that was the last when a clock was read, it has
//! every record stamped before.
#![expect(unsafe_code, reason = "the ring's positions are in memory shared with the kernel")]

use std::{
    os::fd::{AsFd, BorrowedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData, RingBuf};
use bytes::BytesMut;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A ring, read from its beginning.
pub struct Ring {
    ring: RingBuf<MapData>,
    positions: Positions,
}

impl Ring {
    /// Takes a map.
    pub fn new(map: Map) -> Result<Self> {
        let ring = RingBuf::try_from(map)?;
        let positions = Positions::map(ring.as_fd()).context("map the positions of a ring")?;
        Ok(Self { ring, positions })
    }

    /// Where the next place will be taken: all that are taken are before.
    pub fn taken(&self) -> u64 {
        self.positions.producer().load(Ordering::Acquire)
    }

    /// Whether everything before this place has been read.
    pub fn has_passed(&self, place: u64) -> bool {
        self.positions.consumer().load(Ordering::Relaxed) >= place
    }

    /// Moves records out until there are `limit` bytes; true if it stopped because of that.
    ///
    /// Room is made for all of them at once: batches then share a buffer one after the other, and get it back
    /// when the engine has dropped them. Grown from nothing each time, the copies and the page faults would cost
    /// as much as the engine.
    pub fn fill(&mut self, out: &mut BytesMut, limit: usize) -> bool {
        out.reserve(limit);
        while let Some(record) = self.ring.next() {
            out.extend_from_slice(&record);
            if out.len() >= limit {
                return true;
            }
        }
        false
    }

    /// Hands out every committed record up to this place.
    pub fn each(&mut self, place: u64, mut hand: impl FnMut(&[u8])) {
        while !self.has_passed(place)
            && let Some(record) = self.ring.next()
        {
            hand(&record);
        }
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// The first two pages of a ring (kernel/bpf/ringbuf.c, `ringbuf_map_mmap_user`, 5.10 to 7.3): each begins with a
/// position, the consumer's and the producer's, in bytes since the ring was made.
struct Positions {
    pages: NonNull<u8>,
    page_bytes: usize,
}

// SAFETY: the mapping belongs to no thread, and is only read, by atomics.
unsafe impl Send for Positions {}

impl Positions {
    fn map(ring: BorrowedFd<'_>) -> Result<Self> {
        let page_bytes = rustix::param::page_size();
        // SAFETY: a new mapping, at a place of the kernel's choice.
        let pages = unsafe {
            mmap(std::ptr::null_mut(), 2 * page_bytes, ProtFlags::READ, MapFlags::SHARED, ring, 0)
        }?;
        let pages = NonNull::new(pages.cast()).context("a mapping at address 0")?;
        Ok(Self { pages, page_bytes })
    }

    fn consumer(&self) -> &AtomicU64 {
        // SAFETY: an aligned u64 at the beginning of the mapping, which lasts as long as `self`.
        unsafe { self.pages.cast().as_ref() }
    }

    fn producer(&self) -> &AtomicU64 {
        // SAFETY: an aligned u64 at the beginning of the second page of the mapping.
        unsafe { self.pages.byte_add(self.page_bytes).cast().as_ref() }
    }
}

impl Drop for Positions {
    fn drop(&mut self) {
        // SAFETY: the mapping that `map` made; no reference into it outlives `self`.
        let unmapped = unsafe { munmap(self.pages.as_ptr().cast(), 2 * self.page_bytes) };
        debug_assert!(unmapped.is_ok(), "a mapping of our own: {unmapped:?}");
    }
}
