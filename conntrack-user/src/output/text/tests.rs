//! Lines as a person sees them.

use conntrack_common::Cause;

use super::table::table;
use super::*;
use crate::engine::filter::Filter;
use crate::engine::notice::Gap;
use crate::engine::query::{Focus, Query, View};
use crate::engine::saturation::State;
use crate::engine::snapshot::NetnsRow;
use crate::engine::table::Key;
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
            "{EPISODE}2026-11-20T10:15:04.000000000Z summary new=9 freed=1 refused=2 evicted=1 failed=0 unconfirmed=0 seen=13 lost=3 missed=0 repaired=0 \
             audited=never backend=kprobe\n"
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
2026-11-20T10:15:04.000Z
netns 1 (gw): pressure for 700 ms, above the warn level
  [################################........] 8 of 10 entries (80.0 %), 0 evictable and 8 not audited yet
  2.2 new/s  0.2 freed/s  0.5 refused/s  0.2 evicted/s  0.0 failed/s  0.0 unconfirmed/s  full in 1.0 s
kprobe since 2026-11-20T10:15:00Z: 13 events seen, 3 lost, 0 missed, 0 repaired; not yet audited
  but: fexit: no module BTF
  but: entries older than the attachment are not known
causes: table_full 2, evicted 1

SOURCE   ENTRIES SHARE NEW/S REFUSED EVICTED FAILED UNCONF LIFETIME OLDEST
10.1.0.5       5 62.5%   1.5       0       1      0      0    1.0 s  3.0 s
10.1.0.6       2 25.0%   0.5       0       0      0      0        -  3.0 s
other          1 12.5%   0.2       2       0      0      0

{EPISODE}"
    );
    assert_eq!(written(|out| top(out, &testing::snapshot(&mut engine, 2, &Filter::default()))), expected);
}

#[test]
fn what_is_known_of_the_account() {
    let (mut engine, told) = testing::audited_story();
    let lines: Vec<_> = told.iter().filter(|n| !matches!(n, Notice::Edge { .. })).map(line).collect();
    let expected = [
        "free    udp src=10.1.0.9 dst=10.99.0.1 sport=1024 dport=5000 netns=1 [ASSURED] lifetime=?",
        "failed  nat_ports  udp src=10.1.0.5 dst=10.99.0.1 sport=1024 dport=5000 reply src=10.99.0.1 \
         dst=203.0.113.1 sport=5000 dport=60000 netns=1",
        "audit   ended      number=1 trigger=attached entries=9 added=0 removed=0 replaced=0 took=0.310s",
        "audit   ended      number=2 trigger=lost entries=10 added=1 removed=0 replaced=0 took=0.310s",
        "audit   abandoned  number=3 trigger=missed entries=10 added=0 removed=0 replaced=0 took=0.310s",
    ];
    assert_eq!(lines, expected);
    let top = written(|out| top(out, &testing::snapshot(&mut engine, 1, &Filter::default())));
    let trust = "
  [############################............] 7 of 10 entries (70.0 %), -3 unaccounted for, 9 evictable and 1 not audited yet
  ";
    assert!(top.contains(trust), "{top}");
    let trust = "
kprobe since 2026-11-20T10:15:00Z: 17 events seen, 3 lost, 5 missed, 1 repaired; audited 2.7 s ago: 10 entries in 310 ms
  but: fexit: no module BTF
  but: audit 3 was given up 2.7 s ago
  but: the kernel's statistics say netns=1 (gw) drop=4 early_drop=1 insert_failed=1 chaintoolong=0, but ctwatch counted drop=3
";
    assert!(top.contains(trust), "{top}");
    let summary = written(|out| summary(out, &engine.summary()));
    let last = "Z kernel  netns=1 (gw) drop=4 early_drop=1 insert_failed=1 chaintoolong=0, but ctwatch counted drop=3
2026-11-20T10:15:08.000000000Z summary new=10 freed=4 refused=2 evicted=1 failed=1 unconfirmed=0 seen=17 lost=3 \
missed=5 repaired=1 audited=2026-11-20T10:15:05Z backend=kprobe
";
    assert!(summary.ends_with(last), "{summary}");
}

#[test]
fn gaps_and_statistics() {
    let gap = |over| Notice::Gap(Gap { ktime_ns: 5 * S, from_ktime_ns: 3 * S, over });
    assert_eq!(line(&gap(false)), "gap     begun: conntrack is gone, with all entries");
    assert_eq!(line(&gap(true)), "gap     over: conntrack is there again after 2.000s");
    let counted = Counted { ktime_ns: S, netns: 1, refused: 5, evicted: 2, failed: 1 };
    assert_eq!(line(&Notice::Counted(counted)), "counted netns=1 refused=5 evicted=2 failed=1");
}

#[test]
fn the_longest_address_fits_a_wide_terminal() {
    let (mut engine, _) = testing::story();
    let mut snapshot = testing::snapshot(&mut engine, 1, &Filter::default());
    snapshot.netns.push(snapshot.netns[0].clone());
    let long = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff".parse().expect("an address");
    snapshot.table.rows[0].key = Key::Source(long, 1);
    let text = written(|out| table(out, &snapshot));
    let widest = text.lines().map(str::len).max();
    assert!(widest < Some(120), "{widest:?}");
}

#[test]
fn namespaces_without_a_limit_and_more_than_one() {
    let (mut engine, _) = testing::story();
    let mut snapshot = testing::snapshot(&mut engine, 1, &Filter::default());
    let unlimited = NetnsRow {
        netns: 2,
        name: None,
        level: Level::new(5, 0),
        state: State::Ok,
        ..snapshot.netns[0].clone()
    };
    snapshot.netns.push(unlimited);
    let text = written(|out| top(out, &snapshot));
    assert!(
        text.contains(
            "netns 2: ok for 700 ms\n  count=5 max=0, -3 unaccounted for, 0 evictable and 8 not audited yet\n"
        ),
        "{text}"
    );
    assert!(text.contains("SOURCE   NETNS ENTRIES"), "{text}");
    assert!(text.contains("10.1.0.5     1       5"), "{text}");
    assert!(text.contains("other                3"), "{text}");
}

/// The story's engine asked for something, as text.
fn asked(query: Query) -> String {
    let (mut engine, _) = testing::story();
    engine.ask(Query { rows: 10, ..query });
    engine.end_interval();
    written(|out| top(out, &engine.snapshot()))
}

#[test]
fn every_view_has_its_table() {
    for (view, line) in [
        (View::Prefixes, "10.1.0.0/24       8 100.0%"),
        (View::Destinations, "10.99.0.1         8 100.0%"),
        (View::Ports, "udp 5000       8 100.0%"),
        (View::States, "udp new since the audit       8 100.0%  3.0 s"),
        (View::Netns, "1 (gw) pressure       8 100.0%"),
        (View::Causes, "table_full              2        0.5"),
    ] {
        let text = asked(Query { view, ..Query::default() });
        assert!(text.contains(line), "{}:\n{text}", view.as_str());
    }
    let episodes = asked(Query { view: View::Episodes, ..Query::default() });
    assert!(episodes.ends_with(EPISODE) && !episodes.contains("ENTRIES"), "{episodes}");
}

#[test]
fn the_last_incidents_are_lines_of_watch() {
    let (mut engine, told) = testing::story();
    let mut snapshot = testing::snapshot(&mut engine, 1, &Filter::default());
    assert!(!written(|out| top(out, &snapshot)).contains("refused table_full"));
    snapshot.recent = told.iter().rev().copied().collect();
    let text = written(|out| top(out, &snapshot));
    let lines = told.iter().rev().take(9).map(line).collect::<Vec<_>>();
    let shown = text.lines().filter(|shown| lines.iter().any(|line| shown.ends_with(line))).count();
    assert_eq!(shown, 9, "{text}");
}

#[test]
fn a_close_look() {
    let src = connection(5).src;
    let text = asked(Query { focus: Some(Focus { netns: 1, src }), ..Query::default() });
    let close = "
source 10.1.0.5 netns=1
  1.5 new/s x 1.0 s = 2 entries; it holds 5
  to            10.99.0.1 5 (100 %)
  ports         udp/5000 5 (100 %)
  states        udp new since the audit 5 (100 %)
";
    assert!(text.contains(close), "{text}");
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
