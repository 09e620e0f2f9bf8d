//! New entries as fast as a network namespace takes them: raw frames, one connection each, sent in batches.
#![expect(unsafe_code, reason = "AF_PACKET addresses and sendmmsg(2) have no safe wrapper")]

use std::ffi::CString;
use std::io;
use std::mem;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::time::{ClockId, clock_gettime};

use crate::frame::{Frame, MAX_FRAME};
use crate::gateway::{CLIENT_LINK, Gateway};

/// Transport protocol of the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proto {
    /// One datagram.
    Udp,
    /// One SYN.
    Tcp,
}

/// The original tuple of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Transport protocol.
    pub proto: Proto,
    /// Client address.
    pub src: IpAddr,
    /// Server address.
    pub dst: IpAddr,
    /// Client port.
    pub sport: u16,
    /// Server port.
    pub dport: u16,
}

/// What to send. Packet `i` of a flood is the same in every run: see [`Flood::tuple_of`].
#[derive(Clone, Debug)]
pub struct Flood {
    /// Transport protocol.
    pub proto: Proto,
    /// IPv6 instead of IPv4.
    pub ipv6: bool,
    /// How many source addresses.
    pub sources: u32,
    /// How many of 100 packets come from the first source; the others share the rest evenly.
    pub heavy_percent: u32,
    /// How many packets.
    pub packets: u64,
    /// Number of the first packet: another flood with other numbers makes other entries.
    pub first: u64,
    /// Number of the first source in [`Gateway::source`].
    pub first_source: u32,
    /// How many destination ports they go to, in turn.
    pub ports: u64,
    /// Packets per second; as fast as possible if absent.
    pub rate: Option<u64>,
    /// Packets handed to the kernel at once.
    pub batch: usize,
}

/// What was sent, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Packets the kernel took.
    pub packets: u64,
    /// CLOCK_MONOTONIC before the first was sent, in nanoseconds.
    pub first_ns: u64,
    /// CLOCK_MONOTONIC after the first batch was sent, in nanoseconds.
    pub first_batch_ns: u64,
    /// CLOCK_MONOTONIC after the last was sent, in nanoseconds.
    pub last_ns: u64,
}

impl Sent {
    /// Packets per second.
    pub fn rate(&self) -> f64 {
        self.packets as f64 * 1e9 / (self.last_ns - self.first_ns).max(1) as f64
    }
}

/// CLOCK_MONOTONIC in nanoseconds: the clock of `bpf_ktime_get_ns`.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

impl Default for Flood {
    fn default() -> Self {
        Self {
            proto: Proto::Udp,
            ipv6: false,
            sources: 1,
            heavy_percent: 0,
            packets: 1,
            first: 0,
            first_source: 0,
            ports: 256,
            rate: None,
            batch: 64,
        }
    }
}

impl Flood {
    /// The original tuple of packet `i`; no two packets of a flood share one.
    pub fn tuple_of(&self, i: u64) -> Tuple {
        let (source, nth) = self.source_of(i);
        // A masquerading router has 64,512 ports per destination address and port, so many destination
        // ports keep its port search short, and another address follows when a source's ports are used up.
        let port = |n: u64, from: u16| from + n as u16;
        let (sport, dst) = (port(nth % 60_000, 1024), 1 + nth / 60_000);
        let dst = if self.ipv6 {
            IpAddr::from([0xfd00, 2, 0, 0, 0, 0, 1, dst as u16])
        } else {
            IpAddr::from([198, 18, 1 + (dst >> 8) as u8, dst as u8])
        };
        Tuple {
            proto: self.proto,
            src: Gateway::source(self.ipv6, self.first_source + source),
            dst,
            sport,
            dport: port(i % self.ports, 5000),
        }
    }

    /// Which source packet `i` comes from, and how many that source sent before.
    fn source_of(&self, i: u64) -> (u32, u64) {
        let heavy_before = |i: u64| i * u64::from(self.heavy_percent) / 100;
        let nth_heavy = heavy_before(i);
        if heavy_before(i + 1) > nth_heavy {
            return (0, nth_heavy);
        }
        let light = i - nth_heavy;
        // The heavy source has no part in the rest, unless it is alone or nobody is heavy.
        let skip = u32::from(self.heavy_percent > 0 && self.sources > 1);
        let others = u64::from(self.sources - skip);
        (skip + (light % others) as u32, light / others)
    }

    /// Packets of the flood that come from its `n`th source.
    pub fn packets_of(&self, n: u32) -> u64 {
        (self.first..self.first + self.packets).filter(|&i| self.source_of(i).0 == n).count() as u64
    }

    /// Sends it all from the client of `gateway`.
    pub fn send(&self, gateway: &Gateway) -> Result<Sent> {
        ensure!(
            self.sources > 0 && self.batch > 0 && self.ports > 0 && self.heavy_percent <= 100,
            "{self:?}: nothing to send"
        );
        gateway.client.run(|| self.send_here(&|| false))
    }

    /// Sends from the client namespace the calling thread is in, until all is sent or `stop` says so.
    pub fn send_here(&self, stop: &dyn Fn() -> bool) -> Result<Sent> {
        let socket = Link::open(CLIENT_LINK)?;
        let mut frames = vec![Frame::new(); self.batch];
        let mut sent = Sent { first_ns: monotonic_ns(), ..Sent::default() };
        while sent.packets < self.packets && !stop() {
            let size = (self.packets - sent.packets).min(self.batch as u64) as usize;
            for (frame, i) in frames[..size].iter_mut().zip(self.first + sent.packets..) {
                frame.fill(&self.tuple_of(i));
            }
            socket.send_all(&mut frames[..size])?;
            sent.packets += size as u64;
            if sent.packets == size as u64 {
                sent.first_batch_ns = monotonic_ns();
            }
            self.pace(&sent);
        }
        sent.last_ns = monotonic_ns();
        Ok(sent)
    }

    fn pace(&self, sent: &Sent) {
        let Some(rate) = self.rate else { return };
        let due = sent.first_ns + (u128::from(sent.packets) * 1_000_000_000 / u128::from(rate)) as u64;
        let early = due.saturating_sub(monotonic_ns());
        std::thread::sleep(Duration::from_nanos(early));
    }
}

/// A raw socket bound to one interface.
struct Link {
    socket: OwnedFd,
}

impl Link {
    fn open(interface: &str) -> Result<Self> {
        // SAFETY: no pointers; the result is checked before it is used.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error()).context("open a raw socket (root is needed)");
        }
        // SAFETY: the kernel just made this descriptor and nobody else has it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let name = CString::new(interface)?;
        // SAFETY: `name` is a C string that outlives the call.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        ensure!(index != 0, "there is no interface {interface} in this network namespace");
        // SAFETY: sockaddr_ll is plain integers, for which zero is a value.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = index as i32;
        // SAFETY: the pointer and the length are those of `address`, which outlives the call.
        let bound = unsafe {
            libc::bind(
                socket.as_raw_fd(),
                (&raw const address).cast(),
                mem::size_of_val(&address) as libc::socklen_t,
            )
        };
        if bound != 0 {
            return Err(io::Error::last_os_error()).with_context(|| format!("bind to {interface}"));
        }
        let link = Self { socket };
        // Straight to the driver, and room for a whole batch.
        link.option(libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1)?;
        link.option(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, 8 << 20)?;
        Ok(link)
    }

    fn option(&self, level: i32, name: i32, value: i32) -> Result<()> {
        // SAFETY: the pointer and the length are those of `value`, which outlives the call.
        let set = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                level,
                name,
                (&raw const value).cast(),
                mem::size_of_val(&value) as libc::socklen_t,
            )
        };
        if set != 0 {
            return Err(io::Error::last_os_error()).context("set a socket option");
        }
        Ok(())
    }

    fn send_all(&self, frames: &mut [Frame]) -> Result<()> {
        let mut parts: Vec<libc::iovec> = frames
            .iter_mut()
            .map(|frame| {
                let bytes = frame.bytes_mut();
                debug_assert!(bytes.len() <= MAX_FRAME);
                libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
            })
            .collect();
        let mut messages: Vec<libc::mmsghdr> = parts
            .iter_mut()
            .map(|part| {
                // SAFETY: mmsghdr is integers and pointers, for which zero is a value.
                let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
                message.msg_hdr.msg_iov = part;
                message.msg_hdr.msg_iovlen = 1;
                message
            })
            .collect();
        let mut done = 0;
        while done < messages.len() {
            let rest = &mut messages[done..];
            // SAFETY: `rest` is that many messages; their `parts` and the frames these point to outlive the
            // call, and the kernel only reads them.
            let taken =
                unsafe { libc::sendmmsg(self.socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as u32, 0) };
            if taken > 0 {
                done += taken as usize;
                continue;
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::ENOBUFS | libc::EAGAIN | libc::EINTR) => std::thread::yield_now(),
                _ => return Err(error).context("send packets"),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_packets_share_a_tuple() {
        for (sources, heavy_percent) in [(1, 0), (1, 50), (7, 0), (20, 50), (3, 100), (2, 1)] {
            let flood = Flood { sources, heavy_percent, packets: 130_000, ..Flood::default() };
            let tuples: HashSet<Tuple> = (0..flood.packets).map(|i| flood.tuple_of(i)).collect();
            assert_eq!(tuples.len() as u64, flood.packets, "{sources} sources, {heavy_percent} % heavy");
        }
    }

    #[test]
    fn the_heavy_source_sends_its_share() {
        let flood = Flood { sources: 51, heavy_percent: 40, packets: 5_000, ..Flood::default() };
        assert_eq!(flood.packets_of(0), 2_000);
        for n in 1..51 {
            assert_eq!(flood.packets_of(n), 60, "source {n}");
        }
    }
}
