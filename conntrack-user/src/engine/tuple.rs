//! A connection the way people write it: addresses, ports and protocol of one original tuple.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use conntrack_common::Tuple;

const AF_INET: u32 = 2;

/// The original direction of an entry, with the network namespace and zone it lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Conntrack zone; 0 is the default one.
    pub zone: u16,
    /// Layer 4 protocol.
    pub proto: Proto,
    /// Who opened it.
    pub src: IpAddr,
    /// Whom it was opened to, before any NAT.
    pub dst: IpAddr,
    /// Source port; the identifier of an ICMP query, the key of GRE.
    pub sport: u16,
    /// Destination port; type and code of an ICMP query as `type << 8 | code`.
    pub dport: u16,
}

/// The fields an ICMP query has instead of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// Identifier of the query.
    pub id: u16,
}

impl Connection {
    /// Reads a kernel tuple.
    pub fn new(netns: u32, zone: u16, tuple: &Tuple) -> Self {
        let address = |bytes| address(tuple.l3num.into(), bytes);
        Self {
            netns,
            zone,
            proto: Proto(tuple.protonum),
            src: address(tuple.src),
            dst: address(tuple.dst),
            sport: u16::from_be_bytes(tuple.sport),
            dport: u16::from_be_bytes(tuple.dport),
        }
    }

    /// Stands for the address of an entry that is known by its connection alone. No two confirmed entries have the
    /// same (`__nf_conntrack_confirm`). The highest bit is clear, which every kernel address has set.
    pub fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish() >> 1
    }

    /// Type, code and identifier, if this is ICMP or ICMPv6.
    pub fn icmp(&self) -> Option<Icmp> {
        let [kind, code] = self.dport.to_be_bytes();
        matches!(self.proto, Proto::ICMP | Proto::ICMPV6).then_some(Icmp { kind, code, id: self.sport })
    }
}

/// Reads a kernel `nf_inet_addr`. Anything but `AF_INET` is taken for IPv6: conntrack tracks nothing else.
pub fn address(l3num: u32, bytes: [u8; 16]) -> IpAddr {
    match bytes {
        [a, b, c, d, ..] if l3num == AF_INET => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        _ => IpAddr::V6(Ipv6Addr::from(bytes)),
    }
}

/// A layer 4 protocol number; displayed and parsed by its lower-case name where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Proto(pub u8);

/// Names as conntrack-tools spell them.
const NAMES: [(u8, &str); 11] = [
    (1, "icmp"),
    (2, "igmp"),
    (6, "tcp"),
    (17, "udp"),
    (33, "dccp"),
    (47, "gre"),
    (50, "esp"),
    (51, "ah"),
    (58, "icmpv6"),
    (132, "sctp"),
    (136, "udplite"),
];

impl Proto {
    /// ICMP over IPv4.
    pub const ICMP: Self = Self(1);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// GRE, whose keys stand where ports would.
    pub const GRE: Self = Self(47);
    /// ICMPv6.
    pub const ICMPV6: Self = Self(58);

    /// Whether `sport` and `dport` are ports.
    pub fn has_ports(self) -> bool {
        matches!(self.0, 6 | 17 | 33 | 132 | 136)
    }
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => f.pad(name),
            None => self.0.fmt(f),
        }
    }
}

impl FromStr for Proto {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match NAMES.iter().find(|(_, name)| name.eq_ignore_ascii_case(text)) {
            Some((number, _)) => Ok(Self(*number)),
            None => text.parse().map(Self),
        }
    }
}

/// `nf_conn.status` (include/uapi/linux/netfilter/nf_conntrack_common.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    /// `IPS_SEEN_REPLY`; conntrack writes `[UNREPLIED]` where it is absent.
    pub const fn seen_reply(self) -> bool {
        self.0 & (1 << 1) != 0
    }

    /// `IPS_ASSURED`: `early_drop` spares it.
    pub const fn assured(self) -> bool {
        self.0 & (1 << 2) != 0
    }

    /// `IPS_CONFIRMED`: its first packet left the host, and `conntrack -L` lists it.
    pub const fn confirmed(self) -> bool {
        self.0 & (1 << 3) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing;

    fn bytes(start: &[u8]) -> [u8; 16] {
        std::array::from_fn(|i| start.get(i).copied().unwrap_or(0))
    }

    #[test]
    fn reads_both_families_and_network_order() {
        let tuple = Tuple {
            src: bytes(&[10, 1, 0, 5]),
            sport: [0x04, 0x00],
            l3num: 2,
            dst: bytes(&[10, 99, 0, 1]),
            dport: [0x13, 0x88],
            protonum: 17,
            dir: 0,
        };
        let v4 = Connection::new(7, 3, &tuple);
        assert_eq!((v4.src.to_string(), v4.dst.to_string()), ("10.1.0.5".into(), "10.99.0.1".into()));
        assert_eq!((v4.netns, v4.zone, v4.sport, v4.dport, v4.proto), (7, 3, 1024, 5000, Proto::UDP));
        assert_eq!(v4.icmp(), None);

        let src = bytes(&[0x20, 0x01, 0x0d, 0xb8]);
        let v6 = Connection::new(7, 0, &Tuple { l3num: 10, protonum: 58, dport: [128, 0], src, ..tuple });
        assert_eq!(v6.src.to_string(), "2001:db8::");
        assert_eq!(v6.icmp(), Some(Icmp { kind: 128, code: 0, id: 1024 }));
    }

    #[test]
    fn protocols_have_names_or_numbers() {
        for (text, number) in [("tcp", 6), ("UDP", 17), ("icmpv6", 58), ("132", 132), ("200", 200)] {
            assert_eq!(text.parse(), Ok(Proto(number)), "{text}");
        }
        assert_eq!(Proto(132).to_string(), "sctp");
        assert_eq!(Proto(200).to_string(), "200");
        assert_eq!(format!("[{:<6}]", Proto::TCP), "[tcp   ]");
        assert!("256".parse::<Proto>().is_err() && "tpc".parse::<Proto>().is_err());
    }

    #[test]
    fn keys_are_no_addresses_and_tell_namespaces_apart() {
        let here = testing::connection(1);
        let others =
            [testing::connection(2), Connection { netns: 2, ..here }, Connection { zone: 1, ..here }];
        for connection in others {
            assert_ne!(connection.key(), here.key());
            assert_eq!(connection.key() >> 63, 0);
        }
    }

    #[test]
    fn status_bits_are_the_kernels() {
        let status = Status(0x0e);
        assert!(status.seen_reply() && status.assured() && status.confirmed());
        assert!(!Status(8).seen_reply() && !Status(8).assured() && Status(8).confirmed());
    }
}
