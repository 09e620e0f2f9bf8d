//! Stands for the walk where the kernel hides its table: a dump of every network namespace that can be entered, one
//! after the other.
//!
//! The rings are not drained while one is dumped, and what it lists goes into the stream before what they hold then:
//! so what is freed after it was listed is freed after it is seen.

use std::{io, slice};

use bytes::BytesMut;

use crate::kernel::{
    clock, ctnetlink,
    netns::{self, Netns},
    sysctl,
};

/// Dumps all namespaces, one a round.
#[derive(Default)]
pub(super) struct Dumps {
    left: Vec<Netns>,
    /// Processor time of the threads that dumped, to be taken.
    pub(super) cpu_ns: u64,
}

/// How far the dumps have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There are more.
    More,
    /// One has to be made again: the hash table was resized meanwhile.
    Again,
    /// All were dumped.
    Complete,
    /// It cannot be done.
    Failed,
}

impl Dumps {
    /// Begins anew.
    pub(super) fn begin(&mut self) {
        self.left = netns::reachable();
    }

    /// Dumps the next namespace. One that is gone, or that we may not enter, has no entries that could be known.
    pub(super) fn next(&mut self, out: &mut BytesMut) -> Step {
        let Some(netns) = self.left.last() else { return Step::Complete };
        if !ctnetlink::is_at_hand() {
            return Step::Failed;
        }
        let before = buckets();
        let dumped = netns::visit(slice::from_ref(netns), |netns, entered| match entered {
            Ok(()) => {
                let mut seen = BytesMut::new();
                ctnetlink::dump(netns.inum, &mut seen).map(|()| (seen, clock::cpu_ns()))
            }
            Err(error) => {
                tracing::debug!("cannot enter network namespace {}: {error}", netns.name);
                Ok((BytesMut::new(), 0))
            }
        });
        match dumped.into_iter().next() {
            Some(Ok((seen, cpu_ns))) if before == buckets() => {
                self.cpu_ns += cpu_ns;
                out.extend_from_slice(&seen);
                self.left.pop();
                Step::More
            }
            Some(Ok(_)) => Step::Again,
            Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => Step::Again,
            Some(Err(error)) => {
                tracing::debug!("cannot dump network namespace {}: {error}", netns.name);
                Step::Failed
            }
            None => Step::Failed,
        }
    }
}

/// Size of the hash table, which all namespaces share.
pub(super) fn buckets() -> u64 {
    sysctl::netfilter("nf_conntrack_buckets").unwrap_or(0)
}
