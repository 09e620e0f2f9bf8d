//! Runs cargo from within a program that cargo runs.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::process::capture;

/// The root of the repository.
pub fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// A cargo command at the root of the repository, as if the user had typed it in a shell.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    outside(&mut command);
    command
}

/// Takes from `command` what `cargo run` gave this process for itself. Kept, the package variables would make
/// build scripts run again that watch them, and the library path would reach compilers of another toolchain.
pub fn outside(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command.env_remove("LD_LIBRARY_PATH");
    if let Some(path) = path_with_cargo_bin() {
        command.env("PATH", path);
    }
}

/// Cargo's own bin folder, where `cargo install` puts programs.
pub fn bin_folder() -> Option<PathBuf> {
    let home =
        env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")))?;
    Some(home.join("bin"))
}

/// The triple of the machine's own target.
pub fn target() -> Result<String> {
    let arch = capture(Command::new("uname").arg("-m"))?;
    Ok(format!("{}-unknown-linux-gnu", arch.trim()))
}

/// The folder cargo builds into.
pub fn target_folder() -> Result<PathBuf> {
    let text = capture(cargo().args(["metadata", "--no-deps", "--offline", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
    let folder = metadata["target_directory"].as_str().context("cargo metadata names no target folder")?;
    Ok(PathBuf::from(folder))
}

/// Runs a building `command` and returns the executable called `name` that it made.
pub fn executable(command: &mut Command, name: &str) -> Result<PathBuf> {
    command.args(["--message-format", "json-render-diagnostics"]);
    command.stderr(std::process::Stdio::inherit());
    let output = command.output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("{name} does not build: see the compiler's messages above");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    find_executable(&messages, name).with_context(|| format!("cargo built no executable called {name}"))
}

/// Finds the path of an executable in cargo's messages.
fn find_executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

/// `PATH` with cargo's bin folder in it, because aya-build looks for bpf-linker there and nowhere else.
fn path_with_cargo_bin() -> Option<std::ffi::OsString> {
    let bin = bin_folder()?;
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    if !folders.contains(&bin) {
        folders.push(bin);
    }
    env::join_paths(folders).ok()
}

#[cfg(test)]
mod tests {
    use super::find_executable;
    use std::path::PathBuf;

    #[test]
    fn executable_is_found_by_target_name() {
        let messages = concat!(
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"lib\"},\"executable\":null}\n",
            "not json\n",
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"live\"},\"executable\":\"/t/live-1\"}\n",
        );
        assert_eq!(find_executable(messages, "live"), Some(PathBuf::from("/t/live-1")));
        assert_eq!(find_executable(messages, "story"), None);
    }
}
