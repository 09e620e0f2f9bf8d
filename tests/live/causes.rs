//! Connections that conntrack loses though the table has room: each is told with its cause, and as often as the
//! kernel counts it.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use conntrack_tests::flood::{Flood, Proto, Tuple};
use conntrack_tests::gateway::{Gateway, ROUTER_ADDRESS};
use conntrack_tests::kernel::Stats;
use conntrack_tests::netns::Resident;
use conntrack_tests::twins;
use conntrack_tests::watcher::{Ended, Signal, Watcher, number};
use serde_json::Value;

use crate::exact;
use crate::lab::{self, BUCKETS, LARGE, Lab};

const INTERVAL: Duration = Duration::from_secs(600);
/// The kernel's statistics are read at least so often.
const STATISTICS: Duration = Duration::from_secs(2);
/// The NAT ports there are for each transport protocol.
const PORTS: [(Proto, &str, u16); 2] = [(Proto::Udp, "udp", 20_000), (Proto::Tcp, "tcp", 30_000)];
const PORTS_EACH: u16 = 4;

/// What happened to failed insertions since a moment, by ctwatch and by the kernel.
struct Outcome {
    ended: Ended,
    kernel: Stats,
}

impl Outcome {
    /// Watches while `traffic` goes through the gateway.
    fn of(lab: &Lab, backend: &str, traffic: impl FnOnce() -> Result<()>) -> Result<Self> {
        let watcher = Watcher::watch(&["--backend", backend])?;
        let before = lab.stats()?;
        traffic()?;
        lab.settle()?;
        let kernel = lab.stats()?.since(&before);
        let ended = watcher.stop(Signal::INT)?;
        println!("{backend}: {kernel:?}; {}", failures(ended.summary()?));
        lab::expect_lossless(&ended)?;
        Ok(Self { ended, kernel })
    }

    fn failed(&self, cause: &str) -> Result<u64> {
        number(&self.ended.summary()?["failed_by_cause"], cause)
    }

    /// The lines of failed insertions, all of which must be of one cause and of one namespace.
    fn lines(&self, cause: &str, netns: &Value) -> Result<Vec<&Value>> {
        let lines: Vec<&Value> = self.ended.of_kind("failed").collect();
        let odd = lines.iter().find(|line| line["cause"] != cause || line["netns"] != *netns);
        ensure!(odd.is_none(), "not {cause} of {netns}: {odd:?}");
        ensure!(lines.len() as u64 == self.failed(cause)?, "{} lines, {}", lines.len(), self.failed(cause)?);
        let summary = self.ended.summary()?;
        ensure!(number(summary, "failed")? == self.failed(cause)?, "of another cause too: {summary}");
        Ok(lines)
    }
}

/// The totals of a summary that are about failed insertions, for people.
fn failures(summary: &Value) -> String {
    let names = ["failed", "failed_by_cause", "clash_resolved", "unconfirmed"];
    names.map(|name| format!("{name} {}", summary[name])).join(", ")
}

#[test]
fn exhausted_nat_ports_are_told_with_address_and_port() -> Result<()> {
    for backend in lab::ready().then(lab::backends).unwrap_or_default() {
        exhaust_nat_ports(backend).context(backend)?;
    }
    Ok(())
}

fn exhaust_nat_ports(backend: &str) -> Result<()> {
    let lab = Lab::new(LARGE, LARGE)?;
    // Without a process in it its statistics cannot be asked for.
    let _found = Resident::new(&lab.gateway.router)?;
    let rules = PORTS.map(|(_, name, first)| {
        format!("meta l4proto {name} snat ip to {ROUTER_ADDRESS}:{first}-{}", first + PORTS_EACH - 1)
    });
    lab.gateway.translate(&[&rules[0], &rules[1]])?;
    // All to one port of one server: so many connections there can be as there are NAT ports.
    let floods =
        PORTS.map(|(proto, _, _)| Flood { proto, sources: 5, packets: 500, ports: 1, ..Flood::default() });
    let outcome = Outcome::of(&lab, backend, || {
        floods.iter().try_for_each(|flood| flood.send(&lab.gateway).map(drop))?;
        std::thread::sleep(STATISTICS);
        Ok(())
    })?;

    let room = u64::from(PORTS_EACH) * floods.len() as u64;
    let failed = 1_000 - room;
    let kernel = outcome.kernel;
    ensure!(lab.count()? == room, "the kernel holds {} entries", lab.count()?);
    ensure!((kernel.drop, kernel.insert_failed) == (failed, failed), "{kernel:?}");
    assert_eq!(outcome.failed("nat_ports")?, failed);
    expect_reconciled(outcome.ended.summary()?, &lab.inum(), &kernel)?;
    let lines = outcome.lines("nat_ports", &lab.inum())?;
    let mut sent: HashSet<Tuple> =
        floods.iter().flat_map(|f| (0..f.packets).map(|i| f.tuple_of(i))).collect();
    for line in lines {
        let tuple = client_tuple(line)?;
        ensure!(sent.remove(&tuple), "never sent, or told twice: {line}");
        let reply = &line["reply"];
        let server = (&tuple.dst.to_string().into(), &tuple.dport.into());
        assert_eq!((&reply["src"], &reply["sport"]), server, "{line}");
        assert_eq!(reply["dst"], ROUTER_ADDRESS, "{line}");
        let (_, _, first) = PORTS.iter().find(|(proto, ..)| *proto == tuple.proto).context("which ports")?;
        let port = number(reply, "dport")?;
        assert!((u64::from(*first)..u64::from(first + PORTS_EACH)).contains(&port), "{line}");
    }
    assert_eq!(sent.len() as u64, room, "all but those that got a port");
    Ok(())
}

/// ctwatch has read the kernel's own statistics besides, and its hooks have seen the same.
fn expect_reconciled(summary: &Value, netns: &Value, kernel: &Stats) -> Result<()> {
    let rows = summary["statistics"].as_array().context("no statistics")?;
    let row = rows.iter().find(|row| row["netns"] == *netns);
    let row = row.with_context(|| format!("none of {netns}: {rows:?}"))?;
    for (name, counted) in [("drop", kernel.drop), ("insert_failed", kernel.insert_failed)] {
        assert_eq!(row["kernel"][name], counted, "{row}");
        assert_eq!(row["ctwatch"][name], counted, "{row}");
    }
    Ok(())
}

/// A line's connection as it was sent.
fn client_tuple(line: &Value) -> Result<Tuple> {
    let text = |name: &str| line[name].as_str().with_context(|| format!("no {name} in {line}"));
    let port = |name| Ok::<_, anyhow::Error>(u16::try_from(number(line, name)?)?);
    let proto = PORTS.iter().find(|(_, name, _)| line["proto"] == *name).context("which protocol")?.0;
    let (src, dst) = (text("src")?.parse()?, text("dst")?.parse()?);
    Ok(Tuple { proto, src, dst, sport: port("sport")?, dport: port("dport")? })
}

#[test]
fn chains_too_long_are_told() -> Result<()> {
    for backend in lab::ready().then(lab::backends).unwrap_or_default() {
        let lab = Lab::new(100_000, BUCKETS)?;
        let flood = lab::crowd(false, 18_000);
        let outcome = Outcome::of(&lab, backend, || flood.send(&lab.gateway).map(drop))?;

        let kernel = outcome.kernel;
        let summary = outcome.ended.summary()?;
        println!("{backend}: {} entries; {}; {}", lab.count()?, lab::totals(summary), summary["events"]);
        let lines = outcome.lines("chain_too_long", &lab.inum())?;
        // The limit came with 5.15.
        ensure!((kernel.chaintoolong == 0) == lab::is_5_10(), "{kernel:?}");
        let (failed, slack) = (outcome.failed("chain_too_long")?, exact::slack(backend, summary));
        assert!(
            kernel.chaintoolong.abs_diff(failed) <= slack,
            "{failed} failed, {slack} may be missing: {kernel:?}"
        );
        assert_eq!(kernel.insert_failed, kernel.chaintoolong, "{kernel:?}");
        assert_eq!(lab.count()? + kernel.chaintoolong, flood.packets, "each is an entry or failed");
        for line in lines {
            assert_eq!(line["proto"], "udp", "{line}");
            assert_eq!(line["reply"]["dst"], ROUTER_ADDRESS, "{line}");
            assert_eq!(
                (&line["reply"]["src"], &line["reply"]["sport"]),
                (&line["dst"], &line["dport"]),
                "{line}"
            );
        }
    }
    Ok(())
}

#[test]
fn what_a_rule_drops_is_no_failure() -> Result<()> {
    for backend in lab::ready().then(lab::backends).unwrap_or_default() {
        let lab = Lab::new(LARGE, LARGE)?;
        lab.gateway.drop_forwarded("meta l4proto udp")?;
        let flood = lab::crowd(false, 5_000);
        let arguments = ["--backend", backend, "--rows", "1000"];
        let top = Watcher::top(INTERVAL, &arguments)?;
        let outcome = Outcome::of(&lab, backend, || flood.send(&lab.gateway).map(drop))?;
        let document = top.stop(Signal::INT)?.document()?;

        let summary = outcome.ended.summary()?;
        assert_eq!(
            (lab.count()?, outcome.kernel),
            (0, Stats::default()),
            "a rule dropped them, not conntrack"
        );
        assert_eq!(number(summary, "unconfirmed")?, flood.packets);
        assert_eq!(number(summary, "failed")?, 0);
        assert_eq!(number(summary, "new")?, flood.packets);
        assert_eq!(outcome.ended.of_kind("failed").count(), 0);
        let rows = lab::sources(&document, &lab.inum())?;
        for n in 0..flood.sources {
            let source = Gateway::source(false, n).to_string();
            let row = rows.get(&source).with_context(|| format!("{source} is missing"))?;
            assert_eq!(number(row, "unconfirmed")?, flood.packets_of(n), "{row}");
            assert_eq!((number(row, "failed")?, number(row, "entries")?), (0, 0), "{row}");
        }
    }
    Ok(())
}

/// The first packets of one connection on two processors at once. How many clash is up to the machine; that ctwatch
/// says what the kernel says is not.
#[test]
fn clashes_are_those_of_the_kernel() -> Result<()> {
    for backend in lab::ready().then(lab::backends).unwrap_or_default() {
        for proto in [Proto::Tcp, Proto::Udp] {
            let lab = Lab::new(LARGE, LARGE)?;
            let flood = Flood { proto, batch: 1, ..lab::crowd(false, 1_000) };
            let outcome = Outcome::of(&lab, backend, || twins::send(&flood, &lab.gateway).map(drop))?;
            let (kernel, summary) = (outcome.kernel, outcome.ended.summary()?);
            assert_eq!(kernel.drop, kernel.insert_failed, "{proto:?}: of another cause too");
            let slack = exact::slack(backend, summary);
            let (failed, resolved) = (outcome.failed("clash")?, number(summary, "clash_resolved")?);
            println!("{backend} {proto:?}: {slack} may be missing");
            assert!(kernel.insert_failed.abs_diff(failed) <= slack, "{failed} failed: {kernel:?}");
            assert!(kernel.clash_resolve.abs_diff(resolved) <= slack, "{resolved} resolved: {kernel:?}");
            outcome.lines("clash", &lab.inum())?;
        }
    }
    Ok(())
}
