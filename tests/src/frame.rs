//! One Ethernet frame that opens a connection: IPv4 or IPv6, UDP or TCP, with checksums a router accepts.

use std::net::IpAddr;

use crate::flood::{Proto, Tuple};
use crate::gateway::{CLIENT_MAC, ROUTER_MAC};

/// The longest frame: Ethernet, IPv6 and TCP headers.
pub const MAX_FRAME: usize = 14 + 40 + 20;

const PAYLOAD: [u8; 4] = *b"ctw\n";

/// A buffer that holds one frame.
#[derive(Clone, Debug)]
pub struct Frame {
    bytes: [u8; MAX_FRAME],
    length: usize,
}

impl Frame {
    /// An empty frame.
    pub fn new() -> Self {
        Self { bytes: [0; MAX_FRAME], length: 0 }
    }

    /// The frame as it goes on the wire.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }

    /// Makes it the first packet of a connection.
    pub fn fill(&mut self, tuple: &Tuple) {
        self.bytes = [0; MAX_FRAME];
        self.bytes[..6].copy_from_slice(&ROUTER_MAC);
        self.bytes[6..12].copy_from_slice(&CLIENT_MAC);
        let transport = match tuple.proto {
            Proto::Udp => 8 + PAYLOAD.len(),
            Proto::Tcp => 20,
        };
        let (start, pseudo) = self.network_header(tuple, transport);
        self.length = start + transport;
        let segment = &mut self.bytes[start..start + transport];
        segment[..2].copy_from_slice(&tuple.sport.to_be_bytes());
        segment[2..4].copy_from_slice(&tuple.dport.to_be_bytes());
        let checksum_at = match tuple.proto {
            Proto::Udp => {
                segment[4..6].copy_from_slice(&(transport as u16).to_be_bytes());
                segment[8..].copy_from_slice(&PAYLOAD);
                6
            }
            Proto::Tcp => {
                segment[12] = 5 << 4; // header length in words
                segment[13] = 0x02; // SYN
                segment[14..16].copy_from_slice(&[0xff, 0xff]); // window
                16
            }
        };
        let checksum = match folded(pseudo + sum(segment)) {
            0 => 0xffff, // zero would say "no checksum" in UDP
            checksum => checksum,
        };
        segment[checksum_at..checksum_at + 2].copy_from_slice(&checksum.to_be_bytes());
    }

    /// Writes the IP header; returns where it ends and the sum of the transport's pseudo header.
    fn network_header(&mut self, tuple: &Tuple, transport: usize) -> (usize, u32) {
        let protocol = match tuple.proto {
            Proto::Udp => 17,
            Proto::Tcp => 6,
        };
        let pseudo = u32::from(protocol) + transport as u32;
        match (tuple.src, tuple.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                self.bytes[12..14].copy_from_slice(&[0x08, 0x00]);
                let header = &mut self.bytes[14..34];
                header[0] = 0x45;
                header[2..4].copy_from_slice(&(20 + transport as u16).to_be_bytes());
                header[8] = 64;
                header[9] = protocol;
                header[12..16].copy_from_slice(&src.octets());
                header[16..20].copy_from_slice(&dst.octets());
                let checksum = folded(sum(header));
                header[10..12].copy_from_slice(&checksum.to_be_bytes());
                (34, pseudo + sum(&header[12..20]))
            }
            (src, dst) => {
                let octets = |address: IpAddr| match address {
                    IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                    IpAddr::V6(address) => address.octets(),
                };
                self.bytes[12..14].copy_from_slice(&[0x86, 0xdd]);
                let header = &mut self.bytes[14..54];
                header[0] = 0x60;
                header[4..6].copy_from_slice(&(transport as u16).to_be_bytes());
                header[6] = protocol;
                header[7] = 64;
                header[8..24].copy_from_slice(&octets(src));
                header[24..40].copy_from_slice(&octets(dst));
                (54, pseudo + sum(&header[8..40]))
            }
        }
    }
}

impl Default for Frame {
    fn default() -> Self {
        Self::new()
    }
}

/// Sum of big-endian 16-bit words (RFC 1071), not yet folded.
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))).sum()
}

fn folded(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
