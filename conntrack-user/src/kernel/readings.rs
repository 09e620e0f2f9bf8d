//! What is read now and then besides the rings, as records among the incidents: the refusal ledger after a loss,
//! misses, the kernel's own statistics, names of namespaces.

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, MapData};
use bytes::BytesMut;
use conntrack_common::{Kind, Ledger, NetnsName, RefusalKey, Refusals};
use zerocopy::IntoBytes as _;

use crate::kernel::{attach::Attached, clock, ctnetlink::StatsReader, netns};

/// Least time between two readings of the ledger (it is long), of misses and of names.
const EVERY_NS: u64 = 1_000_000_000;

/// The statistics take a visit to every namespace.
const STATISTICS_EVERY_NS: u64 = 10_000_000_000;

/// Names are read anew after this long even if no namespace came or went: one may have been named.
const NAMES_EVERY_NS: u64 = 60_000_000_000;

/// When what was last read.
pub struct Readings {
    ledger: HashMap<MapData, RefusalKey, Refusals>,
    ledger_ns: u64,
    /// Incidents lost when the ledger was last read.
    lost: u64,
    misses_ns: u64,
    /// Sum of all misses then.
    misses: u64,
    /// None where asking would load a module.
    statistics: Option<StatsReader>,
    statistics_ns: u64,
    names_ns: u64,
    /// Of the namespaces whose names were last read.
    digest: u64,
}

impl Readings {
    /// Nothing read yet; the statistics count from here.
    pub fn new(ledger: HashMap<MapData, RefusalKey, Refusals>, statistics: Option<StatsReader>) -> Self {
        Self {
            ledger,
            ledger_ns: 0,
            lost: 0,
            misses_ns: 0,
            misses: 0,
            statistics,
            statistics_ns: clock::ktime_ns(),
            names_ns: 0,
            digest: 0,
        }
    }

    /// Incidents that were lost are missing in their sources' sums: the ledger has them.
    pub fn ledger_after_loss(&mut self, now: u64, lost: u64, last: bool, out: &mut BytesMut) -> Result<()> {
        if lost == self.lost || (!last && now.saturating_sub(self.ledger_ns) < EVERY_NS) {
            return Ok(());
        }
        (self.lost, self.ledger_ns) = (lost, now);
        for line in self.ledger.iter() {
            let (key, refusals) = line.context("read the refusal ledger")?;
            let line = Ledger {
                kind: Kind::Ledger as u8,
                reserved: [0; 3],
                reserved2: 0,
                ktime_ns: now,
                key,
                refusals,
            };
            out.extend_from_slice(line.as_bytes());
        }
        Ok(())
    }

    /// Calls the kernel did not hand to the programs; true if there are more than before.
    pub fn misses(&mut self, attached: &Attached, now: u64, last: bool, out: &mut BytesMut) -> bool {
        if !last && now.saturating_sub(self.misses_ns) < EVERY_NS {
            return false;
        }
        self.misses_ns = now;
        let missed = attached.hooks.missed(&attached.ebpf, now);
        let sum = missed.iter().map(|one| one.missed).sum();
        if sum == self.misses {
            return false;
        }
        self.misses = sum;
        missed.iter().for_each(|one| out.extend_from_slice(one.as_bytes()));
        true
    }

    /// The kernel's own statistics, and if they are wanted the counts that were read with them.
    pub fn statistics(&mut self, now: u64, last: bool, counts: bool, out: &mut BytesMut) {
        let Some(reader) = &mut self.statistics else { return };
        if last || now.saturating_sub(self.statistics_ns) >= STATISTICS_EVERY_NS {
            self.statistics_ns = now;
            reader.read().iter().for_each(|stats| out.extend_from_slice(stats.as_bytes()));
            for failure in reader.failures() {
                tracing::debug!("{failure}");
            }
        }
        if counts {
            reader.counts().iter().for_each(|count| out.extend_from_slice(count.as_bytes()));
        }
    }

    /// Names of the namespaces, when others are there than before; `digest` tells that.
    pub fn names(&mut self, digest: u64, now: u64, out: &mut BytesMut) {
        let since = now.saturating_sub(self.names_ns);
        let first = self.names_ns == 0;
        if !first && since < if digest == self.digest { NAMES_EVERY_NS } else { EVERY_NS } {
            return;
        }
        (self.names_ns, self.digest) = (now, digest);
        for (netns, name) in netns::names() {
            let name = name_record(netns, now, &name);
            out.extend_from_slice(name.as_bytes());
        }
    }
}

/// Cut off at a character, with room for the zero at its end.
fn name_record(netns: u32, ktime_ns: u64, text: &str) -> NetnsName {
    let mut name = [0; 48];
    let end = text.floor_char_boundary(name.len() - 1);
    name[..end].copy_from_slice(&text.as_bytes()[..end]);
    NetnsName { kind: Kind::NetnsName as u8, reserved: [0; 3], netns, ktime_ns, name }
}
