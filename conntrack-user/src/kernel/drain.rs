//! Drains the rings into batches, and reads what goes with them.
//!
//! ```text
//! wait (wakeup or poll) -> census -> audit -> entries ring -> incidents ring -> sums -> Batch -> channel
//! ```
//!
//! If the engine falls behind, the channel fills, this thread waits and the kernel's rings lose and count:
//! memory stays bounded and the loss is a number.

use std::{sync::Arc, thread, time::Duration};

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, MapData, PerCpuArray};
use bytes::BytesMut;
use conntrack_common::{AuditTrigger, CensusRun, PerCpu, Totals};
use rustix::{
    event::{Timespec, epoll},
    fd::OwnedFd,
    io::Errno,
};
use tokio::sync::mpsc;

use crate::{
    engine::{batch::Batch, snapshot::Trust},
    kernel::{
        attach::Attached,
        backend::Degradation,
        census::Census,
        clock::{self, Wall},
        control::Control,
        incidents::Incidents,
        readings::Readings,
        ring::Ring,
    },
};

/// Longest time a record waits in a ring, unless the ring fills faster.
const POLL: Duration = Duration::from_millis(50);

/// The same while there are incidents: the programs wake for the first of them and no sooner again than this.
const POLL_INCIDENTS: Duration = Duration::from_millis(10);

/// The same while an audit waits for the engine.
const POLL_ENGINE: Duration = Duration::from_millis(2);

/// Time between two readings of counts and sums, and the engine's sense of passing time.
const READ_EVERY_NS: u64 = 100_000_000;

/// A batch is handed on at this size; what is left is the next batch's.
const BATCH_BYTES: usize = 1 << 18;

/// An audit goes on while no more batches than this wait for the engine.
const WAITING: usize = 2;

/// After detaching, programs already running on another CPU end within this.
const LAST_PROGRAMS: Duration = Duration::from_millis(5);

/// Why draining ended.
pub enum End {
    /// Somebody asked for it, or nobody listens any more.
    Stopped,
    /// The conntrack that was attached to is gone.
    Gone,
}

/// Drains one attachment.
pub struct Drain {
    attached: Attached,
    entries: Ring,
    incidents: Incidents,
    cpu: PerCpuArray<MapData, PerCpu>,
    readings: Readings,
    epoll: OwnedFd,
    sender: mpsc::Sender<Batch>,
    control: Control,
    /// Split off batch by batch; see [`Ring::fill`].
    entry_bytes: BytesMut,
    incident_bytes: BytesMut,
    last_read_ns: u64,
    /// Everything before this has been drained.
    passed_ns: u64,
    /// Entry records lost at the last reading.
    lost_entries: u64,
    /// Whether the last drain found incidents, other than those of a census.
    incidents_came: bool,
    watches_chains: bool,
    /// Backend and degradations, if they have changed.
    trust: Option<Arc<Trust>>,
}

impl Drain {
    /// Opens the maps.
    pub fn new(mut attached: Attached, sender: mpsc::Sender<Batch>, control: Control) -> Result<Self> {
        let mut map = |name| attached.ebpf.take_map(name).with_context(|| format!("no map {name}"));
        let entries = Ring::new(map("CTW_ENTRIES")?)?;
        let incidents = Incidents::new(Ring::new(map("CTW_INCIDENTS")?)?);
        let cpu = PerCpuArray::try_from(map("CTW_CPU")?)?;
        let ledger = HashMap::try_from(map("CTW_REFUSALS")?)?;
        let readings = Readings::new(ledger, attached.statistics.take());
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("create an epoll")?;
        // Edge-triggered: only a program's wakeup counts. The level is up whenever a ring holds data, which
        // under load is always, and would turn sleeping into spinning.
        let wakeups = epoll::EventFlags::IN | epoll::EventFlags::ET;
        for ring in [&entries, incidents.ring()] {
            epoll::add(&epoll, ring, epoll::EventData::new_u64(0), wakeups).context("watch a ring")?;
        }
        Ok(Self {
            attached,
            entries,
            incidents,
            cpu,
            readings,
            epoll,
            sender,
            control,
            entry_bytes: BytesMut::new(),
            incident_bytes: BytesMut::new(),
            last_read_ns: 0,
            passed_ns: 0,
            lost_entries: 0,
            incidents_came: false,
            watches_chains: false,
            trust: None,
        })
    }

    /// Drains until the end, which includes what was left in the rings.
    pub fn run(&mut self) -> Result<End> {
        let mut end = End::Stopped;
        while !self.is_over() {
            self.wait()?;
            self.incidents_came = false;
            // Events may come faster than they are worked off: the end must come all the same.
            while self.once(false)? && !self.is_over() {}
            if !self.attached.loading.lasts() {
                end = End::Gone;
                break;
            }
        }
        // What the kernel counts of a link, it forgets with it.
        self.readings.misses(&self.attached, clock::ktime_ns(), true, &mut self.incident_bytes);
        self.attached.hooks.detach(&mut self.attached.ebpf);
        // Nothing is attached any more, whatever the last counts say.
        self.watches_chains = true;
        thread::sleep(LAST_PROGRAMS);
        while self.once(false)? {}
        self.once(true)?;
        Ok(end)
    }

    /// The wall clock of this attachment.
    pub fn wall(&self) -> Wall {
        self.attached.wall
    }

    fn is_over(&self) -> bool {
        self.control.is_stopped() || self.sender.is_closed()
    }

    /// A walk is faster than the engine: what waits for it is memory, and delays what happens meanwhile.
    fn engine_keeps_up(&self) -> bool {
        self.sender.capacity() + WAITING >= self.sender.max_capacity()
    }

    fn wait(&self) -> Result<()> {
        let auditor = self.attached.auditor.as_ref();
        let poll = match auditor {
            Some(auditor) if auditor.is_busy() && self.engine_keeps_up() => return Ok(()),
            Some(auditor) if auditor.is_busy() || auditor.is_asking() => POLL_ENGINE,
            _ if self.incidents_came || self.incidents.are_held() => POLL_INCIDENTS,
            _ => POLL,
        };
        let timeout = Timespec { tv_sec: 0, tv_nsec: poll.subsec_nanos().into() };
        let mut events = [const { std::mem::MaybeUninit::uninit() }; 2];
        match epoll::wait(&self.epoll, &mut events, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("wait for the rings"),
        }
    }

    /// Drains once and sends what came; true if a ring may hold more.
    fn once(&mut self, last: bool) -> Result<bool> {
        let ktime_ns = clock::ktime_ns();
        let taken = self.entries.taken();
        let read = last || ktime_ns.saturating_sub(self.last_read_ns) >= READ_EVERY_NS;
        if read {
            self.last_read_ns = ktime_ns;
            self.read(ktime_ns, last)?;
        }
        let engine_keeps_up = self.engine_keeps_up();
        let Attached { auditor, ebpf, .. } = &mut self.attached;
        if let Some(auditor) = auditor
            && engine_keeps_up
        {
            auditor.round(ebpf, ktime_ns, &self.control, &mut self.entry_bytes)?;
        }
        // All that the audit looked at in its round is before this.
        let walked = self.entries.taken();
        // Entries first: a victim's end must not arrive in an earlier batch than its eviction.
        let more = self.entries.fill(&mut self.entry_bytes, BATCH_BYTES);
        let counts = self.incident_bytes.len();
        self.incidents.read(&mut self.incident_bytes, last);
        self.incidents_came |= !read && self.incident_bytes.len() > counts;
        // What is left in a ring may be older than now: as long as there is some, no time has passed.
        if self.entries.has_passed(taken) {
            self.passed_ns = ktime_ns;
        }
        if let Some(auditor) = &mut self.attached.auditor
            && self.entries.has_passed(walked)
        {
            auditor.drained(clock::ktime_ns(), &mut self.entry_bytes);
        }
        // Sums last: they cover at least every record of this batch.
        let totals = if read { Some(self.account(ktime_ns, last)?) } else { None };
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
            trust: self.trust.take(),
        };
        // An error means that nobody listens any more; `run` sees it.
        Ok(self.sender.blocking_send(batch).is_ok() && more)
    }

    /// Reads counts, misses and names.
    fn read(&mut self, ktime_ns: u64, last: bool) -> Result<()> {
        if !self.attached.loading.lasts() {
            // The addresses are no longer conntrack's.
            return Ok(());
        }
        let counted = self.count()?;
        if !self.watches_chains && self.attached.limits_chains && chains_may_be_long(&counted) {
            self.watch_chains();
        }
        let missed = self.readings.misses(&self.attached, ktime_ns, last, &mut self.incident_bytes);
        let asked = self.control.take_audit();
        if let Some(trigger) = if missed { Some(AuditTrigger::Missed) } else { asked } {
            self.want_audit(trigger);
        }
        let counts = matches!(self.attached.census, Census::Sysctl);
        self.readings.statistics(ktime_ns, last, counts, &mut self.incident_bytes);
        self.readings.names(counted.digest, ktime_ns, &mut self.incident_bytes);
        Ok(())
    }

    /// From now on chains that are too long are told of; if that fails, that is.
    fn watch_chains(&mut self) {
        self.watches_chains = true;
        let Attached { hooks, ebpf, degradations, .. } = &mut self.attached;
        if let Err(error) = hooks.watch_chains(ebpf) {
            degradations.push(Degradation::UnknownCause { reason: format!("{error:#}") });
            self.trust = Some(Arc::new(self.attached.trust()));
        }
    }

    /// Reads the counts; where the program fails, those of this namespace alone from now on.
    fn count(&mut self) -> Result<CensusRun> {
        let Attached { census, ebpf, .. } = &mut self.attached;
        census.run(ebpf, &mut self.incident_bytes).or_else(|error| {
            tracing::warn!("counts of this network namespace only: {error:#}");
            *census = Census::Sysctl;
            census.run(ebpf, &mut self.incident_bytes)
        })
    }

    /// Reads the sums, and sees to what was lost.
    fn account(&mut self, ktime_ns: u64, last: bool) -> Result<Totals> {
        let mut totals = Totals::default();
        for cpu in self.cpu.get(&0, 0).context("read the sums")?.iter() {
            totals.add(&cpu.totals);
        }
        self.readings.ledger_after_loss(ktime_ns, totals.lost_incidents, last, &mut self.incident_bytes)?;
        if totals.lost_entries != self.lost_entries {
            self.lost_entries = totals.lost_entries;
            self.want_audit(AuditTrigger::Lost);
        }
        Ok(totals)
    }

    fn want_audit(&mut self, trigger: AuditTrigger) {
        if let Some(auditor) = &mut self.attached.auditor {
            auditor.want(trigger);
        }
    }
}

/// Whether a hash chain may soon exceed the kernel's limit, of 50 nodes and more (8 and more before 6.3). Each entry is
/// in two chains: with as many entries as buckets they are two long on average, and one of 50 is out of the question.
fn chains_may_be_long(counted: &CensusRun) -> bool {
    counted.entries > u64::from(counted.buckets)
}
