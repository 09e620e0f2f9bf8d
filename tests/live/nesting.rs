//! Softirqs that interrupt the kernel in the middle of what the programs hook: it skips some of them then. However
//! many, an audit puts it right, and what it repaired is explained.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use conntrack_tests::gateway::Limits;
use conntrack_tests::pair::Pair;
use conntrack_tests::watcher::{Signal, Watcher, number};
use serde_json::Value;

use crate::exact::{self, Listed, Repaired};
use crate::lab::{self, LARGE};

const INTERVAL: Duration = Duration::from_secs(600);
const AUDIT: Duration = Duration::from_secs(2);
const ROUNDS: u64 = 3;
/// Datagrams of each of two senders in a round; each is an entry in both namespaces.
const DATAGRAMS: u16 = 20_000;
/// Those of the last round, whose entries stay.
const LAST: u16 = 2_000;

#[test]
fn nothing_is_wrong_after_an_audit() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    let _limits = Limits::set(LARGE, LARGE)?;
    let pair = Pair::new()?;
    for netns in [&pair.sender, &pair.receiver] {
        lab::keep_entries(netns)?;
    }
    // All backends at the same time: they nest into each other as well.
    let audit = format!("{}s", AUDIT.as_secs());
    let mut tops = Vec::new();
    for backend in lab::backends() {
        let arguments = ["--backend", backend, "--rows", "1000", "--audit", &audit];
        tops.push((backend, Watcher::top(INTERVAL, &arguments).context(backend)?));
    }
    for round in 1..=ROUNDS {
        let made = send_and_count(&pair, DATAGRAMS)?;
        pair.flush()?;
        println!("round {round}: {made:?} entries, after flushing {:?}", pair.counts()?);
    }
    send_and_count(&pair, LAST)?;
    std::thread::sleep(2 * AUDIT + Duration::from_secs(1));
    let listed = [Listed::read(&pair.sender)?, Listed::read(&pair.receiver)?];
    for (backend, top) in tops {
        let document = top.stop(Signal::INT)?.document()?;
        expect_repaired(backend, &document, &listed).context(backend)?;
    }
    Ok(())
}

/// Entries that a round leaves in either namespace; nearly all of them, or nothing was put to the test.
fn send_and_count(pair: &Pair, datagrams: u16) -> Result<[u64; 2]> {
    let sent = pair.send_on_both(datagrams)?;
    lab::settle(&[&pair.sender, &pair.receiver])?;
    let made = pair.counts()?;
    ensure!(made.iter().all(|made| *made >= sent * 95 / 100), "{made:?} entries of {sent} datagrams");
    Ok(made)
}

fn expect_repaired(backend: &str, document: &Value, listed: &[Listed; 2]) -> Result<()> {
    let events = &document["events"];
    println!("{backend}: new {}, freed {}; {events}", document["totals"]["new"], document["totals"]["freed"]);
    for listed in listed {
        listed.expect_in(document)?;
    }
    assert_eq!(number(&document["totals"], "entries")?, listed[0].count + listed[1].count);
    let repaired = Repaired::of(document)?;
    if exact::tells_misses(backend) && repaired.all() > 0 {
        let explained = exact::event(document, "missed")? + exact::event(document, "lost")?;
        assert!(explained > 0, "{repaired:?} without a reason: {events}");
    }
    Ok(())
}
