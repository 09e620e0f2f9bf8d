//! Not as root: with the capabilities of the shipped unit nothing is missing, and without each of them is lost what
//! docs/privileges.md says.

use anyhow::{Context as _, Result, ensure};
use conntrack_tests::gateway::Gateway;
use conntrack_tests::hog::Hog;
use conntrack_tests::kernel;
use conntrack_tests::modules::Modules;
use conntrack_tests::netns::{Resident, read_sysctl, write_sysctl};
use conntrack_tests::nobody;
use conntrack_tests::tool;
use conntrack_tests::watcher::{ATTACH_LIMIT, EXIT_LIMIT, Ended, Signal, Watcher, number};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::CapabilitySet;
use serde_json::Value;

use crate::lab::{self, BUCKETS, LARGE, Lab, SMALL, SOON};

const PARANOIA: &str = "kernel/perf_event_paranoid";
const DRAIN: &str = "ctwatch-drain";
const BOOTSTRAP_ONLY: [&str; 6] = ["top", "--once", "-o", "json", "--interval", "1500ms"];

/// Sets a sysctl as long as it lives.
struct Sysctl {
    path: &'static str,
    before: String,
}

impl Sysctl {
    fn set(path: &'static str, value: &str) -> Result<Self> {
        let before = read_sysctl(path)?;
        write_sysctl(path, value)?;
        Ok(Self { path, before })
    }
}

impl Drop for Sysctl {
    fn drop(&mut self) {
        write_sysctl(self.path, &self.before).expect("set it back");
    }
}

/// Limits locked memory of this process and what it starts as long as it lives.
struct LockedMemory {
    before: Rlimit,
}

impl LockedMemory {
    fn limit(bytes: Option<u64>) -> Result<Self> {
        let before = getrlimit(Resource::Memlock);
        setrlimit(Resource::Memlock, Rlimit { current: bytes, maximum: bytes })
            .context("limit locked memory")?;
        Ok(Self { before })
    }

    /// As the unit has it.
    fn unlimited() -> Result<Self> {
        Self::limit(None)
    }
}

impl Drop for LockedMemory {
    fn drop(&mut self) {
        setrlimit(Resource::Memlock, self.before).expect("limit it as before");
    }
}

const NAMED: &str = "ctwatch-named";

/// A namespace with a name, as `ip netns` makes it.
struct NamedNetns;

impl NamedNetns {
    fn new() -> Result<Self> {
        tool::run(&format!("ip netns add {NAMED}")).map(|_| Self)
    }
}

impl Drop for NamedNetns {
    fn drop(&mut self) {
        tool::run(&format!("ip netns delete {NAMED}")).expect("delete it");
    }
}

/// `top --once` as nobody with these capabilities: its document, or how it ended without one.
fn top(capabilities: CapabilitySet, arguments: &[&str]) -> Result<Result<Value, Ended>> {
    let ended = nobody::start(&[&BOOTSTRAP_ONLY, arguments].concat(), capabilities)?.finish(ATTACH_LIMIT)?;
    let document = if ended.status.success() { Some(ended.document()?) } else { None };
    println!(
        "{capabilities:?} {arguments:?}: {:?} {}",
        document.as_ref().map(degradations),
        ended.stderr.trim()
    );
    Ok(document.ok_or(ended))
}

/// The document of a run that must attach.
fn attaches(capabilities: CapabilitySet, arguments: &[&str]) -> Result<Value> {
    top(capabilities, arguments)?.map_err(|ended| anyhow::anyhow!("{}: {}", ended.status, ended.stderr))
}

/// What a run that must not attach says.
fn refused(capabilities: CapabilitySet, arguments: &[&str]) -> Result<String> {
    let ended = top(capabilities, arguments)?.err().context("it attached")?;
    ensure!(ended.status.code() == Some(3), "{}: {}", ended.status, ended.stderr);
    Ok(ended.stderr)
}

fn degradations(document: &Value) -> String {
    let texts = document["degradations"].as_array().into_iter().flatten().filter_map(Value::as_str);
    format!("{}: {}", document["backend"], texts.collect::<Vec<_>>().join("; "))
}

fn expect(document: &Value, texts: &[&str]) {
    let degradations = degradations(document);
    for text in texts {
        assert!(degradations.contains(text), "no {text:?} in {degradations}");
    }
}

fn expect_not(document: &Value, texts: &[&str]) {
    let degradations = degradations(document);
    for text in texts {
        assert!(!degradations.contains(text), "{text:?} in {degradations}");
    }
}

const BY_DUMPS: &str = "known by dumps only";
const COUNTS_SELDOM: &str = "counts of other network namespaces every 10 s";
const NOT_AUDITED: &str = "nothing is audited";
const NO_STATISTICS: &str = "not compared with all of the kernel's own statistics";
const ONLY_CTNETLINK: &str = "ctnetlink tells how many were refused but not who";

#[test]
fn with_the_capabilities_of_the_unit_nobody_misses_nothing() -> Result<()> {
    for backend in lab::ready().then(lab::backends).unwrap_or_default() {
        refuse_everything(&["--backend", backend], nobody::granted()?).context(backend)?;
    }
    Ok(())
}

#[test]
fn without_sys_admin_kprobes_see_every_refusal_where_perf_events_are_allowed() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    let _allowed = Sysctl::set(PARANOIA, "2")?;
    refuse_everything(&["--backend", "kprobe"], nobody::granted_without_sys_admin()?)
}

/// A table that nothing can be evicted from, and a flood against it.
fn refuse_everything(arguments: &[&str], capabilities: CapabilitySet) -> Result<()> {
    let _unlimited = LockedMemory::unlimited()?;
    let lab = Lab::new(SMALL, BUCKETS)?;
    let mut watcher = nobody::start(&[&["watch", "-o", "json"], arguments].concat(), capabilities)?;
    let attached = watcher.wait_for(ATTACH_LIMIT, |line| line["kind"] == "attached")?;
    watcher.wait_until_draining()?;
    // It is told that it is attached a moment before the thread has given up the rest, and those to be inherited last.
    let inheritable = || nobody::thread_status(watcher.pid(), DRAIN, "CapInh");
    let given_up = kernel::until(SOON, || Ok(u64::from_str_radix(&inheritable()?, 16)? == 0))?;
    ensure!(given_up, "it gives nothing up");
    for (field, bits) in [("CapEff", capabilities.bits()), ("CapPrm", capabilities.bits()), ("CapAmb", 0)] {
        let held = nobody::thread_status(watcher.pid(), DRAIN, field)?;
        assert_eq!(u64::from_str_radix(&held, 16)?, bits, "{field} of the thread that drains");
    }
    assert_eq!(nobody::thread_status(watcher.pid(), DRAIN, "NoNewPrivs")?, "1");
    assert_eq!(nobody::thread_status(watcher.pid(), DRAIN, "Uid")?, ["65534"; 4].join("\t"));

    let hog = Hog::new(&lab.gateway, false)?;
    let _held = hog.hold(SMALL as usize, Gateway::source(false, 99), SOON)?;
    let before = lab.stats()?;
    let sent = lab::crowd(false, 2_000).send(&lab.gateway)?;
    lab.settle()?;
    let counted = lab.stats()?.since(&before);
    let ended = watcher.stop(Signal::INT)?;
    println!("{attached}: kernel refused {}, {}", counted.refused(), lab::totals(ended.summary()?));
    lab::expect_lossless(&ended)?;
    assert_eq!(number(ended.summary()?, "refused")?, counted.refused());
    assert_eq!(counted.refused(), sent.packets);
    assert_eq!(ended.of_kind("refused").count() as u64, sent.packets);
    Ok(())
}

#[test]
fn without_each_capability_is_lost_what_the_documentation_says() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    let _unlimited = LockedMemory::unlimited()?;
    let granted = nobody::granted()?;
    let lab = Lab::new(LARGE, BUCKETS)?;
    let resident = Resident::new(&lab.gateway.router)?;
    lab::keep_entries(&lab.gateway.router)?;
    lab::crowd(false, 500).send(&lab.gateway)?;
    lab.settle()?;
    let name = |document: &Value| lab::netns_row(document, &lab.inum()).map(|row| row["name"].clone());
    let entries =
        |document: &Value| lab::netns_row(document, &lab.inum())?["entries"].as_u64().context("entries");
    let losses =
        [BY_DUMPS, COUNTS_SELDOM, NOT_AUDITED, NO_STATISTICS, ONLY_CTNETLINK, "fexit-module refused: BTF"];

    let all = attaches(granted, &[])?;
    assert_eq!(all["backend"], lab::best_backend());
    expect_not(&all, &losses);
    assert_eq!((name(&all)?, entries(&all)?), (resident.name().into(), 500));

    let one = |name: &str| nobody::named(name).map(|capability| granted.difference(capability));
    let syslog = attaches(one("CAP_SYSLOG")?, &[])?;
    assert_eq!(syslog["backend"], lab::best_backend());
    expect(&syslog, &[BY_DUMPS, COUNTS_SELDOM]);

    let net_admin = attaches(one("CAP_NET_ADMIN")?, &[])?;
    assert_eq!((&net_admin["backend"], entries(&net_admin)?), (&lab::best_backend().into(), 500));
    expect(&net_admin, &[NO_STATISTICS, "Operation not permitted"]);
    let neither = attaches(one("CAP_NET_ADMIN CAP_SYSLOG")?, &[])?;
    expect(&neither, &[NOT_AUDITED, "ctnetlink's dumps need CAP_NET_ADMIN"]);

    let ptrace = attaches(one("CAP_SYS_PTRACE")?, &[])?;
    expect_not(&ptrace, &losses);
    assert_eq!((name(&ptrace)?, entries(&ptrace)?), (Value::Null, 500), "it has no name then");

    let sys_admin = attaches(one("CAP_SYS_ADMIN")?, &[])?;
    expect(&sys_admin, &["needs CAP_SYS_ADMIN, or CAP_BPF with CAP_PERFMON", ONLY_CTNETLINK]);
    Ok(())
}

#[test]
fn in_place_of_sys_admin_bpf_and_perfmon_are_both_needed() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    let _unlimited = LockedMemory::unlimited()?;
    let lesser = nobody::granted_without_sys_admin()?;
    let _lab = Lab::new(LARGE, BUCKETS)?;
    let _other = NamedNetns::new()?;
    {
        let _denied = Sysctl::set(PARANOIA, "3")?;
        let said = refused(lesser, &["--backend", "kprobe"])?;
        // What only some distributions' kernels have.
        println!("perf_event_paranoid=3: {said}");
        assert!(said.contains("`perf_event_open` failed: Permission denied"), "{said}");
    }
    let _allowed = Sysctl::set(PARANOIA, "2")?;
    let all = attaches(lesser, &[])?;
    assert_eq!(all["backend"], "kprobe");
    expect_not(&all, &[BY_DUMPS, COUNTS_SELDOM, NOT_AUDITED, ONLY_CTNETLINK, "network namespace init"]);
    // It cannot enter other namespaces.
    expect(&all, &[&format!("{NO_STATISTICS}: no statistics of network namespace {NAMED}")]);
    if !lab::is_5_10() {
        expect(&all, &["fexit-module refused: BTF object of module nf_conntrack: Operation not permitted"]);
        let said = refused(lesser, &["--backend", "fexit"])?;
        assert!(said.contains("BTF object of module nf_conntrack: Operation not permitted"), "{said}");
    }
    for name in ["CAP_BPF", "CAP_PERFMON"] {
        let said = refused(lesser.difference(nobody::named(name)?), &["--backend", "kprobe"])?;
        assert!(
            said.contains("needs CAP_SYS_ADMIN, or CAP_BPF with CAP_PERFMON, which this process lacks"),
            "{said}"
        );
        assert!(said.contains("grant these capabilities"), "{said}");
    }
    Ok(())
}

#[test]
fn without_any_it_says_what_it_needs() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    let _lab = Lab::new(LARGE, BUCKETS)?;
    let none = CapabilitySet::empty();
    assert!(refused(none, &[])?.contains("needs CAP_SYS_ADMIN, or CAP_BPF with CAP_PERFMON"));
    assert!(refused(none, &["--backend", "netlink"])?.contains("needs CAP_NET_ADMIN"));
    let netlink = attaches(nobody::named("CAP_NET_ADMIN")?, &[])?;
    assert_eq!(netlink["backend"], "netlink");
    expect(&netlink, &[ONLY_CTNETLINK]);
    Ok(())
}

/// Before 5.11 maps count as locked memory: a limit of systemd's or CAP_SYS_RESOURCE lets them be made.
#[test]
fn before_5_11_locked_memory_must_not_be_limited() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    let _limited = LockedMemory::limit(Some(64 << 10))?;
    let _lab = Lab::new(LARGE, BUCKETS)?;
    let granted = nobody::granted()?;
    if !lab::is_5_10() {
        assert_eq!(attaches(granted, &[])?["backend"], lab::best_backend());
        return Ok(());
    }
    expect(&attaches(granted, &[])?, &["locked memory", ONLY_CTNETLINK]);
    let more = granted | nobody::named("CAP_SYS_RESOURCE")?;
    assert_eq!(attaches(more, &[])?["backend"], "kprobe");
    Ok(())
}

/// The thread that drains attaches again by what it kept.
#[test]
fn nobody_attaches_again_after_a_reload() -> Result<()> {
    let Some(modules) = Modules::of_guest().filter(|_| lab::ready()) else {
        println!("skipped: conntrack cannot be unloaded here");
        return Ok(());
    };
    let _unlimited = LockedMemory::unlimited()?;
    let mut watcher: Watcher =
        nobody::start(&["watch", "-o", "json", "--backend", "kprobe"], nobody::granted()?)?;
    watcher.wait_for(ATTACH_LIMIT, |line| line["kind"] == "attached")?;
    modules.unload()?;
    let gone = watcher.wait_for(SOON, |line| line["kind"] == "gap" && line["over"] == false);
    modules.load()?;
    gone.context("the end of conntrack was not noticed")?;
    watcher.wait_for(SOON, |line| line["kind"] == "gap" && line["over"] == true)?;
    let lab = Lab::new(LARGE, 65_536)?;
    let sent = lab::crowd(false, 1_000).send(&lab.gateway)?;
    lab.settle()?;
    watcher.signal(Signal::INT)?;
    let ended = watcher.finish(EXIT_LIMIT)?;
    ensure!(ended.status.success(), "{}: {}", ended.status, ended.stderr);
    assert_eq!(number(ended.summary()?, "new")?, sent.packets);
    Ok(())
}
