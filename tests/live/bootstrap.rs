//! A table that was there before ctwatch: all of it is known after the first walk.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use conntrack_tests::flood::Flood;
use conntrack_tests::gateway::{Gateway, Router};
use conntrack_tests::kernel;
use conntrack_tests::player::Background;
use conntrack_tests::watcher::{Signal, Watcher, number};
use serde_json::Value;

use crate::exact::{self, Listed};
use crate::lab::{self, LARGE, Lab, SOON};

const INTERVAL: Duration = Duration::from_secs(600);
/// Entries of each address family in each of two namespaces: 200,000 in all.
const EACH: u64 = 50_000;
const MILLION: u64 = 1_000_000;
/// What ctwatch may hold for a million entries, in KiB. While a hash table of it grows there are two.
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
    let traffic = more_traffic(&gateways)?;
    let mut tops = Vec::new();
    for backend in lab::backends() {
        tops.push((backend, attach(backend).context(backend)?));
    }
    std::thread::sleep(Duration::from_secs(1));
    for flood in traffic {
        flood.finish()?;
    }
    lab::settle(&gateways.map(|gateway| &gateway.router))?;
    // This takes seconds, longer than it is to the next audit.
    let listed = [Listed::read(&gateways[0].router)?, Listed::read(&gateways[1].router)?];
    for (backend, top) in tops {
        compare(backend, top, &listed).context(backend)?;
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

/// New entries in both namespaces, a thousand a second each, until the floods are dropped.
fn more_traffic(gateways: &[&Gateway; 2]) -> Result<[Background; 2]> {
    let more = |ipv6| Flood {
        ipv6,
        first_source: 1_000,
        sources: 50,
        packets: u64::MAX,
        rate: Some(1_000),
        batch: 4,
        ..Flood::default()
    };
    Ok([Background::start(gateways[0], more(false))?, Background::start(gateways[1], more(true))?])
}

/// Attaches under the traffic, once to see how long it takes and once to stay.
fn attach(backend: &str) -> Result<Watcher> {
    let mut watch = Watcher::watch(&["--backend", backend])?;
    let walked = bootstrapped(&mut watch, SOON)?;
    let ended = watch.stop(Signal::INT)?;
    println!("{backend}: bootstrapped after {walked:?}");
    exact::expect_faultless(backend, ended.summary()?)?;
    Watcher::top(INTERVAL, &["--backend", backend, "--rows", "5000", "--audit", "3s"])
}

fn compare(backend: &str, top: Watcher, listed: &[Listed; 2]) -> Result<()> {
    let (resident, peak) = exact::memory(&top)?;
    let document = top.stop(Signal::INT)?.document()?;
    let held = listed.iter().map(|listed| listed.count).sum::<u64>();
    println!(
        "{backend}: {held} entries; resident {resident} KiB, at most {peak} KiB; {}",
        document["events"]
    );
    listed.iter().try_for_each(|listed| listed.expect_in(&document))?;
    assert_eq!(number(&document["totals"], "entries")?, held);
    assert!(
        number(&document["events"]["last_audit"], "number")? > 1,
        "only the bootstrap: {}",
        document["events"]
    );
    exact::expect_faultless(backend, &document)
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
    let top = Watcher::top(Duration::from_secs(10), &["--backend", backend, "--rows", "5000"])?;
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
    assert!(resident <= MEMORY, "{resident} KiB is more than {MEMORY}");
    Ok(())
}
