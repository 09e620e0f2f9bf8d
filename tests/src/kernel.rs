//! What the kernel itself counted, read with its own tools and never through ctwatch.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::netns::Netns;
use crate::tool;

/// `conntrack -S` of one network namespace, summed over the CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets dropped: table full, no memory, or not inserted.
    pub drop: u64,
    /// Entries whose insertion failed.
    pub insert_failed: u64,
    /// Entries evicted to make room.
    pub early_drop: u64,
    /// Insertions given up because a hash chain was too long; 0 where the kernel has no such limit.
    pub chaintoolong: u64,
    /// Clashes resolved: nobody lost a packet.
    pub clash_resolve: u64,
}

impl Stats {
    /// Reads them.
    pub fn read(netns: &Netns) -> Result<Self> {
        let mut stats = Self::default();
        for field in netns.tool("conntrack -S")?.split_whitespace() {
            let Some((name, value)) = field.split_once('=') else {
                continue;
            };
            let sum = match name {
                "drop" => &mut stats.drop,
                "insert_failed" => &mut stats.insert_failed,
                "early_drop" => &mut stats.early_drop,
                "chaintoolong" => &mut stats.chaintoolong,
                "clash_resolve" => &mut stats.clash_resolve,
                _ => continue,
            };
            *sum += value.parse::<u64>().with_context(|| format!("conntrack -S printed {field:?}"))?;
        }
        Ok(stats)
    }

    /// What was counted after `before`. The kernel's counters are 32 bits wide each, which no test wraps.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            drop: self.drop - before.drop,
            insert_failed: self.insert_failed - before.insert_failed,
            early_drop: self.early_drop - before.early_drop,
            chaintoolong: self.chaintoolong - before.chaintoolong,
            clash_resolve: self.clash_resolve - before.clash_resolve,
        }
    }

    /// Packets refused: dropped without an entry. A failed insertion counts as dropped too, but had one.
    pub fn refused(&self) -> u64 {
        self.drop.saturating_sub(self.insert_failed)
    }
}

/// `nf_conntrack_count`: what the limit is compared with.
pub fn count(netns: &Netns) -> Result<u64> {
    netns.sysctl_number("net/netfilter/nf_conntrack_count")
}

/// `conntrack -C`: the same number by ctnetlink.
pub fn count_by_ctnetlink(netns: &Netns) -> Result<u64> {
    let text = netns.tool("conntrack -C")?;
    text.trim().parse().with_context(|| format!("conntrack -C printed {text:?}"))
}

/// `conntrack -L`, counted by original source: confirmed entries only. It makes the kernel collect the
/// expired ones it passes.
pub fn entries_by_source(netns: &Netns) -> Result<BTreeMap<IpAddr, u64>> {
    let mut entries = BTreeMap::new();
    for family in ["ipv4", "ipv6"] {
        for line in netns.tool(&format!("conntrack -L -f {family}"))?.lines() {
            let source = line.split_whitespace().find_map(|word| word.strip_prefix("src="));
            let source = source.with_context(|| format!("conntrack -L printed {line:?}"))?;
            *entries.entry(source.parse()?).or_default() += 1;
        }
    }
    Ok(entries)
}

/// How many entries the kernel will not evict.
pub fn assured(netns: &Netns) -> Result<usize> {
    Ok(netns.tool("conntrack -L")?.lines().filter(|line| line.contains("[ASSURED]")).count())
}

/// Forgets every entry.
pub fn flush(netns: &Netns) -> Result<()> {
    netns.tool("conntrack -F").map(drop)
}

/// Names of ctwatch's programs and maps that are in the kernel now, as bpftool lists them.
pub fn loaded() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for what in ["prog", "map"] {
        names.extend(ours(what)?.into_iter().map(|(_, name)| format!("{what} {name}")));
    }
    Ok(names)
}

/// Ids and names of ctwatch's programs, as bpftool lists them.
pub fn programs() -> Result<Vec<(u64, String)>> {
    ours("prog")
}

fn ours(what: &str) -> Result<Vec<(u64, String)>> {
    let text = tool::run(&format!("bpftool -j {what} show"))?;
    let listed: Value = serde_json::from_str(&text).with_context(|| format!("bpftool {what} show"))?;
    let listed = listed.as_array().map(Vec::as_slice).unwrap_or_default();
    let named = listed.iter().filter_map(|object| Some((object["id"].as_u64()?, object["name"].as_str()?)));
    let ours = named.filter(|(_, name)| name.starts_with("ctw_") || name.starts_with("CTW_"));
    Ok(ours.map(|(id, name)| (id, name.to_owned())).collect())
}

/// Asks again until the answer is yes; false if it still is not after `limit`.
pub fn until(limit: Duration, mut is_so: impl FnMut() -> Result<bool>) -> Result<bool> {
    let deadline = Instant::now() + limit;
    loop {
        if is_so()? {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
