//! Bad surroundings: one line that names the cause and the remedy, and the exit code that fits.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use conntrack_tests::tool;
use conntrack_tests::watcher::{EXIT_LIMIT, Signal, Watcher, command};

use crate::lab::{self, BUCKETS, Lab};

const NOBODY: u32 = 65_534;

/// It ends with this code and says why in one line, which is returned.
fn fails_with(code: i32, command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    println!("{command:?}: {}: {said}", output.status);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(output.stdout.is_empty(), "{:?}", String::from_utf8_lossy(&output.stdout));
    Ok(said)
}

#[test]
fn without_privilege() -> Result<()> {
    if lab::ready() {
        for verb in [["watch"].as_slice(), &["top", "--once"]] {
            let said = fails_with(3, command(verb)?.uid(NOBODY).gid(NOBODY))?;
            assert!(said.contains("root") || said.contains("CAP_BPF"), "no remedy: {said}");
        }
    }
    Ok(())
}

#[test]
fn fexit_where_there_is_none() -> Result<()> {
    if lab::ready() && lab::is_5_10() {
        let said = fails_with(3, &mut command(&["watch", "--backend", "fexit"])?)?;
        assert!(said.contains("kprobe") || said.contains("auto"), "no remedy: {said}");
    }
    Ok(())
}

#[test]
fn the_best_backend_is_taken_and_named() -> Result<()> {
    if lab::ready() {
        let mut watcher = Watcher::watch(&[])?;
        let attached = watcher.wait_for(lab::SOON, |line| line["kind"] == "attached")?;
        let ended = watcher.stop(Signal::INT)?;
        println!("{attached}");
        assert_eq!(attached["backend"], lab::backends()[0]);
        assert_eq!(ended.summary()?["backend"], lab::backends()[0]);
    }
    Ok(())
}

/// `ctwatch watch | head -1`: the next line finds nobody, and that is a good end.
#[test]
fn a_reader_that_leaves_ends_it_well() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    let lab = Lab::new(100_000, BUCKETS)?;
    let mut child = command(&["watch", "--all", "-o", "json"])?
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("run ctwatch")?;
    let mut first = String::new();
    BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut first)?;
    let sent = lab::crowd(false, 1_000).send(&lab.gateway)?;
    let deadline = Instant::now() + EXIT_LIMIT;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => break None,
            None => thread::sleep(Duration::from_millis(10)),
        }
    };
    if status.is_none() {
        child.kill()?;
        child.wait()?;
    }
    let mut said = String::new();
    child.stderr.take().context("no stderr")?.read_to_string(&mut said)?;
    println!("after {} packets: {status:?}, {said:?}", sent.packets);
    assert!(first.contains("\"attached\""), "{first}");
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{said}");
    assert_eq!(said, "");
    Ok(())
}

#[test]
fn without_conntrack() -> Result<()> {
    // Only the guests' own init leaves the list of modules that makes this reversible.
    let Ok(order) = fs::read_to_string("/mods/order") else {
        println!("skipped: conntrack cannot be unloaded here");
        return Ok(());
    };
    if !lab::ready() {
        return Ok(());
    }
    let modules: Vec<&str> = order.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let loaded = |name: &str| fs::metadata(format!("/sys/module/{name}")).is_ok();
    let unload = || {
        // Several passes: a module may be used by one that comes after it in the list.
        for file in modules.iter().rev().chain(modules.iter().rev()) {
            let _in_use_or_gone = tool::run(&format!("rmmod {}", file.trim_end_matches(".ko")));
        }
    };
    unload();
    let outcome = if loaded("nf_conntrack") {
        Err(anyhow::anyhow!("nf_conntrack cannot be unloaded"))
    } else {
        fails_with(3, &mut command(&["watch"])?)
    };
    for line in order.lines() {
        let _loaded_already = tool::run(&format!("insmod /mods/{line}"));
    }
    ensure!(loaded("nf_conntrack"), "nf_conntrack did not come back");
    let said = outcome.context("without nf_conntrack")?;
    assert!(said.contains("modprobe nf_conntrack"), "no remedy: {said}");
    Ok(())
}
