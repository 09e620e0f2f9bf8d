//! Runs a program when a table fills or has recovered. Nothing here makes the monitor wait.
//!
//! ```text
//! offer -> place for one -> thread: wait until the edge may be told again -> run -> counters, log
//! ```
//!
//! The place holds the newest occasion: what is told late is at least the last that happened.

mod run;
#[cfg(test)]
mod tests;

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use crate::{
    daemon::config::{OnEdge, OnSaturation},
    kernel::privilege,
    output::metrics,
};
use run::Outcome;

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occasion {
    /// What happened: `CTWATCH_EDGE`.
    pub edge: OnEdge,
    /// Inode number of the network namespace: `CTWATCH_NETNS`.
    pub netns: u32,
    /// Its name, if it has one: `CTWATCH_NETNS_NAME`.
    pub netns_name: Option<String>,
    /// One JSON object, for the program's standard input.
    pub json: Vec<u8>,
}

/// The thread that runs the program.
pub struct Hook {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    counters: Counters,
}

#[derive(Default)]
struct State {
    settings: OnSaturation,
    waiting: Option<Occasion>,
    stopping: bool,
    /// When the program was last started on each edge.
    last: [Option<Instant>; OnEdge::ALL.len()],
}

#[derive(Default)]
struct Counters {
    runs: AtomicU64,
    failed: AtomicU64,
    timed_out: AtomicU64,
    suppressed: AtomicU64,
}

impl Hook {
    /// Starts the thread, which becomes the configured user if this process is root: to be called while it still may.
    /// Without a command it waits for one.
    pub fn start(settings: &OnSaturation) -> io::Result<Self> {
        let user = if privilege::is_root() { Some(privilege::user(&settings.user)?) } else { None };
        let state = Mutex::new(State { settings: settings.clone(), ..State::default() });
        let shared = Arc::new(Shared { state, ..Shared::default() });
        let its_shared = Arc::clone(&shared);
        let (sender, became) = std::sync::mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("ctwatch-hook".to_owned()).spawn(move || {
            let dropped = match user {
                Some(user) => privilege::become_user(user),
                None => privilege::drop_all_of_this_thread(),
            };
            let may_run = dropped.is_ok();
            // It is waited for.
            let _told = sender.send(dropped);
            if may_run {
                its_shared.run_until_stopped();
            }
        })?;
        became.recv().map_err(|_| io::Error::other("the thread of the hook has died"))??;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Has the program run, if this edge is one to run it on: now, or once it may be. Never waits.
    pub fn offer(&self, occasion: Occasion) {
        let mut state = self.shared.lock();
        if state.settings.wants(occasion.edge.state()) && state.waiting.replace(occasion).is_some() {
            self.shared.counters.suppressed.fetch_add(1, Relaxed);
        }
        self.shared.changed.notify_one();
    }

    /// Takes over other settings, but for the user; what is running is not disturbed.
    pub fn set(&self, settings: &OnSaturation) {
        self.shared.lock().settings = settings.clone();
        self.shared.changed.notify_one();
    }

    /// How often it ran, and how that went; none without a command.
    pub fn counters(&self) -> Option<metrics::Hook> {
        let configured = !self.shared.lock().settings.command.is_empty();
        let Counters { runs, failed, timed_out, suppressed } = &self.shared.counters;
        let hook = metrics::Hook {
            runs: runs.load(Relaxed),
            failed: failed.load(Relaxed),
            timed_out: timed_out.load(Relaxed),
            suppressed: suppressed.load(Relaxed),
        };
        (configured || hook.runs > 0).then_some(hook)
    }
}

impl Drop for Hook {
    /// What is running is ended as if its time were up.
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.changed.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that runs the program on saturation panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run_until_stopped(&self) {
        while let Some((settings, occasion)) = self.next() {
            self.counters.runs.fetch_add(1, Relaxed);
            let outcome = run::run(&settings, &occasion, || self.lock().stopping);
            match &outcome {
                Outcome::Ended(status) if status.success() => {}
                Outcome::Ended(_) | Outcome::NotStarted(_) => {
                    self.counters.failed.fetch_add(1, Relaxed);
                }
                Outcome::TimedOut => {
                    self.counters.timed_out.fetch_add(1, Relaxed);
                }
                Outcome::Stopped => {}
            }
            outcome.log(&settings, occasion.edge);
        }
    }

    /// Waits until there is something to tell that may be told; none at the end.
    fn next(&self) -> Option<(OnSaturation, Occasion)> {
        let mut state = self.lock();
        loop {
            if state.stopping {
                return None;
            }
            let now = Instant::now();
            let due = state.waiting.as_ref().map(|occasion| {
                let last = state.last[occasion.edge as usize];
                last.map_or(now, |last| last + state.settings.min_interval)
            });
            let waited = match due {
                Some(due) if due <= now => {
                    let occasion = state.waiting.take()?;
                    // The settings may have changed while it waited.
                    if state.settings.wants(occasion.edge.state()) {
                        state.last[occasion.edge as usize] = Some(now);
                        return Some((state.settings.clone(), occasion));
                    }
                    continue;
                }
                Some(due) => self
                    .changed
                    .wait_timeout(state, due - now)
                    .map(|(state, _)| state)
                    .map_err(|error| error.into_inner().0),
                None => self.changed.wait(state).map_err(PoisonError::into_inner),
            };
            state = waited.unwrap_or_else(|poisoned| poisoned);
        }
    }
}
