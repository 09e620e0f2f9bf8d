//! A table that was there before ctwatch: all of it is known after the first walk.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use conntrack_tests::flood::Flood;
use conntrack_tests::gateway::{Gateway, Router};
use conntrack_tests::kernel;
use conntrack_tests::player::Background;
use conntrack_tests::watcher::{Signal, Watcher, number};
use serde_json::Value;

use crate::exact::{self, Listed, Repaired};
use crate::lab::{self, LARGE, Lab, SOON};

const INTERVAL: Duration = Duration::from_secs(600);
/// Entries of each address family in each of two namespaces: 200,000 in all.
const EACH: u64 = 50_000;
const MILLION: u64 = 1_000_000;
/// What ctwatch may take for a million entries, in KiB.
const MEMORY: u64 = 200 << 10;

#[test]
fn two_hundred_thousand_entries_of_two_namespaces_are_known() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    let lab = Lab::new(LARGE, LARGE)?;
    let other = Gateway::new(Router::Own)?;
    let gateways = [&lab.gateway, &other];
    fill(&gateways)?;
    for (run, backend) in lab::backends().into_iter().enumerate() {
        attach_under_traffic(&gateways, backend, 1000 * (run as u32 + 1)).context(backend)?;
    }
    Ok(())
}

/// From 400 sources, of either family, in each of the gateways at the same time.
fn fill(gateways: &[&Gateway; 2]) -> Result<()> {
    let floods = [false, true].map(|ipv6| Flood {
        ipv6,
        packets: EACH,
        sources: 200,
        heavy_percent: 10,
        ..Flood::default()
    });
    let fill_one = |gateway: &Gateway| {
        lab::keep_entries(&gateway.router)?;
        floods.iter().try_for_each(|flood| flood.send(gateway).map(drop))
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| fill_one(gateways[1]));
        fill_one(gateways[0])?;
        other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    for gateway in gateways {
        let filled = kernel::until(SOON, || Ok(kernel::count(&gateway.router)? == 2 * EACH))?;
        ensure!(filled, "{} entries instead of {}", kernel::count(&gateway.router)?, 2 * EACH);
    }
    Ok(())
}

/// Attaches while both namespaces get new entries, and compares when that is over.
fn attach_under_traffic(gateways: &[&Gateway; 2], backend: &str, first_source: u32) -> Result<()> {
    let more = |ipv6| Flood {
        ipv6,
        first_source,
        sources: 50,
        packets: u64::MAX,
        rate: Some(1_000),
        batch: 4,
        ..Flood::default()
    };
    let traffic = [Background::start(gateways[0], more(false))?, Background::start(gateways[1], more(true))?];
    let mut watch = Watcher::watch(&["--backend", backend])?;
    let top = Watcher::top(INTERVAL, &["--backend", backend, "-n", "5000", "--audit", "3s"])?;
    let walked = bootstrapped(&mut watch, SOON)?;
    std::thread::sleep(Duration::from_secs(1));
    for flood in traffic {
        flood.finish()?;
    }
    lab::settle(&gateways.map(|gateway| &gateway.router))?;
    // This takes seconds, longer than it is to the next audit.
    let listed = gateways.map(|gateway| Listed::read(&gateway.router));
    let (resident, peak) = exact::memory(&top)?;
    let document = top.stop(Signal::INT)?.document()?;
    let ended = watch.stop(Signal::INT)?;

    let mut held = 0;
    for listed in listed {
        let listed = listed?;
        listed.expect_in(&document)?;
        held += listed.count;
    }
    println!(
        "{backend}: {held} entries; bootstrapped after {walked:?}; resident {resident} KiB, at most {peak} KiB; {}",
        document["events"]
    );
    assert_eq!(number(&document["totals"], "entries")?, held);
    for summary in [&document, ended.summary()?] {
        assert_eq!(exact::event(summary, "missed")?, 0, "{summary}");
        assert_eq!(exact::event(summary, "lost")?, 0, "{summary}");
        assert_eq!(
            Repaired::of(summary)?,
            Repaired::default(),
            "what was there before is no repair: {summary}"
        );
        assert_eq!(summary["events"]["bootstrapped"], true, "{summary}");
    }
    Ok(())
}

/// How long after attaching the whole table was known.
fn bootstrapped(watch: &mut Watcher, patience: Duration) -> Result<Duration> {
    let attached = watch.wait_for(SOON, |line| line["kind"] == "attached")?;
    let audit =
        watch.wait_for(patience, |line| line["kind"] == "audit").context("no audit after attaching")?;
    expect_first(&audit)?;
    Ok(Duration::from_nanos(number(&audit, "ktime_ns")? - number(&attached, "ktime_ns")?))
}

fn expect_first(audit: &Value) -> Result<()> {
    ensure!(audit["trigger"] == "attached", "the first audit is not the bootstrap: {audit}");
    Ok(())
}

/// Once, on one kernel and one backend: it takes a minute.
#[test]
fn a_million_entries_are_known() -> Result<()> {
    if !lab::ready() || !lab::is("6.12") {
        return Ok(());
    }
    let backend = lab::best_backend();
    let lab = Lab::new(2_000_000, 1 << 20)?;
    lab::keep_entries(&lab.gateway.router)?;
    // Two processors that look for NAT ports at the same time sometimes find the same one.
    lab.gateway.translate(&["accept"])?;
    let floods = [0, 1_000].map(|first_source| Flood {
        first_source,
        packets: MILLION / 2,
        sources: 1_000,
        heavy_percent: 0,
        ..Flood::default()
    });
    let begun = Instant::now();
    lab::at_once(&floods, &lab.gateway)?;
    let filled = kernel::until(lab::LONG, || Ok(lab.count()? == MILLION))?;
    println!("{} entries made in {:?}", lab.count()?, begun.elapsed());
    ensure!(filled, "{} entries instead of {MILLION}", lab.count()?);

    let mut watch = Watcher::watch(&["--backend", backend])?;
    let walked = bootstrapped(&mut watch, lab::LONG)?;
    let (resident, peak) = exact::memory(&watch)?;
    let ended = watch.stop(Signal::INT)?;
    lab::expect_lossless(&ended)?;
    let top = Watcher::top(Duration::from_secs(10), &["--backend", backend, "-n", "5000"])?;
    let document = top.finish(lab::LONG)?.document()?;
    println!(
        "{backend}: {MILLION} entries known after {walked:?}; resident {resident} KiB, at most {peak} KiB"
    );

    let rows = lab::sources(&document, &lab.inum())?;
    let summed = rows.values().map(|row| number(row, "entries")).sum::<Result<u64>>()?;
    assert_eq!(lab.count()?, MILLION, "the table changed while it was compared");
    assert_eq!(summed, MILLION, "sum of the sources; {}", document["events"]);
    assert_eq!(number(&document["totals"], "entries")?, MILLION);
    for n in 0..2_000 {
        let source = Gateway::source(false, n).to_string();
        let row = rows.get(&source).with_context(|| format!("{source} is missing"))?;
        assert_eq!(number(row, "entries")?, MILLION / 2_000, "{row}");
    }
    assert!(peak <= MEMORY, "{peak} KiB is more than {MEMORY}");
    Ok(())
}
