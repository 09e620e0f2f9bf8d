//! Sockets, and a task for each connection, which ends in time whatever the other side does.

use std::fmt;
use std::io;
use std::net::{self, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::answering::answer;
use super::connections::Visit;
use super::patience::Patience;
use super::served::Refused;
use super::site::Site;
use super::{Listen, ServeError};
use crate::kernel::inherited::{Inherited, Listener};

/// Headers of a request.
const MOST_HEADERS: usize = 64;

/// What the kernel holds for a client that reads slowly. By itself it would grow to megabytes for each.
const SEND_BUFFER: usize = 128 * 1024;

/// How long answers under way have when all ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long nothing is accepted when that failed: there is no descriptor left, say.
const PAUSE: Duration = Duration::from_millis(100);

/// What is said to those for whom there is no room, before anything is read of them.
const NO_ROOM: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Opens a socket, or takes the one that is open.
pub fn open(listen: Listen) -> Result<Listener, ServeError> {
    match listen {
        Listen::Address(address) => {
            let failed = |source| ServeError::Listen { address, source };
            let listener = net::TcpListener::bind(address).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            Ok(Listener::Tcp(listener))
        }
        Listen::Inherited(Inherited { name, listener }) => {
            let prepared = match &listener {
                Listener::Tcp(listener) => listener.set_nonblocking(true),
                Listener::Unix(listener) => listener.set_nonblocking(true),
            };
            prepared.map_err(|source| ServeError::Inherited { name, source })?;
            Ok(listener)
        }
    }
}

/// Where a socket listens.
pub fn address(listener: &Listener) -> Option<SocketAddr> {
    match listener {
        Listener::Tcp(listener) => listener.local_addr().ok(),
        Listener::Unix(_) => None,
    }
}

/// Accepts connections until the site is stopped.
pub async fn serve(listeners: Vec<Listener>, site: Arc<Site>) {
    let mut tasks = JoinSet::new();
    for listener in listeners {
        let site = Arc::clone(&site);
        tasks.spawn(async move {
            if let Err(error) = accept(listener, site).await {
                tracing::error!("nothing is accepted at one of the sockets: {error}");
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

async fn accept(listener: Listener, site: Arc<Site>) -> io::Result<()> {
    match listener {
        Listener::Tcp(listener) => accept_tcp(TcpListener::from_std(listener)?, site).await,
        Listener::Unix(listener) => accept_unix(UnixListener::from_std(listener)?, site).await,
    }
    Ok(())
}

async fn accept_tcp(listener: TcpListener, site: Arc<Site>) {
    let mut visits = JoinSet::new();
    loop {
        tokio::select! {
            () = site.end() => break,
            accepted = listener.accept() => match accepted {
                Ok((io, peer)) => welcome_tcp(&mut visits, io, peer, &site),
                Err(error) => complain(&error).await,
            },
            _ = visits.join_next(), if !visits.is_empty() => {}
        }
    }
    farewell(visits).await;
}

fn welcome_tcp(visits: &mut JoinSet<()>, io: TcpStream, peer: SocketAddr, site: &Arc<Site>) {
    let Some(visit) = site.connections.enter(Some(peer.ip())) else {
        site.board.counters().refuse(Refused::TooMany, &peer, &"there is no room for another connection");
        if site.web().tls.is_none() {
            // As much as goes out at once.
            let _ = io.try_write(NO_ROOM);
        }
        return;
    };
    let prepared = io.set_nodelay(true).and_then(|()| Ok(set_socket_send_buffer_size(&io, SEND_BUFFER)?));
    if let Err(error) = prepared {
        tracing::debug!("{peer}: {error}");
    }
    visits.spawn(connection(io, Peer::Address(peer), visit, Arc::clone(site)));
}

async fn accept_unix(listener: UnixListener, site: Arc<Site>) {
    let mut visits = JoinSet::new();
    loop {
        tokio::select! {
            () = site.end() => break,
            accepted = listener.accept() => match (accepted, site.connections.enter(None)) {
                (Ok((io, _)), Some(visit)) => {
                    visits.spawn(connection(io, Peer::Local, visit, Arc::clone(&site)));
                }
                (Ok(_), None) => site.board.counters().refuse(Refused::TooMany, &Peer::Local, &"there is no room"),
                (Err(error), _) => complain(&error).await,
            },
            _ = visits.join_next(), if !visits.is_empty() => {}
        }
    }
    farewell(visits).await;
}

async fn farewell(mut visits: JoinSet<()>) {
    let all = async { while visits.join_next().await.is_some() {} };
    if timeout(FAREWELL, all).await.is_err() {
        visits.shutdown().await;
    }
}

async fn complain(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset};
    if matches!(error.kind(), ConnectionAborted | ConnectionReset) {
        return;
    }
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| tracing::warn!("connections cannot be accepted: {error}; this is said once"));
    sleep(PAUSE).await;
}

/// Who is at the other side.
#[derive(Clone, Copy, Debug)]
pub enum Peer {
    /// Somebody at an address.
    Address(SocketAddr),
    /// Somebody of this host.
    Local,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Local => f.write_str("a local socket"),
        }
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin>(io: S, peer: Peer, visit: Visit, site: Arc<Site>) {
    let presence = visit.presence();
    let io = Patience::new(io, Arc::clone(presence), site.limits.write);
    let tls = site.web().tls.clone();
    let talking = async {
        let Some(tls) = tls else { return talk(io, peer, &visit, &site).await };
        let counters = site.board.counters();
        match timeout(site.limits.head, TlsAcceptor::from(tls).accept(io)).await {
            Ok(Ok(io)) => talk(io, peer, &visit, &site).await,
            Ok(Err(error)) => counters.refuse(Refused::Handshake, &peer, &error),
            Err(_) => counters.refuse(Refused::TooSlow, &peer, &"its TLS handshake took too long"),
        }
    };
    tokio::select! {
        () = talking => {}
        () = presence.gone() => tracing::debug!("{peer} was silent and has made room for another"),
    }
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(io: S, peer: Peer, visit: &Visit, site: &Arc<Site>) {
    let presence = visit.presence();
    let service = service_fn(|request| {
        let answering = site.connections.answering(presence);
        answer(Arc::clone(site), peer, answering, request)
    });
    let talking = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(site.limits.head)
        .max_buf_size(site.limits.head_bytes.max(8192))
        .max_headers(MOST_HEADERS)
        .serve_connection(TokioIo::new(io), service);
    let mut talking = pin!(talking);
    let ended = tokio::select! {
        ended = talking.as_mut() => ended,
        () = site.end() => {
            talking.as_mut().graceful_shutdown();
            talking.await
        }
    };
    if let Err(error) = ended {
        blame(&error, peer, visit, site);
    }
}

/// Whether it was the client's fault that the conversation ended.
fn blame(error: &hyper::Error, peer: Peer, visit: &Visit, site: &Site) {
    let presence = visit.presence();
    let counters = site.board.counters();
    if presence.is_slow() {
        counters.refuse(Refused::TooSlow, &peer, &"it did not read its answer in time");
    } else if error.is_timeout() && presence.has_begun() {
        counters.refuse(Refused::TooSlow, &peer, &"its request did not come in time");
    } else if error.is_parse_too_large() {
        counters.refuse(Refused::TooLarge, &peer, &error);
    } else if error.is_parse() {
        counters.refuse(Refused::Malformed, &peer, &error);
    } else {
        tracing::debug!("{peer}: {error}");
    }
}
