//! The netlink backend: entries of this network namespace from dumps and events, drops from the kernel's
//! statistics, as the same batches that the hooks give.
//!
//! ```text
//! listen -> dump (an audit) -> events as they come, statistics ten times a second -> dump -> ...
//! ```
//!
//! It turns no sysctl. What it cannot know: who was refused (the kernel tells nobody), entries that are not
//! confirmed yet (no dump shows them), other namespaces.

use std::{io, thread, time::Duration};

use anyhow::{Context as _, Result};
use bytes::BytesMut;
use conntrack_common::{Gap, Kind, Totals};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use tokio::sync::mpsc;
use zerocopy::IntoBytes as _;

use super::{
    audit::Audits,
    is_conntrack_there, is_loaded_module,
    listening::{Heard, Listening},
    pace::Events,
    recorder::Recorder,
    socket::Asking,
    stats::{self, Counted, Reading},
};
use crate::{
    engine::{batch::Batch, snapshot::Trust},
    kernel::{
        backend::Backend,
        clock::{self, Wall},
        control::Control,
        error::AttachError,
        netns,
        source::{self, Source, Started},
    },
};

/// Longest time a command waits, and an event if few come.
const POLL: Duration = Duration::from_millis(50);

/// Events are left alone for so long after a wakeup: one by one, each would cost a context switch.
const GATHER: Duration = Duration::from_millis(5);

/// Time between two readings of statistics and count.
const READ_EVERY_NS: u64 = 100_000_000;

/// A batch is handed on at this size.
pub(super) const BATCH_BYTES: usize = 1 << 20;

/// How to watch.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Time between two dumps when nothing calls for one sooner.
    pub audit: Duration,
    /// Room for events that wait to be read, in bytes as the kernel counts them: about a kilobyte each. It uses
    /// that memory only while they wait.
    pub event_bytes: usize,
}

impl Options {
    /// Dumps this often, in nanoseconds.
    pub fn every(audit_ns: u64) -> Self {
        Self { audit: Duration::from_nanos(audit_ns), ..Self::default() }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { audit: Duration::from_secs(60), event_bytes: 32 << 20 }
    }
}

/// Begins to listen in the network namespace of the calling thread; then dumps.
pub fn start(options: &Options) -> Result<Source, AttachError> {
    let (sender, batches) = source::channel();
    let control = Control::default();
    let mut watch = Watch::new(options, sender, control.clone())?;
    let started = Started {
        ktime_ns: clock::ktime_ns(),
        wall: watch.wall.now(),
        trust: Trust { backend: Backend::Netlink.name().to_owned(), degradations: watch.degradations() },
        audits: true,
    };
    Source::spawn(started, batches, control, move || watch.run())
}

/// All that the thread has.
pub(super) struct Watch {
    pub(super) asking: Asking,
    pub(super) listening: Listening,
    pub(super) recorder: Recorder,
    pub(super) audits: Audits,
    pub(super) netns: u32,
    event_bytes: usize,
    sender: mpsc::Sender<Batch>,
    control: Control,
    wall: Wall,
    statistics: Counted,
    /// Events lost by sockets before this one.
    lost_before: u64,
    refused: u64,
    incidents: BytesMut,
    last_read_ns: u64,
    /// No event before this is still queued.
    passed_ns: u64,
    is_module: bool,
}

impl Watch {
    fn new(options: &Options, sender: mpsc::Sender<Batch>, control: Control) -> Result<Self, AttachError> {
        if !is_conntrack_there() {
            return Err(AttachError::ConntrackAbsent);
        }
        let netns = netns::own().unwrap_or(0);
        // Listening first: what happens during the dump must not be missed.
        let listening = Listening::open(options.event_bytes)
            .map_err(|error| refused("listen to conntrack events", error))?;
        let mut asking = Asking::open().map_err(|error| refused("ask conntrack over netlink", error))?;
        let reading =
            Reading::take(&mut asking).map_err(|error| refused("ask conntrack over netlink", error))?;
        Ok(Self {
            asking,
            listening,
            recorder: Recorder::new(netns),
            audits: Audits::new(options.audit),
            netns,
            event_bytes: options.event_bytes,
            sender,
            control,
            wall: Wall::measure(),
            statistics: Counted::from_now(reading),
            lost_before: 0,
            refused: 0,
            incidents: BytesMut::new(),
            last_read_ns: 0,
            passed_ns: 0,
            is_module: is_loaded_module(),
        })
    }

    fn degradations(&self) -> Vec<String> {
        let mut degradations = vec![
            "ctnetlink tells how many were refused but not who, and no entry before it is confirmed"
                .to_owned(),
            "entries and statistics of this network namespace only".to_owned(),
        ];
        match Events::read() {
            Events::Off => degradations.push(
                "net.netfilter.nf_conntrack_events is 0: no events; entries come from a dump every 2 s".to_owned(),
            ),
            Events::Auto => degradations.push(
                "net.netfilter.nf_conntrack_events is 2: entries made before this end without an event and are \
                 found gone by a dump every 5 s"
                    .to_owned(),
            ),
            Events::On => {}
        }
        degradations
    }

    fn run(&mut self) -> Result<()> {
        while self.goes_on()? {
            if self.is_module && !is_loaded_module() {
                self.bridge_gap()?;
                continue;
            }
            let ktime_ns = clock::ktime_ns();
            let more = self.hear(BATCH_BYTES)?;
            if !more {
                self.passed_ns = ktime_ns;
            }
            self.read(ktime_ns)?;
            self.send_all(self.passed_ns)?;
            self.audit_if_due()?;
            if !more {
                self.wait()?;
            }
        }
        self.last_words()
    }

    /// Does what was asked for; false if that is the end, or nobody listens any more.
    fn goes_on(&mut self) -> Result<bool> {
        if let Some(trigger) = self.control.take_audit() {
            self.audits.want(trigger);
        }
        if let Some(suspects) = self.control.take_suspects() {
            self.answer(&suspects)?;
        }
        Ok(!self.control.is_stopped() && !self.sender.is_closed())
    }

    fn wait(&self) -> Result<()> {
        let timeout = Timespec { tv_sec: 0, tv_nsec: POLL.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&self.listening, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => thread::sleep(GATHER),
            Err(error) => return Err(error).context("wait for conntrack events"),
        }
        Ok(())
    }

    /// Records the events that are queued, until there are `limit` bytes of records; true if there may be more.
    pub(super) fn hear(&mut self, limit: usize) -> Result<bool> {
        let Self { listening, recorder, .. } = self;
        while recorder.events.len() < limit {
            let mut stamp = None;
            let heard = listening
                .receive(|message| {
                    let ktime_ns = *stamp.get_or_insert_with(clock::ktime_ns);
                    recorder.event(message, ktime_ns);
                })
                .context("receive conntrack events")?;
            match heard {
                // An overrun is in the count of lost events; what was queued before it is still there.
                Heard::Some | Heard::Overrun => {}
                Heard::Nothing => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Events that did not reach us.
    pub(super) fn lost(&mut self) -> Result<u64> {
        Ok(self.lost_before + self.listening.lost().context("ask for lost events")?)
    }

    /// Reads statistics and count if it is time to.
    fn read(&mut self, ktime_ns: u64) -> Result<()> {
        if ktime_ns.saturating_sub(self.last_read_ns) < READ_EVERY_NS {
            return Ok(());
        }
        self.last_read_ns = ktime_ns;
        let reading = Reading::take(&mut self.asking).context("read conntrack statistics")?;
        let read_ns = reading.ktime_ns();
        self.statistics.advance(reading);
        let record = stats::record(self.netns, 1, read_ns, self.statistics.sums());
        self.incidents.extend_from_slice(record.as_bytes());
        let count = stats::count(&mut self.asking, self.netns).context("read the count of entries")?;
        self.incidents.extend_from_slice(count.as_bytes());
        Ok(())
    }

    /// Sums since the start, as far as they are known: refusals are those of all causes.
    fn totals(&mut self) -> Result<Totals> {
        let lost_entries = self.lost()?;
        let sums = self.statistics.sums();
        // A failed insertion is a drop too, but for chains that are too long (`__nf_conntrack_confirm`). The CPUs
        // are not read in one moment, so the difference may go back a little; the sum must not.
        let dropped_failures = sums.insert_failed.saturating_sub(sums.chain_toolong);
        self.refused = self.refused.max(sums.drop.saturating_sub(dropped_failures));
        Ok(Totals {
            new: self.recorder.new,
            freed: self.recorder.freed,
            refused_table_full: self.refused,
            evicted: sums.early_drop,
            clash_resolved: sums.clash_resolve,
            lost_entries,
            ..Totals::default()
        })
    }

    /// Hands on all records there are. `passed_ns`: no event before it is still queued.
    pub(super) fn send_all(&mut self, passed_ns: u64) -> Result<()> {
        let totals = if self.incidents.is_empty() { None } else { Some(self.totals()?) };
        let events = self.recorder.events.split();
        self.send(passed_ns, events, totals);
        Ok(())
    }

    /// Hands on `entries`; nothing happens if there is nothing to say.
    pub(super) fn send(&mut self, passed_ns: u64, entries: BytesMut, totals: Option<Totals>) {
        if totals.is_none() && entries.is_empty() {
            return;
        }
        let batch = Batch {
            ktime_ns: passed_ns,
            wall: self.wall.now(),
            entries: entries.freeze(),
            incidents: self.incidents.split().freeze(),
            totals,
            trust: None,
        };
        // An error means that nobody listens any more; `run` sees it.
        let _ = self.sender.blocking_send(batch);
    }

    /// What was queued until now, and the last sums.
    fn last_words(&mut self) -> Result<()> {
        let ktime_ns = clock::ktime_ns();
        self.abandon();
        self.hear(BATCH_BYTES)?;
        if !self.is_module || is_loaded_module() {
            self.last_read_ns = 0;
            self.read(ktime_ns)?;
        }
        self.send_all(ktime_ns)
    }

    /// Waits until a module that was unloaded is loaded again. To ask would load it: that is not ours to do.
    fn bridge_gap(&mut self) -> Result<()> {
        let from_ktime_ns = clock::ktime_ns();
        self.abandon();
        self.gap(0, from_ktime_ns)?;
        while !is_loaded_module() {
            if !self.goes_on()? {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        self.lost_before = self.lost()?;
        self.listening = Listening::open(self.event_bytes).context("listen again")?;
        self.asking = Asking::open().context("ask again")?;
        self.statistics.restart();
        self.audits.restart();
        self.gap(1, from_ktime_ns)
    }

    fn gap(&mut self, over: u8, from_ktime_ns: u64) -> Result<()> {
        let ktime_ns = clock::ktime_ns();
        let record = Gap { kind: Kind::Gap as u8, over, reserved: [0; 6], ktime_ns, from_ktime_ns };
        self.recorder.events.extend_from_slice(record.as_bytes());
        self.send_all(ktime_ns)
    }
}

/// Why the sockets cannot be used.
fn refused(doing: &'static str, error: io::Error) -> AttachError {
    match error.kind() {
        io::ErrorKind::PermissionDenied => AttachError::Privilege { needed: "CAP_NET_ADMIN" },
        // Neither builtin nor a module that could be loaded (nfnetlink_rcv_msg, netlink_create).
        io::ErrorKind::InvalidInput => AttachError::System {
            doing: "talk to nf_conntrack_netlink, which this kernel does not have",
            source: error,
        },
        _ => AttachError::System { doing, source: error },
    }
}
