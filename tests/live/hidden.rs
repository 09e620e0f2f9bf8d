//! A kernel that hides where its table is: what was there before is known by dumps.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use conntrack_tests::flood::Flood;
use conntrack_tests::gateway::{Gateway, Router};
use conntrack_tests::kernel;
use conntrack_tests::netns::{Resident, read_sysctl, write_sysctl};
use conntrack_tests::player::Background;
use conntrack_tests::watcher::{Signal, Watcher, number};
use serde_json::Value;

use crate::exact::{self, Listed};
use crate::lab::{self, LARGE, Lab, SOON};

const INTERVAL: Duration = Duration::from_secs(600);
/// Entries of each address family in each of two namespaces.
const EACH: u64 = 1_250;
/// A dump of each namespace passes by all of them.
const BUCKETS: u32 = 1 << 16;
/// Enough for the first audit.
const BOOTSTRAPPED: Duration = Duration::from_secs(4);
/// Longer than it is from one audit to the next: twenty times what a dump takes of an emulated processor.
const AUDITED: Duration = Duration::from_secs(40);
const HIDDEN: &str = "2";
const RESTRICTION: &str = "kernel/kptr_restrict";

/// Hides addresses from everybody as long as it lives.
struct Hiding {
    before: String,
}

impl Hiding {
    fn new() -> Result<Self> {
        let before = read_sysctl(RESTRICTION)?;
        write_sysctl(RESTRICTION, HIDDEN)?;
        Ok(Self { before })
    }
}

impl Drop for Hiding {
    fn drop(&mut self) {
        write_sysctl(RESTRICTION, &self.before).expect("hide addresses no longer");
    }
}

#[test]
fn entries_that_were_there_before_are_known_by_dumps() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    let _hiding = Hiding::new()?;
    let lab = Lab::new(LARGE, BUCKETS)?;
    let other = Gateway::new(Router::Own)?;
    let gateways = [&lab.gateway, &other];
    // ctwatch can enter no namespace that only this test has open.
    let _found = [Resident::new(&lab.gateway.router)?, Resident::new(&other.router)?];
    for gateway in gateways {
        fill(gateway)?;
    }
    let traffic = [more_traffic(gateways[0], false)?, more_traffic(gateways[1], true)?];
    let mut tops = Vec::new();
    for backend in lab::backends() {
        let arguments = ["--backend", backend, "--rows", "5000", "--audit", "2s"];
        tops.push((backend, Watcher::top(INTERVAL, &arguments).context(backend)?));
    }
    std::thread::sleep(BOOTSTRAPPED);
    for gateway in gateways {
        end_some(gateway)?;
    }
    std::thread::sleep(Duration::from_secs(1));
    for flood in traffic {
        flood.finish()?;
    }
    lab::settle(&gateways.map(|gateway| &gateway.router))?;
    std::thread::sleep(AUDITED);
    let listed = [Listed::read(&gateways[0].router)?, Listed::read(&gateways[1].router)?];
    for (backend, top) in tops {
        let document = top.stop(Signal::INT)?.document()?;
        compare(backend, &document, &listed).context(backend)?;
    }
    Ok(())
}

fn fill(gateway: &Gateway) -> Result<()> {
    lab::keep_entries(&gateway.router)?;
    for ipv6 in [false, true] {
        Flood { ipv6, packets: EACH, sources: 50, heavy_percent: 10, ..Flood::default() }.send(gateway)?;
    }
    let filled = kernel::until(SOON, || Ok(kernel::count(&gateway.router)? == 2 * EACH))?;
    ensure!(filled, "{} entries instead of {}", kernel::count(&gateway.router)?, 2 * EACH);
    Ok(())
}

/// New entries, a thousand a second, until the flood is dropped.
fn more_traffic(gateway: &Gateway, ipv6: bool) -> Result<Background> {
    let more = Flood {
        ipv6,
        first_source: 1_000,
        sources: 50,
        packets: u64::MAX,
        rate: Some(1_000),
        batch: 4,
        ..Flood::default()
    };
    Background::start(gateway, more)
}

/// Ends entries that were there before, in the midst of the traffic: nothing tells whose.
fn end_some(gateway: &Gateway) -> Result<()> {
    for (ipv6, family) in [(false, "ipv4"), (true, "ipv6")] {
        let goes = Gateway::source(ipv6, 1);
        gateway.router.tool(&format!("conntrack -D -f {family} -s {goes}"))?;
    }
    Ok(())
}

fn compare(backend: &str, document: &Value, listed: &[Listed; 2]) -> Result<()> {
    println!("{backend}: {}; {}", document["events"], document["degradations"]);
    let told = document["degradations"].as_array().into_iter().flatten();
    let told = told.filter_map(Value::as_str).filter(|text| text.contains("known by dumps only")).count();
    ensure!(told == 1, "it does not say how older entries are known: {}", document["degradations"]);
    listed.iter().try_for_each(|listed| listed.expect_in(document))?;
    let held = listed.iter().map(|listed| listed.count).sum::<u64>();
    assert_eq!(number(&document["totals"], "entries")?, held);
    let last = number(&document["events"]["last_audit"], "number")?;
    ensure!(last > 1, "only the bootstrap: {}", document["events"]);
    exact::expect_faultless(backend, document)
}
