//! Entries by source, against `conntrack -L`.

use std::time::Duration;

use anyhow::{Result, ensure};
use conntrack_common::AuditTrigger;
use conntrack_tests::flood::{Flood, Proto};
use conntrack_tests::gateway::Gateway;
use conntrack_tests::kernel;
use conntrack_user::engine::tuple::{self, Icmp};
use conntrack_user::kernel::ctnetlink::Options;

use crate::lab::{self, SOON};
use crate::ledger::{Ledger, v4};

fn crowd(ipv6: bool, packets: u64, first: u64) -> Flood {
    // TCP: an unanswered SYN lives for two minutes, an unanswered datagram for half of one.
    Flood { proto: Proto::Tcp, ipv6, sources: 61, heavy_percent: 40, packets, first, ..Flood::default() }
}

fn send(gateway: &Gateway, packets: u64, first: u64) -> Result<()> {
    for ipv6 in [false, true] {
        crowd(ipv6, packets, first).send(gateway)?;
    }
    lab::settle(&gateway.router)
}

#[test]
fn entries_by_source_are_those_of_the_kernel() -> Result<()> {
    let Some(gateway) = lab::gateway()? else { return Ok(()) };
    send(&gateway, 6_000, 0)?;
    let mut ledger = Ledger::start(&gateway.router, Options::default())?;
    let took = ledger.first_audit()?;
    println!("first audit after {took:?}");
    assert_eq!((ledger.found, ledger.totals.new), (12_000, 0), "all were there before");
    ledger.expect_kernels(&gateway.router)?;

    send(&gateway, 4_000, 20_000)?;
    ledger.expect_kernels(&gateway.router)?;
    assert_eq!((ledger.found, ledger.gone), (12_000, 0), "events told all the others");

    let some = Gateway::source(false, 0);
    gateway.router.tool(&format!("conntrack -D -s {some}"))?;
    ledger.until(SOON, "the events or a dump tell of the end", |ledger| {
        Ok(!ledger.by_source().contains_key(&some))
    })?;
    ledger.expect_kernels(&gateway.router)?;
    let count = ledger.count.map(|count| (count.netns, count.count));
    println!("{count:?}");
    let totals = ledger.stop()?;
    assert_eq!((totals.new, totals.lost_entries), (8_000, 0));
    Ok(())
}

#[test]
fn an_audit_under_traffic_leaves_nothing_wrong() -> Result<()> {
    let Some(gateway) = lab::gateway()? else { return Ok(()) };
    send(&gateway, 20_000, 0)?;
    let mut ledger = Ledger::start(&gateway.router, Options::default())?;
    std::thread::scope(|scope| -> Result<()> {
        let traffic = scope.spawn(|| -> Result<()> {
            for round in 0..20 {
                crowd(false, 1_000, 40_000 + round * 1_000).send(&gateway)?;
                let source = Gateway::source(false, (round % 10) as u32);
                // It fails if that source has no entry left.
                let _ = gateway.router.tool(&format!("conntrack -D -s {source}"));
            }
            Ok(())
        });
        ledger.first_audit()?;
        while !traffic.is_finished() {
            ledger.audit()?;
        }
        traffic.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    lab::settle(&gateway.router)?;
    ledger.audit()?;
    ledger.expect_kernels(&gateway.router)?;
    assert!(ledger.audits.contains(&AuditTrigger::Missed), "{:?}", ledger.audits);
    ledger.stop().map(drop)
}

#[test]
fn entries_that_end_silently_are_found_gone() -> Result<()> {
    const EVENTS: &str = "net/netfilter/nf_conntrack_events";
    let Some(gateway) = lab::gateway()? else { return Ok(()) };
    // As if nobody had listened: whether somebody does is one flag for all namespaces, and other tests do.
    gateway.router.set_sysctl(EVENTS, 0)?;
    send(&gateway, 500, 0)?;
    gateway.router.set_sysctl(EVENTS, 2)?;
    let mut ledger = Ledger::start(&gateway.router, Options::default())?;
    assert!(ledger.degradations().iter().any(|text| text.contains("nf_conntrack_events is 2")));
    ledger.first_audit()?;
    kernel::flush(&gateway.router)?;
    let took = ledger.until(SOON, "nothing is left", |ledger| Ok(ledger.entries.is_empty()))?;
    println!("after {took:?}: {}", ledger.summary());
    assert_eq!((ledger.gone, ledger.totals.freed), (1_000, 0));
    ledger.expect_kernels(&gateway.router)?;
    ledger.stop().map(drop)
}

#[test]
fn without_events_dumps_tell() -> Result<()> {
    let Some(gateway) = lab::gateway()? else { return Ok(()) };
    gateway.router.set_sysctl("net/netfilter/nf_conntrack_events", 0)?;
    let mut ledger = Ledger::start(&gateway.router, Options::default())?;
    ledger.first_audit()?;
    assert!(ledger.degradations().iter().any(|text| text.contains("nf_conntrack_events is 0")));
    send(&gateway, 500, 0)?;
    let took = ledger.until(SOON, "a dump finds them", |ledger| Ok(ledger.entries.len() == 1_000))?;
    ensure!(took < Duration::from_secs(4), "it took {took:?}");
    ledger.expect_kernels(&gateway.router)?;
    assert_eq!((ledger.totals.new, ledger.found), (0, 1_000));
    ledger.stop().map(drop)
}

#[test]
fn icmp_and_zones_are_read_as_the_kernel_has_them() -> Result<()> {
    let Some(gateway) = lab::gateway()? else { return Ok(()) };
    let insert = |protocol: &str, zone: u16| {
        let common = "-s 10.1.0.1 -d 198.18.0.1 --timeout 100";
        gateway.router.tool(&format!("conntrack -I {common} -w {zone} {protocol}"))
    };
    let icmp = "-p icmp --icmp-type 8 --icmp-code 0 --icmp-id 4660";
    let udp = "-p udp --sport 1024 --dport 53";
    insert(udp, 7)?;
    let mut ledger = Ledger::start(&gateway.router, Options::default())?;
    ledger.first_audit()?;
    // The same tuple in another zone is another entry.
    insert(udp, 8)?;
    insert(icmp, 0)?;
    ledger.until(SOON, "three entries", |ledger| Ok(ledger.entries.len() == 3))?;

    let mut connections: Vec<_> = ledger.entries.values().map(|(_, connection)| *connection).collect();
    connections.sort_by_key(|connection| connection.zone);
    assert_eq!(connections[0].icmp(), Some(Icmp { kind: 8, code: 0, id: 4660 }));
    let expected = |zone| tuple::Connection {
        netns: gateway.router.inum(),
        zone,
        proto: tuple::Proto::UDP,
        src: v4([10, 1, 0, 1]),
        dst: v4([198, 18, 0, 1]),
        sport: 1024,
        dport: 53,
    };
    assert_eq!(connections[1..], [expected(7), expected(8)]);
    ledger.stop().map(drop)
}
