//! A ring that has no room: the loss is told, and made good by an audit.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use conntrack_tests::flood::monotonic_ns;
use conntrack_tests::watcher::{Signal, Watcher};

use crate::exact::{self, Listed, Repaired};
use crate::lab::{self, LARGE, Lab};

const INTERVAL: Duration = Duration::from_secs(600);
/// From the end of a burst until all is exact again.
const REPAIR: Duration = Duration::from_secs(2);

#[test]
fn what_was_lost_is_known_again_within_two_seconds() -> Result<()> {
    for backend in lab::ready().then(lab::backends).unwrap_or_default() {
        lose_and_repair(backend).context(backend)?;
    }
    Ok(())
}

fn lose_and_repair(backend: &str) -> Result<()> {
    let lab = Lab::new(LARGE, LARGE)?;
    lab::keep_entries(&lab.gateway.router)?;
    // An audit every hour: only the loss can be why there is one.
    let arguments = ["--backend", backend, "--entries-ring", "4096", "--rows", "1000", "--audit", "1h"];
    let top = Watcher::top(INTERVAL, &arguments)?;
    let (mut over, mut packets) = (0, 0);
    for ipv6 in [false, true] {
        let sent = lab::crowd(ipv6, 10_000).send(&lab.gateway)?;
        (over, packets) = (sent.last_ns, packets + sent.packets);
    }
    let left = Duration::from_nanos((over + REPAIR.as_nanos() as u64).saturating_sub(monotonic_ns()));
    std::thread::sleep(left);
    let document = top.stop(Signal::INT)?.document()?;
    let listed = Listed::read(&lab.gateway.router)?;

    println!("{backend}: {packets} packets, {} entries; {}", listed.count, document["events"]);
    ensure!(listed.count == packets, "the kernel holds {} entries of {packets}", listed.count);
    assert!(exact::event(&document, "lost")? > 0, "a ring of 64 entries lost nothing");
    listed.expect_in(&document)?;
    assert!(Repaired::of(&document)?.added > 0, "what was lost was not found by an audit");
    assert_eq!(document["events"]["last_audit"]["trigger"], "lost");
    Ok(())
}
