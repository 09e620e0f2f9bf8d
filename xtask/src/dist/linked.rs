//! What is linked into the binary: crates of the program, crates of the eBPF object in it, and the two libraries that no
//! lock file names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{VERSION, names, source};
use crate::host::cargo::{cargo, root, target};
use crate::host::process::{capture, system};

/// One thing that is linked into the binary.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SPDX expression of its licence.
    pub licence: String,
    /// SHA-256 of what was downloaded; the project's own crates have none.
    pub checksum: Option<String>,
    /// A crate, as opposed to a system library.
    pub is_crate: bool,
}

/// All parts, by name and version.
pub fn list() -> Result<Vec<Part>> {
    let lock = fs::read_to_string(source("Cargo.lock")).context("cannot read Cargo.lock")?;
    let checksums = checksums(&lock);
    let mut parts = BTreeSet::new();
    for (package, target) in
        [("conntrack-user", target()?), ("conntrack-ebpf", "bpfel-unknown-none".to_owned())]
    {
        let mut command = cargo();
        command.args(["tree", "--locked", "--package", package, "--target", &target, "--no-dedupe"]);
        // What is run while building, as macros are, is not linked.
        command.args(["--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}|{l}"]);
        let tree = capture(&mut command)?;
        for line in tree.lines() {
            parts.insert(part(line, &checksums).with_context(|| format!("cargo tree says {line}"))?);
        }
    }
    parts.extend(libraries()?);
    Ok(parts.into_iter().collect())
}

/// Reads `name v1.2.3 (where)|licence`.
fn part(line: &str, checksums: &BTreeMap<(String, String), String>) -> Option<Part> {
    let (package, licence) = line.split_once('|')?;
    let mut words = package.split(' ');
    let name = words.next()?.to_owned();
    let version = words.next()?.strip_prefix('v')?.to_owned();
    let checksum = checksums.get(&(name.clone(), version.clone())).cloned();
    // Before SPDX a slash was how crates said it.
    let licence = licence.replace(" / ", " OR ").replace('/', " OR ");
    Some(Part { name, version, licence, checksum, is_crate: true })
}

/// Checksums by name and version, from the lines of Cargo.lock.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    for package in lock.split("[[package]]") {
        let field = |name: &str| {
            let start = format!("{name} = \"");
            let value = package.lines().find_map(|line| line.strip_prefix(&start));
            value.and_then(|value| value.strip_suffix('"')).map(str::to_owned)
        };
        if let (Some(name), Some(version), Some(checksum)) =
            (field("name"), field("version"), field("checksum"))
        {
            found.insert((name, version), checksum);
        }
    }
    found
}

/// Rust's library and the C library, both linked statically.
fn libraries() -> Result<[Part; 2]> {
    let mut rustc = Command::new("rustc");
    let rustc = capture(rustc.arg("--version").current_dir(root()))?;
    let rustc = rustc.split(' ').nth(1).context("rustc names no version")?.to_owned();
    let glibc = capture(system("getconf").arg("GNU_LIBC_VERSION"))?;
    let glibc = glibc.trim().strip_prefix("glibc ").context("the C library is not glibc")?.to_owned();
    let library = |name: &str, version: String, licence: &str| Part {
        name: name.to_owned(),
        version,
        licence: licence.to_owned(),
        checksum: None,
        is_crate: false,
    };
    Ok([library("rust-std", rustc, "MIT OR Apache-2.0"), library("glibc", glibc, "LGPL-2.1-or-later")])
}

/// A list of all parts, then the text of every licence that came with one; a text that several have stands there once.
pub fn licences(parts: &[Part]) -> Result<String> {
    let folders = folders()?;
    let mut text = format!("What is linked into ctwatch {VERSION}, and under which licence:\n\n");
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for part in parts {
        let name = format!("{} {}", part.name, part.version);
        text += &format!("{name}: {}\n", part.licence);
        let Some(folder) = folders.get(&(part.name.clone(), part.version.clone())) else { continue };
        for file in names(folder)?.iter().filter(|file| is_licence(file)) {
            let path = folder.join(file);
            if path.is_file() {
                let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                let users = texts.entry(String::from_utf8_lossy(&bytes).trim().to_owned()).or_default();
                users.push(name.clone());
            }
        }
    }
    for (licence, mut users) in texts {
        users.dedup();
        text += &format!("\n{}\n{}\n\n{licence}\n", "=".repeat(80), users.join(", "));
    }
    Ok(text)
}

/// Where the sources of each crate are.
fn folders() -> Result<BTreeMap<(String, String), PathBuf>> {
    let text = capture(cargo().args(["metadata", "--locked", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let folder = |package: &Value| {
        let manifest = Path::new(package["manifest_path"].as_str()?);
        let text = |key: &str| package[key].as_str().map(str::to_owned);
        Some(((text("name")?, text("version")?), manifest.parent()?.to_owned()))
    };
    packages.iter().map(|package| folder(package).context("a package without a path")).collect()
}

fn is_licence(file: &str) -> bool {
    let file = file.to_lowercase();
    ["license", "licence", "copying", "copyright", "notice", "unlicense"]
        .iter()
        .any(|name| file.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::{checksums, is_licence, part};

    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"own\"\nversion = \"0.1.0\"\n\n\
        [[package]]\nname = \"log\"\nversion = \"0.4.1\"\nsource = \"registry\"\nchecksum = \"ab12\"\n";

    #[test]
    fn parts_have_the_checksum_of_the_lock_file() {
        let checksums = checksums(LOCK);
        let log = part("log v0.4.1|MIT/Apache-2.0", &checksums).expect("a crate");
        assert_eq!((log.checksum.as_deref(), log.licence.as_str()), (Some("ab12"), "MIT OR Apache-2.0"));
        let own = part("own v0.1.0 (/somewhere/own)|MIT", &checksums).expect("a crate");
        assert_eq!((own.version.as_str(), own.checksum), ("0.1.0", None));
        assert_eq!(part("nonsense", &checksums), None);
    }

    #[test]
    fn licences_are_known_by_their_names() {
        assert!(is_licence("LICENSE-MIT") && is_licence("COPYING") && is_licence("UNLICENSE"));
        assert!(!is_licence("README.md"));
    }
}
