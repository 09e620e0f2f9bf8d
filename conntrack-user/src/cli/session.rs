//! One run: kernel or recording to engine, until the time is over, a signal comes or the output ends.

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
        error::AttachError,
        source::{Source, Started},
    },
};

use super::{attaching::Attaching, failure::Failure, replaying::Player};

/// Attached and counting, or about to replay what once was.
pub struct Session {
    /// What attaching came to, or had come to.
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
    /// Whether SIGHUP does not end the run.
    pub hangups: bool,
}

impl Session {
    /// Attaches and starts to drain. From here on a signal ends the run in order.
    pub fn attach(attaching: &Attaching, needs: Needs) -> Result<Self, Failure> {
        let mut said = false;
        Self::attach_or_wait(attaching, needs, |error| {
            if !std::mem::replace(&mut said, true) {
                eprintln!("ctwatch: {error}; waiting for it");
            }
        })
    }

    /// The same; while there is no conntrack and it is waited for, `waiting` is called five times a second.
    pub fn attach_or_wait(
        attaching: &Attaching,
        needs: Needs,
        waiting: impl FnMut(&AttachError),
    ) -> Result<Self, Failure> {
        let runtime =
            runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
        let mut signals = runtime.block_on(async { Signals::listen(needs.hangups) })?;
        let source = runtime.block_on(wait_and_start(attaching, &mut signals, waiting))?;
        let Started { ktime_ns, wall, trust, audits: _ } = source.started.clone();
        let engine = Engine::new(Config {
            thresholds: attaching.thresholds,
            live_view: needs.live_view,
            for_recording: needs.recording,
            ..Config::new(ktime_ns, wall, trust.clone())
        });
        let feed = Feed { origin: Origin::Live(source), signals, end: None, stopping: false };
        Ok(Self { attached: Attached { ktime_ns, wall, trust }, engine, feed, runtime })
    }

    /// Each SIGHUP that has come or comes, if they were asked for; else it ends the program.
    pub fn hangups(&mut self) -> Option<Signal> {
        self.feed.signals.hangup.take()
    }

    /// Begins to replay. From here on a signal ends the run in order.
    pub fn replay(player: Player, needs: Needs) -> Result<Self, Failure> {
        let runtime =
            runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
        let signals = runtime.block_on(async { Signals::listen(false) })?;
        let config = player.config();
        let attached =
            Attached { ktime_ns: config.since_ktime_ns, wall: config.wall, trust: config.trust.clone() };
        let engine = Engine::new(Config { live_view: needs.live_view, ..config });
        let feed = Feed { origin: Origin::Recording(Box::new(player)), signals, end: None, stopping: false };
        Ok(Self { attached, engine, feed, runtime })
    }

    /// Runs `work` with what feeds the engine, then detaches. An error of `work` ends the run.
    pub fn run(self, work: impl AsyncFnOnce(&mut Feed, &mut Engine) -> Result<()>) -> Result<Engine> {
        let Self { attached: _, mut engine, mut feed, runtime } = self;
        let outcome = runtime.block_on(work(&mut feed, &mut engine));
        // Nobody receives any more: the drain detaches and ends by itself, or has ended by an error of its own.
        let drained = match feed.origin {
            Origin::Live(source) => source.finish(),
            Origin::Recording(player) => player.finish(),
        };
        outcome.and(drained)?;
        Ok(engine)
    }
}

/// Batches from the kernel, until the time is over or a signal came and what was in the rings is handed over too; or from
/// a recording, until its end.
pub struct Feed {
    origin: Origin,
    signals: Signals,
    end: Option<Instant>,
    stopping: bool,
}

/// Where batches come from.
enum Origin {
    Live(Source),
    Recording(Box<Player>),
}

impl Feed {
    /// Ends the run after this time, or once the entries that were there before are known if that is later. The time
    /// of a recording is that of its records.
    pub fn end_after(&mut self, limit: Duration) {
        match &mut self.origin {
            Origin::Live(_) => self.end = Some(Instant::now() + limit),
            Origin::Recording(player) => player.end_after(limit),
        }
    }

    /// Whether the time has come that [`end_after`](Self::end_after) names; a recording ends by itself.
    pub fn is_over(&self, engine: &Engine) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end) && self.is_complete(engine)
    }

    /// Whether the entries that were there before are known, if they ever come to be: by a first audit.
    pub fn is_complete(&self, engine: &Engine) -> bool {
        match &self.origin {
            Origin::Live(source) => engine.bootstrapped() || !source.started.audits,
            Origin::Recording(_) => true,
        }
    }

    /// Whether batches are of another time than now.
    pub fn is_replay(&self) -> bool {
        matches!(self.origin, Origin::Recording(_))
    }

    /// Whether a recording has been played to its end.
    pub fn has_ended(&self) -> bool {
        matches!(&self.origin, Origin::Recording(player) if player.has_ended())
    }

    /// Detaches; what is still in the rings comes before the end.
    pub fn stop(&mut self) {
        self.stopping = true;
        if let Origin::Live(source) = &self.origin {
            source.control.stop();
        }
    }

    /// Asks for an audit. How often there may be one is the kernel room's to say; a recording has those that were.
    pub fn audit(&self) {
        if let Origin::Live(source) = &self.origin {
            source.control.audit();
        }
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
                batch = self.origin.next(self.stopping) => return batch,
            }
        }
    }

    /// The same, but after the last batch of a recording there is none only once a signal came: its last picture stays.
    pub async fn next_or_stay(&mut self, engine: &mut Engine) -> Option<Batch> {
        let batch = self.next(engine).await;
        if batch.is_none() && self.has_ended() && !self.stopping {
            self.signals.received().await;
        }
        batch
    }

    fn answer(&self, engine: &mut Engine) {
        let Origin::Live(source) = &self.origin else { return };
        if let Some(suspects) = engine.suspects() {
            source.control.examine(suspects);
        }
        if engine.wants_audit() {
            source.control.missed();
        }
    }
}

impl Origin {
    async fn next(&mut self, stopping: bool) -> Option<Batch> {
        match self {
            Self::Live(source) => source.batches.recv().await,
            Self::Recording(_) if stopping => None,
            Self::Recording(player) => player.next().await,
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
    attaching: &Attaching,
    signals: &mut Signals,
    mut waiting: impl FnMut(&AttachError),
) -> Result<Source, Failure> {
    loop {
        match Source::start(&attaching.options) {
            Err(error @ AttachError::ConntrackAbsent) if attaching.wait => {
                waiting(&error);
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

/// The signals that ask for the end, and perhaps those that ask for a reload.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    fn listen(hangups: bool) -> Result<Self> {
        let hangup = hangups.then(|| signal(SignalKind::hangup())).transpose();
        Ok(Self {
            hangup: hangup.context("listen for SIGHUP")?,
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
        })
    }

    /// Waits for one that asks for the end.
    async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
