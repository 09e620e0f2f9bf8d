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
    engine::{batch::Batch, snapshot::Trust},
    kernel::{
        attach::{Attached, Options, attach},
        clock,
        control::Control,
        drain::{Drain, End},
    },
};

/// Batches that may wait for the engine: 64 MiB at most, and hardly ever one.
const BATCHES: usize = 32;

/// Time between two looks whether conntrack is there again.
const AGAIN: Duration = Duration::from_millis(100);

/// Batches until it is stopped, then the rest, then the end.
pub struct Source {
    /// Ends after [`Control::stop`] and the last batch.
    pub batches: mpsc::Receiver<Batch>,
    /// What may be asked of it.
    pub control: Control,
    thread: JoinHandle<Result<()>>,
}

impl Source {
    /// Starts draining. Where conntrack goes away and comes back, it is attached to anew with the same options.
    pub fn spawn(attached: Attached, options: Options) -> Result<Self> {
        Self::start(move |sender, control| run(attached, &options, &sender, &control))
    }

    /// Starts the thread that sends the batches, whatever they are made of.
    pub(super) fn start(
        work: impl FnOnce(mpsc::Sender<Batch>, Control) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let (sender, batches) = mpsc::channel(BATCHES);
        let control = Control::default();
        let its_control = control.clone();
        let thread = thread::Builder::new()
            .name("ctwatch-drain".to_owned())
            .spawn(move || work(sender, its_control))
            .context("start the drain thread")?;
        Ok(Self { batches, control, thread })
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
