//! What goes wrong with events, and what the statistics tell instead.

use std::time::Duration;

use anyhow::{Result, ensure};
use conntrack_common::AuditTrigger;
use conntrack_tests::flood::{Flood, Proto};
use conntrack_tests::kernel;
use conntrack_user::kernel::ctnetlink::{self, Options};
use conntrack_user::kernel::error::AttachError;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::lab::{self, SOON};
use crate::ledger::Ledger;

#[test]
fn an_overrun_is_counted_and_repaired() -> Result<()> {
    const PACKETS: u64 = 30_000;
    let Some(gateway) = lab::gateway()? else { return Ok(()) };
    // Room for a handful of events.
    let mut ledger = Ledger::start(&gateway.router, Options { event_bytes: 4096, ..Options::default() })?;
    ledger.first_audit()?;
    let flood = Flood { proto: Proto::Tcp, sources: 100, packets: PACKETS, ..Flood::default() };
    let (mut took, mut sent) = (Duration::ZERO, false);
    flood.send(&gateway)?;
    ledger
        .until(SOON, "all entries are known", |ledger| {
            sent |= !ledger.entries.is_empty();
            Ok(ledger.entries.len() as u64 == PACKETS)
        })
        .map(|after| took = after)?;
    ensure!(took < Duration::from_secs(2), "it took {took:?}");
    ledger.expect_kernels(&gateway.router)?;
    let totals = ledger.totals;
    ensure!(totals.lost_entries > 1_000, "hardly anything was lost: {totals:?}");
    assert_eq!(totals.new + totals.lost_entries, PACKETS, "every event was heard or counted as lost");
    assert!(ledger.audits.contains(&AuditTrigger::Lost), "{:?}", ledger.audits);

    // The same for the ends.
    kernel::flush(&gateway.router)?;
    let took = ledger.until(SOON, "no entry is left", |ledger| Ok(ledger.entries.is_empty()))?;
    println!("after {took:?}: {}", ledger.summary());
    ensure!(took < Duration::from_secs(2), "it took {took:?}");
    let totals = ledger.stop()?;
    assert_eq!(totals.new + totals.freed + totals.lost_entries, 2 * PACKETS);
    Ok(())
}

#[test]
fn drops_come_from_the_statistics() -> Result<()> {
    let Some(gateway) = lab::gateway()? else { return Ok(()) };
    lab::leave_nat_one_port(&gateway)?;
    let flood = |first| Flood { packets: 1_000, first, ..Flood::default() };
    flood(0).send(&gateway)?;
    lab::settle(&gateway.router)?;
    let before = kernel::Stats::read(&gateway.router)?;
    let mut ledger = Ledger::start(&gateway.router, Options::default())?;
    ledger.first_audit()?;
    flood(10_000).send(&gateway)?;
    lab::settle(&gateway.router)?;
    let kernel = kernel::Stats::read(&gateway.router)?.since(&before);
    ensure!(kernel.drop > 700, "hardly anything was dropped: {kernel:?}");
    ledger.until(SOON, "the statistics are the kernel's", |ledger| {
        Ok(ledger.stats.is_some_and(|stats| stats.drop == kernel.drop))
    })?;
    let stats = ledger.stats.ok_or(anyhow::anyhow!("no statistics"))?;
    assert_eq!((stats.alone, stats.netns), (1, gateway.router.inum()));
    assert_eq!(stats.insert_failed, kernel.insert_failed);
    let count = ledger.count.map(|count| (count.netns, u64::from(count.count)));
    assert_eq!(count, Some((gateway.router.inum(), kernel::count(&gateway.router)?)));
    let totals = ledger.stop()?;
    assert_eq!((totals.refused(), totals.evicted), (0, 0), "a failed insertion is no refusal: {totals:?}");
    Ok(())
}

#[test]
fn it_says_which_capability_is_missing() -> Result<()> {
    let Some(gateway) = lab::gateway()? else { return Ok(()) };
    let refused = gateway.router.run(|| {
        // Of this thread alone, which ends with the closure.
        let mut held = capabilities(None)?;
        held.effective.remove(CapabilitySet::NET_ADMIN);
        set_capabilities(None, held)?;
        Ok(ctnetlink::start(&Options::default()).map(|_| ()))
    })?;
    match refused {
        Err(error @ AttachError::Privilege { needed: "CAP_NET_ADMIN" }) => {
            assert!(error.remedy().contains("root"), "{}", error.remedy());
        }
        other => panic!("{other:?}"),
    }
    Ok(())
}
