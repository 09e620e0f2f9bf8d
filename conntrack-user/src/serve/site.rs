//! What every connection needs to know.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::Limits;
use super::board::Board;
use super::connections::Connections;
use super::web_config::{WebConfig, Workers};

/// Answers of a few megabytes that may be under way.
const LARGE: usize = 8;

/// Shared by all connections.
#[derive(Debug)]
pub struct Site {
    /// What is shown.
    pub board: Board,
    /// What clients may take.
    pub limits: Limits,
    /// How old the numbers may be.
    pub stale_after: Duration,
    /// Who is connected.
    pub connections: Arc<Connections>,
    /// A permit each for streams of events.
    pub streams: Arc<Semaphore>,
    /// A permit each for answers of a few megabytes.
    pub large: Arc<Semaphore>,
    /// Who check passwords.
    pub workers: Workers,
    stopped: watch::Receiver<bool>,
    web: Mutex<Arc<WebConfig>>,
}

impl Site {
    /// With nobody connected.
    pub fn new(
        board: Board,
        web: WebConfig,
        limits: Limits,
        stale_after: Duration,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        let connections = Connections::new(limits.connections, limits.connections_per_peer, board.clone());
        Self {
            board,
            limits,
            stale_after,
            connections: Arc::new(connections),
            streams: Arc::new(Semaphore::new(limits.streams)),
            large: Arc::new(Semaphore::new(LARGE)),
            workers: Workers::default(),
            stopped,
            web: Mutex::new(Arc::new(web)),
        }
    }

    /// Comes back when all is to end.
    pub async fn end(&self) {
        let mut stopped = self.stopped.clone();
        // An error is an end too: whoever could say so is gone.
        drop(stopped.wait_for(|stopped| *stopped).await);
    }

    /// The web configuration in force.
    pub fn web(&self) -> Arc<WebConfig> {
        Arc::clone(&self.web.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another one from now on.
    pub fn set_web(&self, web: WebConfig) {
        *self.web.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(web);
    }
}
