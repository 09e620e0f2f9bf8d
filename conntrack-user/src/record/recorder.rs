//! The thread that writes a recording, and the bounded queue before it: writing never holds up the engine, and what
//! the queue could not take is counted and told in the recording itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use jiff::Timestamp;
use zerocopy::IntoBytes as _;

use super::replay::trust_texts;
use super::store::Store;
use super::thinning::Thinning;
use crate::engine::batch::{Batch, WallClock};
use crate::engine::recorded::{Ended, RecordedKind, Unrecorded};
use crate::engine::snapshot::Trust;

/// Drains that may wait for the disk: at most some ten MiB.
const QUEUE: usize = 32;

/// What was added to drains that found the queue full waits up to this many bytes.
const CARRIED: usize = 1 << 20;

/// A block is closed after this time, so that a power cut costs no more.
const CLOSE_EVERY_NS: u64 = 5_000_000_000;

/// Failures of the disk are told on standard error no more often than this.
const TELL_EVERY_NS: u64 = 60_000_000_000;

/// One drain and what the engine made of it.
#[derive(Debug)]
struct Message {
    batch: Batch,
    added: Vec<u8>,
    /// How much of that is carried over if this finds no place.
    carried: usize,
    /// Something happened that must not wait in memory.
    urgent: bool,
}

/// The engine's side.
pub struct Recorder {
    sender: SyncSender<Message>,
    thread: JoinHandle<Outcome>,
    shared: Arc<Shared>,
    /// What the queue did not take since it last took something.
    skipped: Option<Unrecorded>,
    skipped_drains: u64,
    carried: Vec<u8>,
    taken_ktime_ns: u64,
}

/// What the thread tells while it writes.
#[derive(Debug, Default)]
struct Shared {
    /// Not yet asked for.
    began_file: AtomicBool,
    bytes: AtomicU64,
    failed_blocks: AtomicU64,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes written to all files.
    pub bytes: u64,
    /// Drains that the queue did not take.
    pub skipped_drains: u64,
    /// Blocks that could not be written.
    pub failed_blocks: u64,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Files written, the last one included.
    pub files: u32,
    /// Bytes written to them.
    pub bytes: u64,
    /// Drains that the queue did not take.
    pub skipped_drains: u64,
    /// Blocks that could not be written.
    pub failed_blocks: u64,
    /// What the system said of the last of them.
    pub error: Option<io::Error>,
}

impl Recorder {
    /// Starts the thread.
    pub fn start(store: Store, thinning: Thinning, trust: Trust) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let writing = Writing::new(store, thinning, trust, Arc::clone(&shared));
        let thread =
            thread::Builder::new().name("ctwatch-record".to_owned()).spawn(move || writing.run(&receiver))?;
        Ok(Self {
            sender,
            thread,
            shared,
            skipped: None,
            skipped_drains: 0,
            carried: Vec::new(),
            taken_ktime_ns: 0,
        })
    }

    /// Hands over a drain and the records the engine `added`; false if the queue is full and the drain is left
    /// out. `urgent`: it is on the disk soon.
    pub fn offer(&mut self, batch: &Batch, added: &[u8], urgent: bool) -> bool {
        let message = self.message(batch, added, urgent);
        match self.sender.try_send(message) {
            Ok(()) => {
                self.skipped = None;
                self.taken_ktime_ns = batch.ktime_ns;
                true
            }
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => {
                self.carried = message.added;
                self.carried.truncate(message.carried);
                self.skip(batch);
                false
            }
        }
    }

    /// The same for the last drain, which waits for its place in the queue.
    pub fn offer_last(&mut self, batch: &Batch, added: &[u8]) {
        let message = self.message(batch, added, true);
        // A thread that is gone says why when it is joined.
        let _gone = self.sender.send(message);
    }

    /// Whether the thread that writes is there. If not, [`finish`](Self::finish) says why.
    pub fn is_writing(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Whether a new file has begun since this was last asked: it has nothing of what was told before.
    pub fn began_file(&self) -> bool {
        self.shared.began_file.swap(false, Ordering::Relaxed)
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        Progress {
            bytes: self.shared.bytes.load(Ordering::Relaxed),
            skipped_drains: self.skipped_drains,
            failed_blocks: self.shared.failed_blocks.load(Ordering::Relaxed),
        }
    }

    /// Waits until all is written.
    pub fn finish(self) -> Outcome {
        drop(self.sender);
        let outcome = self.thread.join().unwrap_or_else(|_| Outcome {
            error: Some(io::Error::other("the thread that writes the recording panicked")),
            ..Outcome::default()
        });
        Outcome { skipped_drains: self.skipped_drains, ..outcome }
    }

    fn message(&mut self, batch: &Batch, added: &[u8], urgent: bool) -> Message {
        let mut all = std::mem::take(&mut self.carried);
        if all.len() + added.len() <= CARRIED {
            all.extend_from_slice(added);
        }
        let carried = all.len();
        if let Some(skipped) = self.skipped {
            let until = Unrecorded { ktime_ns: batch.ktime_ns, ..skipped };
            all.extend_from_slice(until.as_bytes());
        }
        Message { batch: batch.clone(), added: all, carried, urgent }
    }

    fn skip(&mut self, batch: &Batch) {
        self.skipped_drains += 1;
        let skipped = self.skipped.get_or_insert(Unrecorded {
            kind: RecordedKind::Unrecorded as u8,
            reason: Unrecorded::QUEUE_FULL,
            reserved: [0; 6],
            ktime_ns: 0,
            from_ktime_ns: self.taken_ktime_ns,
            drains: 0,
            bytes: 0,
        });
        skipped.drains += 1;
        skipped.bytes += (batch.entries.len() + batch.incidents.len()) as u64;
    }
}

/// The thread's side.
struct Writing {
    store: Store,
    thinning: Thinning,
    trust: Trust,
    shared: Arc<Shared>,
    outcome: Outcome,
    records: Vec<u8>,
    wall: WallClock,
    ktime_ns: u64,
    closed_ktime_ns: u64,
    /// Since when what is recorded does not reach the disk.
    failing_since_ktime_ns: Option<u64>,
    told_ktime_ns: Option<u64>,
    /// Not before is it tried to begin another file.
    next_file_ktime_ns: u64,
}

impl Writing {
    fn new(store: Store, thinning: Thinning, trust: Trust, shared: Arc<Shared>) -> Self {
        Self {
            store,
            thinning,
            trust,
            shared,
            outcome: Outcome { files: 1, ..Outcome::default() },
            records: Vec::new(),
            wall: WallClock::default(),
            ktime_ns: 0,
            closed_ktime_ns: 0,
            failing_since_ktime_ns: None,
            told_ktime_ns: None,
            next_file_ktime_ns: 0,
        }
    }

    fn run(mut self, messages: &Receiver<Message>) -> Outcome {
        while let Ok(message) = messages.recv() {
            self.message(&message);
        }
        let mut rest = std::mem::take(&mut self.records);
        self.thinning.end(&mut rest);
        rest.extend_from_slice(self.ended(Ended::RUN_ENDED).as_bytes());
        let written = self.store.push(&rest);
        let written = self.store.sync().and(written);
        self.wrote(written);
        self.outcome.bytes += self.store.bytes_written();
        self.outcome
    }

    fn message(&mut self, message: &Message) {
        let Message { batch, added, urgent, .. } = message;
        (self.ktime_ns, self.wall) = (batch.ktime_ns, batch.wall);
        let mut records = std::mem::take(&mut self.records);
        self.thinning.take(batch, added, &mut records);
        if let Some(trust) = &batch.trust {
            self.trust = Trust::clone(trust);
            let texts = trust_texts(batch.ktime_ns, &self.trust);
            texts.iter().for_each(|text| records.extend_from_slice(text.as_bytes()));
        }
        let written = self.store.push(&records);
        records.clear();
        self.records = records;
        self.wrote(written);
        if *urgent || batch.ktime_ns.saturating_sub(self.closed_ktime_ns) >= CLOSE_EVERY_NS {
            self.closed_ktime_ns = batch.ktime_ns;
            let written = self.store.sync();
            self.wrote(written);
        }
        let bytes = self.outcome.bytes + self.store.bytes_written();
        self.shared.bytes.store(bytes, Ordering::Relaxed);
        if self.store.is_full(batch.ktime_ns) && batch.ktime_ns >= self.next_file_ktime_ns {
            self.next_file();
        }
    }

    /// What fails is tried again with the next block: perhaps somebody makes room.
    fn wrote(&mut self, written: io::Result<()>) {
        match written {
            Ok(()) => {
                if let Some(from_ktime_ns) = self.failing_since_ktime_ns.take() {
                    let unrecorded = Unrecorded {
                        kind: RecordedKind::Unrecorded as u8,
                        reason: Unrecorded::NOT_WRITTEN,
                        reserved: [0; 6],
                        ktime_ns: self.ktime_ns,
                        from_ktime_ns,
                        drains: 0,
                        bytes: 0,
                    };
                    self.records.extend_from_slice(unrecorded.as_bytes());
                }
            }
            Err(error) => {
                self.failing_since_ktime_ns.get_or_insert(self.closed_ktime_ns);
                self.outcome.failed_blocks += 1;
                self.shared.failed_blocks.store(self.outcome.failed_blocks, Ordering::Relaxed);
                self.tell(&format!("cannot write {}: {error}", self.store.file().display()));
                self.outcome.error = Some(error);
            }
        }
    }

    fn next_file(&mut self) {
        let written = self.store.push(self.ended(Ended::ANOTHER_FILE).as_bytes());
        self.wrote(written);
        let (before, bytes) = (self.store.file().to_owned(), self.store.bytes_written());
        let unix_ns = self.wall.unix_ns(self.ktime_ns);
        let now = Timestamp::from_nanosecond(unix_ns).unwrap_or(Timestamp::UNIX_EPOCH);
        let began = self.store.next_file(self.ktime_ns, self.trust.clone(), now);
        if self.store.file() != before {
            self.outcome.files += 1;
            self.outcome.bytes += bytes;
            self.thinning.begin_file();
            self.shared.began_file.store(true, Ordering::Relaxed);
        }
        if let Err(error) = began {
            self.next_file_ktime_ns = self.ktime_ns.saturating_add(TELL_EVERY_NS);
            self.tell(&error.to_string());
        }
    }

    fn ended(&self, reason: u8) -> Ended {
        Ended { kind: RecordedKind::Ended as u8, reason, reserved: [0; 6], ktime_ns: self.ktime_ns }
    }

    fn tell(&mut self, what: &str) {
        let is_new =
            self.told_ktime_ns.is_none_or(|told| self.ktime_ns.saturating_sub(told) >= TELL_EVERY_NS);
        if is_new {
            self.told_ktime_ns = Some(self.ktime_ns);
            tracing::warn!("{what}; the recording goes on as soon as it can");
        }
    }
}

#[cfg(test)]
mod tests;
