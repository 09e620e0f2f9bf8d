//! Finds the `ctwatch` that was built from this source, building it if need be.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// The binary: `$CTWATCH` if set, else what cargo builds now.
///
/// Cargo builds the tests of this package, not the binary of another; asking it costs nothing if there is
/// nothing to do.
pub fn binary() -> Result<PathBuf> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = BUILT.get() {
        return Ok(path.clone());
    }
    let path = match env::var_os("CTWATCH") {
        Some(path) => path.into(),
        None => build()?,
    };
    Ok(BUILT.get_or_init(|| path).clone())
}

fn build() -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["build", "--package", "conntrack-user", "--bin", "ctwatch", "--message-format=json"];
    let output = Command::new(cargo)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .context("run cargo to build ctwatch")?;
    ensure!(output.status.success(), "ctwatch cannot be built");
    let messages = String::from_utf8(output.stdout).context("cargo's messages")?;
    let executable =
        |line| serde_json::from_str::<Value>(line).ok()?["executable"].as_str().map(PathBuf::from);
    messages.lines().filter_map(executable).next_back().context("cargo named no executable")
}
