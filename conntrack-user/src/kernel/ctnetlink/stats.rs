//! Reads the kernel's own conntrack statistics of every network namespace that can be reached: what was added
//! since ctwatch attached; and how many entries there are.
//!
//! No socket is kept in another namespace: it would keep that namespace, and all its entries, from going away.

use std::io;

use conntrack_common::{ABSENT, Count, Kind, Stats};
use hashbrown::{HashMap, HashSet};

use super::{is_conntrack_there, is_loaded_module, socket::Asking};
use crate::{
    engine::ctnetlink::{Content, Counters, Request, Sums},
    kernel::{
        clock,
        netns::{self, Netns},
        sysctl,
    },
};

/// Namespaces visited by one reading; the next one goes on with the others. A visit takes about 0.1 ms.
const VISITS: usize = 256;

/// Keeps, for each network namespace, what its counters were and what was added since.
///
/// One that exists at the start counts from there, one that is found later from zero: it is taken to be new.
pub struct StatsReader {
    netns: HashMap<u32, Counted>,
    /// Where the next reading begins in the list of namespaces.
    next: usize,
    names: Vec<(u32, String)>,
    counts: Vec<Count>,
    /// Namespaces whose failure was told.
    told: HashSet<u32>,
    failures: Vec<String>,
    /// ctnetlink is a module. Once it is unloaded, to ask would load it again: that is not ours to do.
    is_module: bool,
}

/// The counters of one namespace, and what was added to them.
pub(super) struct Counted {
    /// See [`Asking::netns_cookie`]: inode numbers are used again.
    cookie: u64,
    counters: HashMap<u16, Counters>,
    sums: Sums,
    ktime_ns: u64,
}

/// The counters of each CPU, and whose they are.
pub(super) struct Reading {
    cookie: u64,
    counters: HashMap<u16, Counters>,
    ktime_ns: u64,
}

impl StatsReader {
    /// Begins to count. The texts say which namespaces cannot be read, and why.
    pub fn new() -> (Self, Vec<String>) {
        let mut reader = Self {
            netns: HashMap::new(),
            next: 0,
            names: Vec::new(),
            counts: Vec::new(),
            told: HashSet::new(),
            failures: Vec::new(),
            is_module: false,
        };
        reader.update(usize::MAX, Counted::from_now);
        reader.is_module = is_loaded_module();
        let failures = reader.failures();
        (reader, failures)
    }

    /// What was added since the start, of each namespace there is now.
    pub fn read(&mut self) -> Vec<Stats> {
        self.update(VISITS, Counted::from_zero);
        let records =
            self.netns.iter().map(|(&inum, counted)| record(inum, 0, counted.ktime_ns, &counted.sums));
        records.collect()
    }

    /// The counts of entries of the namespaces visited since this was last asked.
    pub fn counts(&mut self) -> Vec<Count> {
        std::mem::take(&mut self.counts)
    }

    /// Namespaces that could not be read, and why; each is told of once.
    pub fn failures(&mut self) -> Vec<String> {
        std::mem::take(&mut self.failures)
    }

    /// Names of the namespaces the last reading found.
    pub fn names(&self) -> &[(u32, String)] {
        &self.names
    }

    fn update(&mut self, visits: usize, first: impl Fn(Reading) -> Counted) {
        let mut all = netns::reachable();
        self.names = all.iter().map(|netns| (netns.inum, netns.name.clone())).collect();
        let exists: HashSet<u32> = all.iter().map(|netns| netns.inum).collect();
        self.netns.retain(|inum, _| exists.contains(inum));
        self.told.retain(|inum| exists.contains(inum));
        if !is_conntrack_there() || (self.is_module && !is_loaded_module()) {
            return;
        }
        if all.len() > visits {
            all.rotate_left(self.next % exists.len());
            self.next = (self.next + visits) % all.len();
            all.truncate(visits);
        }
        let read = netns::visit(&all, |netns, entered| {
            entered?;
            let mut asking = Asking::open()?;
            Ok((Reading::take(&mut asking)?, count(&mut asking, netns.inum)?))
        });
        // Of a namespace that is visited twice before anybody asks, the last.
        self.counts.clear();
        for (netns, read) in all.iter().zip(read) {
            match read {
                Ok((reading, count)) => {
                    self.account(netns.inum, reading, &first);
                    self.counts.push(count);
                }
                Err(error) => self.tell(netns, &error),
            }
        }
    }

    fn account(&mut self, inum: u32, reading: Reading, first: &impl Fn(Reading) -> Counted) {
        match self.netns.get_mut(&inum) {
            Some(counted) if counted.cookie == reading.cookie => counted.advance(reading),
            // Another one with the same number.
            Some(counted) => *counted = Counted::from_zero(reading),
            None => {
                self.netns.insert(inum, first(reading));
            }
        }
    }

    fn tell(&mut self, netns: &Netns, error: &io::Error) {
        // A namespace may go away between being found and being visited.
        let gone = error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH);
        if !gone && self.told.insert(netns.inum) {
            let Netns { inum, name, .. } = netns;
            self.failures.push(format!("no statistics of network namespace {name} ({inum}): {error}"));
        }
    }
}

impl Reading {
    /// When it was taken.
    pub(super) fn ktime_ns(&self) -> u64 {
        self.ktime_ns
    }

    /// Asks in the namespace of the socket.
    pub(super) fn take(socket: &mut Asking) -> io::Result<Self> {
        let mut counters = HashMap::new();
        socket.ask(Request::CpuCounters, |part| {
            if let Content::CpuCounters { cpu, counters: read } = part {
                counters.insert(cpu, read);
            }
        })?;
        Ok(Self { cookie: socket.netns_cookie(), counters, ktime_ns: clock::ktime_ns() })
    }
}

impl Counted {
    /// Counts from what they are now.
    pub(super) fn from_now(reading: Reading) -> Self {
        let Reading { cookie, counters, ktime_ns } = reading;
        Self { cookie, counters, sums: Sums::default(), ktime_ns }
    }

    /// Counts what they are now as added.
    fn from_zero(reading: Reading) -> Self {
        let nothing = Reading { counters: HashMap::new(), ..reading };
        let mut counted = Self::from_now(nothing);
        counted.advance(reading);
        counted
    }

    /// Takes the next reading.
    pub(super) fn advance(&mut self, reading: Reading) {
        for (cpu, now) in &reading.counters {
            let before = self.counters.get(cpu).copied().unwrap_or_default();
            self.sums.add(&before, now);
        }
        self.counters = reading.counters;
        self.ktime_ns = reading.ktime_ns;
    }

    /// The kernel begins again from zero.
    pub(super) fn restart(&mut self) {
        self.counters.clear();
    }

    /// What was added.
    pub(super) fn sums(&self) -> &Sums {
        &self.sums
    }
}

/// Reads how many entries there are in the network namespace of the socket, whose inode number is `netns`.
pub(super) fn count(asking: &mut Asking, netns: u32) -> io::Result<Count> {
    let mut totals = (ABSENT, None);
    asking.ask(Request::Totals, |part| {
        if let Content::Totals { count, max } = part {
            totals = (count, max);
        }
    })?;
    let (count, max) = totals;
    Ok(Count {
        kind: Kind::Count as u8,
        reserved: [0; 3],
        netns,
        ktime_ns: clock::ktime_ns(),
        count,
        max: max.or_else(|| sysctl::netfilter("nf_conntrack_max")).unwrap_or(ABSENT),
        cookie: asking.netns_cookie(),
    })
}

/// The record that says it; `alone` if nothing else tells of refusals.
pub(super) fn record(netns: u32, alone: u8, ktime_ns: u64, sums: &Sums) -> Stats {
    Stats {
        kind: Kind::Stats as u8,
        alone,
        reserved: 0,
        netns,
        ktime_ns,
        drop: sums.drop,
        early_drop: sums.early_drop,
        insert_failed: sums.insert_failed,
        chaintoolong: sums.chain_toolong,
        clash_resolve: sums.clash_resolve,
        invalid: sums.invalid,
    }
}
