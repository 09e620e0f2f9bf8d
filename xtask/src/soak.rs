//! `cargo xtask soak`: the daemon under weeks of traffic in minutes.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::build::{Executable, build};
use crate::guest::{Guest, KernelName};
use crate::host::cache::Cache;
use crate::setup::{self, Needs};

/// Options of the task.
#[derive(clap::Args)]
pub struct Args {
    /// How long.
    #[arg(long, value_name = "N", default_value_t = 10)]
    minutes: u64,
    /// Kernel to boot.
    #[arg(long, value_name = "KERNEL", default_value = "6.12")]
    kernel: KernelName,
}

/// Runs it and prints its table.
pub fn run(args: &Args) -> Result<ExitCode> {
    let cache = Cache::open()?;
    let needs = Needs { build: true, kernels: &[args.kernel], ..Needs::default() };
    let (_, kernel) = setup::ensure(&cache, needs)?.pop().context("no kernel was asked for")?;
    let (ctwatch, live) = (build(Executable::Ctwatch)?, build(Executable::Live)?);
    let lasts = Duration::from_secs(args.minutes * 60);
    let command =
        ["/test/live", "--test-threads=1", "--nocapture", "--ignored", "--exact", "soak::weeks_in_minutes"];
    let outcome = Guest::new(&cache, setup::needed(kernel)?)
        .limit(lasts + Duration::from_secs(120))
        .file(ctwatch, Executable::Ctwatch.name())
        .file(live, Executable::Live.name())
        .env("CTWATCH", "/test/ctwatch")
        .env("CTWATCH_REQUIRE_LIVE", "1")
        .env("CTWATCH_SOAK_S", &lasts.as_secs().to_string())
        .run(&command.map(str::to_owned))?;
    match outcome.code {
        0 => Ok(ExitCode::SUCCESS),
        code => bail!("it ended with exit code {code}"),
    }
}
