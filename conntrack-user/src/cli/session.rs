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
        snapshot::{Attached, Trust},
    },
    kernel::{attach, drain::Source, netns},
};

use super::{attaching::AttachArgs, failure::Failure};

/// Attached and counting.
pub struct Session {
    /// What attaching came to.
    pub attached: Attached,
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
        let signals = runtime.block_on(async { Signals::listen() })?;
        let mut attached = attach::attach(&args.options(read_mark))?;
        let trust = Trust {
            backend: attached.backend.name().to_owned(),
            degradations: attached.degradations.iter().map(ToString::to_string).collect(),
        };
        let (ktime_ns, wall) = (attached.since_ktime_ns, attached.wall.now());
        let mut engine = Engine::new(Config {
            thresholds: Thresholds::warn_at(args.warn),
            ..Config::new(ktime_ns, wall, trust.clone())
        });
        for (inum, name) in netns::names() {
            engine.name_netns(inum, name);
        }
        let source = Source::spawn(attached)?;
        Ok(Self { attached: Attached { ktime_ns, wall, trust }, engine, source, signals, runtime })
    }

    /// Hands every batch to `each` until `limit` has passed or SIGINT or SIGTERM came, then detaches and hands
    /// over what was still in the rings. An error of `each` ends the run.
    pub fn run(
        self,
        limit: Option<Duration>,
        mut each: impl FnMut(&mut Engine, &Batch) -> Result<()>,
    ) -> Result<Engine> {
        let Self { attached: _, mut engine, mut source, mut signals, runtime } = self;
        let outcome = runtime.block_on(async {
            let stop_asked = signals.or_after(limit);
            tokio::pin!(stop_asked);
            let mut stopping = false;
            loop {
                tokio::select! {
                    biased;
                    () = &mut stop_asked, if !stopping => {
                        stopping = true;
                        source.stop.stop();
                    }
                    batch = source.batches.recv() => {
                        let Some(batch) = batch else { break Ok(()) };
                        if let Err(error) = each(&mut engine, &batch) {
                            break Err(error);
                        }
                    }
                }
            }
        });
        // Nobody receives any more: the drain detaches and ends by itself, or has ended by an error of its own.
        let drained = source.finish();
        outcome.and(drained)?;
        Ok(engine)
    }
}

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

    /// Waits for one of them, or until the time is over.
    async fn or_after(&mut self, limit: Option<Duration>) {
        let time_is_over = async {
            match limit {
                Some(limit) => time::sleep(limit).await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            () = time_is_over => {}
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
