//! conntrack comes and goes underneath.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use conntrack_tests::flood::monotonic_ns;
use conntrack_tests::modules::Modules;
use conntrack_tests::watcher::{Signal, Watcher, number};

use crate::lab::{self, LARGE, Lab};

/// How soon ctwatch must notice, in nanoseconds.
const NOTICED: u64 = 1_000_000_000;

/// The guest's modules, where conntrack is one; says so if not.
fn modules() -> Option<Modules> {
    let modules = Modules::of_guest().filter(|_| lab::ready());
    if modules.is_none() {
        println!("skipped: conntrack cannot be unloaded here");
    }
    modules
}

#[test]
fn kprobes_survive_a_reload_with_a_gap() -> Result<()> {
    let Some(modules) = modules() else { return Ok(()) };
    let mut watcher = Watcher::watch(&["--backend", "kprobe"])?;
    let before = send_some(1_000)?;
    modules.unload()?;
    let unloaded = monotonic_ns();
    let gone = watcher.wait_for(lab::SOON, |line| line["kind"] == "gap" && line["over"] == false);
    modules.load()?;
    let loaded = monotonic_ns();
    let gone = gone.context("the end of conntrack was not noticed")?;
    let back = watcher
        .wait_for(lab::SOON, |line| line["kind"] == "gap" && line["over"] == true)
        .context("its return was not noticed")?;
    let after = send_some(2_000)?;
    let ended = watcher.stop(Signal::INT)?;

    println!("unloaded {unloaded}: {gone}\nloaded {loaded}: {back}\n{}", lab::totals(ended.summary()?));
    ensure!(ended.status.success(), "{}: {}", ended.status, ended.stderr);
    assert!(number(&gone, "ktime_ns")? <= unloaded + NOTICED, "noticed too late");
    let from = number(&back, "from_ktime_ns")?;
    assert_eq!(number(&back, "duration_ns")?, number(&back, "ktime_ns")? - from, "{back}");
    assert!(from <= number(&gone, "ktime_ns")?, "another gap: {back}");
    assert_eq!(ended.of_kind("gap").count(), 2);
    assert_eq!(number(ended.summary()?, "new")?, before + after, "what came after the gap is counted too");
    Ok(())
}

/// So many entries through a gateway, which then goes; returns how many.
fn send_some(packets: u64) -> Result<u64> {
    let lab = Lab::new(LARGE, 65_536)?;
    let sent = lab::crowd(false, packets).send(&lab.gateway)?;
    lab.settle()?;
    ensure!(lab.count()? == sent.packets, "{} entries of {}", lab.count()?, sent.packets);
    Ok(sent.packets)
}

#[test]
fn fexit_holds_the_module_while_it_runs() -> Result<()> {
    let Some(modules) = modules() else { return Ok(()) };
    if !lab::backends().contains(&"fexit-module") {
        println!("skipped: no fexit on modules here");
        return Ok(());
    }
    let watcher = Watcher::watch(&["--backend", "fexit"])?;
    // Whatever held it before is gone when it can be unloaded in the end.
    modules.try_unload();
    let held = Modules::has_conntrack();
    modules.load()?;
    let sent = send_some(1_000)?;
    let ended = watcher.stop(Signal::INT)?;
    assert!(held, "nf_conntrack was unloaded underneath fexit");
    assert_eq!(number(ended.summary()?, "new")?, sent, "still attached: {}", ended.stderr);
    assert_eq!(ended.of_kind("gap").count(), 0);
    modules.without(|| Ok(()))
}

#[test]
fn told_to_wait_it_attaches_when_conntrack_comes() -> Result<()> {
    let Some(modules) = modules() else { return Ok(()) };
    let mut watcher = modules.without(|| {
        let mut watcher = Watcher::start(&["watch", "-o", "json", "--wait"])?;
        std::thread::sleep(Duration::from_secs(1));
        watcher.catch_up();
        ensure!(watcher.lines.is_empty(), "attached to nothing: {:?}", watcher.lines);
        ensure!(watcher.is_running()?, "it did not wait: {}", watcher.stderr());
        Ok(watcher)
    })?;
    let attached = watcher.wait_for(lab::SOON, |line| line["kind"] == "attached")?;
    let sent = send_some(1_000)?;
    let ended = watcher.stop(Signal::INT)?;
    println!("{attached}; standard error: {}", ended.stderr.trim());
    assert_eq!(attached["backend"], lab::best_backend());
    assert_eq!(number(ended.summary()?, "new")?, sent);
    Ok(())
}
