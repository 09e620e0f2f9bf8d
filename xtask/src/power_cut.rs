//! Cuts the power of a guest that is recording, and reads what is left on its disk.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

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
/// When the power is cut, from the guest's first word on: about when the recorder attaches, and in the middle of what it records.
const MOMENTS_MS: [u64; 3] = [9_000, 13_500, 17_300];

/// Runs, cuts and reads, each time with a new disk.
pub fn run(cache: &Cache, kernel: &Kernel, ctwatch: &Path, live: &Path) -> Result<()> {
    for moment in MOMENTS_MS.map(Duration::from_millis) {
        let scratch = cache.scratch()?;
        let disk = scratch.path().join("disk");
        File::create(&disk).and_then(|file| file.set_len(DISK_BYTES)).context("make a disk")?;
        let command = ["/test/live", "--test-threads=1", "--nocapture", "--ignored", "--exact", NAME];
        Guest::new(cache, kernel.clone())
            .limit(moment)
            .disk(&disk)
            .file(ctwatch, Executable::Ctwatch.name())
            .file(live, Executable::Live.name())
            .env("CTWATCH", "/test/ctwatch")
            .env("CTWATCH_REQUIRE_LIVE", "1")
            .run_until_power_cut(&command.map(str::to_owned))?;
        read(ctwatch, &disk).with_context(|| format!("power cut after {moment:?}"))?;
    }
    Ok(())
}

/// A disk that the recorder had not begun with is empty; else what was synchronized is there.
fn read(ctwatch: &Path, disk: &Path) -> Result<()> {
    if fs::read(disk)?.iter().all(|byte| *byte == 0) {
        println!("the power was cut before the recording began");
        return Ok(());
    }
    let report = capture(Command::new(ctwatch).arg("report").arg(disk))?;
    println!("{report}");
    ensure!(report.contains("not ended"), "the report does not say that the recording was cut off");
    Ok(())
}
