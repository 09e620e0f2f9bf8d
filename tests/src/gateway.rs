//! A masquerading gateway between clients and servers, made of network namespaces.
//!
//! ```text
//!  client                     router                      server
//!  10.1.0.0/16   c0 ---- ctw-clients  ctw-servers ---- s0   198.18.0.0/16
//!  fd00:1::/64                masquerade                    fd00:2::/64
//! ```
//!
//! The links have networks of their own and every neighbour is static, so nothing is ever resolved and any
//! address of the client or server networks may be used. Only the router has rules, so only it tracks
//! connections. Flood traffic goes to addresses the server does not own: it drops them without a word.

use std::net::IpAddr;

use anyhow::{Context as _, Result};

use crate::netns::{Netns, read_sysctl, write_sysctl};
use crate::tool;

/// The router's own address on the servers' side, which masquerading gives to every client.
pub const ROUTER_ADDRESS: &str = "198.19.0.1";
/// The interface of the client namespace.
pub const CLIENT_LINK: &str = "c0";
/// The router's hardware address on the clients' side.
pub const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The client's hardware address.
pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

const NFT_TABLE: &str = "ctwatch_lab";
const FORWARDING: [&str; 2] = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];

/// Which namespace is the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Router {
    /// A namespace of its own: nothing outside it is touched.
    Own,
    /// The namespace this process runs in, as on a real gateway. Only for a virtual machine.
    Here,
}

/// The three namespaces. Dropping it takes everything down again.
#[derive(Debug)]
pub struct Gateway {
    // First, so that it is dropped before the namespaces its links lead to.
    undo: Undo,
    /// Where the traffic comes from.
    pub client: Netns,
    /// Where connections are tracked.
    pub router: Netns,
    /// Where the traffic goes to.
    pub server: Netns,
    /// Whether IPv6 is forwarded and masqueraded too.
    pub ipv6: bool,
}

impl Gateway {
    /// Builds it.
    pub fn new(router: Router) -> Result<Self> {
        let here = router == Router::Here;
        let router = if here { Netns::current()? } else { Netns::new()? };
        let mut gateway = Self {
            client: Netns::new()?,
            router,
            server: Netns::new()?,
            ipv6: std::path::Path::new("/proc/sys/net/ipv6").exists(),
            // From here on a failure drops `gateway`, which undoes what was done.
            undo: Undo { wanted: here, steps: Vec::new() },
        };
        gateway.lay_cables().context("connect the namespaces")?;
        gateway.forward().context("make the router forward")?;
        gateway.masquerade().context("make the router masquerade")?;
        Ok(gateway)
    }

    /// The address of the `n`th source: some thousands for IPv4, any number for IPv6.
    pub fn source(ipv6: bool, n: u32) -> IpAddr {
        // 250 to a /24: neither .0 nor .255 is ever used.
        let (high, low) = (n / 250, 1 + n % 250);
        if ipv6 {
            return IpAddr::from([0xfd00, 1, 0, 0, 0, 0, high as u16, low as u16]);
        }
        IpAddr::from([10, 1, high as u8, low as u8])
    }

    /// The address real connections can be made to.
    pub fn listener(ipv6: bool) -> IpAddr {
        if ipv6 { IpAddr::from([0xfd00, 2, 0, 0, 0, 0, 0, 1]) } else { IpAddr::from([198, 18, 0, 1]) }
    }

    /// Translates what leaves for the servers in another way than masquerading: one nft rule per element, each
    /// without the match of the interface (`meta l4proto udp snat ip to 198.19.0.1:20000-20003`).
    pub fn translate(&self, rules: &[&str]) -> Result<()> {
        let family = self.family();
        let mut script = format!("flush chain {family} {NFT_TABLE} leaving\n");
        for rule in rules {
            script += &format!("add rule {family} {NFT_TABLE} leaving oifname \"ctw-servers\" {rule}\n");
        }
        self.router.run(|| tool::feed("nft -f -", &script)).map(drop)
    }

    /// Drops what it would forward, if it matches (`meta l4proto udp`): such packets have an entry that is
    /// never confirmed.
    pub fn drop_forwarded(&self, matching: &str) -> Result<()> {
        let script = format!("insert rule {} {NFT_TABLE} passing {matching} drop\n", self.family());
        self.router.run(|| tool::feed("nft -f -", &script)).map(drop)
    }

    /// The family of the router's rules, as nft has it.
    fn family(&self) -> &'static str {
        if self.ipv6 { "inet" } else { "ip" }
    }

    fn lay_cables(&mut self) -> Result<()> {
        let (client, server) = (self.client.path(), self.server.path());
        let mut router = format!(
            "link add ctw-clients address 02:00:00:00:00:01 type veth \
               peer name c0 address 02:00:00:00:00:02 netns {client}\n\
             link add ctw-servers address 02:00:00:00:00:03 type veth \
               peer name s0 address 02:00:00:00:00:04 netns {server}\n"
        );
        let (mut client, mut server) = (String::new(), String::new());
        router += ROUTER_V4;
        client += CLIENT_V4;
        server += SERVER_V4;
        if self.ipv6 {
            router += ROUTER_V6;
            client += CLIENT_V6;
            server += SERVER_V6;
            // An address of a `local` route may be bound in IPv4 as it is, in IPv6 only with this.
            self.client.set_sysctl("net/ipv6/ip_nonlocal_bind", 1)?;
        }
        self.undo.step(Step::Link("ctw-clients"));
        self.undo.step(Step::Link("ctw-servers"));
        for (netns, batch) in [(&self.router, router), (&self.client, client), (&self.server, server)] {
            netns.run(|| tool::feed("ip -batch -", &batch))?;
        }
        Ok(())
    }

    fn forward(&mut self) -> Result<()> {
        let families = if self.ipv6 { 2 } else { 1 };
        for path in &FORWARDING[..families] {
            let before = self.router.sysctl(path)?;
            self.undo.step(Step::Sysctl(path, before));
            self.router.set_sysctl(path, 1)?;
        }
        Ok(())
    }

    fn masquerade(&mut self) -> Result<()> {
        let rules = |family: &str| {
            format!(
                "table {family} {NFT_TABLE} {{\n\
                   chain leaving {{\n\
                     type nat hook postrouting priority 100;\n\
                     oifname \"ctw-servers\" masquerade\n\
                   }}\n\
                   chain passing {{\n\
                     type filter hook forward priority 0;\n\
                     ct state new accept\n\
                   }}\n\
                 }}\n"
            )
        };
        let family = self.family();
        self.router.run(|| tool::feed("nft -f -", &rules(family)))?;
        self.undo.step(Step::Table(family));
        Ok(())
    }
}

const ROUTER_V4: &str = "\
link set ctw-clients up
link set ctw-servers up
addr add 10.0.0.1/30 dev ctw-clients
addr add 198.19.0.1/30 dev ctw-servers
neigh replace 10.0.0.2 lladdr 02:00:00:00:00:02 dev ctw-clients nud permanent
neigh replace 198.19.0.2 lladdr 02:00:00:00:00:04 dev ctw-servers nud permanent
route add 10.1.0.0/16 via 10.0.0.2
route add 198.18.0.0/16 via 198.19.0.2
";
const CLIENT_V4: &str = "\
link set c0 up
addr add 10.0.0.2/30 dev c0
neigh replace 10.0.0.1 lladdr 02:00:00:00:00:01 dev c0 nud permanent
route add default via 10.0.0.1
route add local 10.1.0.0/16 dev lo
";
const SERVER_V4: &str = "\
link set s0 up
addr add 198.19.0.2/30 dev s0
neigh replace 198.19.0.1 lladdr 02:00:00:00:00:03 dev s0 nud permanent
route add default via 198.19.0.1
addr add 198.18.0.1/32 dev lo
";
const ROUTER_V6: &str = "\
link set ctw-clients addrgenmode none
link set ctw-servers addrgenmode none
addr add fd00:a::1/64 dev ctw-clients nodad
addr add fd00:b::1/64 dev ctw-servers nodad
neigh replace fd00:a::2 lladdr 02:00:00:00:00:02 dev ctw-clients nud permanent
neigh replace fd00:b::2 lladdr 02:00:00:00:00:04 dev ctw-servers nud permanent
route add fd00:1::/64 via fd00:a::2
route add fd00:2::/64 via fd00:b::2
";
const CLIENT_V6: &str = "\
link set c0 addrgenmode none
addr add fd00:a::2/64 dev c0 nodad
neigh replace fd00:a::1 lladdr 02:00:00:00:00:01 dev c0 nud permanent
route add default via fd00:a::1
route add local fd00:1::/64 dev lo
";
const SERVER_V6: &str = "\
link set s0 addrgenmode none
addr add fd00:b::2/64 dev s0 nodad
neigh replace fd00:b::1 lladdr 02:00:00:00:00:03 dev s0 nud permanent
route add default via fd00:b::1
addr add fd00:2::1/128 dev lo nodad
";

/// What to take back when the router is a namespace that outlives us; last done, first undone.
#[derive(Debug)]
struct Undo {
    wanted: bool,
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Link(&'static str),
    Sysctl(&'static str, String),
    Table(&'static str),
}

impl Undo {
    fn step(&mut self, step: Step) {
        if self.wanted {
            self.steps.push(step);
        }
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        while let Some(step) = self.steps.pop() {
            let undone = match step {
                Step::Link(name) => tool::run(&format!("ip link del {name}")).map(drop),
                Step::Sysctl(path, before) => write_sysctl(path, &before),
                Step::Table(family) => tool::run(&format!("nft delete table {family} {NFT_TABLE}")).map(drop),
            };
            if let Err(error) = undone {
                eprintln!("gateway: left behind: {error:#}");
            }
        }
    }
}

/// The one global limit and the one global table, which only the first network namespace may change.
#[derive(Debug)]
pub struct Limits {
    before: [String; 2],
}

const LIMITS: [&str; 2] = ["net/netfilter/nf_conntrack_max", "net/netfilter/nf_conntrack_buckets"];

impl Limits {
    /// Sets both until the value is dropped.
    pub fn set(max: u32, buckets: u32) -> Result<Self> {
        let before = [read_sysctl(LIMITS[0])?, read_sysctl(LIMITS[1])?];
        let limits = Self { before };
        limits.change(max, buckets)?;
        Ok(limits)
    }

    /// What they were: `nf_conntrack_max`, `nf_conntrack_buckets`.
    pub fn before(&self) -> (&str, &str) {
        (&self.before[0], &self.before[1])
    }

    /// Sets both to something else; what they were at first is still what comes back.
    pub fn change(&self, max: u32, buckets: u32) -> Result<()> {
        write_sysctl(LIMITS[1], &buckets.to_string())?;
        write_sysctl(LIMITS[0], &max.to_string())
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        for (path, before) in LIMITS.iter().zip(&self.before).rev() {
            if let Err(error) = write_sysctl(path, before) {
                eprintln!("gateway: not restored to {before}: {error:#}");
            }
        }
    }
}
