//! Netlink sockets, and one that asks. Each belongs to the network namespace of the thread that opened it, and
//! keeps that namespace alive as long as it is open (`sk_alloc`, net/core/sock.c).
#![expect(unsafe_code, reason = "these socket options have no safe wrapper")]

use std::{
    io, mem,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
        sockopt::{Timeout, set_socket_timeout},
    },
};

use crate::engine::ctnetlink::{Content, Messages, Request};

/// The kernel fills at most 32 KiB of a reader's buffer with a dump (`netlink_dump`).
const ANSWER_BYTES: usize = 32 << 10;

/// An answer is made while it is read, so the kernel is never late; this keeps a mistake from being a hang.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A socket in the calling thread's network namespace.
pub fn open() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::NETFILTER))?)
}

/// A socket for questions, one at a time.
pub struct Asking {
    socket: OwnedFd,
    sequence: u32,
    buffer: Box<[u8]>,
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to be received.
    More,
    /// That was all.
    Complete,
}

impl Asking {
    /// Opens one.
    pub fn open() -> io::Result<Self> {
        let socket = open()?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_WITHIN))?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; ANSWER_BYTES].into() })
    }

    /// Asks and hands every part of the answer to `part`. After an error the socket is of no more use: what is
    /// left of the answer would be in the way.
    pub fn ask(&mut self, request: Request, mut part: impl FnMut(Content)) -> io::Result<()> {
        self.begin(request)?;
        while self.receive(&mut part)? == Progress::More {}
        Ok(())
    }

    /// Asks; the answer is then received piece by piece.
    pub fn begin(&mut self, request: Request) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        send(&self.socket, &request.to_bytes(self.sequence), SendFlags::empty())?;
        Ok(())
    }

    /// Receives the next piece. A dump that the kernel calls inconsistent ends with `Interrupted`.
    pub fn receive(&mut self, mut part: impl FnMut(Content)) -> io::Result<Progress> {
        let length = loop {
            match recv(&self.socket, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((length, _)) => break length,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        for message in Messages::new(&self.buffer[..length]) {
            if message.sequence() != self.sequence {
                continue;
            }
            if message.interrupted() {
                return Err(Errno::INTR.into());
            }
            match message.content().map_err(io::Error::other)? {
                Content::End { errno: 0 } => return Ok(Progress::Complete),
                Content::End { errno } => return Err(io::Error::from_raw_os_error(errno as i32)),
                // Not a dump: nothing follows.
                totals @ Content::Totals { .. } => {
                    part(totals);
                    return Ok(Progress::Complete);
                }
                content => part(content),
            }
        }
        Ok(Progress::More)
    }

    /// `net.net_cookie` of its network namespace, which no other has had or will have; 0 before 5.14.
    pub fn netns_cookie(&self) -> u64 {
        let mut cookie = [0u64; 1];
        option(self.socket.as_fd(), libc::SO_NETNS_COOKIE, &mut cookie).map_or(0, |()| cookie[0])
    }
}

/// Reads a socket option that is integers.
pub fn option<T: Copy>(socket: BorrowedFd<'_>, name: libc::c_int, value: &mut [T]) -> io::Result<()> {
    let mut length = mem::size_of_val(value) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which is how long `value` is, and it outlives the call;
    // every caller's `T` is an integer, for which all bytes are values.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
