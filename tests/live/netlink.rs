//! The backend for kernels that let nobody trace: entries from ctnetlink, drops from the kernel's own statistics.
//! One kernel is enough: nothing of it depends on the kernel's internals.

use std::time::Duration;

use anyhow::{Result, ensure};
use conntrack_tests::gateway::Gateway;
use conntrack_tests::hog::Hog;
use conntrack_tests::kernel;
use conntrack_tests::watcher::{Signal, Watcher, number};
use serde_json::Value;

use crate::exact::{self, Listed};
use crate::lab::{self, BUCKETS, LARGE, Lab, SMALL, SOON};

const INTERVAL: Duration = Duration::from_secs(600);
/// A dump every two seconds, or every five where events are not for all, and time for one to be made.
const AUDIT: [&str; 2] = ["--audit", "2s"];
const AUDITED: Duration = Duration::from_secs(8);
const BACKEND: [&str; 2] = ["--backend", "netlink"];

fn wanted() -> bool {
    lab::ready() && lab::is("6.12")
}

/// A `top` inside the router: the backend knows its own namespace only.
fn top(lab: &Lab) -> Result<Watcher> {
    let arguments = [BACKEND.as_slice(), &AUDIT, &["--rows", "1000"]].concat();
    lab.gateway.router.run(|| Watcher::top(INTERVAL, &arguments))
}

#[test]
fn entries_by_source_come_from_dumps_and_events() -> Result<()> {
    if !wanted() {
        return Ok(());
    }
    let lab = Lab::new(LARGE, LARGE)?;
    lab::keep_entries(&lab.gateway.router)?;
    // Some are there before, some come after.
    lab::crowd(false, 5_000).send(&lab.gateway)?;
    lab.settle()?;
    let top = top(&lab)?;
    lab::crowd(true, 5_000).send(&lab.gateway)?;
    // Of the first no event may ever tell: they are older than the first listener.
    for ipv6 in [false, true] {
        let goes = Gateway::source(ipv6, 1);
        lab.gateway
            .router
            .tool(&format!("conntrack -D -f {} -s {goes}", if ipv6 { "ipv6" } else { "ipv4" }))?;
    }
    lab.settle()?;
    std::thread::sleep(AUDITED);
    let listed = Listed::read(&lab.gateway.router)?;
    let document = top.stop(Signal::INT)?.document()?;
    println!("{} entries; {}; {}", listed.count, document["events"], document["degradations"]);
    ensure!(listed.sources.len() == 38, "{} sources", listed.sources.len());
    expect_honest(&document)?;
    listed.expect_in(&document)
}

/// It is netlink, and says what it cannot know.
fn expect_honest(document: &Value) -> Result<()> {
    assert_eq!(document["backend"], "netlink");
    let told = document["degradations"].as_array().is_some_and(|told| !told.is_empty());
    ensure!(told, "it does not say what it cannot know: {document}");
    Ok(())
}

#[test]
fn refusals_are_counted_though_nobody_tells_whose() -> Result<()> {
    if !wanted() {
        return Ok(());
    }
    let lab = Lab::new(SMALL, BUCKETS)?;
    let watcher = lab.gateway.router.run(|| Watcher::watch(&BACKEND))?;
    let hog = Hog::new(&lab.gateway, false)?;
    let _held = hog.hold(SMALL as usize, Gateway::source(false, 99), SOON)?;
    let before = lab.stats()?;
    let sent = lab::crowd(false, 10_000).send(&lab.gateway)?;
    lab.settle()?;
    // The statistics are read every now and then.
    std::thread::sleep(AUDITED);
    let kernel = lab.stats()?.since(&before);
    let ended = watcher.stop(Signal::INT)?;
    let summary = ended.summary()?;
    println!("kernel refused {}; {}; {summary}", kernel.refused(), lab::totals(summary));
    ensure!(kernel.refused() == sent.packets, "{kernel:?} of {} packets", sent.packets);
    expect_honest(summary)?;
    assert_eq!(number(summary, "refused")?, kernel.refused());
    assert_eq!(ended.of_kind("refused").count(), 0, "a refusal with a tuple, which ctnetlink never tells");
    let counted = ended.of_kind("counted").filter(|line| line["netns"] == lab.inum());
    let counted = counted.map(|line| number(line, "refused")).sum::<Result<u64>>()?;
    assert_eq!(counted, kernel.refused(), "sum of the counted lines");
    Ok(())
}

#[test]
fn an_overrun_is_repaired_by_a_dump() -> Result<()> {
    if !wanted() {
        return Ok(());
    }
    let lab = Lab::new(LARGE, LARGE)?;
    lab::keep_entries(&lab.gateway.router)?;
    let top = top(&lab)?;
    let sent = lab::crowd(false, 60_000).send(&lab.gateway)?;
    lab.settle()?;
    // The worst burst there is.
    kernel::flush(&lab.gateway.router)?;
    let empty = kernel::until(SOON, || Ok(lab.count()? == 0))?;
    ensure!(empty, "the table of {} was not flushed", sent.packets);
    lab::crowd(true, 2_000).send(&lab.gateway)?;
    lab.settle()?;
    std::thread::sleep(AUDITED);
    let listed = Listed::read(&lab.gateway.router)?;
    let document = top.stop(Signal::INT)?.document()?;
    println!("{} entries; {}", listed.count, document["events"]);
    assert!(exact::event(&document, "lost")? > 0, "no overrun, so nothing was put to the test");
    listed.expect_in(&document)
}
