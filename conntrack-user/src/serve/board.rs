//! What the monitor puts up and the server shows. Putting up never waits for a reader.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::sync::watch;

use super::page::Parts;
use super::served::{Counters, Served};
use super::told::{self, Stamped, Told};
use crate::engine::batch::WallClock;
use crate::engine::notice::{Notice, Refusal};
use crate::output::json;
use crate::output::metrics::Scrape;

/// Refusals copied while the lock is held: a few microseconds.
const AT_ONCE: usize = 512;

/// Shared by the monitor, which writes, and the server, which reads.
#[derive(Clone, Debug)]
pub struct Board {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    latest: watch::Sender<Option<Arc<Posted>>>,
    told: Mutex<Told>,
    /// How many lines there were: wakes those who wait for the next.
    lines: watch::Sender<u64>,
    counters: Counters,
    began: u64,
}

impl Board {
    /// With nothing on it.
    pub fn new() -> Self {
        let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        Self {
            inner: Arc::new(Inner {
                latest: watch::Sender::new(None),
                told: Mutex::new(Told::new()),
                lines: watch::Sender::new(0),
                counters: Counters::default(),
                began: u64::try_from(began).unwrap_or_default(),
            }),
        }
    }

    /// What is known now, about once a second.
    pub fn put_up(&self, scrape: Scrape) {
        let (ktime_ns, wall) = (scrape.snapshot.ktime_ns, scrape.snapshot.wall);
        self.change(|told| told.end_second(ktime_ns, wall));
        self.inner.latest.send_replace(Some(Arc::new(Posted::new(scrape))));
    }

    /// Something happened. The last refusals, and what is worth a line on the page, are kept in bounded memory.
    pub fn tell(&self, notice: &Notice, wall: WallClock) {
        if told::concerns(notice) {
            self.change(|told| told.tell(notice, wall));
        }
    }

    /// What was put up last.
    pub fn latest(&self) -> Option<Arc<Scrape>> {
        self.posted().map(|posted| Arc::clone(&posted.scrape))
    }

    /// What the server did so far.
    pub fn served(&self) -> Served {
        self.inner.counters.served()
    }

    /// Tells the threads of the server's part.
    pub(super) fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    /// What was put up last, with what was made of it.
    pub(super) fn posted(&self) -> Option<Arc<Posted>> {
        self.inner.latest.borrow().clone()
    }

    /// Changes when something else is put up.
    pub(super) fn watch_posted(&self) -> watch::Receiver<Option<Arc<Posted>>> {
        self.inner.latest.subscribe()
    }

    /// Changes when there are more lines; it holds the number of the next.
    pub(super) fn watch_lines(&self) -> watch::Receiver<u64> {
        self.inner.lines.subscribe()
    }

    /// Tells the lines of one run of the daemon from those of another.
    pub(super) fn began(&self) -> u64 {
        self.inner.began
    }

    /// The line of that number, and none if it is not there yet. `Err` if it is there no longer.
    pub(super) fn line(&self, number: u64) -> Result<Option<Stamped<Notice>>, Missed> {
        let told = self.lock();
        if number < told.lines.first() {
            return Err(Missed);
        }
        Ok(told.lines.from(number, 1).pop())
    }

    /// The last so many lines, oldest first.
    pub(super) fn last_lines(&self, most: u64) -> Vec<Stamped<Notice>> {
        let told = self.lock();
        let from = told.lines.next().saturating_sub(most);
        told.lines.from(from, usize::MAX)
    }

    /// The refusals that are wanted, oldest first, and when the last was that is no longer kept.
    pub(super) fn refusals(
        &self,
        wanted: impl Fn(&Stamped<Refusal>) -> bool,
    ) -> (Vec<Stamped<Refusal>>, Option<i128>) {
        let mut found = Vec::new();
        let mut number = 0;
        loop {
            // The monitor may go on between two pieces.
            let (piece, gone_unix_ns) = {
                let told = self.lock();
                number = number.max(told.refusals.first());
                (told.refusals.from(number, AT_ONCE), told.gone_unix_ns)
            };
            number += piece.len() as u64;
            found.extend(piece.iter().filter(|it| wanted(it)));
            if piece.len() < AT_ONCE {
                return (found, gone_unix_ns);
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Told)) {
        let (before, next) = {
            let mut told = self.lock();
            let before = told.lines.next();
            change(&mut told);
            (before, told.lines.next())
        };
        if next > before {
            self.inner.lines.send_replace(next);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        // Nothing that holds it leaves it half changed.
        self.inner.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
}

/// The line is there no longer: whoever asks was too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missed;

/// What was put up, and what was made of it for all who ask.
#[derive(Debug)]
pub(super) struct Posted {
    pub scrape: Arc<Scrape>,
    at: Instant,
    json: OnceLock<Bytes>,
    parts: OnceLock<Arc<Parts>>,
}

impl Posted {
    fn new(scrape: Scrape) -> Self {
        let (json, parts) = (OnceLock::new(), OnceLock::new());
        Self { scrape: Arc::new(scrape), at: Instant::now(), json, parts }
    }

    /// How long ago.
    pub fn age(&self) -> Duration {
        self.at.elapsed()
    }

    /// The object of `top -o json`, without its end of line.
    pub fn json(&self) -> Bytes {
        let written = || {
            let mut out = Vec::new();
            match json::top(&mut out, &self.scrape.snapshot) {
                Ok(()) => out.truncate(out.trim_ascii_end().len()),
                // A vector takes all, and every key is a string.
                Err(error) => tracing::error!("a snapshot is not written as JSON: {error}"),
            }
            Bytes::from(out)
        };
        self.json.get_or_init(written).clone()
    }

    /// The parts of the page.
    pub fn parts(&self, board: &Board) -> Arc<Parts> {
        Arc::clone(self.parts.get_or_init(|| Arc::new(Parts::new(&self.scrape, board))))
    }
}
