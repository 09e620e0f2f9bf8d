//! Real TCP connections held open through the gateway: the kernel calls their entries ASSURED and will not
//! evict them, so enough of them fill the table for good.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::gateway::Gateway;

/// The port the server listens on.
pub const PORT: u16 = 80;
/// Connections opened at a time: enough to be quick, few enough for the server's SYN queue.
const AT_ONCE: usize = 128;
/// The first client port; each connection of a [`Hog`] has the next one.
const FIRST_PORT: u32 = 20_000;

/// A server that accepts connections, and the client that opens them.
#[derive(Debug)]
pub struct Hog<'a> {
    gateway: &'a Gateway,
    ipv6: bool,
    listener: Arc<OwnedFd>,
    acceptor: Option<JoinHandle<Result<()>>>,
    next_port: AtomicU32,
}

/// Open connections; dropping it resets them, so that their entries go within seconds.
#[derive(Debug)]
pub struct Held {
    connections: Vec<OwnedFd>,
}

impl Held {
    /// How many connections are open.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether not one could be opened.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Takes over the connections of another.
    pub fn join(&mut self, mut other: Self) {
        self.connections.append(&mut other.connections);
    }
}

impl<'a> Hog<'a> {
    /// Starts the server of one address family.
    pub fn new(gateway: &'a Gateway, ipv6: bool) -> Result<Self> {
        raise_open_files()?;
        // What a reset connection leaves behind is collected when its time is up.
        gateway.router.set_sysctl("net/netfilter/nf_conntrack_tcp_timeout_close", 1)?;
        let address = SocketAddr::new(Gateway::listener(ipv6), PORT);
        let listener = Arc::new(gateway.server.run(|| listen(&address))?);
        let accepting = Arc::clone(&listener);
        let acceptor = gateway.server.spawn(move || accept_all(&accepting))?;
        let next_port = AtomicU32::new(FIRST_PORT);
        Ok(Self { gateway, ipv6, listener, acceptor: Some(acceptor), next_port })
    }

    /// The address all connections go to.
    pub fn server(&self) -> SocketAddr {
        SocketAddr::new(Gateway::listener(self.ipv6), PORT)
    }

    /// Opens up to `n` connections from a source and holds them. Those that are not answered within
    /// `patience` (their SYN was refused) are given up.
    pub fn hold(&self, n: usize, source: IpAddr, patience: Duration) -> Result<Held> {
        self.gateway.client.run(|| {
            let mut held = Held { connections: Vec::with_capacity(n) };
            while held.len() < n {
                let batch = AT_ONCE.min(n - held.len());
                let opened = self.open(batch, source, patience)?;
                let refused = opened.len() < batch;
                held.connections.extend(opened);
                if refused {
                    break;
                }
            }
            Ok(held)
        })
    }

    fn open(&self, n: usize, source: IpAddr, patience: Duration) -> Result<Vec<OwnedFd>> {
        let mut waiting = Vec::with_capacity(n);
        for _ in 0..n {
            let port = self.next_port.fetch_add(1, Ordering::Relaxed);
            let port = u16::try_from(port).context("the hog has used up its ports")?;
            waiting.push(self.connect(SocketAddr::new(source, port))?);
        }
        established(waiting, Instant::now() + patience)
    }

    fn connect(&self, from: SocketAddr) -> Result<OwnedFd> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family(&from), SocketType::STREAM, flags, None)
            .context("open a TCP socket")?;
        // Closing it sends RST at once instead of FIN, and leaves no TIME_WAIT.
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).context("set SO_LINGER")?;
        rustix::net::bind(&socket, &from).with_context(|| format!("bind to {from}"))?;
        match rustix::net::connect(&socket, &self.server()) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
            Err(error) => Err(error).with_context(|| format!("connect from {from}")),
        }
    }
}

impl Drop for Hog<'_> {
    fn drop(&mut self) {
        // Wakes accept(2) with an error; closing the descriptor would not.
        let _already_gone = rustix::net::shutdown(&self.listener, Shutdown::Both);
        if let Some(acceptor) = self.acceptor.take() {
            let _ended_by_shutdown = acceptor.join();
        }
    }
}

fn family(address: &SocketAddr) -> AddressFamily {
    if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET }
}

fn listen(address: &SocketAddr) -> Result<OwnedFd> {
    let listener = rustix::net::socket_with(family(address), SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .context("open a TCP socket")?;
    sockopt::set_socket_reuseaddr(&listener, true).context("set SO_REUSEADDR")?;
    rustix::net::bind(&listener, address).with_context(|| format!("bind to {address}"))?;
    rustix::net::listen(&listener, 4096).context("listen")?;
    Ok(listener)
}

/// Accepts until the listener is shut down, and holds what it accepted until then.
fn accept_all(listener: &OwnedFd) -> Result<()> {
    let mut accepted = Vec::new();
    loop {
        match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(connection) => accepted.push(connection),
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(Errno::INVAL) => return Ok(()),
            Err(error) => return Err(error).context("accept"),
        }
    }
}

/// Those of `waiting` that are connected before the deadline; the others are closed.
fn established(mut waiting: Vec<OwnedFd>, deadline: Instant) -> Result<Vec<OwnedFd>> {
    let mut done = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let mut polled: Vec<PollFd<'_>> =
            waiting.iter().map(|socket| PollFd::new(socket, PollFlags::OUT)).collect();
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("wait for connections"),
        }
        let ready: Vec<bool> = polled.iter().map(|socket| !socket.revents().is_empty()).collect();
        let mut ready = ready.into_iter();
        let (finished, rest) = waiting.into_iter().partition(|_| ready.next().unwrap_or(false));
        waiting = rest;
        for socket in finished {
            let socket: OwnedFd = socket;
            if matches!(sockopt::socket_error(&socket), Ok(Ok(()))) {
                done.push(socket);
            }
        }
    }
    Ok(done)
}

/// Each connection is two open files, one at either end.
fn raise_open_files() -> Result<()> {
    let enough = 65_536;
    let Rlimit { current: _, maximum } = getrlimit(Resource::Nofile);
    let wished = maximum.map(|maximum| maximum.max(enough));
    // Without CAP_SYS_RESOURCE the hard limit is as far as it goes.
    setrlimit(Resource::Nofile, Rlimit { current: wished, maximum: wished })
        .or_else(|_| setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }))
        .context("raise the limit of open files")
}
