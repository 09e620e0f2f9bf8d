//! `cargo xtask demo`: shows ctwatch at work on a gateway that is driven into saturation.

use std::io::{self, IsTerminal as _};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::build::{Executable, build};
use crate::guest::{Guest, KernelName};
use crate::host::cache::Cache;
use crate::host::process::{capture, system};
use crate::host::progress::seconds;
use crate::setup::{self, Needs};

const LIMIT: Duration = Duration::from_secs(300);

/// Options of the task.
#[derive(clap::Args)]
pub struct Args {
    /// Use network namespaces on this machine instead of a virtual machine; needs root.
    #[arg(long, conflicts_with = "kernel")]
    here: bool,
    /// Kernel of the virtual machine.
    #[arg(long, value_name = "KERNEL", default_value = "6.12")]
    kernel: KernelName,
}

/// Builds what the demonstration needs and runs it.
pub fn run(args: &Args) -> Result<ExitCode> {
    let cache = Cache::open()?;
    let kernels: &[KernelName] = if args.here { &[] } else { &[args.kernel] };
    let obtained = setup::ensure(&cache, Needs { build: true, kernels, ..Needs::default() })?;
    let ctwatch = build(Executable::Ctwatch)?;
    let story = build(Executable::Story)?;
    if args.here {
        if capture(system("id").arg("-u"))?.trim() != "0" {
            bail!("--here makes network namespaces and loads eBPF programs: run it as root");
        }
        let mut command = Command::new(story);
        command.env("CTWATCH", ctwatch).stdin(Stdio::null());
        if io::stdout().is_terminal() {
            command.env("CTWATCH_LIVE", "1");
        }
        let status = command.status().context("cannot run the story")?;
        return Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)));
    }
    let (_, kernel) = obtained.into_iter().next().context("no kernel was asked for")?;
    let kernel = setup::needed(kernel)?;
    eprintln!("booting Linux {} in QEMU", kernel.release);
    let mut guest = Guest::new(&cache, kernel)
        .limit(LIMIT)
        .file(ctwatch, Executable::Ctwatch.name())
        .file(story, Executable::Story.name())
        .env("CTWATCH", "/test/ctwatch");
    if io::stdout().is_terminal() {
        let (columns, rows) = terminal_size();
        guest = guest
            .terminal(columns, rows)
            .env("CTWATCH_LIVE", "1")
            .env("COLUMNS", &columns.to_string())
            .env("LINES", &rows.to_string())
            .env("TERM", &std::env::var("TERM").unwrap_or_else(|_| "linux".to_owned()));
    }
    let outcome = guest.run(&["/test/story".to_owned()])?;
    eprintln!("the virtual machine ran for {}", seconds(outcome.took));
    Ok(ExitCode::from(outcome.code))
}

/// Columns and rows of the terminal this runs on.
fn terminal_size() -> (u16, u16) {
    let mut stty = Command::new("stty");
    let text = capture(stty.arg("size").stdin(Stdio::inherit())).unwrap_or_default();
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
    let (rows, columns) = (numbers.next(), numbers.next());
    (columns.filter(|columns| *columns > 0).unwrap_or(80), rows.filter(|rows| *rows > 0).unwrap_or(24))
}
