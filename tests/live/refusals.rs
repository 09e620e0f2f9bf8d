//! Refused connections: every one is seen, with its tuple, its time and its cause.

use anyhow::{Context as _, Result, ensure};
use conntrack_tests::flood::{Tuple, monotonic_ns};
use conntrack_tests::gateway::Gateway;
use conntrack_tests::hog::Hog;
use conntrack_tests::kernel;
use conntrack_tests::watcher::{Signal, Watcher, number};
use serde_json::Value;

use crate::lab::{self, BUCKETS, Lab, SMALL, SOON};

/// Packets may be worked off this long after they were sent, when a burst is left to ksoftirqd.
const SOFTIRQ_DELAY_NS: u64 = 1_000_000_000;

#[test]
fn every_refusal_is_seen_with_its_tuple_and_time() -> Result<()> {
    for backend in lab::ready().then(lab::backends).unwrap_or_default() {
        for ipv6 in [false, true] {
            refuse_everything(backend, ipv6).with_context(|| format!("{backend}, ipv6 {ipv6}"))?;
        }
    }
    Ok(())
}

/// A table that nothing can be evicted from, and a flood against it.
fn refuse_everything(backend: &str, ipv6: bool) -> Result<()> {
    let lab = Lab::new(SMALL, BUCKETS)?;
    let watcher = Watcher::watch(&["--backend", backend])?;
    let hog = Hog::new(&lab.gateway, ipv6)?;
    let held = hog.hold(SMALL as usize, Gateway::source(ipv6, 99), SOON)?;
    ensure!(kernel::assured(&lab.gateway.router)? == SMALL as usize, "the hog holds only {}", held.len());

    let before = lab.stats()?;
    let flood = lab::crowd(ipv6, 10_000);
    let sent = flood.send(&lab.gateway)?;
    lab.settle()?;
    let kernel = lab.stats()?.since(&before);
    let ended = watcher.stop(Signal::INT)?;

    let lines: Vec<&Value> = ended.of_kind("refused").collect();
    let said = number(ended.summary()?, "refused")?;
    println!(
        "{backend} ipv6={ipv6}: sent {} at {:.0}/s, kernel refused {}, summary {said}, lines {}",
        sent.packets,
        sent.rate(),
        kernel.refused(),
        lines.len()
    );
    lab::expect_lossless(&ended)?;
    assert_eq!(said, kernel.refused(), "summary against drop - insert_failed");
    assert_eq!(lines.len() as u64, kernel.refused(), "refused lines against drop - insert_failed");
    assert_eq!(said, sent.packets, "every packet was refused");

    let first = lines.first().context("no refusal")?;
    expect_tuple(first, &flood.tuple_of(0));
    let at = number(first, "ktime_ns")?;
    let window = sent.first_ns..=sent.first_batch_ns + SOFTIRQ_DELAY_NS;
    assert!(window.contains(&at), "first refused at {at}, sent within {window:?}");
    for line in &lines {
        assert_eq!(line["cause"], "table_full", "{line}");
        assert_eq!(line["netns"], lab.inum(), "{line}");
        assert_eq!(line["max"], SMALL, "{line}");
        assert!(number(line, "count")? >= u64::from(SMALL), "{line}");
    }
    assert_eq!(summed_by_source(&lines), (0..flood.sources).map(|n| flood.packets_of(n)).collect::<Vec<_>>());
    Ok(())
}

/// A connection's fields against the tuple that was sent.
fn expect_tuple(line: &Value, tuple: &Tuple) {
    assert_eq!(line["proto"], "udp", "{line}");
    assert_eq!(line["src"], tuple.src.to_string(), "{line}");
    assert_eq!(line["dst"], tuple.dst.to_string(), "{line}");
    assert_eq!(line["sport"], tuple.sport, "{line}");
    assert_eq!(line["dport"], tuple.dport, "{line}");
    assert_eq!(line["zone"], 0, "{line}");
}

/// How many lines each source of the crowd has, in the order of the sources.
fn summed_by_source(lines: &[&Value]) -> Vec<u64> {
    let ipv6 = lines.first().is_some_and(|line| line["src"].as_str().is_some_and(|src| src.contains(':')));
    let of = |n| Gateway::source(ipv6, n).to_string();
    (0..20).map(|n| lines.iter().filter(|line| line["src"] == of(n)).count() as u64).collect()
}

#[test]
fn a_refused_ctnetlink_creation_says_so() -> Result<()> {
    for backend in lab::ready().then(lab::backends).unwrap_or_default() {
        let lab = Lab::new(SMALL, BUCKETS)?;
        let watcher = Watcher::watch(&["--backend", backend])?;
        let hog = Hog::new(&lab.gateway, false)?;
        let _held = hog.hold(SMALL as usize, Gateway::source(false, 99), SOON)?;
        let before = lab.stats()?;
        let from = monotonic_ns();
        let create = "conntrack -I -p udp -s 10.1.0.9 -d 198.18.9.9 --sport 1234 --dport 53 -t 60";
        let refused = lab.gateway.router.tool(create);
        let until = monotonic_ns();
        ensure!(refused.is_err(), "the kernel created an entry in a full table");
        let kernel = lab.stats()?.since(&before);
        let ended = watcher.stop(Signal::INT)?;

        let lines: Vec<&Value> = ended.of_kind("refused").collect();
        println!("{backend}: {lines:?}");
        let [line] = lines[..] else { anyhow::bail!("{} refused lines", lines.len()) };
        assert_eq!(kernel.refused(), 0, "no packet was refused");
        assert_eq!(line["cause"], "ctnetlink", "{line}");
        assert_eq!((&line["src"], &line["sport"]), (&"10.1.0.9".into(), &1234.into()), "{line}");
        assert_eq!((&line["dst"], &line["dport"]), (&"198.18.9.9".into(), &53.into()), "{line}");
        assert!((from..=until).contains(&number(line, "ktime_ns")?), "{line}");
        lab::expect_lossless(&ended)?;
    }
    Ok(())
}
