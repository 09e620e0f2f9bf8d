//! One attached run: kernel to engine, until the time is over, a signal comes or the output ends.

use std::{future, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    runtime::{self, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    time::{self, Instant},
};

use crate::{
    engine::{
        batch::Batch,
        monitor::{Config, Engine},
        snapshot::Attached,
    },
    kernel::{
        attach,
        error::AttachError,
        source::{Source, Started},
    },
};

use super::{attaching::AttachArgs, failure::Failure};

/// Attached and counting.
pub struct Session {
    /// What attaching came to.
    pub attached: Attached,
    engine: Engine,
    feed: Feed,
    runtime: Runtime,
}

/// What a command needs of a session beyond what attaching needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs {
    /// Whether freed entries carry their mark.
    pub mark: bool,
    /// Whether freed TCP entries carry their state.
    pub tcp_state: bool,
    /// Whether history and recent incidents are kept.
    pub live_view: bool,
    /// Whether it is kept what a recording has beside the records of the rings.
    pub recording: bool,
}

impl Session {
    /// Attaches and starts to drain. From here on a signal ends the run in order.
    pub fn attach(args: &AttachArgs, needs: Needs) -> Result<Self, Failure> {
        let runtime =
            runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
        let mut signals = runtime.block_on(async { Signals::listen() })?;
        let options = args.options(needs.mark, needs.tcp_state);
        let source = runtime.block_on(wait_and_start(&options, args.wait, &mut signals))?;
        let Started { ktime_ns, wall, trust, audits: _ } = source.started.clone();
        let engine = Engine::new(Config {
            thresholds: args.thresholds(),
            live_view: needs.live_view,
            for_recording: needs.recording,
            ..Config::new(ktime_ns, wall, trust.clone())
        });
        let feed = Feed { source, signals, end: None, stopping: false };
        Ok(Self { attached: Attached { ktime_ns, wall, trust }, engine, feed, runtime })
    }

    /// Runs `work` with what feeds the engine, then detaches. An error of `work` ends the run.
    pub fn run(self, work: impl AsyncFnOnce(&mut Feed, &mut Engine) -> Result<()>) -> Result<Engine> {
        let Self { attached: _, mut engine, mut feed, runtime } = self;
        let outcome = runtime.block_on(work(&mut feed, &mut engine));
        // Nobody receives any more: the drain detaches and ends by itself, or has ended by an error of its own.
        let drained = feed.source.finish();
        outcome.and(drained)?;
        Ok(engine)
    }
}

/// Batches from the kernel, until the time is over or a signal came and what was in the rings is handed over too.
pub struct Feed {
    source: Source,
    signals: Signals,
    end: Option<Instant>,
    stopping: bool,
}

impl Feed {
    /// Ends the run after this time, or once the entries that were there before are known if that is later.
    pub fn end_after(&mut self, limit: Duration) {
        self.end = Some(Instant::now() + limit);
    }

    /// Whether the time has come that [`end_after`](Self::end_after) names.
    pub fn is_over(&self, engine: &Engine) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end) && self.is_complete(engine)
    }

    /// Whether the entries that were there before are known, if they ever come to be: by a first audit.
    pub fn is_complete(&self, engine: &Engine) -> bool {
        engine.bootstrapped() || !self.source.started.audits
    }

    /// Detaches; what is still in the rings comes before the end.
    pub fn stop(&mut self) {
        self.stopping = true;
        self.source.control.stop();
    }

    /// Asks for an audit. How often there may be one is the kernel room's to say.
    pub fn audit(&self) {
        self.source.control.audit();
    }

    /// Hands the kernel what the engine wants to know, and waits for the next batch; none at the end. May be
    /// cancelled: nothing is lost.
    pub async fn next(&mut self, engine: &mut Engine) -> Option<Batch> {
        self.answer(engine);
        loop {
            if !self.stopping && self.is_over(engine) {
                self.stop();
            }
            let end = self.end.filter(|end| !self.stopping && *end > Instant::now());
            tokio::select! {
                biased;
                () = self.signals.received(), if !self.stopping => self.stop(),
                () = at(end) => {}
                batch = self.source.batches.recv() => return batch,
            }
        }
    }

    fn answer(&self, engine: &mut Engine) {
        if let Some(suspects) = engine.suspects() {
            self.source.control.examine(suspects);
        }
        if engine.wants_audit() {
            self.source.control.missed();
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => time::sleep_until(time).await,
        None => future::pending().await,
    }
}

/// Starts a source, if need be once conntrack is there.
async fn wait_and_start(
    options: &attach::Options,
    wait: bool,
    signals: &mut Signals,
) -> Result<Source, Failure> {
    let mut said = false;
    loop {
        match Source::start(options) {
            Err(error @ AttachError::ConntrackAbsent) if wait => {
                if !said {
                    eprintln!("ctwatch: {error}; waiting for it");
                    said = true;
                }
            }
            outcome => return Ok(outcome?),
        }
        tokio::select! {
            () = signals.received() => return Err(Failure::None),
            () = time::sleep(LOOK_AGAIN) => {}
        }
    }
}

/// Time between two looks whether conntrack is there.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The signals that ask for the end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
        })
    }

    /// Waits for one of them.
    async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
