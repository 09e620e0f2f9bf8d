//! Every program passes the verifier as it is, and how many instructions it took to be sure is on record.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use conntrack_tests::kernel;
use conntrack_tests::watcher::{Signal, Watcher};

use crate::lab;

/// What the kernel allows.
const LIMIT: u64 = 1_000_000;
/// The kernel keeps this much of a program's name.
const NAME: usize = 15;

#[test]
fn every_program_is_verified_and_counted() -> Result<()> {
    for backend in lab::ready().then(lab::backends).unwrap_or_default() {
        verify(backend).context(backend)?;
    }
    Ok(())
}

fn verify(backend: &str) -> Result<()> {
    let mut watcher = Watcher::start_with(
        &["watch", "-o", "json", "--backend", backend],
        &[("CTWATCH_LOG", "debug"), ("NO_COLOR", "1")],
    )?;
    watcher.wait_until_draining()?;
    std::thread::sleep(Duration::from_secs(1));
    let loaded = kernel::programs()?;
    let counted = counted_by_kernel(&watcher)?;
    let ended = watcher.stop(Signal::INT)?;
    ensure!(ended.status.success(), "{}: {}", ended.status, ended.stderr);

    let told = told(&ended.stderr)?;
    println!("{backend}: verified instructions");
    for (id, name) in &loaded {
        let (_, insns) = told
            .iter()
            .find(|(program, _)| program[..program.len().min(NAME)] == *name)
            .with_context(|| format!("{name} is in the kernel but not in the log: {told:?}"))?;
        println!("  {name:15} {}", insns.map_or("-".to_owned(), |insns| insns.to_string()));
        assert!(insns.unwrap_or(0) < LIMIT, "{name} is at the verifier's limit");
        assert_eq!(*insns, counted.get(id).copied(), "{name}: the log against /proc/PID/fdinfo");
    }
    assert!(!loaded.is_empty(), "bpftool shows no program of ours");
    let raised =
        ended.stderr.lines().find(|line| line.contains("retry with log") || line.contains("log level"));
    assert_eq!(raised, None, "a program was loaded again for the sake of its log");
    Ok(())
}

/// `program=NAME … verified_insns=N` of the log; no number where there is `-`.
fn told(log: &str) -> Result<Vec<(String, Option<u64>)>> {
    let field = |line: &str, name: &str| {
        let value = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        value.map(|value| value.trim_matches('"').to_owned())
    };
    let mut told = Vec::new();
    for line in log.lines().filter(|line| line.contains("verified_insns=")) {
        let program = field(line, "program").with_context(|| format!("no program: {line}"))?;
        let insns = field(line, "verified_insns").with_context(|| format!("no number: {line}"))?;
        told.push((program, if insns == "-" { None } else { Some(insns.parse()?) }));
    }
    Ok(told)
}

/// By program id, what the kernel says of each program that ctwatch holds open; nothing before 5.16.
fn counted_by_kernel(watcher: &Watcher) -> Result<BTreeMap<u64, u64>> {
    let mut counted = BTreeMap::new();
    let folder = format!("/proc/{}/fdinfo", watcher.pid().as_raw_nonzero());
    for entry in fs::read_dir(&folder).with_context(|| format!("read {folder}"))? {
        let Ok(info) = fs::read_to_string(entry?.path()) else { continue };
        let of =
            |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        if let (Some(id), Some(insns)) = (of("prog_id:"), of("verified_insns:")) {
            counted.insert(id, insns);
        }
    }
    Ok(counted)
}
