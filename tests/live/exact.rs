//! What `top` says against what the kernel lists.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use conntrack_tests::kernel;
use conntrack_tests::netns::Netns;
use conntrack_tests::watcher::{Watcher, number};
use serde_json::Value;

use crate::lab;

/// The entries of one namespace as the kernel lists them, at a moment when nothing moves.
#[derive(Debug)]
pub struct Listed {
    netns: Value,
    pub sources: BTreeMap<IpAddr, u64>,
    /// `nf_conntrack_count`, which the list adds up to.
    pub count: u64,
}

impl Listed {
    /// Lists them with `conntrack -L`.
    pub fn read(netns: &Netns) -> Result<Self> {
        let sources = kernel::entries_by_source(netns)?;
        let count = kernel::count(netns)?;
        let listed: u64 = sources.values().sum();
        ensure!(
            listed == count,
            "the table moves: conntrack -L has {listed} entries, the kernel counts {count}"
        );
        Ok(Self { netns: netns.inum().into(), sources, count })
    }

    /// That `top` has the same entries, source by source, and no others.
    pub fn expect_in(&self, document: &Value) -> Result<()> {
        let rows = lab::sources(document, &self.netns)?;
        let mut said = BTreeMap::new();
        for (source, row) in &rows {
            let entries = number(row, "entries")?;
            if entries > 0 {
                said.insert(source.parse::<IpAddr>().with_context(|| format!("source {source:?}"))?, entries);
            }
        }
        let sum: u64 = said.values().sum();
        let everybody =
            self.sources.keys().chain(said.keys().filter(|source| !self.sources.contains_key(source)));
        let wrong: Vec<String> = everybody
            .filter(|source| self.sources.get(source) != said.get(source))
            .map(|source| format!("{source}: {:?} not {:?}", said.get(source), self.sources.get(source)))
            .collect();
        let first = wrong.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        ensure!(
            wrong.is_empty() && sum == self.count,
            "{} of {} sources are wrong, {sum} entries instead of {}: {first}; events {}",
            wrong.len(),
            self.sources.len(),
            self.count,
            document["events"]
        );
        let row = lab::netns_row(document, &self.netns)?;
        ensure!(number(&row, "entries")? == self.count, "entries of the namespace: {row}");
        ensure!(number(&row, "count")? == self.count, "count of the namespace: {row}");
        ensure!(row["unaccounted"] == 0, "what the kernel counts beyond its list: {row}");
        Ok(())
    }
}

/// How much of each kind the audits repaired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    pub added: u64,
    pub removed: u64,
    pub replaced: u64,
}

impl Repaired {
    /// From the `events` of a document or a summary.
    pub fn of(document: &Value) -> Result<Self> {
        let repaired = &document["events"]["repaired"];
        Ok(Self {
            added: number(repaired, "added")?,
            removed: number(repaired, "removed")?,
            replaced: number(repaired, "replaced")?,
        })
    }

    /// Entries that were wrong.
    pub fn all(&self) -> u64 {
        self.added + self.removed + self.replaced
    }
}

/// A number of `events`.
pub fn event(document: &Value, name: &str) -> Result<u64> {
    number(&document["events"], name)
}

/// Whether the kernel says how often it skipped a program: for fexit since 5.12, for kprobes since 6.7.
pub fn tells_misses(backend: &str) -> bool {
    backend.starts_with("fexit") || !(lab::is_5_10() || lab::is("6.1"))
}

/// How often the kernel says it skipped a program, all programs together.
pub fn skipped(document: &Value) -> u64 {
    let programs = document["events"]["missed_by_program"].as_object();
    programs.map_or(0, |programs| programs.values().filter_map(Value::as_u64).sum())
}

/// How many incidents may be missing: as many as the kernel says it skipped, and where it says nothing a few.
pub fn slack(backend: &str, document: &Value) -> u64 {
    if tells_misses(backend) { skipped(document) } else { 5 }
}

/// That nothing was lost, nor missed or repaired but for what the kernel says it skipped: it may skip a kprobe at
/// any time, when its own work with BPF is interrupted.
pub fn expect_faultless(backend: &str, document: &Value) -> Result<()> {
    let events = &document["events"];
    ensure!(event(document, "lost")? == 0, "lost: {events}");
    ensure!(events["bootstrapped"] == true, "the first audit has not ended: {events}");
    if tells_misses(backend) && skipped(document) == 0 {
        ensure!(event(document, "missed")? == 0, "missed what was not skipped: {events}");
        ensure!(Repaired::of(document)? == Repaired::default(), "repaired what was right: {events}");
    }
    Ok(())
}

/// Resident memory of a running ctwatch in KiB: now, and at most.
pub fn memory(watcher: &Watcher) -> Result<(u64, u64)> {
    let path = format!("/proc/{}/status", watcher.pid().as_raw_nonzero());
    let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).with_context(|| format!("no {name} in {status}"))
    };
    Ok((of("VmRSS:")?, of("VmHWM:")?))
}
