//! A small model of conntrack: chains, a limit, `early_drop`, expiry; it writes the records our programs would.

use std::collections::BTreeMap;
use std::net::IpAddr;

use conntrack_common::{Cause, Count, End, Evicted, Free, Kind, New, Refused, RoomMade, Tuple};
use conntrack_tests::flood::Flood;
use conntrack_tests::gateway::Gateway;
use conntrack_tests::scenario::{Phase, Scenario};
use conntrack_user::engine::batch::{Batch, WallClock};
use zerocopy::IntoBytes as _;

/// Inode number of the model's network namespace.
pub const NETNS: u32 = 4_026_531_840;

const SECOND: u64 = 1_000_000_000;
/// The smallest step of time; whatever is due within one happens in it.
const STEP_NS: u64 = 1_000_000;
/// How often the kernel collects what expired, and the census counts.
const COLLECT_NS: u64 = SECOND / 4;
/// `early_drop` looks at so many chains.
const EARLY_DROP_CHAINS: u32 = 8;
/// `IPS_CONFIRMED`, `IPS_SEEN_REPLY` and `IPS_ASSURED`.
const CONFIRMED: u32 = 1 << 3;
const ASSURED: u32 = 1 << 2 | 1 << 1;

/// What the kernel would have counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    pub new: u64,
    pub freed: u64,
    pub refused: u64,
    pub evicted: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    tuple: Tuple,
    /// The chains its two directions are in.
    chains: [u32; 2],
    assured: bool,
    expires_ns: u64,
}

/// A client that opens connections evenly.
#[derive(Clone, Debug)]
struct Client {
    flood: Flood,
    rate: f64,
    opened: u64,
    due: f64,
}

/// The model and what is going on in it.
#[derive(Debug)]
pub struct Model {
    max: u32,
    buckets: u32,
    unanswered_ns: u64,
    now_ns: u64,
    entries: BTreeMap<u64, Entry>,
    next_ct: u64,
    next_collect_ns: u64,
    users: Client,
    scan: Option<Client>,
    hog: Client,
    hold: Option<Ramp>,
    entries_ring: Vec<u8>,
    incidents_ring: Vec<u8>,
    /// What the kernel would have counted.
    pub stats: Stats,
    /// When and whom it refused first.
    pub first_refused: Option<(u64, IpAddr)>,
}

/// The hog's way from what it holds to what it shall hold.
#[derive(Clone, Copy, Debug)]
struct Ramp {
    from: u32,
    to: u32,
    begin_ns: u64,
    length_ns: u64,
}

impl Client {
    fn new(flood: Flood, rate: f64) -> Self {
        Self { flood, rate, opened: 0, due: 0.0 }
    }

    /// The connections due in one step.
    fn step(&mut self) -> Vec<Tuple> {
        self.due += self.rate * STEP_NS as f64 / SECOND as f64;
        let mut tuples = Vec::new();
        while self.due >= 1.0 {
            self.due -= 1.0;
            tuples.push(self.open());
        }
        tuples
    }

    fn open(&mut self) -> Tuple {
        self.opened += 1;
        record_tuple(&self.flood.tuple_of(self.opened - 1))
    }
}

impl Model {
    /// A gateway at rest; some time has passed since it booted.
    pub fn new(scenario: &Scenario) -> Self {
        let users = Flood { sources: scenario.users.sources, first_source: 1, ..Flood::default() };
        // Real connections go to another port than the scan does.
        let hog = Flood { first: 0, ..Flood::default() };
        Self {
            max: scenario.max,
            buckets: scenario.buckets,
            unanswered_ns: u64::from(scenario.unanswered) * SECOND,
            now_ns: 1_000 * SECOND,
            entries: BTreeMap::new(),
            next_collect_ns: 1_000 * SECOND,
            next_ct: 0xffff_8880_0000_0000,
            users: Client::new(users, scenario.users.rate as f64),
            scan: None,
            hog: Client::new(hog, 0.0),
            hold: None,
            entries_ring: Vec::new(),
            incidents_ring: Vec::new(),
            stats: Stats::default(),
            first_refused: None,
        }
    }

    /// CLOCK_MONOTONIC of the model.
    pub fn now(&self) -> u64 {
        self.now_ns
    }

    /// `nf_conntrack_count`
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// `nf_conntrack_max`
    pub fn max(&self) -> u32 {
        self.max
    }

    /// Begins a phase.
    pub fn begin(&mut self, phase: &Phase) {
        self.scan = phase.scan.map(|rate| Client::new(Flood::default(), rate as f64));
        let (from, begin_ns) = (self.held(), self.now_ns);
        let length_ns = phase.duration().as_nanos() as u64;
        self.hold = phase.hold.map(|to| Ramp { from, to, begin_ns, length_ns });
    }

    /// Lets time pass and returns what a drain of the rings would.
    pub fn run(&mut self, length_ns: u64) -> Batch {
        let end = self.now_ns + length_ns;
        while self.now_ns < end {
            self.step();
        }
        Batch {
            ktime_ns: self.now_ns,
            wall: WallClock::default(),
            entries: std::mem::take(&mut self.entries_ring).into(),
            incidents: std::mem::take(&mut self.incidents_ring).into(),
            totals: None,
            trust: None,
        }
    }

    fn step(&mut self) {
        self.now_ns += STEP_NS;
        let mut opened = self.users.step();
        opened.extend(self.scan.iter_mut().flat_map(Client::step));
        for tuple in opened {
            self.allocate(tuple, false);
        }
        self.approach();
        if self.now_ns >= self.next_collect_ns {
            self.next_collect_ns += COLLECT_NS;
            self.collect();
        }
    }

    fn held(&self) -> u32 {
        self.entries.values().filter(|entry| entry.assured).count() as u32
    }

    /// Takes the hog to what it shall hold by now.
    fn approach(&mut self) {
        let Some(ramp) = self.hold else { return };
        if ramp.to < ramp.from {
            // Reset connections stay for a second.
            for entry in self.entries.values_mut().filter(|entry| entry.assured) {
                entry.expires_ns = entry.expires_ns.min(self.now_ns + SECOND);
            }
            return;
        }
        let passed = (self.now_ns - ramp.begin_ns) as f64 / ramp.length_ns as f64;
        let due = ramp.from + (f64::from(ramp.to - ramp.from) * passed) as u32;
        for _ in self.held()..due {
            let mut tuple = self.hog.open();
            tuple.protonum = 6;
            tuple.dport = 80u16.to_be_bytes();
            self.allocate(tuple, true);
        }
    }

    fn collect(&mut self) {
        let expired = |(ct, entry): (&u64, &Entry)| (entry.expires_ns <= self.now_ns).then_some(*ct);
        let expired: Vec<u64> = self.entries.iter().filter_map(expired).collect();
        for ct in expired {
            self.free(ct, false);
        }
        let count = Count {
            kind: Kind::Count as u8,
            reserved: [0; 3],
            netns: NETNS,
            ktime_ns: self.tick(),
            count: self.count() as u32,
            max: self.max,
            cookie: 0,
        };
        self.incidents_ring.extend_from_slice(count.as_bytes());
    }

    /// `__nf_conntrack_alloc`
    fn allocate(&mut self, tuple: Tuple, assured: bool) {
        let hash = hash(&tuple);
        let mut victims = 0;
        if self.count() as u32 >= self.max {
            victims = self.early_drop(hash);
            if victims == 0 {
                return self.refuse(tuple);
            }
        }
        let (ct, ktime_ns) = (self.next_ct, self.tick());
        self.next_ct += 256;
        let lives = if assured { 432_000 * SECOND } else { self.unanswered_ns };
        let entry = Entry {
            tuple,
            chains: [hash % self.buckets, hash.rotate_left(16) % self.buckets],
            assured,
            expires_ns: ktime_ns + lives,
        };
        self.entries.insert(ct, entry);
        self.stats.new += 1;
        let new = New { kind: Kind::New as u8, may_be_seen: 0, zone: 0, netns: NETNS, ktime_ns, ct, tuple };
        self.entries_ring.extend_from_slice(new.as_bytes());
        if victims > 0 {
            let kind = Kind::RoomMade as u8;
            let made = RoomMade { kind, reserved: 0, zone: 0, netns: NETNS, ktime_ns, hash, victims, tuple };
            self.incidents_ring.extend_from_slice(made.as_bytes());
        }
    }

    /// Frees all unassured entries of the first of eight chains that has any.
    fn early_drop(&mut self, hash: u32) -> u32 {
        for n in 0..EARLY_DROP_CHAINS {
            let chain = hash.wrapping_add(n) % self.buckets;
            let doomed = |(ct, entry): (&u64, &Entry)| {
                (!entry.assured && entry.chains.contains(&chain)).then_some(*ct)
            };
            let victims: Vec<u64> = self.entries.iter().filter_map(doomed).collect();
            for &ct in &victims {
                self.evict(ct, hash);
            }
            if !victims.is_empty() {
                return victims.len() as u32;
            }
        }
        0
    }

    fn evict(&mut self, ct: u64, hash: u32) {
        let count = self.count() as u32 + 1;
        let (tuple, ktime_ns) = (self.entries[&ct].tuple, self.free(ct, true));
        self.stats.evicted += 1;
        let evicted = Evicted {
            kind: Kind::Evicted as u8,
            reserved: 0,
            zone: 0,
            netns: NETNS,
            ktime_ns,
            count,
            max: self.max,
            ct,
            tuple,
            status: CONFIRMED,
            mark: 0,
            hash,
            reserved2: 0,
        };
        self.incidents_ring.extend_from_slice(evicted.as_bytes());
    }

    fn refuse(&mut self, tuple: Tuple) {
        let ktime_ns = self.tick();
        self.stats.refused += 1;
        let src = IpAddr::from([tuple.src[0], tuple.src[1], tuple.src[2], tuple.src[3]]);
        self.first_refused.get_or_insert((ktime_ns, src));
        let refused = Refused {
            kind: Kind::Refused as u8,
            cause: Cause::TableFull as u8,
            zone: 0,
            netns: NETNS,
            ktime_ns,
            count: self.count() as u32,
            max: self.max,
            tuple,
        };
        self.incidents_ring.extend_from_slice(refused.as_bytes());
    }

    /// `nf_conntrack_free`; returns when.
    fn free(&mut self, ct: u64, evicted: bool) -> u64 {
        let ktime_ns = self.tick();
        let assured = self.entries.remove(&ct).is_some_and(|entry| entry.assured);
        self.stats.freed += 1;
        let status = CONFIRMED | if assured { ASSURED } else { 0 };
        let free = Free {
            kind: Kind::Free as u8,
            end: if evicted { End::Evicted } else { End::Other } as u8,
            status: status as u16,
            mark: 0,
            ktime_ns,
            ct,
        };
        self.entries_ring.extend_from_slice(free.as_bytes());
        ktime_ns
    }

    /// No two things happen in the same nanosecond.
    fn tick(&mut self) -> u64 {
        self.now_ns += 1;
        self.now_ns
    }
}

/// The kernel's hash is keyed; any that spreads will do.
fn hash(tuple: &Tuple) -> u32 {
    let mix = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    let hash = tuple.as_bytes().iter().fold(0x811c_9dc5, mix);
    hash ^ hash >> 15
}

fn record_tuple(tuple: &conntrack_tests::flood::Tuple) -> Tuple {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => {
            let octets = address.octets();
            std::array::from_fn(|i| octets.get(i).copied().unwrap_or(0))
        }
        IpAddr::V6(address) => address.octets(),
    };
    debug_assert!(tuple.src != Gateway::listener(false), "a client, not the server");
    Tuple {
        src: octets(tuple.src),
        sport: tuple.sport.to_be_bytes(),
        l3num: if tuple.src.is_ipv4() { 2 } else { 10 },
        dst: octets(tuple.dst),
        dport: tuple.dport.to_be_bytes(),
        protonum: 17,
        dir: 0,
    }
}
