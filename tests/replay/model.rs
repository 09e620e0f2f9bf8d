//! A small model of conntrack: chains, a limit, `early_drop`, expiry; it writes the records our programs would,
//! walks its table as our walker would, and can lose what it writes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use conntrack_common::{
    Audit, AuditPhase, AuditTrigger, Cause, Count, End, Evicted, Free, Kind, New, Refused, RoomMade, Seen,
    Totals, Tuple,
};
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

/// Entries that the walk looks at in one step.
const WALKED_PER_STEP: usize = 40;

/// What the kernel would have counted since the programs were attached.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    pub new: u64,
    pub freed: u64,
    pub refused: u64,
    pub evicted: u64,
    pub lost: u64,
}

/// An audit under way.
#[derive(Clone, Copy, Debug)]
struct Walk {
    number: u32,
    trigger: AuditTrigger,
    began_ns: u64,
    /// The walk goes by address; None when it is through.
    next_ct: Option<u64>,
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
    walk: Option<Walk>,
    audits: u32,
    /// Whether the entries ring has no room.
    pub losing: bool,
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
            walk: None,
            audits: 0,
            losing: false,
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

    /// Entries by source.
    pub fn by_source(&self) -> BTreeMap<IpAddr, u64> {
        let mut held = BTreeMap::new();
        self.entries.values().for_each(|entry| *held.entry(source(&entry.tuple)).or_insert(0) += 1);
        held
    }

    /// Only what comes from here on is seen and counted.
    pub fn attach(&mut self) {
        self.entries_ring.clear();
        self.incidents_ring.clear();
        self.stats = Stats::default();
        self.first_refused = None;
    }

    /// Begins an audit; the walk takes its time, and everything else goes on.
    pub fn audit(&mut self, trigger: AuditTrigger) {
        self.audits += 1;
        let began_ns = self.tick();
        self.walk = Some(Walk { number: self.audits, trigger, began_ns, next_ct: Some(0) });
        self.audit_step(AuditPhase::Began);
    }

    /// Looks up what the walk should have seen, and ends the audit.
    pub fn look_up(&mut self, suspects: &[u64]) {
        suspects.iter().for_each(|ct| self.look_at(*ct));
        self.audit_step(AuditPhase::Ended);
        self.walk = None;
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
            totals: Some(Totals {
                new: self.stats.new,
                freed: self.stats.freed,
                refused_table_full: self.stats.refused,
                evicted: self.stats.evicted,
                lost_entries: self.stats.lost,
                ..Totals::default()
            }),
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
        self.walk_on();
    }

    fn walk_on(&mut self) {
        let Some(Walk { next_ct: Some(next), .. }) = self.walk else { return };
        let cts: Vec<u64> = self.entries.range(next..).map(|(ct, _)| *ct).take(WALKED_PER_STEP).collect();
        cts.iter().for_each(|ct| self.look_at(*ct));
        let next_ct = (cts.len() == WALKED_PER_STEP).then(|| cts[WALKED_PER_STEP - 1] + 1);
        self.walk = self.walk.map(|walk| Walk { next_ct, ..walk });
        if next_ct.is_none() {
            self.audit_step(AuditPhase::Walked);
        }
    }

    fn look_at(&mut self, ct: u64) {
        let found = self.entries.get(&ct).map(|entry| entry.tuple);
        let seen = Seen {
            kind: Kind::Seen as u8,
            alive: found.is_some().into(),
            zone: 0,
            netns: if found.is_some() { NETNS } else { 0 },
            ktime_ns: self.tick(),
            ct,
            tuple: found.unwrap_or(Tuple::ZERO),
            confirmed_unix_ns: 0,
            status: if found.is_some() { CONFIRMED } else { 0 },
            listed: 0,
            tcp_state: u8::MAX,
            reserved: 0,
        };
        // A walk waits for room.
        self.entries_ring.extend_from_slice(seen.as_bytes());
    }

    fn audit_step(&mut self, phase: AuditPhase) {
        let Some(Walk { number, trigger, began_ns, .. }) = self.walk else { return };
        let audit = Audit {
            kind: Kind::Audit as u8,
            phase: phase as u8,
            trigger: trigger as u8,
            reserved: 0,
            number,
            ktime_ns: self.tick(),
            began_ktime_ns: began_ns,
            buckets: self.buckets.into(),
            restarts: 0,
            cut_short: 0,
        };
        self.entries_ring.extend_from_slice(audit.as_bytes());
    }

    /// Writes into the entries ring, if there is room.
    fn tell(&mut self, record: &[u8]) {
        if self.losing {
            self.stats.lost += 1;
        } else {
            self.entries_ring.extend_from_slice(record);
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
        self.tell(new.as_bytes());
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
        self.first_refused.get_or_insert((ktime_ns, source(&tuple)));
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
        self.tell(free.as_bytes());
        ktime_ns
    }

    /// No two things happen in the same nanosecond.
    fn tick(&mut self) -> u64 {
        self.now_ns += 1;
        self.now_ns
    }
}

/// The model speaks IPv4.
fn source(tuple: &Tuple) -> IpAddr {
    let [a, b, c, d, ..] = tuple.src;
    IpAddr::from([a, b, c, d])
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
