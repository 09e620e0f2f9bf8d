//! Lines as a person sees them.

use conntrack_common::Cause;

use super::*;
use crate::engine::filter::Filter;
use crate::engine::testing::{self, S, WALL, connection};
use crate::output::fold::Fold;

fn written(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).expect("a vector takes all");
    String::from_utf8(out).expect("text")
}

/// A notice without its time, which stands first in each.
fn line(notice: &Notice) -> String {
    let line = written(|out| super::notice(out, notice, WALL));
    line.split_once(' ').map(|(_, rest)| rest.trim_end().to_owned()).expect("a time and a rest")
}

#[test]
fn a_refusal() {
    let refusal = Refusal {
        ktime_ns: 3 * S + 250_123_456,
        netns: 4_026_531_840,
        cause: Cause::TableFull,
        connection: Some(Connection { netns: 4_026_531_840, ..connection(5) }),
        level: Level::new(512, 512),
    };
    assert_eq!(
        written(|out| notice(out, &Notice::Refused(refusal), WALL)),
        "2026-11-20T10:15:03.250123456Z refused table_full udp src=10.1.0.5 dst=10.99.0.1 sport=1024 dport=5000 \
         netns=4026531840 count=512 max=512\n"
    );
    let unknown =
        Refusal { netns: 0, cause: Cause::NoMemory, connection: None, level: Level::default(), ..refusal };
    assert_eq!(line(&Notice::Refused(unknown)), "refused no_memory  unknown netns=0 count=? max=?");
}

#[test]
fn tuples_are_written_as_conntrack_does() {
    let udp = connection(5);
    let of = |proto, dport| Connection { proto, dport, sport: 7, zone: 3, ..udp };
    let cases = [
        (of(Proto::UDP, 53), "udp src=10.1.0.5 dst=10.99.0.1 sport=7 dport=53 zone=3"),
        (of(Proto::ICMP, 0x0800), "icmp src=10.1.0.5 dst=10.99.0.1 type=8 code=0 id=7 zone=3"),
        (of(Proto::GRE, 9), "gre src=10.1.0.5 dst=10.99.0.1 srckey=0x7 dstkey=0x9 zone=3"),
        (of(Proto(200), 0), "200 src=10.1.0.5 dst=10.99.0.1 zone=3"),
    ];
    for (connection, expected) in cases {
        assert_eq!(tuple(&connection).to_string(), expected);
    }
}

#[test]
fn flags_are_conntracks() {
    for (status, mark, expected) in
        [(0x0e, 0, " [ASSURED]"), (0x08, 7, " [UNREPLIED] mark=7"), (0x00, 0, " [UNCONFIRMED] [UNREPLIED]")]
    {
        assert_eq!(flags(Status(status), mark).to_string(), expected);
    }
}

#[test]
fn what_watch_prints_of_the_story() {
    let (engine, told) = testing::story();
    let lines: Vec<_> = told.iter().filter(|n| !matches!(n, Notice::New { .. })).map(line).collect();
    let udp = |host: u8| format!("udp src=10.1.0.{host} dst=10.99.0.1 sport=1024 dport=5000");
    let expected = [
        "edge    pressure   netns=1 count=8 max=10 was=ok".into(),
        "edge    evicting   netns=1 count=11 max=10 was=pressure".into(),
        format!("free    {} netns=1 lifetime=1.000s", udp(5)),
        format!("evicted {} netns=1 [UNREPLIED] age=1.000s for {}", udp(5), udp(7)),
        "edge    refusing   netns=1 count=10 max=10 was=evicting".into(),
        format!("refused table_full {} netns=1 count=10 max=10", udp(8)),
        format!("refused table_full {} netns=1 count=10 max=10", udp(9)),
        "edge    pressure   netns=1 count=10 max=10 was=refusing".into(),
        "lost    entries=3 incidents=0 unmatched=0".into(),
    ];
    assert_eq!(lines, expected);
    assert_eq!(
        written(|out| summary(out, &engine.summary())),
        format!(
            "{EPISODE}2026-11-20T10:15:04.000000000Z summary new=9 freed=1 refused=2 evicted=1 lost=3 backend=kprobe\n"
        )
    );
}

const EPISODE: &str = "\
2026-11-20T10:15:02.000000000Z episode netns=1 count=11 max=10, still going on
  refused 2, evicted 1
  first refused 2026-11-20T10:15:02.250123456Z udp src=10.1.0.8 dst=10.99.0.1 sport=1024 dport=5000
  last refused  2026-11-20T10:15:02.300000000Z
  held by       10.1.0.5 6 (75 %), 10.1.0.6 2 (25 %)
  networks      10.1.0.0/24 8 (100 %)
  to            10.99.0.1 8 (100 %)
  ports         udp/5000 8 (100 %)
  new before    10.1.0.5 6 (75 %), 10.1.0.6 2 (25 %)
  refused       10.1.0.8 1 (50 %), 10.1.0.9 1 (50 %)
  evicted       10.1.0.5 1 (100 %)
";

#[test]
fn what_top_shows_of_the_story() {
    let (mut engine, _) = testing::story();
    let expected = format!(
        "\
netns 1 (gw): pressure for 700 ms, above the warn level
  [################################........] 8 of 10 entries (80.0 %)
  2.2 new/s  0.2 freed/s  0.5 refused/s  0.2 evicted/s  full in 1.0 s
kprobe since 2026-11-20T10:15:00Z: 13 events seen, 3 lost
  but: fexit: no module BTF

SOURCE   ENTRIES  SHARE     NEW/S  REFUSED  EVICTED
10.1.0.5       5  62.5%       1.5        0        1
10.1.0.6       2  25.0%       0.5        0        0
other          1  12.5%       0.2        2        0

{EPISODE}"
    );
    assert_eq!(written(|out| top(out, &engine.snapshot(2, &Filter::default()))), expected);
}

#[test]
fn namespaces_without_a_limit_and_more_than_one() {
    let (mut engine, _) = testing::story();
    let mut snapshot = engine.snapshot(1, &Filter::default());
    let unlimited = NetnsRow {
        netns: 2,
        name: None,
        level: Level::new(5, 0),
        state: State::Ok,
        ..snapshot.netns[0].clone()
    };
    snapshot.netns.push(unlimited);
    let text = written(|out| top(out, &snapshot));
    assert!(text.contains("netns 2: ok for 700 ms\n  count=5 max=0\n"), "{text}");
    assert!(text.contains("SOURCE        NETNS ENTRIES"), "{text}");
    assert!(text.contains("10.1.0.5          1       5"), "{text}");
    assert!(text.contains("other                     3"), "{text}");
}

#[test]
fn evictions_fold_into_a_line() {
    let mut fold = Fold::default();
    let eviction = |host, ktime_ns| Eviction {
        ktime_ns,
        victim: connection(host),
        age_ns: None,
        status: Status(8),
        mark: 0,
        level: Level::default(),
        for_whom: None,
    };
    for (host, at) in [(1, 0), (1, 1), (2, 2), (3, 3), (4, S / 2)] {
        assert_eq!(fold.add(&eviction(host, S + at)), None);
    }
    let line = written(|out| folded(out, &fold.due(u64::MAX)[0], WALL));
    assert_eq!(
        line,
        "2026-11-20T10:15:01.500000000Z evicted 5 entries in 500 ms netns=1 src=10.1.0.1 (2) src=10.1.0.2 (1) \
         src=10.1.0.3 (1) and 1 of others\n"
    );
}
