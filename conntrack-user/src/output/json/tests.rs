//! Golden lines: a change here is a change for everyone who reads them.

use conntrack_common::{AuditTrigger, Cause, InsertCause};
use serde_json::Value;

use super::*;
use crate::engine::filter::Filter;
use crate::engine::gauge::Level;
use crate::engine::query::{Focus, Query, View};
use crate::engine::saturation::{Edge, State};
use crate::engine::tally::Ranking;
use crate::engine::testing::{self, S, WALL, connection};
use crate::engine::tuple::{Proto, Status};

fn written(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).expect("a vector takes all");
    String::from_utf8(out).expect("text")
}

fn parsed(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Value {
    let text = written(write);
    assert_eq!(text.matches('\n').count(), 1, "one line");
    serde_json::from_str(&text).expect("JSON")
}

fn line(it: Notice) -> String {
    written(|out| notice(out, &it, WALL))
}

const TIME: &str = r#""time":"2026-11-20T10:15:03.250123456Z","ktime_ns":3250123456"#;
const KTIME_NS: u64 = 3 * S + 250_123_456;
const UDP: &str = r#""proto":"udp","src":"10.1.0.5","dst":"10.99.0.1","sport":1024,"dport":5000,"zone":0"#;

#[test]
fn edges() {
    let edge = Edge {
        was: State::Evicting,
        state: State::Refusing,
        ktime_ns: KTIME_NS,
        level: Level::new(512, 512),
    };
    let expected = format!(
        r#"{{"kind":"edge",{TIME},"netns":1,"state":"refusing","was":"evicting","count":512,"max":512}}"#
    );
    assert_eq!(line(Notice::Edge { netns: 1, edge }), expected + "\n");
}

#[test]
fn refusals() {
    let refusal = Refusal {
        ktime_ns: KTIME_NS,
        netns: 1,
        cause: Cause::TableFull,
        connection: Some(connection(5)),
        level: Level::new(512, 512),
    };
    let expected =
        format!(r#"{{"kind":"refused",{TIME},"netns":1,"cause":"table_full",{UDP},"count":512,"max":512}}"#);
    assert_eq!(line(Notice::Refused(refusal)), expected + "\n");
    let unknown =
        Refusal { netns: 0, connection: None, level: Level::default(), cause: Cause::Ctnetlink, ..refusal };
    let expected =
        format!(r#"{{"kind":"refused",{TIME},"netns":0,"cause":"ctnetlink","count":null,"max":null}}"#);
    assert_eq!(line(Notice::Refused(unknown)), expected + "\n");
}

#[test]
fn evictions() {
    let eviction = Eviction {
        ktime_ns: KTIME_NS,
        victim: connection(5),
        age_ns: Some(7),
        status: Status(0x0a),
        mark: 3,
        level: Level::default(),
        for_whom: Some(connection(5)),
    };
    let expected = format!(
        r#"{{"kind":"evicted",{TIME},"netns":1,{UDP},"age_ns":7,"assured":false,"seen_reply":true,"mark":3,"for":{{{UDP}}}}}"#
    );
    assert_eq!(line(Notice::Evicted(eviction)), expected + "\n");

    let src = connection(5).src;
    let many = Folded {
        netns: 1,
        first_ktime_ns: 3 * S,
        last_ktime_ns: KTIME_NS,
        sources: Ranking { top: vec![(src, 9)], other: 2 },
    };
    let expected = format!(
        r#"{{"kind":"evicted",{TIME},"netns":1,"entries":11,"first_ktime_ns":3000000000,"sources":[{{"src":"10.1.0.5","entries":9}}],"other":2}}"#
    );
    assert_eq!(written(|out| folded(out, &many, WALL)), expected + "\n");
}

#[test]
fn entries() {
    let new = Notice::New { ktime_ns: KTIME_NS, connection: connection(5) };
    assert_eq!(line(new), format!(r#"{{"kind":"new",{TIME},"netns":1,{UDP}}}"#) + "\n");
    let freed = Freed {
        ktime_ns: KTIME_NS,
        connection: connection(5),
        status: Status(0x0e),
        mark: 0,
        lifetime_ns: Some(9),
        end: End::Evicted,
        tcp_state: None,
    };
    let expected = format!(
        r#"{{"kind":"free",{TIME},"netns":1,{UDP},"lifetime_ns":9,"assured":true,"seen_reply":true,"confirmed":true,"evicted":true,"end":"evicted","mark":0}}"#
    );
    assert_eq!(line(Notice::Free(freed)), expected + "\n");
    let older = line(Notice::Free(Freed { lifetime_ns: None, end: End::Other, ..freed }));
    assert!(older.contains(r#""lifetime_ns":null,"#), "{older}");
    assert!(older.contains(r#""evicted":false,"end":"other""#), "{older}");
    let closed = line(Notice::Free(Freed { tcp_state: Some(7), ..freed }));
    assert!(closed.ends_with("\"mark\":0,\"tcp_state\":\"TIME_WAIT\"}\n"), "{closed}");
    let ping = Connection { proto: Proto::ICMP, dport: 0x0800, zone: 3, ..connection(5) };
    let expected = r#""proto":"icmp","src":"10.1.0.5","dst":"10.99.0.1","sport":1024,"dport":2048,"zone":3,"icmp_type":8,"icmp_code":0,"icmp_id":1024}"#;
    let new = line(Notice::New { ktime_ns: KTIME_NS, connection: ping });
    assert!(new.ends_with(&format!("{expected}\n")), "{new}");
}

#[test]
fn losses() {
    let lost = Lost { ktime_ns: KTIME_NS, entries: 3, incidents: 2, unmatched: 1 };
    let expected =
        format!(r#"{{"kind":"lost",{TIME},"netns":null,"entries":3,"incidents":2,"unmatched":1}}"#);
    assert_eq!(line(Notice::Lost(lost)), expected + "\n");
}

#[test]
fn the_summary_is_the_account() {
    let (engine, _) = testing::story();
    let line = parsed(|out| summary(out, &engine.summary()));
    let expected = serde_json::json!({
        "kind": "summary", "time": "2026-11-20T10:15:04.000000000Z", "ktime_ns": 4_000_000_000u64, "netns": null,
        "since": "2026-11-20T10:15:00.000000000Z", "new": 9, "freed": 1, "refused": 2,
        "refused_by_cause": {"table_full": 2, "no_memory": 0, "ctnetlink": 0},
        "evicted": 1, "lost": 3, "unmatched": 0,
        "failed": 0, "failed_by_cause": no_failure(), "clash_resolved": 0, "unconfirmed": 0,
        "backend": "kprobe", "degradations": ["fexit: no module BTF"],
        "events": story_events(), "statistics": [], "episodes": [story_episode()],
    });
    assert_eq!(line, expected);
}

#[test]
fn top_adds_up() {
    let (mut engine, _) = testing::story();
    let top = parsed(|out| top(out, &testing::snapshot(&mut engine, 1, &Filter::default())));
    let expected = serde_json::json!({
        "time": "2026-11-20T10:15:04.000000000Z", "ktime_ns": 4_000_000_000u64,
        "since": "2026-11-20T10:15:00.000000000Z", "interval_s": 4.0,
        "backend": "kprobe", "degradations": ["fexit: no module BTF"],
        "events": story_events(), "statistics": [],
        "totals": {
            "entries": 8, "new": 9, "freed": 1, "refused": 2,
            "refused_by_cause": {"table_full": 2, "no_memory": 0, "ctnetlink": 0},
            "evicted": 1, "lost": 3, "unmatched": 0,
            "failed": 0, "failed_by_cause": no_failure(), "clash_resolved": 0, "unconfirmed": 0,
        },
        "netns": [{
            "netns": 1, "name": "gw", "count": 8, "max": 10, "state": "pressure",
            "since": "2026-11-20T10:15:03.300000000Z", "entries": 8,
            "unaccounted": 0, "failed": 0, "unconfirmed": 0, "evictable": 0, "unseen": 8, "statistics": null,
            "new_per_s": 2.3, "freed_per_s": 0.3, "refused_per_s": 0.5, "evicted_per_s": 0.3, "failed_per_s": 0.0,
            "unconfirmed_per_s": 0.0, "seconds_to_full": 1.0,
        }],
        "by": "sources", "groups": 5, "matching": 8, "counted_since": "2026-11-20T10:15:00.000000000Z",
        "sources": [{
            "src": "10.1.0.5", "netns": 1, "entries": 5, "new": 6, "new_per_s": 1.5, "freed": 1, "refused": 0, "evicted": 1,
            "failed": 0, "unconfirmed": 0, "mean_lifetime_s": 1.0, "oldest_s": 2.999999,
        }],
        "causes": story_causes(), "focus": null, "recent": [], "history": {"netns": 1, "seconds": []},
        "other": {
            "entries": 3, "new": 3, "new_per_s": 0.8, "freed": 0, "refused": 2, "evicted": 0, "failed": 0, "unconfirmed": 0,
        },
        "episodes": [story_episode()],
    });
    assert_eq!(top, expected);
}

fn story_causes() -> Value {
    let cause = |(cause, total, per_s): (&str, u64, f64)| serde_json::json!({"cause": cause, "total": total, "per_s": per_s});
    let quiet =
        ["clash", "chain_too_long", "nat_ports", "dying", "failed", "unconfirmed"].map(|name| (name, 0, 0.0));
    let told = [("table_full", 2, 0.5), ("no_memory", 0, 0.0), ("ctnetlink", 0, 0.0), ("evicted", 1, 0.3)];
    told.into_iter().chain(quiet).map(cause).collect()
}

/// The table asked for, by the story's engine.
fn asked(query: Query) -> Value {
    let (mut engine, _) = testing::story();
    engine.ask(Query { rows: 1, ..query });
    engine.end_interval();
    parsed(|out| top(out, &engine.snapshot()))
}

#[test]
fn every_table_is_under_its_name() {
    for (view, name, key) in [
        (View::Prefixes, "prefixes", serde_json::json!({"prefix": "10.1.0.0/24"})),
        (View::Destinations, "destinations", serde_json::json!({"dst": "10.99.0.1"})),
        (View::Ports, "ports", serde_json::json!({"proto": "udp", "dport": 5000})),
        (View::States, "states", serde_json::json!({"proto": "udp", "tcp_state": null, "assured": null})),
        (View::Netns, "namespaces", serde_json::json!({"netns": 1})),
    ] {
        let top = asked(Query { view, ..Query::default() });
        let row = &top[name][0];
        key.as_object()
            .into_iter()
            .flatten()
            .for_each(|(field, value)| assert_eq!(row[field], *value, "{top}"));
        assert_eq!(row.get("refused").is_some(), view != View::States, "{top}");
        assert_eq!(top["by"], view.as_str());
    }
    assert!(asked(Query { view: View::Causes, ..Query::default() }).get("sources").is_none());
}

#[test]
fn a_close_look() {
    let focus = Some(Focus { netns: 1, src: testing::connection(5).src });
    let top = asked(Query { focus, ..Query::default() });
    let close = &top["focus"];
    assert_eq!(
        (&close["src"], &close["entries"], &close["arrivals_per_s"]),
        (&"10.1.0.5".into(), &5.into(), &1.5.into())
    );
    assert_eq!(close["destinations"]["top"][0], serde_json::json!({"dst": "10.99.0.1", "entries": 5}));
    assert_eq!(close["states"]["top"][0]["entries"], 5);
}

fn no_failure() -> Value {
    serde_json::json!({"clash": 0, "chain_too_long": 0, "nat_ports": 0, "dying": 0, "unknown": 0})
}

fn story_events() -> Value {
    serde_json::json!({
        "seen": 13, "lost": 3, "missed": 0, "missed_by_program": {}, "repaired": {"added": 0, "removed": 0, "replaced": 0},
        "unmatched": 0, "decode_errors": 0, "older_free": 0, "unknown_free": 0, "overwritten": 0,
        "bootstrapped": false, "last_audit": null, "abandoned_audit": null,
        "gaps": {"count": 0, "duration_ns": 0, "open": false},
        "unrecorded": {"count": 0, "duration_ns": 0},
    })
}

/// What came after the story is told in testing.
#[test]
fn what_is_known_of_the_account() {
    let (mut engine, _) = testing::audited_story();
    let top = parsed(|out| top(out, &testing::snapshot(&mut engine, 1, &Filter::default())));
    let audit = |number, trigger, entries, added| {
        serde_json::json!({
            "number": number, "trigger": trigger, "began": "2026-11-20T10:15:05.000000000Z", "began_ktime_ns": 5 * S,
            "duration_ns": 310_000_000, "entries": entries, "repaired": {"added": added, "removed": 0, "replaced": 0},
            "buckets": 65_536, "restarts": 0, "cut_short": 0,
        })
    };
    let events = &top["events"];
    assert_eq!(events["last_audit"], audit(2, "lost", 10, 1));
    assert_eq!(events["abandoned_audit"], audit(3, "missed", 10, 0));
    assert_eq!(events["missed"], 5);
    assert_eq!(events["missed_by_program"], serde_json::json!({"alloc": 4}));
    assert_eq!((&events["older_free"], &events["unknown_free"]), (&1.into(), &1.into()));
    assert_eq!(events["bootstrapped"], true);
    assert_eq!(events["repaired"]["added"], 1);

    assert_eq!(top["totals"]["failed"], 1);
    assert_eq!(top["totals"]["failed_by_cause"]["nat_ports"], 1);
    let netns = &top["netns"][0];
    assert_eq!((&netns["failed"], &netns["unaccounted"]), (&1.into(), &(-3).into()));
    let kernel = serde_json::json!({
        "drop": 4, "early_drop": 1, "insert_failed": 1, "chaintoolong": 0, "clash_resolve": 0, "invalid": 0,
    });
    let ctwatch = serde_json::json!({
        "drop": 3, "early_drop": 1, "insert_failed": 1, "chaintoolong": 0, "clash_resolve": null,
    });
    assert_eq!(netns["statistics"], serde_json::json!({"kernel": kernel, "ctwatch": ctwatch}));
    let summary = parsed(|out| summary(out, &engine.summary()));
    assert_eq!(summary["statistics"], top["statistics"]);
    assert_eq!(
        summary["statistics"][1],
        serde_json::json!({"netns": 1, "name": "gw", "kernel": kernel, "ctwatch": ctwatch})
    );
    assert_eq!(summary["statistics"][0]["netns"], Value::Null);
    assert_eq!(summary["statistics"][0]["ctwatch"]["clash_resolve"], 0);
}

#[test]
fn failed_insertions() {
    let reply = Connection {
        src: connection(5).dst,
        dst: [203, 0, 113, 1].into(),
        sport: 5000,
        dport: 60_000,
        ..connection(5)
    };
    let failure = Failure {
        ktime_ns: KTIME_NS,
        cause: InsertCause::NatPorts,
        connection: connection(5),
        reply,
        status: Status(0),
    };
    let reply = r#""proto":"udp","src":"10.99.0.1","dst":"203.0.113.1","sport":5000,"dport":60000,"zone":0"#;
    let expected =
        format!(r#"{{"kind":"failed",{TIME},"netns":1,"cause":"nat_ports",{UDP},"reply":{{{reply}}}}}"#);
    assert_eq!(line(Notice::InsertFailed(failure)), expected + "\n");
}

#[test]
fn audits_gaps_and_statistics() {
    let report = AuditReport {
        number: 2,
        trigger: AuditTrigger::Lost,
        began_ktime_ns: 3 * S,
        ended_ktime_ns: KTIME_NS,
        entries: 9,
        repaired: Repaired { added: 1, removed: 2, replaced: 3 },
        buckets: 512,
        restarts: 1,
        cut_short: 0,
    };
    let audit = Notice::Audited(notice::Audited { report, abandoned: false });
    let began =
        r#""began":"2026-11-20T10:15:03.000000000Z","began_ktime_ns":3000000000,"duration_ns":250123456"#;
    let expected = format!(
        r#"{{"kind":"audit",{TIME},"netns":null,"abandoned":false,"number":2,"trigger":"lost",{began},"entries":9,"repaired":{{"added":1,"removed":2,"replaced":3}},"buckets":512,"restarts":1,"cut_short":0}}"#
    );
    assert_eq!(line(audit), expected + "\n");
    let gap = Notice::Gap(notice::Gap { ktime_ns: KTIME_NS, from_ktime_ns: 3 * S, over: true });
    let expected = format!(
        r#"{{"kind":"gap",{TIME},"netns":null,"over":true,"from_ktime_ns":3000000000,"duration_ns":250123456}}"#
    );
    assert_eq!(line(gap), expected + "\n");
    let counted = Counted { ktime_ns: KTIME_NS, netns: 1, refused: 5, evicted: 2, failed: 1 };
    let expected = format!(r#"{{"kind":"counted",{TIME},"netns":1,"refused":5,"evicted":2,"failed":1}}"#);
    assert_eq!(line(Notice::Counted(counted)), expected + "\n");
}

fn story_episode() -> Value {
    let ages = [7, 1, 0, 0, 0, 0, 0].into_iter().zip([
        Some(1),
        Some(10),
        Some(60),
        Some(600),
        Some(3600),
        Some(86_400),
        None,
    ]);
    let ages: Vec<_> =
        ages.map(|(entries, under_s)| serde_json::json!({"under_s": under_s, "entries": entries})).collect();
    serde_json::json!({
        "netns": 1, "began": "evicting", "start": "2026-11-20T10:15:02.000000000Z", "start_ktime_ns": 2_000_000_000u64,
        "end": null, "end_ktime_ns": null, "count": 11, "max": 10,
        "refused": 2, "refused_by_cause": {"table_full": 2, "no_memory": 0, "ctnetlink": 0},
        "first_refused": {
            "time": "2026-11-20T10:15:02.250123456Z", "ktime_ns": 2_250_123_456u64, "netns": 1, "cause": "table_full",
            "proto": "udp", "src": "10.1.0.8", "dst": "10.99.0.1", "sport": 1024, "dport": 5000, "zone": 0,
            "count": 10, "max": 10,
        },
        "last_refused": "2026-11-20T10:15:02.300000000Z", "last_refused_ktime_ns": 2_300_000_000u64, "evicted": 1,
        "holders": {
            "ktime_ns": 2_000_000_000u64,
            "entries": 8,
            "sources": {"top": [{"src": "10.1.0.5", "entries": 6}, {"src": "10.1.0.6", "entries": 2}], "other": 0},
            "prefixes": {"top": [{"prefix": "10.1.0.0/24", "entries": 8}], "other": 0},
            "destinations": {"top": [{"dst": "10.99.0.1", "entries": 8}], "other": 0},
            "ports": {"top": [{"proto": "udp", "dport": 5000, "entries": 8}], "other": 0},
            "protocols": {"top": [{"proto": "udp", "entries": 8}], "other": 0},
            "ages": ages, "age_unknown": 0,
            "arrivals": {
                "top": [{"src": "10.1.0.5", "new": 6, "new_per_s": 3.0}, {"src": "10.1.0.6", "new": 2, "new_per_s": 1.0}],
                "other": 0,
            },
            "arrivals_window_s": 2.0,
        },
        "victims": {
            "refused": {"top": [{"src": "10.1.0.8", "events": 1}, {"src": "10.1.0.9", "events": 1}], "other": 0},
            "evicted": {"top": [{"src": "10.1.0.5", "events": 1}], "other": 0},
        },
    })
}
