//! Namespaces that come and go: each is called what people call it, and goes with all it had.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use conntrack_tests::datagrams::Datagrams;
use conntrack_tests::gateway::Limits;
use conntrack_tests::kernel;
use conntrack_tests::netns::{Netns, Resident};
use conntrack_tests::tool;
use conntrack_tests::watcher::{Signal, Watcher, number};
use serde_json::Value;

use crate::exact::{self, Listed};
use crate::lab::{self, LARGE, LONG, Lab};

const INTERVAL: Duration = Duration::from_secs(600);
/// How many there are at a time, and how many times: 200 in all.
const AT_A_TIME: usize = 50;
const TIMES: usize = 4;
/// Entries of each.
const ENTRIES: u16 = 3;
/// Those of the one that stays; more, so that a row that is mistaken for it shows.
const STAYING: u16 = 7;
/// Longer than the kernel's namespaces take to be counted again.
const CENSUS: Duration = Duration::from_secs(3);

const TRACKING: &str =
    "table ip t { chain o { type filter hook output priority 0; ct state new accept; }; }\n";

/// A namespace with a name, as `ip netns` makes them.
struct Named {
    name: String,
    netns: Netns,
}

impl Named {
    fn new(name: String, entries: u16) -> Result<Self> {
        tool::run(&format!("ip netns add {name}"))?;
        let netns = Netns::named(&name)?;
        netns.run(|| {
            tool::run("ip link set lo up")?;
            tool::feed("nft -f -", TRACKING)
        })?;
        let (from, to) = ((Ipv4Addr::LOCALHOST, 20_000), (Ipv4Addr::LOCALHOST, 9));
        let datagrams =
            Datagrams { from: SocketAddr::from(from), to: SocketAddr::from(to), count: entries, cpu: None };
        datagrams.send(&netns)?;
        let count = kernel::count(&netns)?;
        ensure!(count == u64::from(entries), "{name} has {count} entries");
        Ok(Self { name, netns })
    }

    /// Nothing holds it any more; the kernel takes it apart in its own time.
    fn delete(self) -> u32 {
        self.netns.inum()
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _deleted_already = tool::run(&format!("ip netns del {}", self.name));
    }
}

#[test]
fn two_hundred_come_and_go() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    let _limits = Limits::set(LARGE, LARGE)?;
    let top = |backend: &&'static str| {
        let top = Watcher::top(INTERVAL, &["--backend", *backend, "--rows", "1000", "--audit", "2s"])?;
        Ok((*backend, top))
    };
    let tops = lab::backends().iter().map(top).collect::<Result<Vec<_>>>()?;
    let mut gone = BTreeSet::new();
    for time in 0..TIMES {
        let named = (0..AT_A_TIME).map(|n| Named::new(format!("lab-{time}-{n}"), ENTRIES));
        let named = named.collect::<Result<Vec<_>>>()?;
        if time == 0 {
            expect_named(&named)?;
        }
        for one in named {
            gone.insert(one.delete());
        }
    }
    // Made when inode numbers have become free: likely one that another had.
    wait_until_gone(&gone)?;
    let stays = Named::new("lab-stays".to_owned(), STAYING)?;
    lab::keep_entries(&stays.netns)?;
    thread::sleep(CENSUS);
    let listed = Listed::read(&stays.netns)?;
    let reused = gone.remove(&stays.netns.inum());
    println!("{} inode numbers; that of the last one is one of them: {reused}", gone.len());
    for (backend, top) in tops {
        let document = top.stop(Signal::INT)?.document()?;
        println!("{backend}: {}", document["events"]);
        expect_only(&document, &stays, &listed, &gone).context(backend)?;
        // That a namespace goes is no miss, whether the census or the end of its entries comes first.
        exact::expect_faultless(backend, &document).context(backend)?;
    }
    Ok(())
}

#[test]
fn one_without_a_name_is_called_after_a_process_in_it() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    let lab = Lab::new(LARGE, LARGE)?;
    let resident = Resident::new(&lab.gateway.router)?;
    let top = Watcher::top(INTERVAL, &[])?;
    // One that tracks nothing is not shown.
    lab::crowd(false, 10).send(&lab.gateway)?;
    thread::sleep(CENSUS);
    let document = top.stop(Signal::INT)?.document()?;
    let row = lab::netns_row(&document, &lab.inum())?;
    assert_eq!(row["name"], resident.name(), "{row}");
    Ok(())
}

/// A fresh `top` knows them all, with names and entries.
fn expect_named(named: &[Named]) -> Result<()> {
    let top = Watcher::top(INTERVAL, &["--rows", "1000"])?;
    thread::sleep(CENSUS);
    let document = top.stop(Signal::INT)?.document()?;
    let rows = rows(&document)?;
    for one in named {
        let row = rows.get(&one.netns.inum()).with_context(|| format!("{} is missing", one.name))?;
        assert_eq!(row["name"], one.name, "{row}");
        assert_eq!(number(row, "entries")?, u64::from(ENTRIES), "{row}");
        assert_eq!(number(row, "count")?, u64::from(ENTRIES), "{row}");
    }
    Ok(())
}

/// Waits until the kernel has taken them apart, as a fresh `top` sees it.
fn wait_until_gone(gone: &BTreeSet<u32>) -> Result<()> {
    let mut left = 0;
    let all_gone = kernel::until(LONG, || {
        let top = Watcher::top(Duration::from_secs(1), &["--rows", "1000"])?;
        let document = top.finish(LONG)?.document()?;
        left = rows(&document)?.keys().filter(|inum| gone.contains(inum)).count();
        Ok(left == 0)
    })?;
    ensure!(all_gone, "{left} of {} namespaces are still there", gone.len());
    Ok(())
}

fn expect_only(document: &Value, stays: &Named, listed: &Listed, gone: &BTreeSet<u32>) -> Result<()> {
    let rows = rows(document)?;
    let left: Vec<&Value> = rows
        .values()
        .filter(|row| row["netns"].as_u64().is_some_and(|n| gone.contains(&(n as u32))))
        .collect();
    ensure!(left.is_empty(), "still shown: {left:?}");
    let row = rows.get(&stays.netns.inum()).context("the one that stays is missing")?;
    assert_eq!(row["name"], stays.name, "{row}");
    listed.expect_in(document)?;
    let sources = document["sources"].as_array().context("no sources")?;
    let odd = sources.iter().find(|row| row["netns"].as_u64().is_some_and(|n| gone.contains(&(n as u32))));
    ensure!(odd.is_none(), "a source of a namespace that is gone: {odd:?}");
    let counts = rows.values().filter_map(|row| row["count"].as_u64());
    assert_eq!(number(&document["totals"], "entries")?, counts.sum::<u64>(), "entries of what is gone");
    Ok(())
}

/// `top`'s rows of namespaces, by inode number.
fn rows(document: &Value) -> Result<BTreeMap<u32, Value>> {
    let rows = document["netns"].as_array().with_context(|| format!("no netns in {document}"))?;
    rows.iter().map(|row| Ok((number(row, "netns")? as u32, row.clone()))).collect()
}
