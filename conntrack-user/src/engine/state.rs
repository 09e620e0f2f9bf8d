//! The state of an entry, as an audit saw it.

use std::fmt;

use super::tuple::{Proto, Status};

/// `enum tcp_conntrack` (include/uapi/linux/netfilter/nf_conntrack_tcp.h, 5.10 to 7.3), by the names of `conntrack -L`.
const TCP_STATES: [&str; 10] = [
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
];

/// The name of a TCP state by its number, if it has one.
pub fn tcp_name(state: u8) -> Option<&'static str> {
    TCP_STATES.get(usize::from(state)).copied()
}

/// Protocol and state of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryState {
    /// Layer 4 protocol.
    pub proto: Proto,
    /// What was seen of it.
    pub sight: Sight,
}

/// What the last audit saw of an entry besides that it is there: one byte of the live table.
///
/// Bit 7: seen at all. Bit 6: assured. Bit 5: seen reply. Bits 0 to 3: TCP state, or 15.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sight(u8);

const SEEN: u8 = 1 << 7;
const ASSURED: u8 = 1 << 6;
const SEEN_REPLY: u8 = 1 << 5;
const NO_TCP_STATE: u8 = 15;

impl Sight {
    /// Of an entry with this status and TCP state; any number that is none for a protocol without.
    pub const fn new(status: Status, tcp_state: u8) -> Self {
        let assured = if status.assured() { ASSURED } else { 0 };
        let seen_reply = if status.seen_reply() { SEEN_REPLY } else { 0 };
        let tcp = if (tcp_state as usize) < TCP_STATES.len() { tcp_state } else { NO_TCP_STATE };
        Self(SEEN | assured | seen_reply | tcp)
    }

    /// Whether an audit has seen the entry; else nothing below is known, and it is younger than the last audit.
    pub const fn is_known(self) -> bool {
        self.0 & SEEN != 0
    }

    /// Whether the kernel would not evict it.
    pub const fn assured(self) -> bool {
        self.0 & ASSURED != 0
    }

    /// Whether it had a reply.
    pub const fn seen_reply(self) -> bool {
        self.0 & SEEN_REPLY != 0
    }

    /// The TCP state by the name `conntrack -L` has for it, if it has one.
    pub fn tcp_state(self) -> Option<&'static str> {
        if !self.is_known() {
            return None;
        }
        tcp_name(self.0 & 0xf)
    }

    /// For tables: what is the same for a TCP state, whatever else is known; what else is known where there is none.
    #[must_use]
    pub fn as_group(self) -> Self {
        if self.tcp_state().is_some() { Self(self.0 & !(ASSURED | SEEN_REPLY)) } else { self }
    }
}

impl fmt::Display for EntryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { proto, sight } = self;
        let state = match sight.tcp_state() {
            Some(state) => state,
            None if !sight.is_known() => "new since the audit",
            None if sight.assured() => "[ASSURED]",
            None if !sight.seen_reply() => "[UNREPLIED]",
            None => "",
        };
        f.pad(format!("{proto} {state}").trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_conntrack() {
        let told = |proto, status, tcp| {
            EntryState { proto, sight: Sight::new(Status(status), tcp).as_group() }.to_string()
        };
        assert_eq!(told(Proto::TCP, 0xe, 7), "tcp TIME_WAIT");
        assert_eq!(told(Proto::TCP, 0x8, 7), "tcp TIME_WAIT");
        assert_eq!(told(Proto::UDP, 0x8, 255), "udp [UNREPLIED]");
        assert_eq!(told(Proto::UDP, 0xa, 255), "udp");
        assert_eq!(told(Proto::UDP, 0xe, 255), "udp [ASSURED]");
        let fresh = EntryState { proto: Proto::TCP, sight: Sight::default() };
        assert_eq!(fresh.to_string(), "tcp new since the audit");
    }
}
