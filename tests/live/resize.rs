//! The hash table is resized again and again while it is walked.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use conntrack_tests::flood::Flood;
use conntrack_tests::player::Background;
use conntrack_tests::watcher::{Signal, Watcher};

use crate::exact::{self, Listed};
use crate::lab::{self, LARGE, Lab};

const INTERVAL: Duration = Duration::from_secs(600);
/// What it is resized to, in turn; 512 is the smallest there is.
const BUCKETS: [u32; 4] = [512, 65_536, 4_096, 32_768];
const RESIZING: Duration = Duration::from_secs(6);

#[test]
fn a_table_that_is_resized_is_walked_to_the_end() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    let lab = Lab::new(LARGE, LARGE)?;
    lab::keep_entries(&lab.gateway.router)?;
    let held = Flood { packets: 50_000, sources: 200, ..Flood::default() };
    held.send(&lab.gateway)?;
    lab.settle()?;
    let mut tops = Vec::new();
    for backend in lab::backends() {
        let arguments = ["--backend", backend, "--rows", "1000", "--audit", "1s"];
        tops.push((backend, Watcher::top(INTERVAL, &arguments).context(backend)?));
    }
    let resized = resize_under_traffic(&lab)?;
    // One audit more, undisturbed.
    lab.limits.change(LARGE, 65_536)?;
    lab.settle()?;
    thread::sleep(Duration::from_secs(3));
    let listed = Listed::read(&lab.gateway.router)?;
    ensure!(listed.count >= held.packets, "only {} entries", listed.count);
    for (backend, top) in tops {
        let document = top.stop(Signal::INT)?.document()?;
        println!("{backend}: {resized} times resized, {} entries; {}", listed.count, document["events"]);
        listed.expect_in(&document).context(backend)?;
        exact::expect_faultless(backend, &document).context(backend)?;
    }
    Ok(())
}

/// Some traffic, for which chains are too long at times; returns how often the table was resized.
fn resize_under_traffic(lab: &Lab) -> Result<u64> {
    let more =
        Flood { first_source: 1_000, packets: u64::MAX, rate: Some(500), batch: 4, ..lab::crowd(false, 0) };
    let traffic = Background::start(&lab.gateway, more)?;
    let until = Instant::now() + RESIZING;
    let mut resized = 0;
    for buckets in BUCKETS.into_iter().cycle() {
        if Instant::now() > until {
            break;
        }
        lab.limits.change(LARGE, buckets)?;
        resized += 1;
    }
    let sent = traffic.finish()?;
    ensure!(sent.packets > 500 && resized > 10, "{} packets, {resized} times resized", sent.packets);
    Ok(resized)
}
