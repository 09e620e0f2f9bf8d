//! `cargo xtask setup`: installs what the tasks need, each thing once, and says what it installs.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::guest::{self, Kernel, KernelName};
use crate::host::cache::Cache;
use crate::host::process::which;
use crate::host::progress::seconds;
use crate::host::{packages, toolchain};

/// What guests are made of and made with, as packages of the machine's own suites.
const GUEST_PACKAGES: [&str; 8] =
    ["iproute2", "nftables", "conntrack", "bpftool", "tmux", "kmod", "xz-utils", "zstd"];

/// Programs that tests hold ctwatch's output against: a browser that needs no screen, Prometheus with its promtool, and
/// what looks at units.
const TOOL_PACKAGES: [&str; 3] = ["chromium-headless-shell", "prometheus", "systemd"];

/// Options of the task.
#[derive(clap::Args)]
pub struct Args {
    /// Kernel to fetch; may be given several times [default: those the live tests run on].
    #[arg(long, value_name = "KERNEL")]
    kernel: Vec<KernelName>,
}

/// What a task is going to use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs<'a> {
    /// Compiling the eBPF programs.
    pub build: bool,
    /// Linting them.
    pub lint: bool,
    /// Testing against other programs.
    pub tools: bool,
    /// Starting guests with these kernels.
    pub kernels: &'a [KernelName],
}

/// A kernel that was asked for, or why it cannot be had.
pub type Obtained = (KernelName, Result<Kernel>);

/// Installs all there is.
pub fn run(args: &Args) -> Result<ExitCode> {
    let begun = Instant::now();
    let kernels = if args.kernel.is_empty() { KernelName::TESTED.to_vec() } else { args.kernel.clone() };
    let cache = Cache::open()?;
    let obtained = ensure(&cache, Needs { build: true, lint: true, tools: true, kernels: &kernels })?;
    let names: Vec<String> = required(obtained)?.into_iter().map(|kernel| kernel.release).collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    eprintln!("all is set up; kernels: {names} … {}", seconds(begun.elapsed()));
    Ok(ExitCode::SUCCESS)
}

/// Sees to it that what `needs` lists is there. A kernel that cannot be had is reported, not an error here.
pub fn ensure(cache: &Cache, needs: Needs<'_>) -> Result<Vec<Obtained>> {
    let _lock = cache.lock()?;
    if needs.build {
        let route = toolchain::ensure_route(cache)?;
        toolchain::ensure_linker(cache)?;
        if needs.lint {
            toolchain::ensure_lints(cache, route)?;
        }
    }
    if needs.tools {
        packages::install(cache, &TOOL_PACKAGES)?;
    }
    if needs.kernels.is_empty() {
        return Ok(Vec::new());
    }
    let mut guest_packages = GUEST_PACKAGES.to_vec();
    if which("busybox").is_none() {
        // The dynamic one that many machines have does as well, and the two cannot be installed together.
        guest_packages.push("busybox-static");
    }
    packages::install(cache, &guest_packages)?;
    guest::ensure_qemu(cache)?;
    Ok(needs.kernels.iter().map(|name| (*name, Kernel::ensure(cache, *name))).collect())
}

/// The kernels that could be had, reporting those that may be absent and are; any other absence is an error.
pub fn required(obtained: Vec<Obtained>) -> Result<Vec<Kernel>> {
    let mut kernels = Vec::new();
    for (name, kernel) in obtained {
        match kernel {
            Err(error) if skippable(name, &error) => eprintln!("skipped: {error:#}"),
            kernel => kernels.push(needed(kernel)?),
        }
    }
    Ok(kernels)
}

/// A kernel without which a task cannot go on.
pub fn needed(kernel: Result<Kernel>) -> Result<Kernel> {
    kernel.context("see to the network and to apt's sources, then run this again")
}

/// Whether a task may go on without the kernel called `name`.
pub fn skippable(name: KernelName, error: &anyhow::Error) -> bool {
    name.may_be_absent() && error.is::<guest::Unavailable>()
}
