//! The kernel's timeouts, and which of them an entry waited out when it was freed.

use crate::engine::tuple::{Proto, Status};

/// One second.
const S: u64 = 1_000_000_000;

/// Timers are set in ticks of the kernel, shortly after the entry's allocation is stamped.
const TOLERANCE_NS: u64 = S / 10;

/// A UDP entry is a stream if a packet comes this long after its first (`nf_conntrack_udp_packet`).
const STREAM_AFTER_NS: u64 = 2 * S;

/// `IPS_UNTRACKED`, since 5.6 `IPS_NAT_CLASH`: the entry lives for one second whatever is set.
const NAT_CLASH: u32 = 1 << 12;

/// A timeout that can be set.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the sysctl that `name` tells")]
pub enum Timeout {
    TcpSynSent,
    TcpSynRecv,
    TcpEstablished,
    TcpFinWait,
    TcpCloseWait,
    TcpLastAck,
    TcpTimeWait,
    TcpClose,
    TcpMaxRetrans,
    TcpUnacknowledged,
    Udp,
    UdpStream,
    Icmp,
    Icmpv6,
    Gre,
    GreStream,
    Generic,
}

/// How many timeouts there are.
pub const COUNT: usize = 17;

impl Timeout {
    /// All of them by number.
    pub const ALL: [Self; COUNT] = [
        Self::TcpSynSent,
        Self::TcpSynRecv,
        Self::TcpEstablished,
        Self::TcpFinWait,
        Self::TcpCloseWait,
        Self::TcpLastAck,
        Self::TcpTimeWait,
        Self::TcpClose,
        Self::TcpMaxRetrans,
        Self::TcpUnacknowledged,
        Self::Udp,
        Self::UdpStream,
        Self::Icmp,
        Self::Icmpv6,
        Self::Gre,
        Self::GreStream,
        Self::Generic,
    ];

    /// Its sysctl below `nf_conntrack_`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TcpSynSent => "tcp_timeout_syn_sent",
            Self::TcpSynRecv => "tcp_timeout_syn_recv",
            Self::TcpEstablished => "tcp_timeout_established",
            Self::TcpFinWait => "tcp_timeout_fin_wait",
            Self::TcpCloseWait => "tcp_timeout_close_wait",
            Self::TcpLastAck => "tcp_timeout_last_ack",
            Self::TcpTimeWait => "tcp_timeout_time_wait",
            Self::TcpClose => "tcp_timeout_close",
            Self::TcpMaxRetrans => "tcp_timeout_max_retrans",
            Self::TcpUnacknowledged => "tcp_timeout_unacknowledged",
            Self::Udp => "udp_timeout",
            Self::UdpStream => "udp_timeout_stream",
            Self::Icmp => "icmp_timeout",
            Self::Icmpv6 => "icmpv6_timeout",
            Self::Gre => "gre_timeout",
            Self::GreStream => "gre_timeout_stream",
            Self::Generic => "generic_timeout",
        }
    }

    /// What people call it: `time_wait`, `udp`, `udp_stream`.
    pub fn short_name(self) -> String {
        self.name().replace("tcp_timeout_", "").replace("_timeout", "")
    }

    /// The kernel's default in seconds (net/netfilter/nf_conntrack_proto_*.c, 5.10 to 7.3).
    pub const fn default_s(self) -> u64 {
        match self {
            Self::TcpEstablished => 432_000,
            Self::TcpSynSent | Self::TcpFinWait | Self::TcpTimeWait | Self::UdpStream => 120,
            Self::TcpSynRecv | Self::TcpCloseWait => 60,
            Self::TcpLastAck | Self::Udp | Self::Icmp | Self::Icmpv6 | Self::Gre => 30,
            Self::TcpClose => 10,
            Self::TcpMaxRetrans | Self::TcpUnacknowledged => 300,
            Self::GreStream => 180,
            Self::Generic => 600,
        }
    }

    /// That of a TCP state by its number; none of a state that has no sysctl.
    const fn of_tcp_state(state: u8) -> Option<Self> {
        match state {
            1 => Some(Self::TcpSynSent),
            2 => Some(Self::TcpSynRecv),
            3 => Some(Self::TcpEstablished),
            4 => Some(Self::TcpFinWait),
            5 => Some(Self::TcpCloseWait),
            6 => Some(Self::TcpLastAck),
            7 => Some(Self::TcpTimeWait),
            8 => Some(Self::TcpClose),
            _ => None,
        }
    }

    /// Which one a new entry of a protocol waits out if nothing answers.
    pub const fn of_unanswered(proto: Proto) -> Option<Self> {
        match proto.0 {
            6 => Some(Self::TcpSynSent),
            17 | 136 => Some(Self::Udp),
            1 => Some(Self::Icmp),
            58 => Some(Self::Icmpv6),
            47 => Some(Self::Gre),
            // DCCP and SCTP have timeouts by state, and recordings do not tell theirs.
            33 | 132 => None,
            _ => Some(Self::Generic),
        }
    }
}

/// A value in seconds for each timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts([u64; COUNT]);

impl Default for Timeouts {
    fn default() -> Self {
        Self(Timeout::ALL.map(Timeout::default_s))
    }
}

impl Timeouts {
    /// In seconds.
    pub const fn get(&self, timeout: Timeout) -> u64 {
        self.0[timeout as usize]
    }

    /// In nanoseconds.
    pub const fn ns(&self, timeout: Timeout) -> u64 {
        self.get(timeout).saturating_mul(S)
    }

    /// Sets one, in seconds.
    pub const fn set(&mut self, timeout: Timeout, seconds: u64) {
        self.0[timeout as usize] = seconds;
    }
}

/// What ended an entry that was neither evicted nor refused insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It had waited this timeout out.
    Expired(Timeout),
    /// It was younger than its timeout: deleted, replaced by a connection of the same ports, or dropped unconfirmed.
    Killed,
    /// Nothing tells: its state was not recorded, or has no timeout that can be set.
    Unknown,
}

/// What ended an entry, by what its `Free` tells. One whose age is not known is taken to have expired.
pub fn fate(
    proto: Proto,
    status: Status,
    tcp_state: Option<u8>,
    age_ns: Option<u64>,
    now: &Timeouts,
) -> Fate {
    if !status.confirmed() {
        return Fate::Killed;
    }
    if status.0 & NAT_CLASH != 0 {
        return Fate::Unknown;
    }
    let old_enough = |timeout| age_ns.is_none_or(|age| age + TOLERANCE_NS >= now.ns(timeout));
    let of_state = match proto {
        Proto::TCP => tcp_state.and_then(Timeout::of_tcp_state),
        Proto::GRE if status.seen_reply() => Some(Timeout::GreStream),
        _ => Timeout::of_unanswered(proto),
    };
    let Some(timeout) = of_state else { return Fate::Unknown };
    // Before 5.17 a UDP entry is assured by any reply, and a stream only by a later packet: its age tells them apart.
    let stream = timeout == Timeout::Udp && status.assured();
    let stream_age_ns = now.ns(Timeout::UdpStream) + STREAM_AFTER_NS;
    if stream && age_ns.is_none_or(|age| age + TOLERANCE_NS >= stream_age_ns) {
        return Fate::Expired(Timeout::UdpStream);
    }
    // While data are unacknowledged a TCP entry waits no longer than this, whatever its state allows.
    let shorter = Timeout::TcpUnacknowledged;
    match timeout {
        _ if old_enough(timeout) => Fate::Expired(timeout),
        Timeout::TcpEstablished if old_enough(shorter) => Fate::Expired(shorter),
        _ => Fate::Killed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIRMED: u32 = 8;
    const REPLIED: u32 = CONFIRMED | 2;
    const ASSURED: u32 = REPLIED | 4;

    fn of(proto: Proto, status: u32, tcp_state: Option<u8>, age_s: u64) -> Fate {
        fate(proto, Status(status), tcp_state, Some(age_s * S), &Timeouts::default())
    }

    #[test]
    fn numbers_are_indices_and_names_are_the_kernels() {
        for (number, timeout) in Timeout::ALL.into_iter().enumerate() {
            assert_eq!(timeout as usize, number);
        }
        assert_eq!(Timeout::TcpTimeWait.short_name(), "time_wait");
        assert_eq!(Timeout::UdpStream.short_name(), "udp_stream");
        assert_eq!(Timeout::Icmpv6.short_name(), "icmpv6");
    }

    #[test]
    fn a_tcp_entry_waits_out_the_timeout_of_its_state() {
        assert_eq!(of(Proto::TCP, ASSURED, Some(7), 121), Fate::Expired(Timeout::TcpTimeWait));
        assert_eq!(of(Proto::TCP, ASSURED, Some(7), 119), Fate::Killed);
        assert_eq!(of(Proto::TCP, CONFIRMED, Some(1), 130), Fate::Expired(Timeout::TcpSynSent));
        assert_eq!(of(Proto::TCP, ASSURED, None, 500), Fate::Unknown);
        assert_eq!(of(Proto::TCP, ASSURED, Some(9), 500), Fate::Unknown);
        assert_eq!(of(Proto::TCP, 0, Some(1), 500), Fate::Killed);
    }

    #[test]
    fn an_established_one_that_ends_too_early_had_unacknowledged_data() {
        assert_eq!(of(Proto::TCP, ASSURED, Some(3), 432_001), Fate::Expired(Timeout::TcpEstablished));
        assert_eq!(of(Proto::TCP, ASSURED, Some(3), 400), Fate::Expired(Timeout::TcpUnacknowledged));
        assert_eq!(of(Proto::TCP, ASSURED, Some(3), 200), Fate::Killed);
    }

    #[test]
    fn a_udp_stream_is_told_by_its_age() {
        assert_eq!(of(Proto::UDP, CONFIRMED, None, 31), Fate::Expired(Timeout::Udp));
        assert_eq!(of(Proto::UDP, REPLIED, None, 500), Fate::Expired(Timeout::Udp));
        assert_eq!(of(Proto::UDP, ASSURED, None, 60), Fate::Expired(Timeout::Udp));
        assert_eq!(of(Proto::UDP, ASSURED, None, 123), Fate::Expired(Timeout::UdpStream));
        assert_eq!(of(Proto::UDP, ASSURED, None, 20), Fate::Killed);
        assert_eq!(of(Proto::UDP, REPLIED | NAT_CLASH, None, 31), Fate::Unknown);
    }

    #[test]
    fn an_age_that_is_not_known_is_taken_for_old() {
        let seen = |proto, status| fate(proto, Status(status), None, None, &Timeouts::default());
        assert_eq!(seen(Proto::UDP, ASSURED), Fate::Expired(Timeout::UdpStream));
        assert_eq!(seen(Proto::GRE, REPLIED), Fate::Expired(Timeout::GreStream));
        assert_eq!(seen(Proto(132), REPLIED), Fate::Unknown);
    }
}
