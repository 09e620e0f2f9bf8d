//! The ways to compile for the BPF target, and getting one of them.
//!
//! Rust ships no prebuilt `core` for BPF. Either its sources are in the sysroot and cargo builds it, or the
//! distribution's own compiler brings a prebuilt one. The eBPF crate's build picks in the same order.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::cache::Cache;
use super::cargo::{bin_folder, cargo, outside, root};
use super::packages;
use super::process::{capture, logged, which};
use super::progress::Step;

/// The distribution's compiler.
pub const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// The distribution's clippy, which matches that compiler.
pub const DEBIAN_CLIPPY: &str = "/usr/bin/cargo-clippy";

const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];
const LINKER: &str = "bpf-linker";
/// Another release of the linker has broken BTF before, so the minor version is fixed.
const LINKER_SERIES: &str = "0.13.";
/// Where Debian's package of that LLVM puts its `llvm-config`, which it keeps out of `PATH`.
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
const LINKER_CRATE: &str = "bpf-linker@0.13.0";

/// Where `core` for the BPF target comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Built from the sources in the sysroot of the project's own toolchain.
    RustSrc,
    /// Prebuilt, used by the distribution's compiler.
    Debian,
}

/// The route this machine has, if any.
pub fn route() -> Result<Option<Route>> {
    let mut rustc = Command::new("rustc");
    rustc.current_dir(root());
    outside(&mut rustc);
    if sysroot(&mut rustc)?.join("lib/rustlib/src/rust/library/core").is_dir() {
        return Ok(Some(Route::RustSrc));
    }
    if !Path::new(DEBIAN_RUSTC).exists() {
        return Ok(None);
    }
    let prebuilt = sysroot(&mut Command::new(DEBIAN_RUSTC))?.join("lib/rustlib/bpfel-unknown-none/lib");
    Ok(prebuilt.is_dir().then_some(Route::Debian))
}

/// Sees to it that there is a route, and returns it.
pub fn ensure_route(cache: &Cache) -> Result<Route> {
    if let Some(route) = route()? {
        return Ok(route);
    }
    if packages::installable(cache, &DEBIAN_PACKAGES)? {
        packages::install(cache, &DEBIAN_PACKAGES)?;
    } else {
        add_rust_src(cache)?;
    }
    route()?.context("no core for the BPF target: run `rustup component add rust-src`, then this again")
}

/// Sees to it that clippy can lint the BPF target by `route`.
pub fn ensure_lints(cache: &Cache, route: Route) -> Result<()> {
    for tool in ["fmt", "clippy"] {
        if capture(cargo().args([tool, "--version"])).is_err() {
            bail!("cargo {tool} is missing: run `rustup component add rustfmt clippy`");
        }
    }
    match route {
        Route::RustSrc => Ok(()),
        Route::Debian => packages::install(cache, &["rust-web-clippy"]),
    }
}

/// Sees to it that bpf-linker of the right series is installed.
pub fn ensure_linker(cache: &Cache) -> Result<()> {
    if linker_version().is_some_and(|version| version.starts_with(LINKER_SERIES)) {
        return Ok(());
    }
    packages::install(cache, &["llvm-22-dev"])?;
    let step = Step::begin(format!("cargo install {LINKER_CRATE}"));
    let mut install = cargo();
    install
        .args(["install", "--locked", LINKER_CRATE, "--no-default-features", "--features", "llvm-22"])
        .env("LLVM_PREFIX", LLVM_PREFIX)
        // A shared target folder would keep a few hundred megabytes of it for nothing.
        .env_remove("CARGO_TARGET_DIR");
    logged(&mut install, &cache.log(LINKER), &step)?;
    step.done("installed");
    if linker_version().is_none() {
        bail!("bpf-linker was installed but does not run: look at `bpf-linker --version`");
    }
    Ok(())
}

/// rustup may be absent, offline or slow; none of this may hold a task up for long.
fn add_rust_src(cache: &Cache) -> Result<()> {
    if which("rustup").is_none() {
        bail!(
            "nothing here compiles for BPF: install the packages {}, or rustup's rust-src",
            DEBIAN_PACKAGES.join(" ")
        );
    }
    let step = Step::begin("rustup component add rust-src");
    let mut command = Command::new("timeout");
    command.args(["180", "rustup", "component", "add", "rust-src"]).current_dir(root());
    outside(&mut command);
    logged(&mut command, &cache.log("rust-src"), &step)?;
    step.done("installed");
    Ok(())
}

fn sysroot(rustc: &mut Command) -> Result<PathBuf> {
    Ok(PathBuf::from(capture(rustc.args(["--print", "sysroot"]))?.trim()))
}

/// The version of the bpf-linker that a build would find.
fn linker_version() -> Option<String> {
    let program = which(LINKER).or_else(|| Some(bin_folder()?.join(LINKER)))?;
    let text = capture(Command::new(program).arg("--version")).ok()?;
    Some(text.trim().strip_prefix("bpf-linker ")?.to_owned())
}
