//! Who is connected. When there is no more room, whoever has been silent the longest goes, so that a thousand who say nothing
//! keep nobody out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::board::Board;

/// One connection, as its own task and the table see it.
#[derive(Debug, Default)]
pub struct Presence {
    /// 0 while it is being answered; else when it fell silent, in the order of such times.
    silent: AtomicU64,
    /// Something came from it since its last request.
    heard: AtomicBool,
    /// It did not take what it was sent.
    slow: AtomicBool,
    /// It has to go.
    gone: Notify,
}

impl Presence {
    /// Something came.
    pub fn set_heard(&self) {
        self.heard.store(true, Relaxed);
    }

    /// What it was sent was not taken in time.
    pub fn set_slow(&self) {
        self.slow.store(true, Relaxed);
    }

    /// Whether a request has been begun and is not complete.
    pub fn has_begun(&self) -> bool {
        self.heard.load(Relaxed)
    }

    /// Whether it did not take what it was sent.
    pub fn is_slow(&self) -> bool {
        self.slow.load(Relaxed)
    }

    /// Comes back when the connection has to go.
    pub async fn gone(&self) {
        self.gone.notified().await;
    }
}

/// Everybody who is connected.
#[derive(Debug)]
pub struct Connections {
    most: usize,
    most_per_peer: usize,
    board: Board,
    table: Mutex<Table>,
    /// Counts the times that somebody fell silent.
    silences: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: HashMap<u64, (Option<IpAddr>, Arc<Presence>)>,
    peers: HashMap<IpAddr, usize>,
}

impl Connections {
    /// At most so many, and so many of one peer.
    pub fn new(most: usize, most_per_peer: usize, board: Board) -> Self {
        let silences = AtomicU64::new(1);
        Self { most, most_per_peer, board, table: Mutex::default(), silences }
    }

    /// Another one. None if there is no room for it: too many of its peer, or all others are being answered.
    pub fn enter(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Visit> {
        let peer = peer.and_then(network);
        let mut table = self.lock();
        let of_peer = |table: &Table| peer.and_then(|peer| table.peers.get(&peer)).copied().unwrap_or(0);
        if of_peer(&table) >= self.most_per_peer {
            return None;
        }
        if table.open.len() >= self.most {
            let silent = |(number, (_, presence)): (&u64, &(Option<IpAddr>, Arc<Presence>))| {
                Some((presence.silent.load(Relaxed), *number)).filter(|(since, _)| *since > 0)
            };
            let (_, number) = table.open.iter().filter_map(silent).min()?;
            if let Some(presence) = table.remove(number) {
                presence.gone.notify_one();
            }
        }
        let presence = Arc::new(Presence::default());
        presence.silent.store(self.silences.fetch_add(1, Relaxed), Relaxed);
        let number = table.next;
        table.next += 1;
        table.open.insert(number, (peer, Arc::clone(&presence)));
        if let Some(peer) = peer {
            *table.peers.entry(peer).or_default() += 1;
        }
        self.board.counters().set_connections(table.open.len());
        Some(Visit { connections: Arc::clone(self), number, presence })
    }

    /// It is being answered until what this returns is dropped.
    pub fn answering(self: &Arc<Self>, presence: &Arc<Presence>) -> Answering {
        presence.heard.store(false, Relaxed);
        presence.silent.store(0, Relaxed);
        Answering { connections: Arc::clone(self), presence: Arc::clone(presence) }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn remove(&mut self, number: u64) -> Option<Arc<Presence>> {
        let (peer, presence) = self.open.remove(&number)?;
        if let Some(peer) = peer
            && let Some(count) = self.peers.get_mut(&peer)
        {
            *count -= 1;
            if *count == 0 {
                self.peers.remove(&peer);
            }
        }
        Some(presence)
    }
}

/// Who counts as one: an address, or the /64 of one. None for this host, whose users share its addresses.
fn network(peer: IpAddr) -> Option<IpAddr> {
    match peer.to_canonical() {
        it if it.is_loopback() => None,
        IpAddr::V6(it) => Some(Ipv6Addr::from_bits(it.to_bits() & !u128::from(u64::MAX)).into()),
        it => Some(it),
    }
}

/// A connection while it is open.
#[derive(Debug)]
pub struct Visit {
    connections: Arc<Connections>,
    number: u64,
    presence: Arc<Presence>,
}

impl Visit {
    /// What its task tells.
    pub fn presence(&self) -> &Arc<Presence> {
        &self.presence
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut table = self.connections.lock();
        table.remove(self.number);
        self.connections.board.counters().set_connections(table.open.len());
    }
}

/// An answer on its way.
#[derive(Debug)]
pub struct Answering {
    connections: Arc<Connections>,
    presence: Arc<Presence>,
}

impl Drop for Answering {
    fn drop(&mut self) {
        let now = self.connections.silences.fetch_add(1, Relaxed);
        self.presence.silent.store(now, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(most: usize, most_per_peer: usize) -> Arc<Connections> {
        Arc::new(Connections::new(most, most_per_peer, Board::new()))
    }

    /// Whether it was told to go.
    fn is_gone(visit: &Visit) -> bool {
        let waiting = std::pin::pin!(visit.presence().gone());
        waiting.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[test]
    fn the_longest_silent_goes_first_and_who_is_answered_stays() {
        let connections = table(3, 9);
        let visits: Vec<Visit> = (0..3).filter_map(|_| connections.enter(None)).collect();
        let first = connections.answering(visits[0].presence());
        let _another = connections.enter(None).expect("the second makes room");
        assert_eq!(visits.iter().map(is_gone).collect::<Vec<_>>(), [false, true, false]);
        drop(first);
        let _another = connections.enter(None).expect("the third has been silent longer than the first");
        assert_eq!(visits.iter().map(is_gone).collect::<Vec<_>>(), [false, false, true]);
    }

    #[test]
    fn nobody_is_interrupted() {
        let connections = table(2, 9);
        let visits: Vec<Visit> = (0..2).filter_map(|_| connections.enter(None)).collect();
        let answers: Vec<Answering> =
            visits.iter().map(|visit| connections.answering(visit.presence())).collect();
        assert!(connections.enter(None).is_none());
        drop(answers);
        assert!(connections.enter(None).is_some());
    }

    #[test]
    fn a_peer_has_its_share_and_this_host_has_all() {
        let connections = table(100, 2);
        let enter = |peer: &str| connections.enter(Some(peer.parse().expect("an address")));
        let visits =
            [enter("192.0.2.1"), enter("::ffff:192.0.2.1"), enter("2001:db8::1"), enter("2001:db8::2")];
        assert!(visits.iter().all(Option::is_some));
        assert!(enter("192.0.2.1").is_none() && enter("2001:db8::ffff:1").is_none());
        assert!(enter("192.0.2.2").is_some() && enter("2001:db8:0:1::1").is_some());
        let local: Vec<_> = (0..5).filter_map(|_| enter("127.0.0.1")).collect();
        assert_eq!(local.len(), 5);
        drop(visits);
        assert!(enter("192.0.2.1").is_some());
        drop(local);
        let table = connections.lock();
        assert!(table.peers.is_empty() && table.open.is_empty(), "{table:?}");
        assert_eq!(connections.board.served().connections, 0);
    }
}
