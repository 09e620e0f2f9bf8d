//! The flight recorder: the last minutes in full detail, and days in aggregate, each in a directory of its own. What cannot
//! be written to is tried again.

use std::{path::PathBuf, time::Duration};

use jiff::Timestamp;

use crate::{
    cli::recording::{Drained, Recording, header},
    daemon::config,
    engine::{Engine, batch::Batch, saturation::Thresholds, snapshot::Attached},
    output::metrics,
    record::{Retention, Store, recorder::Recorder, thinning::Thinning},
};

/// The recording of the last minutes, and its directory below the configured one.
pub const DETAIL: &str = "detail";
/// The recording of days, likewise.
pub const AGGREGATE: &str = "aggregate";

/// Time between two attempts to begin.
const RETRY_NS: u64 = 10_000_000_000;

/// Both recordings.
pub struct Flight {
    attached: Attached,
    thresholds: Thresholds,
    settings: config::Recording,
    recordings: Vec<One>,
}

/// One of them.
struct One {
    name: &'static str,
    dir: PathBuf,
    entries: bool,
    retention: Retention,
    /// None while it cannot be begun.
    recording: Option<Recording>,
    next_try_ktime_ns: u64,
    /// Whether it was said that it cannot be begun.
    told: bool,
    /// What recordings before this one came to.
    before: metrics::Recording,
}

impl Flight {
    /// Begins with the first drain.
    pub fn new(settings: &config::Recording, attached: &Attached, thresholds: Thresholds) -> Self {
        let mut flight = Self {
            attached: attached.clone(),
            thresholds,
            settings: settings.clone(),
            recordings: Vec::new(),
        };
        flight.recordings = flight.wanted();
        flight
    }

    fn wanted(&self) -> Vec<One> {
        let config::Recording { dir, detail_max_age, detail_max_size, max_age, max_size, .. } =
            &self.settings;
        let Some(dir) = dir else { return Vec::new() };
        let one = |name, entries, max_age: Duration, max_bytes| One {
            name,
            dir: dir.join(name),
            entries,
            retention: Retention { max_bytes, max_age: Some(max_age) },
            recording: None,
            next_try_ktime_ns: 0,
            told: false,
            before: metrics::Recording::default(),
        };
        vec![one(DETAIL, true, *detail_max_age, *detail_max_size), one(AGGREGATE, false, *max_age, *max_size)]
    }

    /// Records a drain. Whether the table must be walked, since a recording does not know its entries.
    #[must_use]
    pub fn take(&mut self, engine: &Engine, batch: &Batch, drained: &Drained) -> bool {
        let mut audit = false;
        for one in &mut self.recordings {
            if one.recording.is_none() && batch.ktime_ns >= one.next_try_ktime_ns {
                one.begin(&self.settings, &self.attached, self.thresholds, batch);
                audit |= one.entries && one.recording.is_some();
            }
            let Some(recording) = &mut one.recording else { continue };
            audit |= recording.take(engine, batch, drained);
            if !recording.is_writing() {
                one.end();
            }
        }
        audit
    }

    /// Ends both, with what was going on.
    pub fn finish(&mut self, engine: &mut Engine) {
        let mut drained = Drained::default();
        engine.end_second_early();
        drained.add_rows(engine);
        for one in &mut self.recordings {
            if let Some(recording) = &mut one.recording {
                recording.take_last(engine, &drained);
            }
            one.end();
        }
    }

    /// Goes on with other settings: in other files, if they are others.
    pub fn set(&mut self, settings: &config::Recording) {
        if self.settings == *settings {
            return;
        }
        self.settings = settings.clone();
        let mut before: Vec<One> = std::mem::take(&mut self.recordings);
        before.iter_mut().for_each(One::end);
        self.recordings = self.wanted();
        for (one, before) in self.recordings.iter_mut().zip(before) {
            one.before = before.before;
        }
    }

    /// How far they are.
    pub fn numbers(&self) -> Vec<metrics::Recording> {
        self.recordings.iter().map(One::numbers).collect()
    }
}

impl One {
    fn begin(
        &mut self,
        settings: &config::Recording,
        attached: &Attached,
        thresholds: Thresholds,
        batch: &Batch,
    ) {
        let Self { dir, entries, retention, .. } = self;
        let mut header = header(attached, *entries, thresholds);
        header.began_ktime_ns = batch.ktime_ns;
        let now = Timestamp::from_nanosecond(batch.wall.unix_ns(batch.ktime_ns)).unwrap_or_default();
        let begun =
            Store::create_in(dir, *retention, header, now).map_err(anyhow::Error::from).and_then(|store| {
                let thinning = Thinning::new(*entries, settings.incidents_per_second);
                Ok(Recorder::start(store, thinning, attached.trust.clone())?)
            });
        match begun {
            Ok(recorder) => {
                self.recording = Some(Recording::new(recorder, *entries, settings.top, settings.interval));
                if std::mem::take(&mut self.told) {
                    tracing::info!("recording to {} again", dir.display());
                }
            }
            Err(error) => {
                self.next_try_ktime_ns = batch.ktime_ns.saturating_add(RETRY_NS);
                if !std::mem::replace(&mut self.told, true) {
                    tracing::warn!("nothing is recorded: {error:#}; it is tried again every 10 s");
                }
            }
        }
    }

    fn end(&mut self) {
        let Some(recording) = self.recording.take() else { return };
        self.before = metrics::Recording { is_writing: false, ..self.before_and(&recording) };
        if let Some(error) = recording.finish().error {
            tracing::warn!("the recording in {} ended: {error}", self.dir.display());
        }
    }

    fn before_and(&self, recording: &Recording) -> metrics::Recording {
        let progress = recording.progress();
        metrics::Recording {
            name: self.name,
            dir: self.dir.clone(),
            is_writing: recording.is_writing(),
            bytes: self.before.bytes + progress.bytes,
            skipped_drains: self.before.skipped_drains + progress.skipped_drains,
            failed_blocks: self.before.failed_blocks + progress.failed_blocks,
        }
    }

    fn numbers(&self) -> metrics::Recording {
        match &self.recording {
            Some(recording) => self.before_and(recording),
            None => metrics::Recording {
                name: self.name,
                dir: self.dir.clone(),
                is_writing: false,
                ..self.before.clone()
            },
        }
    }
}
