//! What the server did, counted; and each kind of refusal said once in the log, because a client that is refused comes again.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::output::metrics::Durations;

/// What the server did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Scrapes answered.
    pub scrapes: Durations,
    /// Requests and connections refused: malformed, too large, too slow, too many, or not let in.
    pub requests_refused: u64,
    /// Connections that are open.
    pub connections: u64,
}

/// Why a request or a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is not HTTP, or its parameters are not right.
    Malformed,
    /// Its head or its body is too large.
    TooLarge,
    /// Its head did not come, or its answer was not read, in time.
    TooSlow,
    /// There are too many connections or streams.
    TooMany,
    /// No password, or a wrong one.
    NotLetIn,
    /// No TLS connection came about.
    Handshake,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too large",
            Self::TooSlow => "too slow",
            Self::TooMany => "too many",
            Self::NotLetIn => "not let in",
            Self::Handshake => "no TLS connection",
        })
    }
}

/// Counts, from whatever thread.
#[derive(Debug, Default)]
pub struct Counters {
    scrapes: AtomicU64,
    scrapes_ns: AtomicU64,
    longest_ns: AtomicU64,
    refused: AtomicU64,
    connections: AtomicU64,
    said: AtomicU32,
}

impl Counters {
    /// A scrape was answered.
    pub fn scraped(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.scrapes.fetch_add(1, Relaxed);
        self.scrapes_ns.fetch_add(ns, Relaxed);
        self.longest_ns.fetch_max(ns, Relaxed);
    }

    /// Something was refused to somebody.
    pub fn refuse(&self, why: Refused, whom: &dyn fmt::Display, what: &dyn fmt::Display) {
        self.refused.fetch_add(1, Relaxed);
        let bit = 1 << why as u32;
        if self.said.fetch_or(bit, Relaxed) & bit == 0 {
            tracing::warn!("a request of {whom} was refused ({why}): {what}; further ones are counted only");
        } else {
            tracing::debug!("a request of {whom} was refused ({why}): {what}");
        }
    }

    /// So many connections are open.
    pub fn set_connections(&self, open: usize) {
        self.connections.store(open as u64, Relaxed);
    }

    /// The sums.
    pub fn served(&self) -> Served {
        Served {
            scrapes: Durations {
                number: self.scrapes.load(Relaxed),
                sum_ns: self.scrapes_ns.load(Relaxed),
                max_ns: self.longest_ns.load(Relaxed),
            },
            requests_refused: self.refused.load(Relaxed),
            connections: self.connections.load(Relaxed),
        }
    }
}
