//! The socket that hears of every entry that is confirmed or destroyed.
#![expect(unsafe_code, reason = "recvmmsg(2) has no safe wrapper")]

use std::{
    io, mem,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    ptr,
};

use rustix::{
    io::Errno,
    net::{
        bind,
        netlink::SocketAddrNetlink,
        sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force},
    },
};

use super::socket;
use crate::engine::ctnetlink::{DESTROYED_ENTRIES, Message, Messages, NEW_ENTRIES};

/// Datagrams taken in one system call: alone, each would cost as much again.
const AT_ONCE: usize = 64;

/// An event is a few hundred bytes; labels, a helper and a security context are the longest parts.
const EVENT_BYTES: usize = 4096;

/// A socket that hears of every entry that is confirmed or destroyed.
pub struct Listening {
    socket: OwnedFd,
    buffer: Box<[u8]>,
    /// The kernel's counter of what it could not queue, which wraps, and all it ever showed.
    dropped: (u32, u64),
}

/// What one look at the queue brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Some events; there may be more.
    Some,
    /// Nothing: the queue is empty.
    Nothing,
    /// Events were lost here: the queue was full.
    Overrun,
}

impl Listening {
    /// Opens one with room for `bytes` of events, of which the kernel counts about a kilobyte each. Without
    /// CAP_NET_ADMIN in the first user namespace it gives no more than `net.core.rmem_max`.
    pub fn open(bytes: usize) -> io::Result<Self> {
        let socket = socket::open()?;
        set_socket_recv_buffer_size_force(&socket, bytes)
            .or_else(|_| set_socket_recv_buffer_size(&socket, bytes))?;
        bind(&socket, &SocketAddrNetlink::new(0, NEW_ENTRIES | DESTROYED_ENTRIES))?;
        Ok(Self { socket, buffer: vec![0; AT_ONCE * EVENT_BYTES].into(), dropped: (0, 0) })
    }

    /// Takes what is queued, some at a time, without waiting.
    pub fn receive(&mut self, mut event: impl FnMut(Message<'_>)) -> io::Result<Heard> {
        let mut lengths = [0; AT_ONCE];
        let received = match receive_many(self.socket.as_fd(), &mut self.buffer, &mut lengths) {
            Ok(received) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Heard::Nothing),
            Err(Errno::NOBUFS) => return Ok(Heard::Overrun),
            Err(error) => return Err(error.into()),
        };
        for (datagram, length) in self.buffer.chunks(EVENT_BYTES).zip(&lengths[..received]) {
            Messages::new(&datagram[..(*length).min(EVENT_BYTES)]).for_each(&mut event);
        }
        Ok(Heard::Some)
    }

    /// Events that were not queued since it was opened, one by one.
    ///
    /// ENOBUFS comes once per overrun and says no number, but each datagram that finds no room is counted
    /// (`netlink_overrun`, net/netlink/af_netlink.c), and an event is a datagram.
    pub fn lost(&mut self) -> io::Result<u64> {
        let mut memory = [0u32; libc::SK_MEMINFO_DROPS as usize + 1];
        socket::option(self.socket.as_fd(), libc::SO_MEMINFO, &mut memory)?;
        let dropped = memory[libc::SK_MEMINFO_DROPS as usize];
        let (before, sum) = self.dropped;
        self.dropped = (dropped, sum + u64::from(dropped.wrapping_sub(before)));
        Ok(self.dropped.1)
    }
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Receives up to [`AT_ONCE`] datagrams into pieces of `buffer` of [`EVENT_BYTES`] each; their lengths.
fn receive_many(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    lengths: &mut [usize; AT_ONCE],
) -> Result<usize, Errno> {
    let mut parts = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; AT_ONCE];
    for (part, piece) in parts.iter_mut().zip(buffer.chunks_exact_mut(EVENT_BYTES)) {
        *part = libc::iovec { iov_base: piece.as_mut_ptr().cast(), iov_len: piece.len() };
    }
    // SAFETY: mmsghdr is integers and pointers, for which zero is a value.
    let mut headers: [libc::mmsghdr; AT_ONCE] = unsafe { mem::zeroed() };
    for (header, part) in headers.iter_mut().zip(&mut parts) {
        header.msg_hdr.msg_iov = part;
        header.msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: `headers` is that many headers, each with one part, and these are empty or distinct pieces of
    // `buffer`; all of them outlive the call.
    let received = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            AT_ONCE as libc::c_uint,
            libc::MSG_DONTWAIT,
            ptr::null_mut(),
        )
    };
    let received = usize::try_from(received)
        .map_err(|_| Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))?;
    for (length, header) in lengths.iter_mut().zip(&headers[..received]) {
        *length = header.msg_len as usize;
    }
    Ok(received)
}
