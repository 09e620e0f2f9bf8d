//! Drains the rings on a thread of its own into batches, and reads the counts and sums that go with them.
//!
//! ```text
//! wait (wakeup or poll) -> census -> entries ring -> incidents ring -> sums -> Batch -> channel
//! ```
//!
//! If the engine falls behind, the channel fills, this thread waits and the kernel's rings lose and count:
//! memory stays bounded and the loss is a number.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use aya::maps::{HashMap, MapData, PerCpuArray, RingBuf};
use bytes::BytesMut;
use conntrack_common::{Kind, Ledger, PerCpu, RefusalKey, Refusals, Totals};
use rustix::{
    event::{Timespec, epoll},
    fd::OwnedFd,
    io::Errno,
};
use tokio::sync::mpsc;
use zerocopy::IntoBytes as _;

use crate::{
    engine::batch::Batch,
    kernel::{attach::Attached, census::Census, clock},
};

/// Longest time a record waits in a ring, unless the ring fills faster.
const POLL: Duration = Duration::from_millis(50);

/// The same while there are incidents: the programs wake for the first of them and no sooner again than this.
const POLL_INCIDENTS: Duration = Duration::from_millis(10);

/// A wakeup comes with the first record committed, which need not be the first stamped: another CPU may be a
/// moment late with an earlier one.
const STRAGGLERS: Duration = Duration::from_millis(1);

/// Time between two readings of counts and sums, and the engine's sense of passing time.
const READ_EVERY_NS: u64 = 100_000_000;

/// Least time between two readings of the refusal ledger, which are done only after a loss.
const LEDGER_EVERY_NS: u64 = 1_000_000_000;

/// A batch is handed on at this size; what is left is the next batch's.
const BATCH_BYTES: usize = 1 << 20;

/// Batches that may wait for the engine: 64 MiB at most, and hardly ever one.
const BATCHES: usize = 32;

/// After detaching, programs already running on another CPU end within this.
const LAST_PROGRAMS: Duration = Duration::from_millis(5);

/// The live event source: batches until it is stopped, then the rest, then the end.
pub struct Source {
    /// Ends after [`Stop::stop`] and the last batch.
    pub batches: mpsc::Receiver<Batch>,
    /// Ends it.
    pub stop: Stop,
    thread: JoinHandle<Result<()>>,
}

/// Ends a [`Source`]: it detaches, drains what is left and closes the channel.
#[derive(Clone)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks for the end; it comes within a poll interval.
    pub fn stop(&self) {
        self.0.store(true, Relaxed);
    }
}

impl Source {
    /// Starts draining.
    pub fn spawn(attached: Attached) -> Result<Self> {
        let (sender, batches) = mpsc::channel(BATCHES);
        let stop = Stop(Arc::new(AtomicBool::new(false)));
        let mut drain = Drain::new(attached, sender)?;
        let stopped = stop.clone();
        let thread = thread::Builder::new()
            .name("ctwatch-drain".to_owned())
            .spawn(move || drain.run(&stopped.0))
            .context("start the drain thread")?;
        Ok(Self { batches, stop, thread })
    }

    /// Waits for the thread after the last batch; its error, if it ended by one.
    pub fn finish(self) -> Result<()> {
        drop(self.batches);
        self.thread.join().map_err(|_| anyhow!("the drain thread panicked"))?
    }
}

struct Drain {
    attached: Attached,
    entries: RingBuf<MapData>,
    incidents: RingBuf<MapData>,
    cpu: PerCpuArray<MapData, PerCpu>,
    ledger: HashMap<MapData, RefusalKey, Refusals>,
    /// Incidents lost when the ledger was last read, and when that was.
    ledger_read: (u64, u64),
    epoll: OwnedFd,
    sender: mpsc::Sender<Batch>,
    /// Split off batch by batch; see [`fill`].
    entry_bytes: BytesMut,
    incident_bytes: BytesMut,
    last_read_ns: u64,
    /// Everything before this has been drained.
    passed_ns: u64,
    /// Whether the last drain found incidents, other than those of a census.
    incidents_came: bool,
}

impl Drain {
    fn new(mut attached: Attached, sender: mpsc::Sender<Batch>) -> Result<Self> {
        let mut map = |name| attached.ebpf.take_map(name).with_context(|| format!("no map {name}"));
        let entries = RingBuf::try_from(map("CTW_ENTRIES")?)?;
        let incidents = RingBuf::try_from(map("CTW_INCIDENTS")?)?;
        let cpu = PerCpuArray::try_from(map("CTW_CPU")?)?;
        let ledger = HashMap::try_from(map("CTW_REFUSALS")?)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("create an epoll")?;
        // Edge-triggered: only a program's wakeup counts. The level is up whenever a ring holds data, which
        // under load is always, and would turn sleeping into spinning.
        let wakeups = epoll::EventFlags::IN | epoll::EventFlags::ET;
        for ring in [&entries, &incidents] {
            epoll::add(&epoll, ring, epoll::EventData::new_u64(0), wakeups).context("watch a ring")?;
        }
        Ok(Self {
            attached,
            entries,
            incidents,
            cpu,
            ledger,
            ledger_read: (0, 0),
            epoll,
            sender,
            entry_bytes: BytesMut::new(),
            incident_bytes: BytesMut::new(),
            last_read_ns: 0,
            passed_ns: 0,
            incidents_came: false,
        })
    }

    fn run(&mut self, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Relaxed) && !self.sender.is_closed() {
            self.wait()?;
            self.incidents_came = false;
            // Events may come faster than they are worked off: the end must come all the same.
            while self.once(false)? && !stop.load(Relaxed) {}
        }
        self.attached.hooks.detach(&mut self.attached.ebpf);
        thread::sleep(LAST_PROGRAMS);
        while self.once(false)? {}
        self.once(true)?;
        Ok(())
    }

    fn wait(&self) -> Result<()> {
        let poll = if self.incidents_came { POLL_INCIDENTS } else { POLL };
        let timeout = Timespec { tv_sec: 0, tv_nsec: poll.subsec_nanos().into() };
        let mut events = [const { std::mem::MaybeUninit::uninit() }; 2];
        match epoll::wait(&self.epoll, &mut events, Some(&timeout)) {
            Ok((woken, _)) if !woken.is_empty() => {
                thread::sleep(STRAGGLERS);
                Ok(())
            }
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("wait for the rings"),
        }
    }

    /// Drains once and sends what came; true if a ring may hold more.
    fn once(&mut self, last: bool) -> Result<bool> {
        let ktime_ns = clock::ktime_ns();
        let read = last || ktime_ns.saturating_sub(self.last_read_ns) >= READ_EVERY_NS;
        if read {
            self.last_read_ns = ktime_ns;
            self.count()?;
        }
        // Entries first: a victim's end must not arrive in an earlier batch than its eviction.
        let mut more = fill(&mut self.entries, &mut self.entry_bytes);
        let counts = self.incident_bytes.len();
        more |= fill(&mut self.incidents, &mut self.incident_bytes);
        self.incidents_came |= !read && self.incident_bytes.len() > counts;
        // What is left in a ring is older than now: as long as there is some, no time has passed.
        if !more {
            self.passed_ns = ktime_ns;
        }
        if read {
            self.read_ledger_after_loss(ktime_ns, last)?;
        }
        // Sums last: they cover at least every record of this batch.
        let totals = if read { Some(self.totals()?) } else { None };
        if let Some(flush) = &mut self.attached.flush_log {
            flush();
        }
        if totals.is_none() && self.entry_bytes.is_empty() && self.incident_bytes.is_empty() {
            return Ok(false);
        }
        let batch = Batch {
            ktime_ns: self.passed_ns,
            wall: self.attached.wall.now(),
            entries: self.entry_bytes.split().freeze(),
            incidents: self.incident_bytes.split().freeze(),
            totals,
            trust: None,
        };
        // An error means that nobody listens any more; `run` sees it.
        Ok(self.sender.blocking_send(batch).is_ok() && more)
    }

    /// Reads the counts; where the program fails, those of this namespace alone from now on.
    fn count(&mut self) -> Result<()> {
        let Attached { census, ebpf, .. } = &mut self.attached;
        census.run(ebpf, &mut self.incident_bytes).or_else(|error| {
            tracing::warn!("counts of this network namespace only: {error:#}");
            *census = Census::Sysctl;
            census.run(ebpf, &mut self.incident_bytes)
        })
    }

    /// Incidents that were lost are missing in their sources' sums: the ledger has them. It is long, so it is
    /// read once a second at most.
    fn read_ledger_after_loss(&mut self, ktime_ns: u64, last: bool) -> Result<()> {
        let (lost_before, read_ns) = self.ledger_read;
        let lost = self.totals()?.lost_incidents;
        if lost == lost_before || (!last && ktime_ns.saturating_sub(read_ns) < LEDGER_EVERY_NS) {
            return Ok(());
        }
        self.ledger_read = (lost, ktime_ns);
        for line in self.ledger.iter() {
            let (key, refusals) = line.context("read the refusal ledger")?;
            let line =
                Ledger { kind: Kind::Ledger as u8, reserved: [0; 3], reserved2: 0, ktime_ns, key, refusals };
            self.incident_bytes.extend_from_slice(line.as_bytes());
        }
        Ok(())
    }

    fn totals(&self) -> Result<Totals> {
        let mut sum = Totals::default();
        for cpu in self.cpu.get(&0, 0).context("read the sums")?.iter() {
            sum.add(&cpu.totals);
        }
        Ok(sum)
    }
}

/// Moves records out of a ring; true if it stopped because the batch is full.
///
/// Room is made for a whole batch at once: batches then share a buffer one after the other, and get it back
/// when the engine has dropped them. Grown from nothing each time, the copies and the page faults would cost
/// as much as the engine.
fn fill(ring: &mut RingBuf<MapData>, out: &mut BytesMut) -> bool {
    out.reserve(BATCH_BYTES);
    while let Some(record) = ring.next() {
        out.extend_from_slice(&record);
        if out.len() >= BATCH_BYTES {
            return true;
        }
    }
    false
}
