//! The netlink source, and a plain account of what its records say.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use conntrack_common::{AuditPhase, AuditTrigger, Count, Stats, Totals};
use conntrack_tests::kernel;
use conntrack_tests::netns::Netns;
use conntrack_user::engine::decode::{Record, Records};
use conntrack_user::engine::tuple::{Connection, address};
use conntrack_user::kernel::ctnetlink::{self, Options};
use conntrack_user::kernel::source::Source;

/// A source running in a namespace, and what it has said so far.
pub struct Ledger {
    source: Source,
    /// When an entry came, and which it is.
    pub entries: HashMap<u64, (u64, Connection)>,
    /// Entries the audit under way has seen, and when it began.
    seen: HashSet<u64>,
    began_ns: u64,
    /// Audits that ended.
    pub audits: Vec<AuditTrigger>,
    /// Entries that an audit found to be there, and to be gone.
    pub found: u64,
    pub gone: u64,
    pub totals: Totals,
    pub stats: Option<Stats>,
    pub count: Option<Count>,
    last_ns: u64,
}

impl Ledger {
    /// Starts one in `netns`.
    pub fn start(netns: &Netns, options: Options) -> Result<Self> {
        let source = netns.run(|| Ok(ctnetlink::start(&options)?))?;
        Ok(Self {
            source,
            entries: HashMap::new(),
            seen: HashSet::new(),
            began_ns: 0,
            audits: Vec::new(),
            found: 0,
            gone: 0,
            totals: Totals::default(),
            stats: None,
            count: None,
            last_ns: 0,
        })
    }

    pub fn degradations(&self) -> &[String] {
        &self.source.started.trust.degradations
    }

    /// Takes what comes until `is_so`; fails if that takes longer than `limit`.
    pub fn until(
        &mut self,
        limit: Duration,
        what: &str,
        mut is_so: impl FnMut(&Self) -> Result<bool>,
    ) -> Result<Duration> {
        let start = Instant::now();
        loop {
            self.take()?;
            if is_so(self)? {
                return Ok(start.elapsed());
            }
            ensure!(start.elapsed() < limit, "not so within {limit:?}: {what}; {}", self.summary());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Takes what has come.
    pub fn take(&mut self) -> Result<()> {
        while let Ok(batch) = self.source.batches.try_recv() {
            for record in Records::new(&batch.entries).chain(Records::new(&batch.incidents)) {
                self.account(record?)?;
            }
            self.totals = batch.totals.unwrap_or(self.totals);
        }
        Ok(())
    }

    fn account(&mut self, record: Record<'_>) -> Result<()> {
        match record {
            Record::New(new) => {
                let new = new.get();
                self.in_order(new.ktime_ns)?;
                ensure!(new.may_be_seen == 1, "ctnetlink may list before it tells");
                let connection = Connection::new(new.netns, new.zone, &new.tuple);
                self.entries.insert(new.ct, (new.ktime_ns, connection));
            }
            Record::Free(free) => {
                let free = free.get();
                self.in_order(free.ktime_ns)?;
                self.entries.remove(&free.ct);
            }
            Record::Seen(seen) => {
                let seen = seen.get();
                self.in_order(seen.ktime_ns)?;
                if seen.alive == 0 {
                    ensure!(self.entries.remove(&seen.ct).is_some(), "nobody asked for it");
                    self.gone += 1;
                } else {
                    self.seen.insert(seen.ct);
                    let connection = Connection::new(seen.netns, seen.zone, &seen.tuple);
                    self.found += u64::from(!self.entries.contains_key(&seen.ct));
                    self.entries.entry(seen.ct).or_insert((seen.ktime_ns, connection));
                }
            }
            Record::Audit(audit) => {
                let audit = audit.get();
                self.in_order(audit.ktime_ns)?;
                self.step(audit.phase, audit.trigger, audit.began_ktime_ns)?;
            }
            Record::Stats(stats) => self.stats = Some(stats.get()),
            Record::Count(count) => self.count = Some(count.get()),
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, phase: u8, trigger: u8, began_ns: u64) -> Result<()> {
        match AuditPhase::from_byte(phase).context("no phase")? {
            AuditPhase::Began => {
                self.seen.clear();
                self.began_ns = began_ns;
            }
            AuditPhase::Walked => {
                let missing = |(ct, (born_ns, _)): (&u64, &(u64, Connection))| {
                    (*born_ns < self.began_ns && !self.seen.contains(ct)).then_some(*ct)
                };
                let suspects = self.entries.iter().filter_map(missing).collect();
                self.source.control.examine(suspects);
            }
            AuditPhase::Ended => {
                self.audits.push(AuditTrigger::from_byte(trigger).context("no trigger")?);
            }
            AuditPhase::Abandoned => println!("an audit was abandoned"),
        }
        Ok(())
    }

    /// The stream of entries is in the order of time.
    fn in_order(&mut self, ktime_ns: u64) -> Result<()> {
        ensure!(ktime_ns >= self.last_ns, "{ktime_ns} comes after {}", self.last_ns);
        self.last_ns = ktime_ns;
        Ok(())
    }

    /// Waits for the audit that learns what was there before.
    pub fn first_audit(&mut self) -> Result<Duration> {
        self.until(crate::lab::SOON, "the first audit ends", |ledger| Ok(!ledger.audits.is_empty()))
    }

    /// Asks for an audit and waits for its end.
    pub fn audit(&mut self) -> Result<Duration> {
        let before = self.audits.len();
        self.source.control.missed();
        self.until(crate::lab::SOON, "an audit ends", |ledger| Ok(ledger.audits.len() > before))
    }

    pub fn by_source(&self) -> BTreeMap<IpAddr, u64> {
        let mut sources = BTreeMap::new();
        for (_, connection) in self.entries.values() {
            *sources.entry(connection.src).or_default() += 1;
        }
        sources
    }

    /// Fails unless each source has as many entries as `conntrack -L` lists, and all together as many as the kernel
    /// counts, while nothing happens.
    pub fn expect_kernels(&mut self, netns: &Netns) -> Result<()> {
        let listed = kernel::entries_by_source(netns)?;
        let count = kernel::count(netns)?;
        // What that listing collected has to be heard of.
        let equal = self.until(crate::lab::SOON, "entries by source are those of the kernel", |ledger| {
            Ok(ledger.by_source() == listed)
        });
        println!("{}; kernel: {} sources, {count} entries", self.summary(), listed.len());
        equal?;
        assert_eq!(self.entries.len() as u64, count, "nf_conntrack_count");
        let inum = netns.inum();
        assert!(self.entries.values().all(|(_, connection)| connection.netns == inum));
        Ok(())
    }

    pub fn summary(&self) -> String {
        let Totals { new, freed, lost_entries, .. } = self.totals;
        format!(
            "{} sources, {} entries; {new} new, {freed} freed, {lost_entries} lost; audits {:?}, {} found, {} gone",
            self.by_source().len(),
            self.entries.len(),
            self.audits,
            self.found,
            self.gone
        )
    }

    /// Stops it and takes what is left.
    pub fn stop(mut self) -> Result<Totals> {
        self.source.control.stop();
        while let Some(batch) = self.source.batches.blocking_recv() {
            self.totals = batch.totals.unwrap_or(self.totals);
        }
        self.source.finish()?;
        Ok(self.totals)
    }
}

/// An address as the kernel's tuples hold it.
pub fn v4(text: [u8; 4]) -> IpAddr {
    address(2, std::array::from_fn(|i| text.get(i).copied().unwrap_or(0)))
}
