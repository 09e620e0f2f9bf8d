//! `cargo xtask check`: formatting, and lints for the host and for the BPF target.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, anyhow};

use crate::host::cache::Cache;
use crate::host::cargo::{cargo, outside, root, target_folder};
use crate::host::process::inherit;
use crate::host::toolchain::{self, DEBIAN_CLIPPY, DEBIAN_RUSTC, Route};
use crate::setup::{self, Needs};

/// Runs every check, and stops at the first that fails.
pub fn run() -> Result<ExitCode> {
    let cache = Cache::open()?;
    setup::ensure(&cache, Needs { build: true, lint: true, ..Needs::default() })?;
    format()?;
    lint_host()?;
    lint_bpf()?;
    eprintln!("formatting and lints are clean");
    Ok(ExitCode::SUCCESS)
}

/// Formatting of the whole workspace.
pub fn format() -> Result<()> {
    inherit(cargo().args(["fmt", "--all", "--check"]))
        .map_err(|_| anyhow!("formatting differs: run `cargo fmt --all`"))
}

/// Lints of the whole workspace, compiled for the host.
pub fn lint_host() -> Result<()> {
    inherit(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// Lints of the eBPF programs, compiled for the target they run on: the host compiles none of them.
pub fn lint_bpf() -> Result<()> {
    let route = toolchain::route()?.context("nothing here compiles for BPF: run `cargo xtask setup`")?;
    let mut command = match route {
        Route::RustSrc => {
            let mut command = cargo();
            command.args(["clippy", "-Z", "build-std=core"]);
            command
        }
        Route::Debian => {
            // Clippy has to match the compiler that has the prebuilt core; cargo itself may be any.
            let mut command = Command::new(DEBIAN_CLIPPY);
            outside(&mut command);
            command.arg("clippy").current_dir(root()).env("RUSTC", DEBIAN_RUSTC);
            command.env("CARGO", cargo().get_program());
            command
        }
    };
    command
        .args(["--package", "conntrack-ebpf", "--target", "bpfel-unknown-none", "--target-dir"])
        // Apart from the rest, because it is another compiler's.
        .arg(target_folder()?.join("ebpf"))
        .args(["--", "-D", "warnings"])
        .env_remove("RUSTFLAGS")
        // BPF assembly and building `core` are unstable; a stable compiler has to be told to take itself for one
        // that allows them.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH));
    inherit(&mut command)
}
