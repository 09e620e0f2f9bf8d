//! The filter language of conntrack-tools: which connections `watch` prints and which sources `top` lists.
//!
//! It never touches totals: what is not shown is still counted.

use std::net::IpAddr;

use ipnet::IpNet;
use thiserror::Error;

use super::tuple::{Connection, Proto};

/// What a connection must be. None asks for nothing; all that is asked must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Original source within this network.
    pub src: Option<IpNet>,
    /// Original destination within this network.
    pub dst: Option<IpNet>,
    /// Layer 4 protocol.
    pub proto: Option<Proto>,
    /// Source port; asks for a protocol with ports.
    pub sport: Option<u16>,
    /// Destination port; asks for a protocol with ports.
    pub dport: Option<u16>,
    /// Address family.
    pub family: Option<Family>,
    /// Conntrack zone.
    pub zone: Option<u16>,
    /// Mark under a mask.
    pub mark: Option<Mark>,
    /// One of these network namespaces.
    pub netns: Option<Vec<u32>>,
}

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `ipv4`
    Ipv4,
    /// `ipv6`
    Ipv6,
}

/// `V[/M]`: the mark under the mask equals the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What is to be left of the mark.
    pub value: u32,
    /// The bits looked at; all of them where none are given.
    pub mask: u32,
}

impl Filter {
    /// Whether a connection with that mark is let through.
    pub fn matches(&self, connection: &Connection, mark: u32) -> bool {
        let Self { src: _, dst, proto, sport, dport, family: _, zone, mark: marks, netns: _ } = self;
        let port = |asked: &Option<u16>, is: u16| {
            asked.is_none_or(|port| connection.proto.has_ports() && port == is)
        };
        self.matches_source(connection.netns, connection.src)
            && dst.is_none_or(|net| net.contains(&connection.dst))
            && proto.is_none_or(|proto| proto == connection.proto)
            && port(sport, connection.sport)
            && port(dport, connection.dport)
            && zone.is_none_or(|zone| zone == connection.zone)
            && marks.is_none_or(|marks| mark & marks.mask == marks.value)
    }

    /// Whether a source is let through: it has a namespace and an address, the rest is not asked.
    pub fn matches_source(&self, netns: u32, src: IpAddr) -> bool {
        let family = if src.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
        self.matches_netns(netns)
            && self.src.is_none_or(|net| net.contains(&src))
            && self.family.is_none_or(|asked| asked == family)
    }

    /// Whether a network namespace is let through.
    pub fn matches_netns(&self, netns: u32) -> bool {
        self.netns.as_ref().is_none_or(|asked| asked.contains(&netns))
    }

    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The first option given that a source cannot answer, so that a list of sources can refuse it.
    pub fn beyond_sources(&self) -> Option<&'static str> {
        let Self { src: _, dst, proto, sport, dport, family: _, zone, mark, netns: _ } = self;
        [
            (dst.is_some(), "--dst"),
            (proto.is_some(), "--proto"),
            (sport.is_some(), "--sport"),
            (dport.is_some(), "--dport"),
            (zone.is_some(), "--zone"),
            (mark.is_some(), "--mark"),
        ]
        .into_iter()
        .find_map(|(given, name)| given.then_some(name))
    }
}

/// A filter value that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FilterError {
    /// For `--src` and `--dst`.
    #[error("`{0}` is no address or network; write 10.1.0.5, 10.1.0.0/24 or 2001:db8::/64")]
    Network(String),
    /// For `--proto`.
    #[error(
        "`{0}` is no protocol; write tcp, udp, icmp, icmpv6, sctp, gre, dccp, udplite or a number up to 255"
    )]
    Proto(String),
    /// For `--sport` and `--dport`.
    #[error("`{0}` is no port; write a number from 0 to 65535")]
    Port(String),
    /// For `--family`.
    #[error("`{0}` is no address family; write ipv4 or ipv6")]
    Family(String),
    /// For `--zone`.
    #[error("`{0}` is no conntrack zone; write a number from 0 to 65535")]
    Zone(String),
    /// For `--mark`.
    #[error("`{0}` is no mark; write a value or value/mask, decimal or 0x hexadecimal")]
    Mark(String),
    /// For `--mark` whose value has bits its mask hides.
    #[error("mark `{0}` can never match: the value has bits outside the mask")]
    MarkOutsideMask(String),
}

/// Reads a CIDR network; a bare address is a network of one. Bits beyond the prefix are dropped.
pub fn parse_network(text: &str) -> Result<IpNet, FilterError> {
    let network = text.parse::<IpNet>().map(|network| network.trunc());
    let network = network.or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| FilterError::Network(text.into()))
}

/// Reads a protocol's name or number.
pub fn parse_proto(text: &str) -> Result<Proto, FilterError> {
    text.parse().map_err(|_| FilterError::Proto(text.into()))
}

/// Reads a port.
pub fn parse_port(text: &str) -> Result<u16, FilterError> {
    text.parse().map_err(|_| FilterError::Port(text.into()))
}

/// Reads an address family.
pub fn parse_family(text: &str) -> Result<Family, FilterError> {
    match text {
        "ipv4" => Ok(Family::Ipv4),
        "ipv6" => Ok(Family::Ipv6),
        _ => Err(FilterError::Family(text.into())),
    }
}

/// Reads a zone.
pub fn parse_zone(text: &str) -> Result<u16, FilterError> {
    text.parse().map_err(|_| FilterError::Zone(text.into()))
}

/// Reads `V[/M]`, decimal or hexadecimal.
pub fn parse_mark(text: &str) -> Result<Mark, FilterError> {
    let number = |text: &str| match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    };
    let (value, mask) = match text.split_once('/') {
        Some((value, mask)) => (number(value), number(mask)),
        None => (number(text), Ok(u32::MAX)),
    };
    match (value, mask) {
        (Ok(value), Ok(mask)) if value & !mask != 0 => Err(FilterError::MarkOutsideMask(text.into())),
        (Ok(value), Ok(mask)) => Ok(Mark { value, mask }),
        _ => Err(FilterError::Mark(text.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing;

    #[test]
    fn networks() {
        for (text, network) in [
            ("10.1.0.5", "10.1.0.5/32"),
            ("10.1.0.5/24", "10.1.0.0/24"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("2001:db8::1/64", "2001:db8::/64"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            assert_eq!(parse_network(text).map(|net| net.to_string()), Ok(network.into()), "{text}");
        }
        for text in ["", "10.1.0", "10.1.0.0/33", "10.1.0.0/", "host", "::1/129", "10.1.0.5 "] {
            assert_eq!(parse_network(text), Err(FilterError::Network(text.into())));
        }
    }

    #[test]
    fn numbers_names_and_marks() {
        assert_eq!(parse_proto("udp"), Ok(Proto::UDP));
        assert_eq!(parse_proto("47"), Ok(Proto::GRE));
        assert_eq!(parse_proto("udpp"), Err(FilterError::Proto("udpp".into())));
        assert_eq!(parse_port("65535"), Ok(65535));
        assert_eq!(parse_port("65536"), Err(FilterError::Port("65536".into())));
        assert_eq!(parse_zone("7"), Ok(7));
        assert_eq!(parse_zone("-1"), Err(FilterError::Zone("-1".into())));
        assert_eq!(parse_family("ipv6"), Ok(Family::Ipv6));
        assert_eq!(parse_family("inet"), Err(FilterError::Family("inet".into())));
        assert_eq!(parse_mark("7"), Ok(Mark { value: 7, mask: u32::MAX }));
        assert_eq!(parse_mark("0x10/0xff"), Ok(Mark { value: 16, mask: 255 }));
        assert_eq!(parse_mark("0x1ff/0xff"), Err(FilterError::MarkOutsideMask("0x1ff/0xff".into())));
        for text in ["", "/", "1/", "x", "0x", "1/2/3", "4294967296"] {
            assert_eq!(parse_mark(text), Err(FilterError::Mark(text.into())));
        }
    }

    #[test]
    fn each_error_is_one_sentence_that_names_what_was_typed() {
        let error = parse_port("http").map_err(|error| error.to_string());
        assert_eq!(error, Err("`http` is no port; write a number from 0 to 65535".into()));
    }

    #[test]
    fn all_that_is_asked_must_hold() {
        let udp = Connection { zone: 3, ..testing::connection(5) }; // 10.1.0.5:1024 > 10.99.0.1:5000 in netns 1
        let icmp = Connection { proto: Proto::ICMP, ..udp };
        let filter = Filter::default();
        assert!(filter.is_empty() && filter.matches(&udp, 9));
        let network = |text| parse_network(text).ok();
        let cases: [(Filter, bool); 14] = [
            (Filter { src: network("10.1.0.0/24"), ..filter.clone() }, true),
            (Filter { src: network("10.1.0.6"), ..filter.clone() }, false),
            (Filter { src: network("::/0"), ..filter.clone() }, false),
            (Filter { dst: network("10.99.0.1"), ..filter.clone() }, true),
            (Filter { dst: network("10.1.0.0/24"), ..filter.clone() }, false),
            (Filter { proto: Some(Proto::TCP), ..filter.clone() }, false),
            (Filter { sport: Some(1024), dport: Some(5000), ..filter.clone() }, true),
            (Filter { sport: Some(5000), ..filter.clone() }, false),
            (Filter { dport: Some(1024), ..filter.clone() }, false),
            (Filter { family: Some(Family::Ipv6), ..filter.clone() }, false),
            (Filter { zone: Some(0), ..filter.clone() }, false),
            (Filter { mark: parse_mark("1/3").ok(), ..filter.clone() }, true),
            (Filter { mark: parse_mark("1").ok(), ..filter.clone() }, false),
            (Filter { netns: Some(vec![2, 4]), ..filter.clone() }, false),
        ];
        for (filter, matches) in cases {
            assert!(!filter.is_empty());
            assert_eq!(filter.matches(&udp, 9), matches, "{filter:?}");
        }
        assert!(!Filter { sport: Some(1024), ..filter.clone() }.matches(&icmp, 0), "ICMP has no ports");
    }

    #[test]
    fn sources_answer_for_namespace_and_address_only() {
        let filter = Filter { src: parse_network("10.1.0.0/24").ok(), ..Filter::default() };
        assert_eq!(filter.beyond_sources(), None);
        assert!(filter.matches_source(1, IpAddr::from([10, 1, 0, 9])));
        assert!(!filter.matches_source(1, IpAddr::from([10, 2, 0, 9])));
        assert_eq!(Filter { dport: Some(53), ..filter }.beyond_sources(), Some("--dport"));
    }
}
