//! Cuts the power of a guest that is recording, and reads what is left on its disk.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::build::Executable;
use crate::guest::{Guest, Kernel, KernelName};
use crate::host::cache::Cache;
use crate::host::process::capture;

/// Where it is tried.
pub const KERNEL: KernelName = KernelName::V6_12;
/// As tests are named: what runs in the guest until the power is cut.
pub const NAME: &str = "record::records_until_the_power_is_cut";

/// A recording of that long fits many times.
const DISK_BYTES: u64 = 32 << 20;
/// How often it is cut.
const CUTS: u32 = 3;
/// When at the earliest, from the guest's first word on: about when the recorder attaches.
const EARLIEST_MS: u64 = 8_000;
/// And by how much later at most.
const SPREAD_MS: u64 = 14_000;
/// What the kernel counted so long before the recording's end is in it: rings are drained twenty times a second.
const DRAINED_NS: u64 = 500_000_000;

/// Runs, cuts and reads, each time with a new disk and at another moment.
pub fn run(cache: &Cache, kernel: &Kernel, ctwatch: &Path, live: &Path) -> Result<()> {
    let mut compared = 0;
    for _ in 0..CUTS {
        let moment = Duration::from_millis(EARLIEST_MS + RandomState::new().hash_one(()) % SPREAD_MS);
        let scratch = cache.scratch()?;
        let disk = scratch.path().join("disk");
        File::create(&disk).and_then(|file| file.set_len(DISK_BYTES)).context("make a disk")?;
        let command = ["/test/live", "--test-threads=1", "--nocapture", "--ignored", "--exact", NAME];
        let said = Guest::new(cache, kernel.clone())
            .limit(moment)
            .disk(&disk)
            .file(ctwatch, Executable::Ctwatch.name())
            .file(live, Executable::Live.name())
            .env("CTWATCH", "/test/ctwatch")
            .env("CTWATCH_REQUIRE_LIVE", "1")
            .run_until_power_cut(&command.map(str::to_owned))?;
        compared += compare(ctwatch, &disk, &said).with_context(|| format!("power cut after {moment:?}"))?;
        println!("power cut after {moment:?}");
    }
    println!("{compared} counts of the kernel's compared with what was left of {CUTS} recordings");
    Ok(())
}

/// What the kernel had counted since the beginning.
struct Counted {
    unix_ns: u64,
    ktime_ns: u64,
    refused: u64,
    evicted: u64,
}

/// Holds what was synchronized against what the kernel had counted at each moment that it reaches to; how many those
/// are. A disk that the recorder had not begun with is empty.
fn compare(ctwatch: &Path, disk: &Path, said: &str) -> Result<u32> {
    if fs::read(disk)?.iter().all(|byte| *byte == 0) {
        println!("the power was cut before the recording began");
        return Ok(0);
    }
    let report = |more: &[&str]| -> Result<Value> {
        let json = capture(Command::new(ctwatch).args(["report", "-o", "json"]).args(more).arg(disk))?;
        serde_json::from_str(&json).context("the report is not JSON")
    };
    let whole = report(&[])?;
    let ended = &whole["known"]["sessions"][0]["ended"];
    ensure!(*ended == Value::Bool(false), "the report does not say that the recording was cut off: {ended}");
    let last = whole["last"]["ktime_ns"].as_u64().context("the report has no end")?;
    let mut compared = 0;
    for kernel in said.lines().filter_map(counted).filter(|it| it.ktime_ns + DRAINED_NS <= last) {
        let until = format!("@{}.{:09}", kernel.unix_ns / 1_000_000_000, kernel.unix_ns % 1_000_000_000);
        let told = &report(&["--until", &until])?["totals"]["told"];
        let [refused, evicted] = ["table_full", "evicted"].map(|it| told[it].as_u64().unwrap_or(0));
        ensure!(refused == kernel.refused, "refused {refused} of {} until {until}", kernel.refused);
        // A victim that somebody else still held cannot be told one by one.
        let few = 5 + kernel.evicted / 1000;
        let near = evicted <= kernel.evicted && kernel.evicted - evicted <= few;
        ensure!(near, "evicted {evicted} of {} until {until}", kernel.evicted);
        compared += 1;
    }
    Ok(compared)
}

/// A line of the guest's.
fn counted(line: &str) -> Option<Counted> {
    let words = line.split_once("kernel: ")?.1;
    let number = |name: &str| words.split(' ').find_map(|word| word.strip_prefix(name)?.parse().ok());
    let (unix_ns, ktime_ns) = (number("unix_ns=")?, number("ktime_ns=")?);
    Some(Counted { unix_ns, ktime_ns, refused: number("refused=")?, evicted: number("evicted=")? })
}
