//! Questions of the DNS for the names of addresses (PTR records, RFC 1035), over UDP, a few at a time.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, TYPE};

use super::Sources;

/// Questions without an answer at a time: each is a connection, and so takes an entry of the table watched.
const OUTSTANDING: usize = 16;

/// The longest answer over UDP without extensions.
const LONGEST: usize = 512;

/// How long a look for answers waits.
const LOOK: Duration = Duration::from_millis(50);

/// Questions on their way.
pub struct Asking {
    servers: Vec<SocketAddr>,
    patience: Duration,
    open: HashMap<u16, Open>,
    /// Answered before they were sent: there is nobody to ask.
    lost: Vec<IpAddr>,
    ids: RandomState,
    asked: u64,
    /// One socket per server, opened when it is first asked; its port is the system's random choice.
    sockets: Vec<Option<UdpSocket>>,
}

struct Open {
    address: IpAddr,
    server: usize,
    until: Instant,
}

impl Asking {
    /// Has asked nothing yet.
    pub fn new(sources: &Sources) -> Self {
        Self {
            servers: sources.servers.clone(),
            patience: sources.patience,
            open: HashMap::new(),
            lost: Vec::new(),
            ids: RandomState::new(),
            asked: 0,
            sockets: sources.servers.iter().map(|_| None).collect(),
        }
    }

    /// How many more may be asked now.
    pub fn room(&self) -> usize {
        OUTSTANDING - self.open.len()
    }

    /// Whether nothing is on its way.
    pub fn is_idle(&self) -> bool {
        self.open.is_empty() && self.lost.is_empty()
    }

    /// Asks the first server.
    pub fn ask(&mut self, address: IpAddr) {
        self.ask_server(address, 0);
    }

    fn ask_server(&mut self, address: IpAddr, server: usize) {
        let sent = (server..self.servers.len()).find(|server| self.send(address, *server).is_ok());
        if sent.is_none() {
            self.lost.push(address);
        }
    }

    fn send(&mut self, address: IpAddr, server: usize) -> io::Result<()> {
        self.asked += 1;
        // Nobody can guess it, so nobody but who sees the question can answer.
        let id = self.ids.hash_one(self.asked) as u16;
        let bytes = question(id, address).ok_or(io::ErrorKind::InvalidInput)?;
        let to = self.servers[server];
        let socket = match &mut self.sockets[server] {
            Some(socket) => socket,
            none => none.insert(connect(to)?),
        };
        if self.open.contains_key(&id) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        socket.send(&bytes)?;
        self.open.insert(id, Open { address, server, until: Instant::now() + self.patience });
        Ok(())
    }

    /// Waits a little for answers. No name: there is none, or nobody answered.
    pub fn answers(&mut self) -> Vec<(IpAddr, Option<String>)> {
        let mut answers: Vec<_> = self.lost.drain(..).map(|address| (address, None)).collect();
        let mut bytes = [0; LONGEST];
        for server in 0..self.sockets.len() {
            let Some(socket) = &self.sockets[server] else { continue };
            if !self.open.values().any(|open| open.server == server) {
                continue;
            }
            // One wait at most, then whatever else is there. Should a mode not be set, this thread waits once more or once
            // less, and nobody waits for it.
            let _ = socket.set_nonblocking(false);
            while let Ok(length) = socket.recv(&mut bytes) {
                let _ = socket.set_nonblocking(true);
                if let Some((id, name)) = self.read(&bytes[..length], server) {
                    answers.extend(self.open.remove(&id).map(|open| (open.address, name)));
                }
            }
        }
        self.expire();
        answers
    }

    /// An answer of that server to an open question.
    fn read(&self, bytes: &[u8], server: usize) -> Option<(u16, Option<String>)> {
        let packet = Packet::parse(bytes).ok()?;
        let open = self.open.get(&packet.id()).filter(|open| open.server == server)?;
        let asked = arpa(open.address);
        let same = |question: &Question<'_>| question.qname.to_string().eq_ignore_ascii_case(&asked);
        if !packet.has_flags(PacketFlag::RESPONSE) || !packet.questions.iter().all(same) {
            return None;
        }
        let name = packet.answers.iter().find_map(|record| match &record.rdata {
            RData::PTR(name) => Some(name.0.to_string()),
            _ => None,
        });
        Some((packet.id(), name.filter(|name| !name.is_empty())))
    }

    /// Asks the next server what this one did not answer.
    fn expire(&mut self) {
        let now = Instant::now();
        let late: Vec<_> = self.open.extract_if(|_, open| open.until <= now).map(|(_, open)| open).collect();
        for Open { address, server, until: _ } in late {
            self.ask_server(address, server + 1);
        }
    }
}

fn connect(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    // The kernel then takes answers from that server only.
    socket.connect(server)?;
    socket.set_read_timeout(Some(LOOK))?;
    Ok(socket)
}

fn question(id: u16, address: IpAddr) -> Option<Vec<u8>> {
    let name = arpa(address);
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(Name::new(&name).ok()?, TYPE::PTR.into(), CLASS::IN.into(), false));
    packet.build_bytes_vec().ok()
}

/// The name under which the name of an address stands (RFC 1035 section 3.5, RFC 3596 section 2.5).
fn arpa(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let nibbles = v6.octets().into_iter().rev().flat_map(|byte| [byte & 0xf, byte >> 4]);
            let labels: String = nibbles.map(|nibble| format!("{nibble:x}.")).collect();
            format!("{labels}ip6.arpa")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_addresses_stand_backwards() {
        assert_eq!(arpa(IpAddr::from([192, 0, 2, 17])), "17.2.0.192.in-addr.arpa");
        let v6 = "2001:db8::1".parse().expect("an address");
        let expected = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        assert_eq!(arpa(v6), expected);
    }
}
