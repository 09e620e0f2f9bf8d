//! `cargo xtask vm`: runs a command in a guest.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::build;
use crate::guest::{Guest, KernelName};
use crate::host::cache::Cache;
use crate::host::progress::seconds;
use crate::setup::{self, Needs};

/// Options of the task.
#[derive(clap::Args)]
pub struct Args {
    /// Kernel to boot.
    #[arg(long, value_name = "KERNEL", default_value = "6.12")]
    kernel: KernelName,
    /// Let the guest's clock count instructions, on one processor: slow, and the same on every host.
    #[arg(long)]
    icount: bool,
    /// Processors of the guest.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
    smp: u32,
    /// Seconds the command may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    limit: u64,
    /// File to put into the guest, into /test unless GUEST says otherwise; may be given several times.
    #[arg(long, value_name = "HOST[:GUEST]")]
    file: Vec<String>,
    /// File that is the guest's disk, /dev/vda: a way out for what the command makes.
    #[arg(long, value_name = "FILE")]
    disk: Option<PathBuf>,
    /// Variable to set for the command; may be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// The command; what the project built for guests is in /test and on PATH.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Boots, runs, and takes over the command's exit code.
pub fn run(args: &Args) -> Result<ExitCode> {
    let cache = Cache::open()?;
    let mut obtained = setup::ensure(&cache, Needs { kernels: &[args.kernel], ..Needs::default() })?;
    let (_, kernel) = obtained.pop().context("no kernel was asked for")?;
    let mut guest = Guest::new(&cache, setup::needed(kernel)?)
        .smp(args.smp)
        .icount(args.icount)
        .limit(Duration::from_secs(args.limit));
    for (what, path) in build::built()? {
        guest = guest.file(path, what.name());
    }
    for file in &args.file {
        let (here, there) = parse_file(file)?;
        guest = guest.file(here, &there);
    }
    if let Some(disk) = &args.disk {
        guest = guest.disk(disk);
    }
    for variable in &args.env {
        let (name, value) = variable.split_once('=').context("--env takes NAME=VALUE")?;
        guest = guest.env(name, value);
    }
    let outcome = guest.env("CTWATCH", "/test/ctwatch").run(&args.command)?;
    eprintln!("exit {} … {}", outcome.code, seconds(outcome.took));
    Ok(ExitCode::from(outcome.code))
}

/// Splits `HOST[:GUEST]`; without the second half a file keeps its name.
fn parse_file(text: &str) -> Result<(PathBuf, String)> {
    if let Some((here, there)) = text.split_once(':') {
        return Ok((here.into(), there.to_owned()));
    }
    let here = PathBuf::from(text);
    let name = here.file_name().and_then(|name| name.to_str()).context("--file takes HOST[:GUEST]")?;
    Ok((here.clone(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::parse_file;

    #[test]
    fn file_is_split_at_the_colon() {
        assert_eq!(parse_file("a/b:/etc/c").expect("valid"), ("a/b".into(), "/etc/c".into()));
        assert_eq!(parse_file("a/b").expect("valid"), ("a/b".into(), "b".into()));
        assert!(parse_file("..").is_err());
    }
}
