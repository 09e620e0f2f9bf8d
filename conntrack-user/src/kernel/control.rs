//! What may be asked of a running source, from another thread.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use conntrack_common::AuditTrigger;

/// A handle on a source. Nothing is answered here: what comes of it is in the batches.
#[derive(Clone, Debug, Default)]
pub struct Control(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Whether an audit is asked for because an event was missed, and whether to see what only audits see.
    missed: AtomicBool,
    asked: AtomicBool,
    suspects: Mutex<Option<Vec<u64>>>,
}

impl Control {
    /// Asks for the end; it comes within a poll interval, after the last batch.
    pub fn stop(&self) {
        self.0.stop.store(true, Relaxed);
    }

    /// Asks for an audit, because an event was missed.
    pub fn missed(&self) {
        self.0.missed.store(true, Relaxed);
    }

    /// Asks for an audit, to see what only audits see.
    pub fn audit(&self) {
        self.0.asked.store(true, Relaxed);
    }

    /// Answers the walk of an audit: these entries it has not seen, by the addresses of their `nf_conn`s.
    pub fn examine(&self, suspects: Vec<u64>) {
        *self.0.suspects.lock().unwrap_or_else(PoisonError::into_inner) = Some(suspects);
    }

    /// Whether the end was asked for.
    pub(super) fn is_stopped(&self) -> bool {
        self.0.stop.load(Relaxed)
    }

    /// Why an audit was asked for since the last call, if it was.
    pub(super) fn take_audit(&self) -> Option<AuditTrigger> {
        let [missed, asked] = [&self.0.missed, &self.0.asked].map(|flag| flag.swap(false, Relaxed));
        match (missed, asked) {
            (true, _) => Some(AuditTrigger::Missed),
            (false, true) => Some(AuditTrigger::Asked),
            (false, false) => None,
        }
    }

    /// The answer, once it is there.
    pub(super) fn take_suspects(&self) -> Option<Vec<u64>> {
        self.0.suspects.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
