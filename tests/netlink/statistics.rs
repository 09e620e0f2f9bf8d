//! The kernel's statistics, read in namespaces that we are not in, against `conntrack -S`.

use anyhow::{Context as _, Result, ensure};
use conntrack_common::Stats;
use conntrack_tests::flood::Flood;
use conntrack_tests::gateway::Gateway;
use conntrack_tests::kernel;
use conntrack_tests::netns::Netns;
use conntrack_user::kernel::ctnetlink::StatsReader;

use crate::lab::{self, Resident};

fn of(netns: &Netns, stats: &[Stats]) -> Result<Stats> {
    let found = stats.iter().find(|stats| stats.netns == netns.inum());
    found.copied().with_context(|| format!("no statistics of {}", netns.inum()))
}

/// Sends packets that NAT has one port for: of 1,000 to 256 different ones of the server, 256 get it.
fn exhaust_ports(gateway: &Gateway, first: u64) -> Result<()> {
    let flood = Flood { packets: 1_000, first, ..Flood::default() };
    flood.send(gateway)?;
    lab::settle(&gateway.router)
}

/// Both sides count drops: equal, and at least so many.
fn expect_equal(read: &Stats, kernel: &kernel::Stats, at_least: u64) -> Result<()> {
    println!("{read:?}\n{kernel:?}");
    assert_eq!(
        [read.drop, read.insert_failed, read.early_drop, read.chaintoolong],
        [kernel.drop, kernel.insert_failed, kernel.early_drop, kernel.chaintoolong]
    );
    ensure!(read.drop >= at_least, "hardly anything was dropped");
    Ok(())
}

#[test]
fn statistics_are_those_of_conntrack_since_the_start() -> Result<()> {
    let Some(gateway) = lab::gateway()? else { return Ok(()) };
    lab::leave_nat_one_port(&gateway)?;
    let _resident = Resident::of(&gateway.router)?;
    exhaust_ports(&gateway, 0)?;

    let (mut reader, degradations) = StatsReader::new();
    assert_eq!(degradations, [""; 0]);
    let before = kernel::Stats::read(&gateway.router)?;
    expect_equal(&of(&gateway.router, &reader.read())?, &kernel::Stats::default(), 0)?;
    exhaust_ports(&gateway, 10_000)?;
    let after = kernel::Stats::read(&gateway.router)?;
    expect_equal(&of(&gateway.router, &reader.read())?, &after.since(&before), 700)
}

#[test]
fn a_namespace_made_later_counts_from_zero_and_is_not_kept_alive() -> Result<()> {
    let (mut reader, _) = StatsReader::new();
    let Some(gateway) = lab::gateway()? else { return Ok(()) };
    lab::leave_nat_one_port(&gateway)?;
    let resident = Resident::of(&gateway.router)?;
    exhaust_ports(&gateway, 0)?;
    let all = kernel::Stats::read(&gateway.router)?;
    expect_equal(&of(&gateway.router, &reader.read())?, &all, 700)?;

    let pid = resident.pid();
    let names = reader.names();
    let expected = (gateway.router.inum(), format!("sleep[{pid}]"));
    assert!(names.contains(&expected), "{expected:?} is not in {names:?}");
    drop(resident);
    ensure!(of(&gateway.router, &reader.read()).is_err(), "nobody lives there any more, and it has no name");
    Ok(())
}
