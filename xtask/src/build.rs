//! `cargo xtask build`: the shipped binary, and everything else that has to run in a guest, static.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use crate::host::cache::Cache;
use crate::host::cargo::{cargo, executable, target, target_folder};
use crate::setup::{self, Needs};

/// Where an executable comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executable {
    /// The shipped binary.
    Ctwatch,
    /// The tests that need a live kernel.
    Live,
    /// What `cargo xtask demo` shows.
    Story,
}

impl Executable {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ctwatch, Self::Live, Self::Story];

    /// Its name in a guest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ctwatch => "ctwatch",
            Self::Live => "live",
            Self::Story => "story",
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Ctwatch => &["build", "--package", "conntrack-user", "--bin", "ctwatch"],
            Self::Live => &["test", "--package", "conntrack-tests", "--test", "live", "--no-run"],
            Self::Story => &["build", "--package", "conntrack-tests", "--bin", "story"],
        }
    }

    /// Where the newest build of it is kept for guests.
    fn kept(self) -> Result<PathBuf> {
        Ok(target_folder()?.join("guest").join(self.name()))
    }
}

/// Builds the shipped binary and prints its path.
pub fn run() -> Result<ExitCode> {
    let cache = Cache::open()?;
    setup::ensure(&cache, Needs { build: true, ..Needs::default() })?;
    println!("{}", build(Executable::Ctwatch)?.display());
    Ok(ExitCode::SUCCESS)
}

/// Builds an executable that needs nothing of the system it runs on, and returns its path.
pub fn build(what: Executable) -> Result<PathBuf> {
    let target = target()?;
    let mut command = cargo();
    command.args(what.arguments()).args(["--release", "--target", &target]);
    // The flags are tied to the target: `RUSTFLAGS` would reach the inner build for BPF as well.
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    command.env(rustflags_variable(&target), "-C target-feature=+crt-static");
    command.env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    let path = executable(&mut command, what.name())?;
    check_static(&path)?;
    keep(what, &path)?;
    Ok(path)
}

/// The executables that have been built, for a guest in which they may be wanted.
pub fn built() -> Result<Vec<(Executable, PathBuf)>> {
    let mut found = Vec::new();
    for what in Executable::ALL {
        let path = what.kept()?;
        if path.is_file() {
            found.push((what, path));
        }
    }
    Ok(found)
}

/// Cargo puts test executables under names that change; a link under a fixed one makes the newest findable.
fn keep(what: Executable, path: &Path) -> Result<()> {
    let kept = what.kept()?;
    if let Some(folder) = kept.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    // Mostly there is none yet; what cannot be removed fails the next line, which says so.
    let _ = fs::remove_file(&kept);
    std::os::unix::fs::symlink(path, &kept).with_context(|| format!("cannot create {}", kept.display()))
}

/// A guest has no libraries, and neither may a host that the binary is copied to.
fn check_static(path: &Path) -> Result<()> {
    let output = Command::new("ldd").arg(path).env("LC_ALL", "C").output().context("cannot run ldd")?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if text.contains("statically linked") || text.contains("not a dynamic executable") {
        return Ok(());
    }
    bail!("{} is not static: is the package libc6-dev installed?", path.display());
}

/// Cargo's variable for the compiler flags of one target.
fn rustflags_variable(target: &str) -> String {
    format!("CARGO_TARGET_{}_RUSTFLAGS", target.to_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::rustflags_variable;

    #[test]
    fn variable_is_spelled_as_cargo_does() {
        let variable = rustflags_variable("x86_64-unknown-linux-gnu");
        assert_eq!(variable, "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS");
    }
}
