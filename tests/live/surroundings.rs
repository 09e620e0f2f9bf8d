//! Bad surroundings: one line that names the cause and the remedy, and the exit code that fits.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use conntrack_tests::modules::Modules;
use conntrack_tests::watcher::{EXIT_LIMIT, Signal, Watcher, command};
use serde_json::Value;

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
        for backend in lab::backends() {
            let ended = Watcher::watch(&["--backend", backend])?.stop(Signal::INT)?;
            // Debian's kernels have all there is: nothing may be refused to the last program.
            assert_eq!(ended.summary()?["degradations"], Value::Array(Vec::new()), "{backend}");
        }
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
    let Some(modules) = Modules::of_guest().filter(|_| lab::ready()) else {
        println!("skipped: conntrack cannot be unloaded here");
        return Ok(());
    };
    let said = modules.without(|| fails_with(3, &mut command(&["watch"])?))?;
    assert!(said.contains("modprobe nf_conntrack"), "no remedy: {said}");
    Ok(())
}
