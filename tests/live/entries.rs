//! Entries by source and evictions, against `conntrack -L` and `conntrack -S`.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use conntrack_tests::flood::Flood;
use conntrack_tests::gateway::Gateway;
use conntrack_tests::kernel;
use conntrack_tests::watcher::{Signal, Watcher, number};

use crate::exact::Listed;
use crate::lab::{self, BUCKETS, LARGE, Lab, SMALL};

/// Longer than any test: `top` is stopped when the traffic is over, and prints then.
const INTERVAL: Duration = Duration::from_secs(600);

#[test]
fn entries_by_source_are_those_of_the_kernel() -> Result<()> {
    for backend in lab::ready().then(lab::backends).unwrap_or_default() {
        for evicting in [false, true] {
            compare_sources(backend, evicting).with_context(|| format!("{backend}, evicting {evicting}"))?;
        }
    }
    Ok(())
}

fn compare_sources(backend: &str, evicting: bool) -> Result<()> {
    let max = if evicting { SMALL } else { LARGE };
    let lab = Lab::new(max, if evicting { BUCKETS } else { LARGE })?;
    let top = Watcher::top(INTERVAL, &["--backend", backend, "--rows", "1000"])?;
    for ipv6 in [false, true] {
        lab::crowd(ipv6, 6_000).send(&lab.gateway)?;
    }
    // Above 95 % of the limit the kernel goes on evicting by itself; nothing may change any more.
    lab.limits.change(LARGE, if evicting { BUCKETS } else { LARGE })?;
    lab.settle()?;
    let listed = Listed::read(&lab.gateway.router)?;
    let document = top.stop(Signal::INT)?.document()?;
    ensure!(lab.count()? == listed.count, "the table changed while it was compared");

    println!("{backend} evicting={evicting}: {} entries of {} sources", listed.count, listed.sources.len());
    assert_eq!(
        kernel::count_by_ctnetlink(&lab.gateway.router)?,
        listed.count,
        "conntrack -C against the sysctl"
    );
    listed.expect_in(&document)?;
    expect_order(&document)?;
    let heavy = [false, true].map(|ipv6| Gateway::source(ipv6, 0).to_string());
    let first = document["sources"][0]["src"].as_str().unwrap_or_default();
    assert!(heavy.iter().any(|heavy| heavy == first), "{first} is first, not one of {heavy:?}");
    Ok(())
}

/// Sources come sorted by entries, most first.
fn expect_order(document: &serde_json::Value) -> Result<()> {
    let rows = document["sources"].as_array().context("no sources")?;
    let entries = rows.iter().map(|row| number(row, "entries")).collect::<Result<Vec<_>>>()?;
    assert!(entries.is_sorted_by(|a, b| a >= b), "{entries:?}");
    Ok(())
}

#[test]
fn evictions_are_those_of_the_kernel() -> Result<()> {
    for backend in lab::ready().then(lab::backends).unwrap_or_default() {
        let lab = Lab::new(SMALL, BUCKETS)?;
        let watcher = Watcher::watch(&["--backend", backend, "-v"])?;
        let before = lab.stats()?;
        // From two processors at once, which is when a victim may be held by somebody else.
        let floods = [0, 100].map(|first_source| Flood { first_source, ..lab::crowd(false, 10_000) });
        lab::at_once(&floods, &lab.gateway)?;
        lab.limits.change(LARGE, BUCKETS)?;
        lab.settle()?;
        let kernel = lab.stats()?.since(&before);
        let ended = watcher.stop(Signal::TERM)?;

        let summary = ended.summary()?;
        let said = number(summary, "evicted")?;
        let lines = ended.of_kind("evicted").count() as u64;
        println!("{backend}: kernel refused {}; {}; lines {lines}", kernel.refused(), lab::totals(summary));
        lab::expect_lossless(&ended)?;
        ensure!(kernel.early_drop > 1_000, "hardly anything was evicted: {kernel:?}");
        lab::expect_evicted(&kernel, said);
        assert_eq!(lines, said, "evicted lines against the summary");
        assert_eq!(number(summary, "refused")?, kernel.refused());
        assert_eq!(number(summary, "new")? - number(summary, "freed")?, lab.count()?);
    }
    Ok(())
}
