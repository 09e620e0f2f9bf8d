//! One attached run: kernel to engine, until the time is over, a signal comes or the output ends.

use std::{future, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    runtime::{self, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    time,
};

use crate::{
    engine::{
        batch::Batch,
        monitor::{Config, Engine},
        saturation::Thresholds,
        snapshot::Attached,
    },
    kernel::{
        attach,
        control::Control,
        error::AttachError,
        source::{Source, Started},
    },
};

use super::{attaching::AttachArgs, failure::Failure};

/// Attached and counting.
pub struct Session {
    /// What attaching came to.
    pub attached: Attached,
    /// Whether entries that were there before come to be known, by a first audit.
    audits: bool,
    engine: Engine,
    source: Source,
    signals: Signals,
    runtime: Runtime,
}

impl Session {
    /// Attaches and starts to drain. From here on a signal ends the run in order.
    pub fn attach(args: &AttachArgs, read_mark: bool) -> Result<Self, Failure> {
        let runtime =
            runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
        let mut signals = runtime.block_on(async { Signals::listen() })?;
        let options = args.options(read_mark);
        let source = runtime.block_on(wait_and_start(&options, args.wait, &mut signals))?;
        let Started { ktime_ns, wall, trust, audits } = source.started.clone();
        let engine = Engine::new(Config {
            thresholds: Thresholds::warn_at(args.warn),
            ..Config::new(ktime_ns, wall, trust.clone())
        });
        Ok(Self { attached: Attached { ktime_ns, wall, trust }, audits, engine, source, signals, runtime })
    }

    /// Hands every batch to `each` until `limit` has passed, and the entries that were there before are known, or
    /// SIGINT or SIGTERM came; then detaches and hands over what was still in the rings. An error of `each` ends
    /// the run.
    pub fn run(
        self,
        limit: Option<Duration>,
        mut each: impl FnMut(&mut Engine, &Batch) -> Result<()>,
    ) -> Result<Engine> {
        let Self { attached: _, audits, mut engine, mut source, mut signals, runtime } = self;
        let control = source.control.clone();
        let outcome = runtime.block_on(async {
            let time_is_over = after(limit);
            tokio::pin!(time_is_over);
            let (mut over, mut stopping) = (false, false);
            loop {
                tokio::select! {
                    biased;
                    () = signals.received(), if !stopping => {
                        stopping = true;
                        control.stop();
                    }
                    () = &mut time_is_over, if !over => over = true,
                    batch = source.batches.recv() => {
                        let Some(batch) = batch else { break Ok(()) };
                        if let Err(error) = each(&mut engine, &batch) {
                            break Err(error);
                        }
                        answer(&mut engine, &control);
                    }
                }
                if over && !stopping && (engine.bootstrapped() || !audits) {
                    stopping = true;
                    control.stop();
                }
            }
        });
        // Nobody receives any more: the drain detaches and ends by itself, or has ended by an error of its own.
        let drained = source.finish();
        outcome.and(drained)?;
        Ok(engine)
    }
}

/// What the engine wants to know of the kernel.
fn answer(engine: &mut Engine, control: &Control) {
    if let Some(suspects) = engine.suspects() {
        control.examine(suspects);
    }
    if engine.wants_audit() {
        control.audit();
    }
}

async fn after(limit: Option<Duration>) {
    match limit {
        Some(limit) => time::sleep(limit).await,
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
