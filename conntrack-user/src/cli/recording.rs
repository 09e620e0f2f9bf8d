//! Between engine and recorder: what a recording has of each drain. Of `record` one, of the daemon two.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use zerocopy::IntoBytes as _;

use crate::{
    engine::{
        Engine,
        batch::Batch,
        notice::Notice,
        recorded::{AuditDone, Crossed},
        saturation::Thresholds,
        snapshot::Attached,
    },
    kernel::{
        host::{Host, host},
        settings::Settings,
    },
    record::{
        Header, VERSION,
        recorder::{Outcome, Progress, Recorder},
    },
};

/// Time between two readings of the kernel's settings.
const SETTINGS_EVERY_NS: u64 = 60_000_000_000;

/// How a recording begins.
pub fn header(attached: &Attached, entries: bool, thresholds: Thresholds) -> Header {
    let Attached { ktime_ns, wall, ref trust } = *attached;
    let Host { name, kernel, boot_id } = host();
    Header {
        version: VERSION,
        session: format!("{boot_id}-{ktime_ns:x}"),
        sequence: 1,
        host: name,
        kernel,
        boot_id,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        since_ktime_ns: ktime_ns,
        wall_offset_ns: wall.offset_ns,
        began_ktime_ns: ktime_ns,
        trust: trust.clone(),
        entries,
        thresholds,
    }
}

/// What the engine made of one drain that no record of the rings says: the same for every recording.
#[derive(Debug, Default)]
pub struct Drained {
    rows: Vec<u8>,
    urgent: bool,
}

impl Drained {
    /// Something happened.
    pub fn note(&mut self, notice: &Notice) {
        match notice {
            Notice::Edge { netns, edge } => {
                self.rows.extend_from_slice(Crossed::new(*netns, edge).as_bytes());
                self.urgent = true;
            }
            Notice::Audited(audited) => self.rows.extend_from_slice(AuditDone::new(audited).as_bytes()),
            _ => {}
        }
    }

    /// Takes what the engine keeps for recordings.
    pub fn add_rows(&mut self, engine: &mut Engine) {
        engine.pictures().iter().for_each(|row| self.rows.extend_from_slice(row.as_bytes()));
        engine.netns_seconds().iter().for_each(|row| self.rows.extend_from_slice(row.as_bytes()));
    }
}

/// One recording being made.
pub struct Recording {
    recorder: Recorder,
    settings: Settings,
    settings_ktime_ns: Option<u64>,
    holders_ktime_ns: u64,
    interval_ns: u64,
    top: usize,
    /// Whether records of entries are missing in the recording that only an audit makes good.
    incomplete: bool,
    entries: bool,
}

impl Recording {
    /// Lists the `top` sources every `interval`.
    pub fn new(recorder: Recorder, entries: bool, top: usize, interval: Duration) -> Self {
        Self {
            recorder,
            settings: Settings::new(),
            settings_ktime_ns: None,
            holders_ktime_ns: 0,
            interval_ns: u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX),
            top,
            incomplete: false,
            entries,
        }
    }

    /// Records a drain. Whether the table must be walked, since entries are not known from this recording alone.
    #[must_use]
    pub fn take(&mut self, engine: &Engine, batch: &Batch, drained: &Drained) -> bool {
        if self.recorder.began_file() {
            self.begin_file();
        }
        let added = self.added(engine, batch.ktime_ns, drained);
        let taken = self.recorder.offer(batch, &added, drained.urgent);
        self.incomplete |= !taken && self.entries;
        taken && std::mem::take(&mut self.incomplete)
    }

    /// Records the end of what was going on.
    pub fn take_last(&mut self, engine: &Engine, drained: &Drained) {
        let summary = engine.summary();
        let last = Batch {
            ktime_ns: summary.ktime_ns,
            wall: summary.wall,
            entries: Bytes::new(),
            incidents: Bytes::new(),
            totals: None,
            trust: None,
        };
        self.holders_ktime_ns = 0;
        let added = self.added(engine, last.ktime_ns, drained);
        self.recorder.offer_last(&last, &added);
    }

    /// Whether the thread that writes is there. If not, [`finish`](Self::finish) says why.
    pub fn is_writing(&self) -> bool {
        self.recorder.is_writing()
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.recorder.progress()
    }

    /// Waits until all is written.
    pub fn finish(self) -> Outcome {
        self.recorder.finish()
    }

    fn added(&mut self, engine: &Engine, ktime_ns: u64, drained: &Drained) -> Vec<u8> {
        let mut added = drained.rows.clone();
        if ktime_ns.saturating_sub(self.holders_ktime_ns) >= self.interval_ns {
            self.holders_ktime_ns = ktime_ns;
            engine.holders_rows(self.top).iter().for_each(|row| added.extend_from_slice(row.as_bytes()));
        }
        if self.settings_ktime_ns.is_none_or(|last| ktime_ns.saturating_sub(last) >= SETTINGS_EVERY_NS) {
            self.settings_ktime_ns = Some(ktime_ns);
            let mut settings = BytesMut::new();
            self.settings.read(ktime_ns, &mut settings);
            added.extend_from_slice(&settings);
        }
        added
    }

    /// A file is to be read without those before it: all is told again, and the table is walked.
    fn begin_file(&mut self) {
        self.settings = Settings::new();
        (self.settings_ktime_ns, self.holders_ktime_ns) = (None, 0);
        self.incomplete |= self.entries;
    }
}
