//! One attached run: kernel to engine, until the time is over, a signal comes or the output ends.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::{
    runtime,
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
    /// What is known so far.
    pub engine: Engine,
    /// What attaching came to.
    pub attached: Attached,
    source: Source,
}

impl Session {
    /// Attaches and starts to drain.
    pub fn attach(args: &AttachArgs, read_mark: bool) -> Result<Self, Failure> {
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
        Ok(Self { engine, attached: Attached { ktime_ns, wall, trust }, source: Source::spawn(attached)? })
    }

    /// Hands every batch to `each` until `limit` has passed or SIGINT or SIGTERM came, then detaches and hands
    /// over what was still in the rings. An error of `each` ends the run.
    pub fn run(
        self,
        limit: Option<Duration>,
        each: impl FnMut(&mut Engine, &Batch) -> Result<()>,
    ) -> Result<Engine> {
        runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("start the runtime")?
            .block_on(self.run_until_stopped(limit, each))
    }

    async fn run_until_stopped(
        mut self,
        limit: Option<Duration>,
        mut each: impl FnMut(&mut Engine, &Batch) -> Result<()>,
    ) -> Result<Engine> {
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let asked_to_stop = stop_asked(limit, &mut interrupt, &mut terminate);
        tokio::pin!(asked_to_stop);
        let mut stopping = false;
        let outcome = loop {
            tokio::select! {
                biased;
                () = &mut asked_to_stop, if !stopping => {
                    stopping = true;
                    self.source.stop.stop();
                }
                batch = self.source.batches.recv() => {
                    let Some(batch) = batch else { break Ok(()) };
                    if let Err(error) = each(&mut self.engine, &batch) {
                        break Err(error);
                    }
                }
            }
        };
        // Nobody receives any more: the drain detaches and ends by itself, or has ended by an error of its own.
        let drained = self.source.finish();
        outcome.and(drained)?;
        Ok(self.engine)
    }
}

async fn stop_asked(limit: Option<Duration>, interrupt: &mut Signal, terminate: &mut Signal) {
    let time_is_over = async {
        match limit {
            Some(limit) => time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = time_is_over => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
