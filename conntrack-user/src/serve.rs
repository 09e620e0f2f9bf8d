//! The HTTP side of the daemon: metrics, health, the JSON of views, and a page for people. It has a thread and a runtime of
//! its own, so that no client ever delays the monitor, and whatever clients do costs one processor at most (a second, while a
//! password is checked).
//!
//! It stands on hyper itself: the limits on connections need its loop, which a framework would hide, and eight routes are one
//! `match`.

mod answering;
mod board;
mod connections;
mod events;
mod health;
mod kept;
mod listening;
mod page;
pub mod parameters;
mod patience;
mod served;
mod site;
mod told;
pub mod web_config;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::Builder;
use tokio::sync::watch;

pub use board::Board;
pub use served::Served;
pub use web_config::WebConfigError;

use crate::kernel::inherited::Inherited;
use crate::kernel::privilege;
use site::Site;
use web_config::WebConfig;

/// Where and how.
#[derive(Debug)]
pub struct Options {
    /// Where to listen.
    pub listen: Vec<Listen>,
    /// TLS, passwords and headers, in Prometheus's format.
    pub web_config: Option<PathBuf>,
    /// What clients may take.
    pub limits: Limits,
    /// How old the numbers may be before they are no longer served.
    pub stale_after: Duration,
}

impl Options {
    /// At this address, with the default limits, for everybody.
    pub fn at(address: SocketAddr) -> Self {
        Self {
            listen: vec![Listen::Address(address)],
            web_config: None,
            limits: Limits::default(),
            stale_after: Duration::from_secs(10),
        }
    }
}

/// Where to listen.
#[derive(Debug)]
pub enum Listen {
    /// At an address of this host; port 0 is any that is free.
    Address(SocketAddr),
    /// At a socket that somebody else has opened.
    Inherited(Inherited),
}

/// What clients may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all. Beyond, the one that has been silent the longest is closed.
    pub connections: usize,
    /// Connections of one address, or of one /64; this host's own are not counted.
    pub connections_per_peer: usize,
    /// Streams of events.
    pub streams: usize,
    /// Bytes of a request's head, at least 8,192.
    pub head_bytes: usize,
    /// Time for a request's head, from the first moment on; so a connection without requests is closed after it.
    pub head: Duration,
    /// Time for a client to take what it is sent.
    pub write: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            connections_per_peer: 32,
            streams: 32,
            head_bytes: 16 * 1024,
            head: Duration::from_secs(20),
            write: Duration::from_secs(20),
        }
    }
}

/// Why nothing is served.
#[derive(Debug, Error)]
pub enum ServeError {
    /// There is nowhere to listen.
    #[error("there is no address to listen at; give one with --web.listen-address")]
    Nowhere,
    /// An address cannot be had.
    #[error("cannot listen at {address}: {source}{}", remedy(.source))]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A socket that was handed over is of no use.
    #[error("the socket {name:?} that was handed over cannot be used: {source}")]
    Inherited {
        /// Its name.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// The web configuration.
    #[error(transparent)]
    WebConfig(#[from] WebConfigError),
    /// There is no thread for it.
    #[error("cannot start the thread that serves HTTP: {0}")]
    Thread(io::Error),
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; find who has the port with `ss -ltnp`, or choose another with --web.listen-address"
        }
        io::ErrorKind::AddrNotAvailable => {
            "; no interface has this address: choose one that `ip address` shows"
        }
        io::ErrorKind::PermissionDenied => {
            "; choose a port above 1023, or let systemd open it (a socket unit)"
        }
        _ => "",
    }
}

/// What serves, until it is stopped or dropped.
pub struct Server {
    addresses: Vec<SocketAddr>,
    site: Arc<Site>,
    stop: watch::Sender<bool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// Listens, and serves what is on the board from a thread of its own. When this comes back, connections are accepted.
pub fn start(options: Options, board: Board) -> Result<Server, ServeError> {
    let Options { listen, web_config, limits, stale_after } = options;
    let web = web_config.as_deref().map_or_else(|| Ok(WebConfig::open()), WebConfig::read)?;
    if listen.is_empty() {
        return Err(ServeError::Nowhere);
    }
    let sockets = listen.into_iter().map(listening::open).collect::<Result<Vec<_>, _>>()?;
    let addresses = sockets.iter().filter_map(listening::address).collect();
    let (stop, stopped) = watch::channel(false);
    let site = Arc::new(Site::new(board, web, limits, stale_after, stopped));
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .thread_name("ctwatch-password")
        .build()
        .map_err(ServeError::Thread)?;
    let serving = Arc::clone(&site);
    let thread = thread::Builder::new()
        .name("ctwatch-http".into())
        .spawn(move || {
            if let Err(error) = privilege::drop_all_of_this_thread() {
                tracing::error!(
                    "the thread that serves HTTP cannot give up its privileges and serves nothing: {error}"
                );
                return;
            }
            runtime.block_on(listening::serve(sockets, serving));
            runtime.shutdown_background();
        })
        .map_err(ServeError::Thread)?;
    Ok(Server { addresses, site, stop, thread: Some(thread) })
}

impl Server {
    /// Where it listens; a socket of the local domain has no address here.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Reads the web configuration, perhaps another one, and the certificates and keys it names. Connections stay: the next
    /// ones, and the next requests, find what it says now. If it is wrong, what was read before stays in force.
    pub fn reload(&self, web_config: Option<&Path>) -> Result<(), ServeError> {
        self.site.set_web(web_config.map_or_else(|| Ok(WebConfig::open()), WebConfig::read)?);
        Ok(())
    }

    /// Ends what is being answered, for a second at most, and closes all.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that serves HTTP has panicked");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests;
