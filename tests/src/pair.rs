//! Two hosts on one cable. Both track what they send and what they receive, and the receiver lets each processor
//! hand packets to the other: so a softirq often interrupts a sender in the middle of the kernel's own work on an
//! entry, which is where a kernel skips nested probes.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};

use crate::datagrams::Datagrams;
use crate::kernel;
use crate::netns::{Netns, write_sysctl};
use crate::tool;

const TRACKING: &str = "\
table ip ctwatch_pair {
  chain sent { type filter hook output priority 0; ct state new counter; }
  chain received { type filter hook input priority 0; ct state new counter; }
}
";
/// The first source port of either sender; the second's come after the most that the first can have.
const FIRST_PORTS: [u16; 2] = [10_000, 35_000];
/// Every processor of two, as a mask.
const BOTH: &str = "3";

/// The two namespaces.
#[derive(Debug)]
pub struct Pair {
    /// Where the datagrams come from.
    pub sender: Netns,
    /// Where they go; nobody listens there.
    pub receiver: Netns,
}

impl Pair {
    /// Builds it.
    pub fn new() -> Result<Self> {
        write_sysctl("net/core/netdev_max_backlog", "100000")?;
        let pair = Self { sender: Netns::new()?, receiver: Netns::new()? };
        let cable = format!("ip link add p0 type veth peer name p1 netns {}", pair.receiver.path());
        pair.sender.tool(&cable).context("connect the namespaces")?;
        for (netns, address, link) in
            [(&pair.sender, "10.9.0.1/24", "p0"), (&pair.receiver, "10.9.0.2/24", "p1")]
        {
            netns.tool(&format!("ip addr add {address} dev {link}"))?;
            netns.tool(&format!("ip link set {link} up"))?;
            netns.run(|| tool::feed("nft -f -", TRACKING))?;
        }
        pair.spread()?;
        Ok(pair)
    }

    /// Receive packet steering on the receiver's end. Its switch is in a sysfs of its namespace.
    fn spread(&self) -> Result<()> {
        let script = format!(
            "mount -t sysfs sysfs /sys\n\
             echo {BOTH} >/sys/class/net/p1/queues/rx-0/rps_cpus\n\
             cat /sys/class/net/p1/queues/rx-0/rps_cpus\n"
        );
        let mask = self.receiver.run(|| tool::feed("unshare -m sh", &script))?;
        ensure!(mask.trim() == BOTH, "the receiver's rps_cpus is {mask:?}");
        Ok(())
    }

    /// Sends from two processors at once, `count` datagrams each (25,000 at most): that many entries per processor in either
    /// namespace, unless they are there already.
    pub fn send_on_both(&self, count: u16) -> Result<u64> {
        let datagrams = |cpu: usize| Datagrams {
            from: SocketAddr::from(([10, 9, 0, 1], FIRST_PORTS[cpu])),
            to: SocketAddr::from(([10, 9, 0, 2], 9_000 + cpu as u16)),
            count,
            cpu: Some(cpu),
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(move || datagrams(1).send(&self.sender));
            let first = datagrams(0).send(&self.sender)?;
            Ok(first + other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?)
        })
    }

    /// Frees every entry of both.
    pub fn flush(&self) -> Result<()> {
        kernel::flush(&self.sender)?;
        kernel::flush(&self.receiver)
    }

    /// `nf_conntrack_count` of both.
    pub fn counts(&self) -> Result<[u64; 2]> {
        Ok([kernel::count(&self.sender)?, kernel::count(&self.receiver)?])
    }
}
