//! The live event source: a thread that attaches, drains, and attaches again when conntrack was away.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use bytes::{Bytes, BytesMut};
use conntrack_common::{Gap, Kind};
use tokio::sync::mpsc;
use zerocopy::IntoBytes as _;

use crate::{
    engine::{
        batch::{Batch, WallClock},
        snapshot::Trust,
    },
    kernel::{
        attach::{Attached, Options, attach},
        backend::BackendChoice,
        clock,
        control::Control,
        ctnetlink,
        drain::{Drain, End},
        error::AttachError,
        privilege,
    },
};

/// Batches that may wait for the engine: 32 MiB at most, and hardly ever one.
const BATCHES: usize = 64;

/// Time between two looks whether conntrack is there again.
const AGAIN: Duration = Duration::from_millis(100);

/// Batches until it is stopped, then the rest, then the end.
pub struct Source {
    /// What starting came to.
    pub started: Started,
    /// Ends after [`Control::stop`] and the last batch.
    pub batches: mpsc::Receiver<Batch>,
    /// What may be asked of it.
    pub control: Control,
    thread: JoinHandle<Result<()>>,
}

/// Counting has begun.
#[derive(Clone, Debug)]
pub struct Started {
    /// When, CLOCK_MONOTONIC.
    pub ktime_ns: u64,
    /// How to tell the wall clock then.
    pub wall: WallClock,
    /// Backend and degradations.
    pub trust: Trust,
    /// Whether a first audit will tell what was there before.
    pub audits: bool,
}

/// A channel for batches.
pub(super) fn channel() -> (mpsc::Sender<Batch>, mpsc::Receiver<Batch>) {
    mpsc::channel(BATCHES)
}

impl Source {
    /// Attaches by the best backend that works, and begins to drain. Where conntrack goes away and comes back, it is
    /// attached to anew with the same options.
    pub fn start(options: &Options) -> Result<Self, AttachError> {
        let refused = if options.backend == BackendChoice::Netlink {
            Vec::new()
        } else {
            match attach(options) {
                Ok(attached) => return Self::of_programs(attached, *options),
                // It would load conntrack where there is none; and without it there is nothing to tell.
                Err(AttachError::ConntrackAbsent) => return Err(AttachError::ConntrackAbsent),
                Err(error) if !options.backend.allows_netlink() => return Err(error),
                Err(error) => vec![error],
            }
        };
        match ctnetlink::start(&ctnetlink::Options::every(options.audit_ns)) {
            Ok(mut source) => {
                let reasons = refused.iter().map(|error| format!("no program in this kernel: {error}"));
                source.started.trust.degradations.splice(0..0, reasons);
                Ok(source)
            }
            // What would have been better tells the remedy.
            Err(error) => Err(refused.into_iter().next().unwrap_or(error)),
        }
    }

    fn of_programs(mut attached: Attached, options: Options) -> Result<Self, AttachError> {
        let (sender, batches) = channel();
        let control = Control::default();
        let started = Started {
            ktime_ns: attached.since_ktime_ns,
            wall: attached.wall.now(),
            trust: attached.trust(),
            audits: attached.audits(),
        };
        let its_control = control.clone();
        Self::spawn(started, batches, control, move || run(attached, &options, &sender, &its_control))
    }

    /// Starts the thread that sends the batches, whatever they are made of. Of our capabilities it keeps those that
    /// draining needs; the caller may then drop all.
    pub(super) fn spawn(
        started: Started,
        batches: mpsc::Receiver<Batch>,
        control: Control,
        work: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<Self, AttachError> {
        let thread = thread::Builder::new()
            .name("ctwatch-drain".to_owned())
            .spawn(move || {
                privilege::keep_for_draining()
                    .context("give up the capabilities that draining does not need")?;
                work()
            })
            .map_err(|source| AttachError::System { doing: "start the drain thread", source })?;
        Ok(Self { started, batches, control, thread })
    }

    /// Waits for the thread after the last batch; its error, if it ended by one.
    pub fn finish(self) -> Result<()> {
        drop(self.batches);
        self.thread.join().map_err(|_| anyhow!("the drain thread panicked"))?
    }
}

fn run(
    mut attached: Attached,
    options: &Options,
    sender: &mpsc::Sender<Batch>,
    control: &Control,
) -> Result<()> {
    loop {
        let mut drain = Drain::new(attached, sender.clone(), control.clone())?;
        match drain.run()? {
            End::Stopped => return Ok(()),
            End::Gone => {}
        }
        let mut wall = drain.wall();
        drop(drain);
        let from_ktime_ns = clock::ktime_ns();
        let mut tell = |over: bool, trust: Option<Trust>| {
            let ktime_ns = clock::ktime_ns();
            let over = over.into();
            let gap = Gap { kind: Kind::Gap as u8, over, reserved: [0; 6], ktime_ns, from_ktime_ns };
            let batch = Batch {
                ktime_ns,
                wall: wall.now(),
                entries: BytesMut::from(gap.as_bytes()).freeze(),
                incidents: Bytes::new(),
                totals: None,
                trust: trust.map(Arc::new),
            };
            sender.blocking_send(batch).is_ok()
        };
        if !tell(false, None) {
            return Ok(());
        }
        attached = match attach_again(options, sender, control) {
            Some(attached) => attached,
            None => return Ok(()),
        };
        if !tell(true, Some(attached.trust())) {
            return Ok(());
        }
    }
}

/// Waits for conntrack; none if the end was asked for meanwhile.
fn attach_again(options: &Options, sender: &mpsc::Sender<Batch>, control: &Control) -> Option<Attached> {
    let mut said = None;
    while !control.is_stopped() && !sender.is_closed() {
        match attach(options) {
            Ok(attached) => return Some(attached),
            Err(error) => {
                // The module may be half loaded: whatever is wrong may be right in a moment.
                let error = error.to_string();
                if said.as_ref() != Some(&error) {
                    tracing::debug!("not yet attached again: {error}");
                    said = Some(error);
                }
            }
        }
        thread::sleep(AGAIN);
    }
    None
}
