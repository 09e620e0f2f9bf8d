//! UDP datagrams from ordinary sockets, one new connection each: tracked where they are sent, in the sender's own
//! context, and not only where they pass or arrive.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::netns::Netns;

/// Datagrams to one address from `count` ports in a row.
#[derive(Clone, Copy, Debug)]
pub struct Datagrams {
    /// Where the first comes from; each other has the next port.
    pub from: SocketAddr,
    /// Where they go.
    pub to: SocketAddr,
    /// How many.
    pub count: u16,
    /// The processor they are sent on; any if absent.
    pub cpu: Option<usize>,
}

impl Datagrams {
    /// Sends them all from a namespace; returns how many the kernel took.
    pub fn send(&self, netns: &Netns) -> Result<u64> {
        ensure!(self.from.port().checked_add(self.count).is_some(), "{self:?}: not so many ports");
        netns.run(|| self.send_here())
    }

    /// Sends them all from the namespace of the calling thread, which stays on [`Datagrams::cpu`].
    pub fn send_here(&self) -> Result<u64> {
        self.cpu.map_or(Ok(()), stay_on)?;
        let mut sent = 0;
        for n in 0..self.count {
            let from = SocketAddr::new(self.from.ip(), self.from.port() + n);
            let socket = UdpSocket::bind(from).with_context(|| format!("bind to {from}"))?;
            match socket.send_to(b"ctw\n", self.to) {
                Ok(_) => sent += 1,
                // What a full queue or a full table says.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
                Err(error) => return Err(error).with_context(|| format!("send from {from} to {}", self.to)),
            }
        }
        Ok(sent)
    }
}

/// Keeps the calling thread on one processor.
pub fn stay_on(cpu: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only).with_context(|| format!("stay on processor {cpu}"))
}
