//! Snapshots made by hand: what a gateway looks like on good days and on bad ones.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use conntrack_common::{AuditTrigger, Cause, InsertCause, Totals};

use crate::engine::account::{AuditReport, Events, Repaired};
use crate::engine::causes;
use crate::engine::episode::{Causes, Episode};
use crate::engine::gauge::Level;
use crate::engine::holders::Holders;
use crate::engine::lifetimes::{Histogram, Lifetimes};
use crate::engine::notice::{Eviction, Failure, Lost, Notice, Refusal};
use crate::engine::query::{Focus, View};
use crate::engine::saturation::{Edge, State, Thresholds};
use crate::engine::snapshot::{self, CauseRow, Close, History, NetnsRow, Second, Snapshot, Trust};
use crate::engine::sources::{Rates, Sums};
use crate::engine::state::{EntryState, Sight};
use crate::engine::statistics::StatisticsRow;
use crate::engine::table::{Key, Other, Row, Table};
use crate::engine::tally::Ranking;
use crate::engine::testing::{S, WALL};
use crate::engine::tuple::{Connection, Proto, Status};

/// The namespace of the gateway.
pub const GW: u32 = 4_026_531_840;
/// Ten minutes after the attachment.
const NOW: u64 = 700 * S + 250_123_456;
const SINCE: u64 = 100 * S;
const MAX: u32 = 262_144;

/// The names of all scenes, with what each needs.
pub fn all() -> [(&'static str, Snapshot); 10] {
    [
        ("healthy", healthy()),
        ("pressure", pressure()),
        ("evicting", evicting()),
        ("refusing", refusing()),
        ("recovered", recovered()),
        ("degraded", degraded()),
        ("lost", lost()),
        ("empty", empty()),
        ("ipv6", ipv6()),
        ("many", many()),
    ]
}

pub fn host(last: u8) -> IpAddr {
    IpAddr::from([10, 1, 0, last])
}

pub fn connection(last: u8) -> Connection {
    Connection {
        netns: GW,
        zone: 0,
        proto: Proto::TCP,
        src: host(last),
        dst: IpAddr::from([203, 0, 113, 80]),
        sport: 40_000 + u16::from(last),
        dport: 443,
    }
}

fn audit(ago: u64) -> AuditReport {
    AuditReport {
        number: 7,
        trigger: AuditTrigger::Interval,
        began_ktime_ns: NOW - ago - 310_000_000,
        ended_ktime_ns: NOW - ago,
        entries: 61_034,
        repaired: Repaired::default(),
        buckets: u64::from(MAX),
        restarts: 0,
        cut_short: 0,
    }
}

fn row(key: Key, entries: u64, new_per_s: f64) -> Row {
    let new = entries + (new_per_s * 600.0) as u64;
    Row {
        key,
        entries,
        new_per_s,
        sums: Sums { new, freed: new - entries, ..Sums::default() },
        mean_lifetime_ns: (new_per_s > 0.0).then(|| (entries as f64 / new_per_s * 1e9) as u64),
        oldest_ns: Some(600 * S),
    }
}

fn source(last: u8, entries: u64, new_per_s: f64) -> Row {
    row(Key::Source(host(last), GW), entries, new_per_s)
}

fn netns(count: u32, state: State, since: u64, rates: Rates) -> NetnsRow {
    NetnsRow {
        netns: GW,
        name: Some("gw".into()),
        level: Level::new(count, MAX),
        state,
        since_ktime_ns: since,
        entries: count.into(),
        evictable: u64::from(count) / 50,
        unseen: 0,
        statistics: None,
        sums: Sums::default(),
        causes: causes::Causes::default(),
        lifetimes: Lifetimes::default(),
        histogram: Histogram::default(),
        episodes: 0,
        last_episode_ktime_ns: None,
        in_episode: false,
        rates,
    }
}

fn lines(rows: &[Row], entries: u64, groups: usize) -> Table {
    let listed: u64 = rows.iter().map(|row| row.entries).sum();
    Table {
        view: View::Sources,
        rows: rows.to_vec(),
        other: Other { entries: entries.saturating_sub(listed), sums: Sums::default(), new_per_s: 3.5 },
        groups,
        entries,
        since_ktime_ns: SINCE,
    }
}

/// Two minutes; `at` tells of each second how many entries, new ones, and refused ones there were.
fn history(at: impl Fn(u64) -> (u32, u64, u64)) -> History {
    let second = |n: u64| {
        let (count, new, refused) = at(n);
        let sums = Sums { new, freed: new, refused, ..Sums::default() };
        Second { ktime_ns: NOW / S * S - (119 - n) * S, level: Level::new(count, MAX), sums }
    };
    History { netns: GW, seconds: (0..120).map(second).collect() }
}

fn named(totals: &Totals, per_s: f64) -> Vec<CauseRow> {
    let row = |(cause, total)| CauseRow { cause, total, per_s: if total > 0 { per_s } else { 0.0 } };
    snapshot::causes(totals, 0).map(row).to_vec()
}

/// A quarter full, nothing the matter.
pub fn healthy() -> Snapshot {
    let rates = Rates { new: 412.5, freed: 410.0, unconfirmed: 1.5, ..Rates::default() };
    let totals = Totals { new: 308_431, freed: 247_397, unconfirmed: 912, ..Totals::default() };
    let mut rows = vec![source(17, 24_120, 160.5), source(4, 9_210, 61.0), source(5, 8_800, 59.5)];
    rows.extend((20..60).map(|last| source(last, 700 - 12 * u64::from(last - 20), 3.0)));
    Snapshot {
        ktime_ns: NOW,
        wall: WALL,
        since_ktime_ns: SINCE,
        interval_ns: 2 * S,
        trust: Trust { backend: "fexit".into(), degradations: Vec::new() },
        thresholds: Thresholds::default(),
        events: Events {
            seen: 555_828,
            bootstrapped: true,
            last_audit: Some(audit(12 * S)),
            ..Events::default()
        },
        totals,
        failed_unknown: 0,
        statistics: Vec::new(),
        entries: 61_034,
        netns: vec![netns(61_034, State::Ok, SINCE, rates)],
        table: lines(&rows, 61_034, 43),
        causes: named(&totals, 1.5),
        history: history(|n| (60_000 + (n as u32 % 7) * 200, 400 + n * 7 % 50, 0)),
        recent: Vec::new(),
        focus: None,
        episodes: Vec::new(),
    }
}

/// One source fills the table.
pub fn pressure() -> Snapshot {
    let rates = Rates { new: 612.0, freed: 380.0, unconfirmed: 1.5, ..Rates::default() };
    let mut snapshot = healthy();
    snapshot.netns = vec![netns(217_580, State::Pressure, NOW - 42 * S - 100_000_000, rates)];
    snapshot.entries = 217_580;
    let mut rows = snapshot.table.rows.clone();
    rows[0] = source(17, 180_666, 371.0);
    snapshot.table = lines(&rows, 217_580, 43);
    snapshot.history = history(|n| (150_000 + n as u32 * 567, 400 + n * 2, 0));
    snapshot.recent = vec![edge(State::Pressure, State::Ok, NOW - 42 * S - 100_000_000, 209_715)];
    snapshot
}

fn edge(state: State, was: State, ktime_ns: u64, count: u32) -> Notice {
    Notice::Edge { netns: GW, edge: Edge { was, state, ktime_ns, level: Level::new(count, MAX) } }
}

fn refusal(last: u8, ago: u64) -> Refusal {
    Refusal {
        ktime_ns: NOW - ago,
        netns: GW,
        cause: Cause::TableFull,
        connection: Some(connection(last)),
        level: Level::new(MAX, MAX),
    }
}

fn eviction(last: u8, ago: u64) -> Notice {
    Notice::Evicted(Eviction {
        ktime_ns: NOW - ago,
        victim: connection(last),
        age_ns: Some(31 * S),
        status: Status(8),
        mark: 0,
        level: Level::new(MAX, MAX),
        for_whom: Some(connection(17)),
    })
}

/// Full; the kernel cuts off who is not assured.
pub fn evicting() -> Snapshot {
    let rates = Rates { new: 903.0, freed: 901.0, evicted: 312.5, unconfirmed: 1.5, ..Rates::default() };
    let began = NOW - 3 * S - 400_000_000;
    let mut snapshot = pressure();
    snapshot.netns = vec![netns(262_140, State::Evicting, began, rates)];
    snapshot.entries = 262_140;
    let mut rows = snapshot.table.rows.clone();
    rows[0] = source(17, 225_240, 611.0);
    for row in &mut rows[1..12] {
        row.sums.evicted = row.entries / 9;
    }
    snapshot.table = lines(&rows, 262_140, 43);
    snapshot.totals.evicted = 1062;
    snapshot.causes = named(&snapshot.totals, 312.5);
    snapshot.history =
        history(|n| ((150_000 + n as u32 * 1_500).min(MAX), 400 + n * 4, n.saturating_sub(116) * 100));
    let evictions = (0..20).map(|n| eviction(20 + n, u64::from(n) * 3_123_457));
    let edges = [edge(State::Evicting, State::Pressure, began, 262_144)];
    snapshot.recent = evictions.chain(edges).chain(snapshot.recent).collect();
    snapshot.episodes = vec![Arc::new(episode(began, None, 0, 1062))];
    snapshot
}

fn episode(start_ktime_ns: u64, end_ktime_ns: Option<u64>, refused: u64, evicted: u64) -> Episode {
    let share = |last, entries| (host(last), entries);
    let sources = Ranking { top: vec![share(17, 225_240), share(4, 9_210), share(5, 8_800)], other: 18_890 };
    let destinations = Ranking { top: vec![(connection(1).dst, 240_000)], other: 22_140 };
    Episode {
        netns: GW,
        start_ktime_ns,
        end_ktime_ns,
        began: State::Evicting,
        level: Level::new(MAX, MAX),
        refused: Causes { table_full: refused, ..Causes::default() },
        first_refused: (refused > 0).then(|| Refusal { ktime_ns: start_ktime_ns + 7, ..refusal(33, 0) }),
        last_refused_ktime_ns: (refused > 0).then_some(start_ktime_ns + S),
        evicted,
        holders: Arc::new(Holders {
            ktime_ns: start_ktime_ns,
            entries: 262_140,
            sources,
            prefixes: Ranking { top: vec![("10.1.0.0/24".parse().expect("a network"), 262_140)], other: 0 },
            destinations,
            ports: Ranking { top: vec![((Proto::TCP, 443), 250_000), ((Proto::UDP, 53), 12_140)], other: 0 },
            protocols: Ranking::default(),
            ages: [0; 7],
            age_unknown: 0,
            arrivals: Ranking { top: vec![(host(17), 36_660)], other: 17_520 },
            arrivals_window_ns: 60 * S,
        }),
        refused_sources: Ranking { top: vec![(host(33), refused)], other: 0 },
        evicted_sources: Ranking { top: vec![(host(21), evicted)], other: 0 },
    }
}

/// Full of assured entries; new connections are dropped.
pub fn refusing() -> Snapshot {
    let rates =
        Rates { new: 31.0, freed: 31.0, refused: 874.5, evicted: 2.0, unconfirmed: 0.5, ..Rates::default() };
    let mut snapshot = evicting();
    snapshot.netns = vec![netns(MAX, State::Refusing, NOW - 192 * S, rates)];
    (snapshot.netns[0].evictable, snapshot.netns[0].unseen) = (0, 412);
    snapshot.entries = u64::from(MAX);
    let mut rows = snapshot.table.rows.clone();
    rows[0].sums.refused = 120_412;
    rows[1].sums.refused = 19_077;
    rows[2].sums.refused = 18_311;
    snapshot.table = lines(&rows, MAX.into(), 43);
    snapshot.table.other.sums.refused = 104;
    snapshot.totals.refused_table_full = 157_904;
    snapshot.totals.failed_nat_ports = 12;
    snapshot.causes = named(&snapshot.totals, 0.0);
    snapshot.causes[0].per_s = 874.5;
    snapshot.history = history(|_| (MAX, 31, 800 + NOW % 90));
    let failure = Notice::InsertFailed(Failure {
        ktime_ns: NOW - 4_000_111,
        cause: InsertCause::NatPorts,
        connection: connection(44),
        reply: Connection { src: connection(44).dst, dst: IpAddr::from([198, 51, 100, 1]), ..connection(44) },
        status: Status(0x80),
    });
    let refusals = (0..30)
        .map(|n| Notice::Refused(refusal(if n % 3 == 0 { 17 } else { 4 + n }, u64::from(n) * 1_143_457)));
    snapshot.recent = refusals.collect();
    snapshot.recent.insert(4, failure);
    snapshot.recent.push(edge(State::Refusing, State::Evicting, NOW - 192 * S, MAX));
    snapshot.episodes = vec![
        Arc::new(episode(NOW - 500 * S, Some(NOW - 480 * S), 212, 4_017)),
        Arc::new(episode(NOW - 193 * S, None, 157_904, 1_062)),
    ];
    snapshot
}

/// The table was enlarged.
pub fn recovered() -> Snapshot {
    let rates = Rates { new: 640.0, freed: 700.0, unconfirmed: 1.5, ..Rates::default() };
    let mut snapshot = refusing();
    snapshot.netns = vec![netns(250_112, State::Recovered, NOW - 4 * S, rates)];
    snapshot.netns[0].level = Level::new(250_112, 2 * MAX);
    snapshot.entries = 250_112;
    snapshot.table = lines(&snapshot.table.rows, 250_112, 43);
    snapshot.causes = named(&snapshot.totals, 0.0);
    snapshot.history =
        history(|n| if n < 100 { (MAX, 31, 800) } else { (MAX - (n as u32 - 100) * 600, 640, 0) });
    snapshot.recent.insert(0, edge(State::Recovered, State::Pressure, NOW - 4 * S, 250_300));
    snapshot.episodes = vec![Arc::new(episode(NOW - 193 * S, Some(NOW - 4 * S), 157_904, 1_062))];
    snapshot
}

/// Only ctnetlink is there: no refused tuples, and a fresh attachment.
pub fn degraded() -> Snapshot {
    let mut snapshot = healthy();
    snapshot.trust = Trust {
        backend: "netlink".into(),
        degradations: vec![
            "fexit: the kernel has no BTF for nf_conntrack".into(),
            "kprobe: perf_event_paranoid forbids it".into(),
            "netlink: who is refused is not known, and unconfirmed entries are not seen".into(),
        ],
    };
    snapshot.events.bootstrapped = false;
    snapshot.events.last_audit = None;
    snapshot.netns[0].name = None;
    snapshot.netns.push(NetnsRow {
        netns: 4_026_532_500,
        level: Level::new(12, 0),
        ..snapshot.netns[0].clone()
    });
    snapshot
}

/// The rings were too small for the flood.
pub fn lost() -> Snapshot {
    let mut snapshot = refusing();
    snapshot.totals.lost_entries = 18_204;
    snapshot.totals.lost_incidents = 77;
    snapshot.totals.unmatched = 3;
    snapshot.events.missed_by_program.insert("free".into(), 41);
    snapshot.events.repaired = Repaired { added: 5_210, removed: 4_999, replaced: 3 };
    let mut statistics = StatisticsRow { netns: None, name: None, comparison: Default::default() };
    statistics.comparison.kernel.drop = 157_993;
    statistics.comparison.ctwatch.drop = 157_916;
    snapshot.statistics = vec![statistics];
    let lost = Lost { ktime_ns: NOW - 2_000_000, entries: 18_204, incidents: 77, unmatched: 3 };
    snapshot.recent.insert(0, Notice::Lost(lost));
    snapshot.recent.sort_by_key(|notice| std::cmp::Reverse(notice.ktime_ns()));
    snapshot
}

/// Nothing has come yet.
pub fn empty() -> Snapshot {
    let mut snapshot = healthy();
    snapshot.netns.clear();
    snapshot.table = lines(&[], 0, 0);
    snapshot.table.other = Other::default();
    snapshot.entries = 0;
    snapshot.history = History::default();
    snapshot.totals = Totals::default();
    snapshot.causes = named(&snapshot.totals, 0.0);
    snapshot.events = Events::default();
    snapshot
}

/// Long addresses, and several namespaces.
pub fn ipv6() -> Snapshot {
    let mut snapshot = pressure();
    let address =
        |n: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0x1001, 0x5054, 0xff, 0xfe12, 0x3400 + n));
    let v6 = |n: u16| {
        row(
            Key::Source(address(n), GW + u32::from(n % 2)),
            90_000 / u64::from(n + 1),
            150.0 / f64::from(n + 1),
        )
    };
    let rows: Vec<Row> = (0..30).map(v6).collect();
    snapshot.table = lines(&rows, 217_580, 30);
    let other = Rates { new: 12.0, freed: 11.0, ..Rates::default() };
    let container = NetnsRow { netns: GW + 1, name: None, ..netns(1_200, State::Ok, SINCE, other) };
    snapshot.netns.push(container);
    snapshot
}

/// As many sources as a provider's customers.
pub fn many() -> Snapshot {
    let mut snapshot = pressure();
    let address = |n: u32| IpAddr::from((0x0a01_0000 + n).to_be_bytes());
    let rows: Vec<Row> =
        (0..10_000).map(|n| row(Key::Source(address(n), GW), 21 - u64::from(n) / 500, 0.1)).collect();
    snapshot.table = lines(&rows, 217_580, 10_000);
    snapshot
}

/// The table of another view of a gateway that refuses.
pub fn of_view(view: View) -> Snapshot {
    let mut snapshot = refusing();
    let keys: Vec<Key> = match view {
        View::Sources => (17..23).map(|last| Key::Source(host(last), GW)).collect(),
        View::Prefixes => ["10.1.0.0/24", "10.2.0.0/24", "2001:db8:1:2::/64"]
            .map(|net| Key::Prefix(net.parse().expect("a network")))
            .to_vec(),
        View::Destinations => {
            (1..6).map(|last| Key::Destination(IpAddr::from([203, 0, 113, last]))).collect()
        }
        View::Ports => [(Proto::TCP, 443), (Proto::UDP, 53), (Proto::TCP, 80), (Proto::ICMP, 0)]
            .map(|(proto, port)| Key::Port(proto, port))
            .to_vec(),
        View::States => [(Proto::TCP, 3), (Proto::TCP, 7), (Proto::TCP, 1), (Proto::UDP, 255)]
            .map(|(proto, state)| Key::State(state_of(proto, state)))
            .to_vec(),
        View::Netns => vec![Key::Netns(GW), Key::Netns(GW + 1)],
        View::Causes | View::Episodes => Vec::new(),
    };
    if view == View::Netns {
        let quiet =
            NetnsRow { netns: GW + 1, name: None, ..netns(1_200, State::Ok, SINCE, Rates::default()) };
        snapshot.netns.push(quiet);
    }
    let entries = [180_000, 60_000, 12_000, 4_000, 900, 12];
    let rows: Vec<Row> = keys.iter().zip(entries).map(|(key, entries)| row(*key, entries, 11.5)).collect();
    snapshot.table = Table { view, ..lines(&rows, MAX.into(), rows.len()) };
    snapshot
}

fn state_of(proto: Proto, state: u8) -> EntryState {
    EntryState { proto, sight: Sight::new(Status(0xe), state).as_group() }
}

/// A gateway that refuses, with its greatest holder looked at closely.
pub fn closer() -> Snapshot {
    let mut snapshot = refusing();
    let focus = Focus { netns: GW, src: host(17) };
    let mut row = snapshot.table.rows[0];
    row.mean_lifetime_ns = Some(369 * S);
    let dst = |last| IpAddr::from([203, 0, 113, last]);
    snapshot.focus = Some(Close {
        focus,
        row,
        destinations: Ranking {
            top: vec![(dst(80), 201_000), (dst(81), 20_240), (dst(9), 2_000)],
            other: 2_000,
        },
        ports: Ranking { top: vec![((Proto::TCP, 443), 221_000), ((Proto::UDP, 53), 4_240)], other: 0 },
        states: Ranking {
            top: vec![
                (state_of(Proto::TCP, 3), 190_000),
                (state_of(Proto::TCP, 7), 31_000),
                (state_of(Proto::UDP, 255), 4_240),
            ],
            other: 0,
        },
        ages: [611, 5_499, 30_550, 180_000, 0, 0, 0],
        age_unknown: 8_580,
        arrivals_per_s: 611.0,
        refusals: (0u64..8).map(|n| refusal(17, n * 3_430_371)).collect(),
    });
    snapshot
}
