//! Builds the eBPF object beside the program that carries it.
//!
//! rustup ships no `core` for the BPF target, so it comes from one of two places (`cargo xtask setup` provides
//! one): built here from rust-src, or prebuilt in Debian's `libstd-rust-web-dev-bpf` with its own rustc.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};

const TARGET: &str = "bpfel-unknown-none";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_BPF_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none/lib";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in format!("{error:#}").lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<()> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("..");
    for input in ["conntrack-common", "conntrack-ebpf", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
    println!("cargo::rerun-if-env-changed=PATH");
    println!("cargo::rustc-env=CTWATCH_COMMIT={}", commit(&root));

    if Command::new("bpf-linker").arg("--version").output().is_err() {
        bail!("bpf-linker is not in PATH: run `cargo xtask setup`");
    }
    let out = PathBuf::from(variable("OUT_DIR")?);
    let target_dir = shared_target(&out).join("ebpf");
    let mut cargo = Command::new(variable("CARGO")?);
    cargo
        .current_dir(&root)
        .args(["build", "--package", "conntrack-ebpf", "--release", "--target", TARGET, "--target-dir"])
        .arg(&target_dir);
    bpf_environment(&mut cargo)?;
    if rust_src()?.exists() {
        // -Zbuild-std is unstable, and so is BPF assembly; set for the inner cargo alone.
        cargo.args(["-Z", "build-std=core"]).env("RUSTC", variable("RUSTC")?).env("RUSTC_BOOTSTRAP", "1");
    } else if Path::new(DEBIAN_BPF_CORE).exists() {
        // BPF assembly is unstable: these two crates write it.
        cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "aya_ebpf,conntrack");
    } else {
        bail!("no core library for the BPF target: run `cargo xtask setup`");
    }
    let output = cargo.output().context("run cargo for the eBPF object")?;
    if !output.status.success() {
        bail!("the eBPF object does not build\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let object = target_dir.join(TARGET).join("release/conntrack");
    fs::copy(&object, out.join("conntrack")).with_context(|| format!("copy {}", object.display()))?;
    Ok(())
}

/// Flags for the BPF target; of the outer build's none may reach it.
fn bpf_environment(cargo: &mut Command) -> Result<()> {
    if variable("CARGO_CFG_TARGET_ENDIAN")? != "little" {
        bail!("only little-endian machines are supported");
    }
    let arch = variable("CARGO_CFG_TARGET_ARCH")?;
    let flags = [
        &format!("--cfg=bpf_target_arch=\"{arch}\""),
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        // By default bpf-linker turns memset and memmove into calls of byte loops, 250 instructions for a tuple.
        "-Clink-arg=--disable-expand-memcpy-in-order",
    ];
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    for key in ["RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(key);
    }
    Ok(())
}

/// The outermost build folder, so that every profile and target shares one eBPF build; cargo marks it.
fn shared_target(out: &Path) -> &Path {
    out.ancestors().filter(|folder| folder.join("CACHEDIR.TAG").exists()).last().unwrap_or(out)
}

/// Where rustup's rust-src component would be.
fn rust_src() -> Result<PathBuf> {
    let output =
        Command::new(variable("RUSTC")?).args(["--print", "sysroot"]).output().context("run rustc")?;
    let sysroot = String::from_utf8(output.stdout).context("rustc prints its sysroot")?;
    Ok(Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core"))
}

/// The commit this is built from, for `--version`; "unknown" outside a checkout.
fn commit(root: &Path) -> String {
    // Grows with every commit and every switch of branches.
    let history = root.join(".git/logs/HEAD");
    if history.exists() {
        println!("cargo::rerun-if-changed={}", history.display());
    }
    let git = Command::new("git")
        .current_dir(root)
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .output();
    match git {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

fn variable(name: &str) -> Result<String> {
    env::var(name).with_context(|| format!("cargo sets {name}"))
}
