//! The messages of ctnetlink, the kernel's own interface to the conntrack table: requests to bytes, bytes to
//! entries and counters.
//!
//! A datagram holds messages one after the other, each a `nlmsghdr` (16 bytes, this machine's byte order), a
//! `nfgenmsg` (4 bytes) and attributes: length and type (two bytes each), then the value in network order, then
//! zeros up to the next multiple of four. Numbers are those of include/uapi/linux/{netlink.h,
//! netfilter/nfnetlink.h, netfilter/nfnetlink_conntrack.h}, which never change.

mod attributes;
mod counters;
mod entry;

pub use counters::{Counters, Sums};
pub use entry::Entry;
use thiserror::Error;

use attributes::Attributes;

/// Bytes of a request: `nlmsghdr` and `nfgenmsg`, no attribute.
pub const REQUEST_BYTES: usize = HEADER + GENERIC;

/// Bit of [`NEW_ENTRIES`] and [`DESTROYED_ENTRIES`] in `sockaddr_nl.nl_groups` (`NFNLGRP_CONNTRACK_NEW`).
pub const NEW_ENTRIES: u32 = 1 << 0;
/// `NFNLGRP_CONNTRACK_DESTROY`
pub const DESTROYED_ENTRIES: u32 = 1 << 2;

/// `struct nlmsghdr`
const HEADER: usize = 16;
/// `struct nfgenmsg`
const GENERIC: usize = 4;
/// `NFNL_SUBSYS_CTNETLINK`, the high byte of a message's type.
const CTNETLINK: u16 = 1 << 8;

/// `IPCTNL_MSG_CT_*`
pub(crate) const NEW: u16 = CTNETLINK;
const GET: u16 = CTNETLINK | 1;
pub(crate) const DELETE: u16 = CTNETLINK | 2;
const GET_STATS_CPU: u16 = CTNETLINK | 4;
const GET_STATS: u16 = CTNETLINK | 5;

/// `NLMSG_ERROR`, `NLMSG_DONE`
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// `NLM_F_REQUEST`
const REQUEST: u16 = 1;
/// `NLM_F_DUMP_INTR`
const DUMP_INTERRUPTED: u16 = 0x10;
/// `NLM_F_ROOT | NLM_F_MATCH`
const DUMP: u16 = 0x300;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// All confirmed entries of both families: one [`Content::Entry`] each, then [`Content::End`]. It makes the
    /// kernel collect the expired entries it passes (`ctnetlink_dump_table`).
    Entries,
    /// One [`Content::CpuCounters`] per possible CPU, then [`Content::End`].
    CpuCounters,
    /// One [`Content::Totals`].
    Totals,
}

impl Request {
    /// The message that asks it; answers carry its `sequence`.
    pub fn to_bytes(self, sequence: u32) -> [u8; REQUEST_BYTES] {
        let (kind, flags) = match self {
            Self::Entries => (GET, REQUEST | DUMP),
            Self::CpuCounters => (GET_STATS_CPU, REQUEST | DUMP),
            Self::Totals => (GET_STATS, REQUEST),
        };
        let mut bytes = [0; REQUEST_BYTES];
        bytes[..4].copy_from_slice(&(REQUEST_BYTES as u32).to_ne_bytes());
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        // The rest is zero: port 0 is the kernel, and family AF_UNSPEC means both.
        bytes
    }
}

/// The messages of one datagram; ends at the first whose length makes no sense.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// Reads from the first byte on.
    pub fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = u32::from_ne_bytes(bytes(self.rest, 0)?) as usize;
        let header = self.rest.get(..HEADER)?;
        let body = self.rest.get(HEADER..length)?;
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message {
            kind: u16::from_ne_bytes(bytes(header, 4)?),
            flags: u16::from_ne_bytes(bytes(header, 6)?),
            sequence: u32::from_ne_bytes(bytes(header, 8)?),
            body,
        })
    }
}

/// One message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    /// After the `nlmsghdr`.
    body: &'a [u8],
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// An entry exists: it was dumped, or has just been confirmed.
    Entry(Entry),
    /// An entry is being destroyed.
    Destroyed(Entry),
    /// What one CPU counted.
    CpuCounters {
        /// Number of the CPU.
        cpu: u16,
        /// Its counters.
        counters: Counters,
    },
    /// The numbers the limit is about.
    Totals {
        /// `nf_conntrack_count` of the namespace.
        count: u32,
        /// `nf_conntrack_max`, where the kernel tells it.
        max: Option<u32>,
    },
    /// The answer is complete, or an error if `errno` is not zero.
    End {
        /// A positive errno.
        errno: u32,
    },
    /// Something that was not asked for.
    Other,
}

/// A message that is not what its type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// It ends too early.
    #[error("a ctnetlink message of type {kind:#x} ends after {length} bytes")]
    Short {
        /// `nlmsg_type`
        kind: u16,
        /// Bytes after the `nlmsghdr`.
        length: usize,
    },
    /// An entry without an original tuple.
    #[error("a ctnetlink message of type {kind:#x} has no original tuple")]
    NoTuple {
        /// `nlmsg_type`
        kind: u16,
    },
}

impl Message<'_> {
    /// Which request it answers; 0 if none.
    pub fn sequence(self) -> u32 {
        self.sequence
    }

    /// Whether the table changed so that the dump it belongs to may have skipped entries (`NLM_F_DUMP_INTR`).
    pub fn interrupted(self) -> bool {
        self.flags & DUMP_INTERRUPTED != 0
    }

    /// Reads it.
    pub fn content(self) -> Result<Content, Malformed> {
        let short = || Malformed::Short { kind: self.kind, length: self.body.len() };
        match self.kind {
            NEW => self.entry().map(Content::Entry),
            DELETE => self.entry().map(Content::Destroyed),
            GET_STATS_CPU => {
                // `nfgenmsg.res_id` (ctnetlink_ct_stat_cpu_fill_info).
                let cpu = u16::from_be_bytes(bytes(self.body, 2).ok_or_else(short)?);
                Ok(Content::CpuCounters { cpu, counters: Counters::read(self.attributes()?) })
            }
            GET_STATS => self.totals(),
            ERROR => {
                let errno = i32::from_ne_bytes(bytes(self.body, 0).ok_or_else(short)?);
                Ok(Content::End { errno: errno.unsigned_abs() })
            }
            DONE => {
                let errno = bytes(self.body, 0).map_or(0, i32::from_ne_bytes);
                // What a dump returns when it is done may be positive (netlink_dump).
                Ok(Content::End { errno: errno.min(0).unsigned_abs() })
            }
            _ => Ok(Content::Other),
        }
    }

    fn entry(self) -> Result<Entry, Malformed> {
        Entry::read(self.attributes()?).ok_or(Malformed::NoTuple { kind: self.kind })
    }

    fn totals(self) -> Result<Content, Malformed> {
        /// `CTA_STATS_GLOBAL_*`
        const ENTRIES: u16 = 1;
        const MAX_ENTRIES: u16 = 2;
        let (mut count, mut max) = (None, None);
        for attribute in self.attributes()? {
            match attribute.kind {
                ENTRIES => count = attribute.u32(),
                MAX_ENTRIES => max = attribute.u32(),
                _ => {}
            }
        }
        let count = count.ok_or(Malformed::Short { kind: self.kind, length: self.body.len() })?;
        Ok(Content::Totals { count, max })
    }

    fn attributes(&self) -> Result<Attributes<'_>, Malformed> {
        let attributes = self.body.get(GENERIC..);
        attributes.map(Attributes::new).ok_or(Malformed::Short { kind: self.kind, length: self.body.len() })
    }
}

/// `N` bytes at `at`, if there are that many.
fn bytes<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
pub(crate) mod tests;
