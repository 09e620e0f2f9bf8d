//! An entry as ctnetlink describes it.

use std::hash::BuildHasher;

use conntrack_common::Tuple;

use super::attributes::{Attribute, Attributes};

/// What is read of an entry. What the message does not hold is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The original direction, as it stands in the kernel.
    pub tuple: Tuple,
    /// Conntrack zone, whichever directions it is for.
    pub zone: u16,
    /// `nf_conn.status`
    pub status: u32,
    /// `nf_conn.mark`
    pub mark: u32,
    /// Seconds until it expires.
    pub timeout_s: u32,
    /// `CTA_ID`: a hash the kernel makes of its address and tuple.
    pub id: u32,
    /// When it was confirmed, CLOCK_REALTIME; 0 unless `nf_conntrack_timestamp` was on then.
    pub confirmed_unix_ns: u64,
    /// `nf_conn.proto.tcp.state`; 255 where the message does not tell, as of all that is not TCP.
    pub tcp_state: u8,
}

/// `CTA_*`
mod kind {
    pub const TUPLE_ORIG: u16 = 1;
    pub const TUPLE_REPLY: u16 = 2;
    pub const STATUS: u16 = 3;
    pub const PROTOINFO: u16 = 4;
    pub const TIMEOUT: u16 = 7;
    pub const MARK: u16 = 8;
    pub const ID: u16 = 12;
    pub const ZONE: u16 = 18;
    pub const TIMESTAMP: u16 = 20;
    /// `CTA_TIMESTAMP_START`
    pub const TIMESTAMP_START: u16 = 1;
    /// `CTA_TUPLE_*`
    pub const TUPLE_IP: u16 = 1;
    pub const TUPLE_PROTO: u16 = 2;
    pub const TUPLE_ZONE: u16 = 3;
    /// `CTA_PROTOINFO_TCP`
    pub const PROTOINFO_TCP: u16 = 1;
    /// `CTA_PROTOINFO_TCP_STATE`
    pub const TCP_STATE: u16 = 1;
}

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// `IPS_DYING`
const DYING: u32 = 1 << 9;
/// `IPS_NAT_CLASH`, which shares its bit with `IPS_UNTRACKED`.
const NAT_CLASH: u32 = 1 << 12;

impl Entry {
    /// Reads an entry's attributes; nothing without an original tuple that has addresses.
    pub(super) fn read(attributes: Attributes<'_>) -> Option<Self> {
        let (mut tuple, mut zone) = (None, 0);
        let (mut status, mut mark, mut timeout_s, mut id, mut confirmed_unix_ns) = (0, 0, 0, 0, 0);
        let mut tcp_state = u8::MAX;
        for attribute in attributes {
            match attribute.kind {
                kind::TUPLE_ORIG => {
                    tuple = read_tuple(attribute);
                    zone = zone_within(attribute).unwrap_or(zone);
                }
                kind::TUPLE_REPLY => zone = zone_within(attribute).unwrap_or(zone),
                kind::ZONE => zone = attribute.u16()?,
                kind::STATUS => status = attribute.u32()?,
                kind::TIMEOUT => timeout_s = attribute.u32()?,
                kind::MARK => mark = attribute.u32()?,
                kind::ID => id = attribute.u32()?,
                kind::PROTOINFO => tcp_state = tcp_state_within(attribute).unwrap_or(u8::MAX),
                kind::TIMESTAMP => {
                    let mut times = attribute.nested();
                    let start = times.find(|time| time.kind == kind::TIMESTAMP_START);
                    confirmed_unix_ns = start.and_then(Attribute::u64).unwrap_or(0);
                }
                _ => {}
            }
        }
        Some(Self { tuple: tuple?, zone, status, mark, timeout_s, id, confirmed_unix_ns, tcp_state })
    }

    /// What tells it from all others of its network namespace that exist at the same time: a hash of zone and
    /// original tuple, which no two confirmed entries share (`__nf_conntrack_confirm`). The same `hasher` must make
    /// all keys that are compared.
    pub fn key(&self, hasher: &impl BuildHasher) -> u64 {
        hasher.hash_one((self.zone, self.tuple))
    }

    /// `IPS_DYING`: it is being deleted; its destroy event has been sent or is about to be.
    pub fn is_dying(&self) -> bool {
        self.status & DYING != 0
    }

    /// `IPS_NAT_CLASH`: the loser of a clash, in the table by its reply direction only and for a second. Its
    /// original tuple is that of the winner, and no dump shows it (`nf_ct_resolve_clash_harder`, 5.7+).
    pub fn is_clash(&self) -> bool {
        self.status & NAT_CLASH != 0
    }
}

/// A zone that is for one direction only stands within the tuple of that direction.
fn zone_within(tuple: Attribute<'_>) -> Option<u16> {
    tuple.nested().find(|part| part.kind == kind::TUPLE_ZONE)?.u16()
}

/// `CTA_PROTOINFO` holds one attribute named for its protocol (include/uapi/linux/netfilter/nfnetlink_conntrack.h).
fn tcp_state_within(protoinfo: Attribute<'_>) -> Option<u8> {
    let tcp = protoinfo.nested().find(|part| part.kind == kind::PROTOINFO_TCP)?;
    tcp.nested().find(|part| part.kind == kind::TCP_STATE)?.u8()
}

/// Puts an original tuple together as `struct nf_conntrack_tuple` has it.
fn read_tuple(attribute: Attribute<'_>) -> Option<Tuple> {
    let mut tuple = Tuple::ZERO;
    for part in attribute.nested() {
        match part.kind {
            kind::TUPLE_IP => read_addresses(part, &mut tuple)?,
            kind::TUPLE_PROTO => read_protocol(part, &mut tuple)?,
            _ => {}
        }
    }
    (tuple.l3num != 0).then_some(tuple)
}

fn read_addresses(part: Attribute<'_>, tuple: &mut Tuple) -> Option<()> {
    for address in part.nested() {
        // `CTA_IP_V4_SRC`, `_DST`, `CTA_IP_V6_SRC`, `_DST`
        let (family, field) = match address.kind {
            1 => (AF_INET, &mut tuple.src),
            2 => (AF_INET, &mut tuple.dst),
            3 => (AF_INET6, &mut tuple.src),
            4 => (AF_INET6, &mut tuple.dst),
            _ => continue,
        };
        if family == AF_INET {
            *field = [0; 16];
            field[..4].copy_from_slice(&address.bytes::<4>()?);
        } else {
            *field = address.bytes()?;
        }
        tuple.l3num = family;
    }
    Some(())
}

fn read_protocol(part: Attribute<'_>, tuple: &mut Tuple) -> Option<()> {
    for attribute in part.nested() {
        // `CTA_PROTO_*`. Type and code of ICMP lie where the destination port would: `dst.u.icmp`.
        match attribute.kind {
            1 => tuple.protonum = attribute.u8()?,
            2 | 4 | 7 => tuple.sport = attribute.bytes()?,
            3 => tuple.dport = attribute.bytes()?,
            5 | 8 => tuple.dport[0] = attribute.u8()?,
            6 | 9 => tuple.dport[1] = attribute.u8()?,
            _ => {}
        }
    }
    Some(())
}
