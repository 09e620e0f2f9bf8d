//! An audit by dump: what the table holds, against what the events told.
//!
//! Events that come during the dump are kept back until it is complete. So each entry is first seen, as it was at
//! some moment of the dump, and then lives through all that happened to it since; and what neither the dump nor an
//! event shows is gone.

use std::{io, time::Duration};

use anyhow::{Context as _, Result};
use conntrack_common::{Audit, AuditPhase, AuditTrigger, Kind};
use zerocopy::IntoBytes as _;

use super::{
    pace::{Events, Pace},
    socket::{Asking, Progress},
    source::{BATCH_BYTES, Watch},
};
use crate::{
    engine::ctnetlink::{Content, Request},
    kernel::{clock, sysctl},
};

/// Dumps begun anew, because the hash table was resized under them, before an audit is given up.
const RESTARTS: u32 = 3;

/// Records of events kept back during a dump, in bytes; what is more stays in the socket.
const KEPT_BACK: usize = 64 << 20;

/// How long the engine may take to name its suspects.
const ANSWER_WITHIN_NS: u64 = 10_000_000_000;

/// Which audits there were, and the one under way.
pub(super) struct Audits {
    pace: Pace,
    /// How many there were.
    number: u32,
    events: Events,
    /// The one the engine has not answered yet, and until when it may.
    walked: Option<(Audit, u64)>,
}

impl Audits {
    pub fn new(interval: Duration) -> Self {
        Self { pace: Pace::new(interval), number: 0, events: Events::Off, walked: None }
    }

    /// A dump is asked for.
    pub fn want(&mut self, trigger: AuditTrigger) {
        self.pace.wanted.get_or_insert(trigger);
    }

    /// All that was learned is void.
    pub fn restart(&mut self) {
        self.pace.restart();
        self.events = Events::Off;
    }
}

impl Watch {
    /// Makes an audit if one is due and none is under way.
    pub(super) fn audit_if_due(&mut self) -> Result<()> {
        let now_ns = clock::ktime_ns();
        match self.audits.walked {
            Some((_, until_ns)) if now_ns < until_ns => return Ok(()),
            Some(_) => self.abandon(),
            None => {}
        }
        let lost = self.lost()?;
        let silent = self.recorder.has_silent_entries();
        match self.audits.pace.due(now_ns, lost, self.audits.events, silent) {
            Some(trigger) => self.audit(trigger),
            None => Ok(()),
        }
    }

    fn audit(&mut self, trigger: AuditTrigger) -> Result<()> {
        let events = Events::read();
        // Entries made while there were no events, or nobody listened to them, have none later on either.
        let learn = events != Events::On && self.audits.events == Events::Off;
        self.audits.events = events;
        self.audits.number += 1;
        let (lost_before, cpu_before_ns) = (self.lost()?, clock::cpu_ns());
        let mut audit = self.begin(trigger)?;
        let began_ns = audit.began_ktime_ns;
        let complete = loop {
            match self.dump(&audit, learn)? {
                Some(buckets) => {
                    audit.buckets = buckets;
                    break !self.hear(KEPT_BACK)?;
                }
                None if audit.restarts == RESTARTS => break false,
                None => audit.restarts += 1,
            }
        };
        let now_ns = clock::ktime_ns();
        let cost = Duration::from_nanos(clock::cpu_ns() - cpu_before_ns);
        tracing::debug!("dump {} took {} ns, of CPU time {cost:?}", audit.number, now_ns - began_ns);
        self.audits.pace.done(began_ns, cost, lost_before);
        self.audits.walked = Some((audit, now_ns + ANSWER_WITHIN_NS));
        if complete {
            self.recorder.dump_complete(audit.number, events);
            self.step(&audit, AuditPhase::Walked, now_ns);
        } else {
            self.abandon();
        }
        self.send_all(now_ns)
    }

    fn begin(&mut self, trigger: AuditTrigger) -> Result<Audit> {
        self.hear(KEPT_BACK)?;
        self.recorder.begin();
        let ktime_ns = clock::ktime_ns();
        let audit = Audit {
            kind: Kind::Audit as u8,
            phase: 0,
            trigger: trigger as u8,
            reserved: 0,
            number: self.audits.number,
            ktime_ns,
            began_ktime_ns: ktime_ns,
            buckets: 0,
            restarts: 0,
            cut_short: 0,
        };
        self.step(&audit, AuditPhase::Began, ktime_ns);
        self.send_all(ktime_ns)?;
        Ok(audit)
    }

    /// Hands on all entries, as seen when the audit began: events that have come since are younger. The size of
    /// the hash table, or nothing if that changed: then entries may have been passed by.
    fn dump(&mut self, audit: &Audit, learn: bool) -> Result<Option<u64>> {
        let (began_ns, number) = (audit.began_ktime_ns, audit.number);
        let buckets = buckets();
        self.asking.begin(Request::Entries).context("ask for all entries")?;
        loop {
            let Self { asking, recorder, .. } = self;
            let received = asking.receive(|part| {
                if let Content::Entry(entry) = part {
                    recorder.dumped(&entry, began_ns, number, learn);
                }
            });
            let progress = match received {
                Ok(progress) => progress,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.asking = Asking::open().context("ask again")?;
                    return Ok(None);
                }
                Err(error) => return Err(error).context("receive all entries"),
            };
            self.hear(KEPT_BACK)?;
            if self.recorder.walk.len() >= BATCH_BYTES || progress == Progress::Complete {
                let walk = self.recorder.walk.split();
                self.send(began_ns, walk, None);
            }
            if progress == Progress::Complete {
                let unchanged = buckets == self::buckets();
                return Ok(unchanged.then_some(buckets));
            }
        }
    }

    /// Answers what the engine asks for, which ends the audit.
    pub(super) fn answer(&mut self, suspects: &[u64]) -> Result<()> {
        // Too late: it was abandoned.
        let Some((audit, _)) = self.audits.walked.take() else { return Ok(()) };
        self.hear(KEPT_BACK)?;
        let ktime_ns = clock::ktime_ns();
        for &ct in suspects {
            self.recorder.suspected(ct, ktime_ns);
        }
        self.recorder.end();
        self.step(&audit, AuditPhase::Ended, ktime_ns);
        Ok(())
    }

    /// Gives up the audit that is under way, if one is.
    pub(super) fn abandon(&mut self) {
        if let Some((audit, _)) = self.audits.walked.take() {
            self.recorder.end();
            self.step(&audit, AuditPhase::Abandoned, clock::ktime_ns());
        }
    }

    fn step(&mut self, audit: &Audit, phase: AuditPhase, ktime_ns: u64) {
        let record = Audit { phase: phase as u8, ktime_ns, ..*audit };
        self.recorder.events.extend_from_slice(record.as_bytes());
    }
}

fn buckets() -> u64 {
    sysctl::netfilter("nf_conntrack_buckets").unwrap_or(0)
}
