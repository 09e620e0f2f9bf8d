//! Builds the eBPF object beside the program that carries it.
//!
//! rustup ships no `core` for the BPF target, so it comes from one of two places (`cargo xtask setup` provides
//! one): built here from rust-src, or prebuilt in Debian's `libstd-rust-web-dev-bpf` with its own rustc.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};
use aya_build::{Package, Toolchain, build_ebpf};

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_BPF_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none/lib";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error={error:#}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<()> {
    let root = env::var("CARGO_MANIFEST_DIR").context("cargo sets CARGO_MANIFEST_DIR")?;
    let root_dir = format!("{root}/../conntrack-ebpf");
    println!("cargo::rerun-if-changed={root}/../conntrack-common/src");
    println!("cargo::rerun-if-env-changed=PATH");
    println!("cargo::rustc-env=CTWATCH_COMMIT={}", commit(&root));

    if Command::new("bpf-linker").arg("--version").output().is_err() {
        bail!("bpf-linker is not in PATH: run `cargo xtask setup`");
    }
    if rust_src()?.exists() {
        // -Zbuild-std, which a stable compiler accepts only so. Set for the inner cargo alone.
        set_env("RUSTC_BOOTSTRAP", "1");
    } else if Path::new(DEBIAN_BPF_CORE).exists() {
        // Naming the two crates that write BPF assembly keeps aya-build from asking for build-std.
        set_env("RUSTC_BOOTSTRAP", "aya_ebpf,conntrack");
        set_env("CARGO_BUILD_RUSTC", DEBIAN_RUSTC);
    } else {
        bail!("no core library for the BPF target: run `cargo xtask setup`");
    }
    let toolchain = env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| "stable".into());
    let package = Package { name: "conntrack-ebpf", root_dir: &root_dir, ..Package::default() };
    build_ebpf([package], Toolchain::Custom(&toolchain))
}

/// Where rustup's rust-src component would be.
fn rust_src() -> Result<PathBuf> {
    let rustc = env::var("RUSTC").context("cargo sets RUSTC")?;
    let output = Command::new(rustc).args(["--print", "sysroot"]).output().context("run rustc")?;
    let sysroot = String::from_utf8(output.stdout).context("rustc prints its sysroot")?;
    Ok(Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core"))
}

/// The commit this is built from, for `--version`; "unknown" outside a checkout.
fn commit(root: &str) -> String {
    println!("cargo::rerun-if-changed={root}/../.git/HEAD");
    let output =
        Command::new("git").args(["-C", root, "describe", "--always", "--dirty", "--abbrev=12"]).output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

#[expect(unsafe_code, reason = "aya-build takes both from its environment")]
fn set_env(key: &str, value: &str) {
    // SAFETY: a build script is single-threaded here.
    unsafe { env::set_var(key, value) };
}
