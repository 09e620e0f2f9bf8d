//! Sockets that somebody else opened for this process: socket activation, as `sd_listen_fds(3)` describes it.

use std::env;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, sockopt};
use thiserror::Error;

/// The first descriptor that is handed over (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;

/// More would be a mistake.
const MOST: RawFd = 64;

/// Of the flags of a descriptor, in `/proc/self/fdinfo`.
const O_CLOEXEC: u32 = 0o2_000_000;

/// A socket that was handed over.
#[derive(Debug)]
pub struct Inherited {
    /// Its name (`FileDescriptorName=`); empty if it has none.
    pub name: String,
    /// The socket.
    pub listener: Listener,
}

/// A socket that listens.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A stream of the local domain.
    Unix(UnixListener),
}

/// Why sockets cannot be taken over.
#[derive(Debug, Error)]
pub enum InheritedError {
    /// The environment is not as it should be.
    #[error("{variable}={value:?} is not what a service manager sets; unset it")]
    Environment {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// Not a socket we can use.
    #[error(
        "file descriptor {fd} was handed over and {what}; ListenStream= in the socket unit is what is needed"
    )]
    Unfit {
        /// Which.
        fd: RawFd,
        /// What it is.
        what: &'static str,
    },
    /// The kernel does not tell about it.
    #[error("file descriptor {fd} that was handed over: {source}")]
    System {
        /// Which.
        fd: RawFd,
        /// Why.
        source: io::Error,
    },
}

/// Takes the sockets that were handed over to this process; none if none were, or if they were taken before.
pub fn listeners() -> Result<Vec<Inherited>, InheritedError> {
    let number = |variable| match env::var(variable) {
        Ok(value) => {
            value.parse::<u32>().map(Some).map_err(|_| InheritedError::Environment { variable, value })
        }
        Err(_) => Ok(None),
    };
    // Set for another process, which has started this one.
    if number("LISTEN_PID")? != Some(std::process::id()) {
        return Ok(Vec::new());
    }
    let count = number("LISTEN_FDS")?.unwrap_or(0);
    let count = RawFd::try_from(count)
        .ok()
        .filter(|count| *count <= MOST)
        .ok_or_else(|| InheritedError::Environment { variable: "LISTEN_FDS", value: count.to_string() })?;
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').map(str::to_owned);
    let mut taken = Vec::new();
    for fd in FIRST..FIRST + count {
        let name = names.next().unwrap_or_default();
        if let Some(owned) = take(fd)? {
            taken.push(Inherited { name, listener: listener(owned, fd)? });
        }
    }
    Ok(taken)
}

/// Takes a descriptor, unless it has an owner in this process.
fn take(fd: RawFd) -> Result<Option<OwnedFd>, InheritedError> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))
        .map_err(|_| InheritedError::Unfit { fd, what: "is not open" })?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    if flags.ok_or(InheritedError::Unfit { fd, what: "has no flags" })? & O_CLOEXEC != 0 {
        return Ok(None);
    }
    // SAFETY: it is open, as the kernel has just said. It came through exec, because it would not survive one: all that
    // this process opens is O_CLOEXEC, and so is what was taken here, below. So nobody owns it.
    #[allow(unsafe_code, reason = "a number becomes a descriptor")]
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    fcntl_setfd(&owned, FdFlags::CLOEXEC)
        .map_err(|error| InheritedError::System { fd, source: error.into() })?;
    Ok(Some(owned))
}

/// What kind of socket it is.
fn listener(owned: OwnedFd, fd: RawFd) -> Result<Listener, InheritedError> {
    let unfit = |what| InheritedError::Unfit { fd, what };
    let family = sockopt::socket_domain(&owned).map_err(|_| unfit("is no socket"))?;
    let kind = sockopt::socket_type(&owned).map_err(|_| unfit("is no socket"))?;
    if kind != SocketType::STREAM {
        return Err(unfit("is no stream socket"));
    }
    if !sockopt::socket_acceptconn(&owned).map_err(|_| unfit("is no socket"))? {
        return Err(unfit("does not listen"));
    }
    match family {
        AddressFamily::INET | AddressFamily::INET6 => Ok(Listener::Tcp(owned.into())),
        AddressFamily::UNIX => Ok(Listener::Unix(owned.into())),
        _ => Err(unfit("is of another family than IPv4, IPv6 and Unix")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_listen_is_not_taken_for_a_listener() {
        let said = |owned: OwnedFd| match listener(owned, 3) {
            Err(error) => error.to_string(),
            Ok(listener) => format!("{listener:?}"),
        };
        let file = fs::File::open("/dev/null").expect("it is there");
        assert!(said(file.into()).contains("is no socket"));
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        assert!(said(udp.into()).contains("is no stream socket"));
        let (one, _other) = std::os::unix::net::UnixStream::pair().expect("sockets");
        assert!(said(one.into()).contains("does not listen"));
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a socket");
        assert!(matches!(listener(tcp.into(), 3), Ok(Listener::Tcp(_))));
        let folder = tempfile::tempdir().expect("a folder");
        let unix = UnixListener::bind(folder.path().join("socket")).expect("a socket");
        assert!(matches!(listener(unix.into(), 3), Ok(Listener::Unix(_))));
    }

    #[test]
    fn what_has_an_owner_is_left_to_it() {
        use std::os::fd::AsRawFd;
        let own = TcpListener::bind("127.0.0.1:0").expect("a socket");
        assert!(matches!(take(own.as_raw_fd()), Ok(None)));
        assert!(matches!(take(100_000), Err(InheritedError::Unfit { what: "is not open", .. })));
    }
}
