//! What every live test begins with.

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use conntrack_tests::flood::Flood;
use conntrack_tests::gateway::{Gateway, Limits, Router};
use conntrack_tests::kernel::{self, Stats};
use conntrack_tests::netns::{Netns, write_sysctl};
use conntrack_tests::player::Player;
use conntrack_tests::scenario::Scenario;
use conntrack_tests::watcher::{Ended, number};
use serde_json::Value;

/// A table small enough to be filled within a second.
pub const SMALL: u32 = 600;
/// The smallest hash table the kernel makes; with it `early_drop` always finds somebody in a full table.
pub const BUCKETS: u32 = 512;
/// A table that is never full.
pub const LARGE: u32 = 262_144;
/// Patience with what should happen at once, on an emulated machine that may be busy.
pub const SOON: Duration = Duration::from_secs(20);
/// Patience with what takes long there: a million entries.
pub const LONG: Duration = Duration::from_secs(120);

/// A gateway and the limits it runs under; both are taken back when it is dropped.
#[derive(Debug)]
pub struct Lab {
    pub gateway: Gateway,
    pub limits: Limits,
}

/// Whether live tests may run here; says why if not.
pub fn ready() -> bool {
    if env::var_os("CTWATCH_REQUIRE_LIVE").is_some_and(|value| value == "1") {
        return true;
    }
    println!(
        "skipped: it changes the limits of the whole machine; `cargo xtask test` runs it in virtual machines"
    );
    false
}

/// The backends this kernel can have.
pub fn backends() -> Vec<&'static str> {
    if is_5_10() {
        return vec!["kprobe"]; // its modules have no BTF
    }
    let is_module = Path::new("/sys/module/nf_conntrack/sections").exists();
    vec![if is_module { "fexit-module" } else { "fexit-vmlinux" }, "kprobe"]
}

/// Whether the kernel under test is too old for fexit on modules.
pub fn is_5_10() -> bool {
    is("5.10")
}

/// Whether the kernel under test was asked for by this name.
pub fn is(name: &str) -> bool {
    env::var_os("CTWATCH_KERNEL").is_some_and(|version| version == name)
}

/// What a test whose subject is the kernel rather than a backend runs with.
pub fn best_backend() -> &'static str {
    backends()[0]
}

impl Lab {
    /// A fresh gateway, nothing tracked yet.
    pub fn new(max: u32, buckets: u32) -> Result<Self> {
        // What the receiving side of a link has no room for is dropped before conntrack sees it.
        write_sysctl("net/core/netdev_max_backlog", "100000")?;
        let gateway = Gateway::new(Router::Own)?;
        Ok(Self { gateway, limits: Limits::set(max, buckets)? })
    }

    /// The kernel's counters of the router.
    pub fn stats(&self) -> Result<Stats> {
        Stats::read(&self.gateway.router)
    }

    /// `nf_conntrack_count` of the router.
    pub fn count(&self) -> Result<u64> {
        kernel::count(&self.gateway.router)
    }

    /// Plays a scenario to its end; what the kernel counted meanwhile.
    pub fn play(&self, scenario: &Scenario) -> Result<Stats> {
        let before = self.stats()?;
        let mut player = Player::start(&self.gateway, scenario)?;
        for phase in &scenario.phases {
            player.play(phase, || Ok(()))?;
        }
        player.finish()?;
        self.settle()?;
        Ok(self.stats()?.since(&before))
    }

    /// Waits until what was sent has passed the router: a burst may be worked off after it was sent.
    pub fn settle(&self) -> Result<()> {
        settle(&[&self.gateway.router])
    }

    /// Inode number of the router's namespace, as JSON has it.
    pub fn inum(&self) -> Value {
        self.gateway.router.inum().into()
    }
}

/// Waits until nothing moves in these namespaces.
pub fn settle(trackers: &[&Netns]) -> Result<()> {
    let read = |netns: &&Netns| Ok((Stats::read(netns)?, kernel::count(netns)?));
    let mut before = None;
    let quiet = kernel::until(SOON, || {
        let now = Some(trackers.iter().map(read).collect::<Result<Vec<_>>>()?);
        let same = before == now;
        before = now;
        std::thread::sleep(Duration::from_millis(200));
        Ok(same)
    })?;
    ensure!(quiet, "the kernel's counters do not come to rest: {before:?}");
    Ok(())
}

/// Makes unanswered UDP entries outlive any test, so that the kernel frees none in the middle of a comparison.
pub fn keep_entries(tracker: &Netns) -> Result<()> {
    tracker.set_sysctl("net/netfilter/nf_conntrack_udp_timeout", 3_600)
}

/// Sends several floods at the same time, one thread each.
pub fn at_once(floods: &[Flood], gateway: &Gateway) -> Result<()> {
    std::thread::scope(|scope| {
        let sending: Vec<_> = floods.iter().map(|flood| scope.spawn(|| flood.send(gateway))).collect();
        sending.into_iter().try_for_each(|sending| {
            sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map(drop)
        })
    })
}

/// Twenty clients of which one sends two packets in five.
pub fn crowd(ipv6: bool, packets: u64) -> Flood {
    Flood { ipv6, packets, sources: 20, heavy_percent: 40, ..Flood::default() }
}

/// That ctwatch ended well, lost nothing on the way and printed nothing but JSON objects.
pub fn expect_lossless(ended: &Ended) -> Result<()> {
    ensure!(ended.status.success(), "it ended with {}: {}", ended.status, ended.stderr);
    let summary = ended.summary()?;
    ensure!(number(summary, "lost")? == 0, "events were lost: {summary}");
    ensure!(ended.lines.len() == ended.stdout.lines().count(), "not all lines are JSON objects");
    Ok(())
}

/// That so many evictions are those of the kernel. A victim that another CPU still holds is freed later, by
/// that CPU, and known for an eviction only to the kernel; the difference is shown.
pub fn expect_evicted(kernel: &Stats, said: u64) {
    let (early_drop, missing) = (kernel.early_drop, kernel.early_drop.abs_diff(said));
    println!("kernel evicted {early_drop}, ctwatch says {said}: {missing} apart");
    assert!(said <= early_drop, "more evictions than the kernel made");
    assert!(missing <= 5 + early_drop / 1_000, "too many are missing");
}

/// The totals of a summary, for people.
pub fn totals(summary: &Value) -> String {
    let names = ["new", "freed", "refused", "evicted", "lost"];
    names.map(|name| format!("{name} {}", summary[name])).join(", ")
}

/// `top`'s sources of one namespace: address to row.
pub fn sources(document: &Value, netns: &Value) -> Result<BTreeMap<String, Value>> {
    let rows = document["sources"].as_array().with_context(|| format!("no sources in {document}"))?;
    let ours = rows.iter().filter(|row| row["netns"] == *netns);
    Ok(ours.map(|row| (row["src"].as_str().unwrap_or_default().to_owned(), row.clone())).collect())
}

/// `top`'s row of one namespace.
pub fn netns_row(document: &Value, netns: &Value) -> Result<Value> {
    let rows = document["netns"].as_array().with_context(|| format!("no netns in {document}"))?;
    let row = rows.iter().find(|row| row["netns"] == *netns);
    row.cloned().with_context(|| format!("no namespace {netns} in {document}"))
}
