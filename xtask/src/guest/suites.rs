//! Packages from Debian suites that this machine does not list, fetched by apt itself.
//!
//! The source is the machine's own with its suite replaced, so whatever mirror, proxy and keys it uses are used
//! here too. Lists, cache and dpkg status are apart: nothing the machine's own apt sees is changed.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::sources::{self, Source};
use crate::host::cache::Cache;
use crate::host::process::{capture, last_words, logged, system};
use crate::host::progress::{Step, mebibytes};

/// Holds the keys of every release, where a source may name a file with those of its own release only.
const ARCHIVE_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A package as a suite lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Name of the binary package.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Bytes to download.
    pub size: u64,
    /// Names of the packages it needs, the first where several would do.
    pub depends: Vec<String>,
}

/// A suite whose lists are on this machine.
#[derive(Debug)]
pub struct Suite {
    config: std::path::PathBuf,
}

impl Suite {
    /// Fetches the lists of `name`; an error says why the mirror does not give them.
    pub fn open(cache: &Cache, name: &str, step: &Step) -> Result<Self> {
        step.progress(&format!("package lists of {name}"));
        let folder = cache.path("apt").join(name);
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part)).context("cannot create a folder for package lists")?;
        }
        let source = folder.join("suite.sources");
        fs::write(&source, machine_source(name)?.render(name, &architecture()?))
            .context("cannot write a source for apt")?;
        let config = folder.join("apt.conf");
        fs::write(&config, configuration(&folder, &source))
            .context("cannot write a configuration for apt")?;
        let suite = Self { config };
        let log = cache.log(&format!("suite-{name}"));
        if logged(suite.apt("apt-get").arg("update"), &log, step).is_err() {
            let reason = last_words(&fs::read(&log).unwrap_or_default());
            bail!("apt's mirror does not give the suite {name} ({reason})");
        }
        Ok(suite)
    }

    /// The listed packages whose name `wanted` accepts.
    pub fn packages(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<Package>> {
        let mut child = self
            .apt("apt-cache")
            .arg("dumpavail")
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run apt-cache")?;
        let output = child.stdout.take().context("apt-cache has no output")?;
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        let packages = parse_packages(lines, wanted);
        child.wait().context("cannot wait for apt-cache")?;
        Ok(packages)
    }

    /// Downloads `packages` and unpacks them into `target`, showing in `step` how far that is.
    pub fn unpack(&self, cache: &Cache, packages: &[Package], target: &Path, step: &Step) -> Result<u64> {
        let scratch = cache.scratch()?;
        let total = packages.iter().map(|package| package.size).sum();
        let mut download = self.apt("apt-get");
        download.arg("download").current_dir(scratch.path());
        download.args(packages.iter().map(|package| format!("{}={}", package.name, package.version)));
        watch_download(download, scratch.path(), total, step)?;
        step.progress("unpacking");
        for entry in fs::read_dir(scratch.path()).context("cannot list the downloads")? {
            let path = entry.context("cannot list the downloads")?.path();
            capture(system("dpkg-deb").arg("--extract").arg(path).arg(target))?;
        }
        Ok(total)
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = system(program);
        command.arg("--config-file").arg(&self.config);
        command
    }
}

/// Runs a download, drawing the bytes that have arrived in `folder`.
fn watch_download(mut command: Command, folder: &Path, total: u64, step: &Step) -> Result<()> {
    let mut child =
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("cannot run apt-get")?;
    while child.try_wait().context("cannot wait for apt-get")?.is_none() {
        step.progress(&format!("{} of {}", mebibytes(size_of_files(folder)), mebibytes(total)));
        thread::sleep(Duration::from_millis(100));
    }
    let output = child.wait_with_output().context("cannot wait for apt-get")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let reason = text.lines().find(|line| line.starts_with("E: ")).unwrap_or("apt-get gave no reason");
        bail!("the download failed: {reason}");
    }
    Ok(())
}

fn size_of_files(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// The machine's own source for Debian, or for its security updates when `suite` is one of those.
fn machine_source(suite: &str) -> Result<Source> {
    let mut texts = Vec::new();
    for path in sources::files() {
        texts.push(fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    let mut source = sources::pick(&texts, &codename()?, suite.ends_with("-security"))
        .context("apt's sources on this machine name no Debian suite to start from")?;
    if Path::new(ARCHIVE_KEYRING).exists() {
        source.signed_by = Some(ARCHIVE_KEYRING.to_owned());
    }
    Ok(source)
}

/// The codename of the release this machine runs.
pub fn codename() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(codename.context("/etc/os-release names no release of Debian")?.trim_matches('"').to_owned())
}

/// Debian's name for this machine's architecture.
pub fn architecture() -> Result<String> {
    Ok(capture(system("dpkg").arg("--print-architecture"))?.trim().to_owned())
}

fn configuration(folder: &Path, source: &Path) -> String {
    let (folder, source) = (folder.display(), source.display());
    format!(
        r##"Dir::Etc::sourcelist "{source}";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::lists "{folder}/lists";
Dir::State::status "/dev/null";
Dir::Cache "{folder}/cache";
// The cache may be in a home that apt's own user cannot read.
APT::Sandbox::User "";
// A suite past its end of life is no longer re-signed.
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Retries "1";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
APT::Update::Error-Mode "any";
// Hooks of the machine's own apt are about the machine's own lists.
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"##
    )
}

/// The package named first in one clause of `Depends:`, e.g. `libc6:any (>= 2.34) | libc6.1`.
fn dependency(clause: &str) -> Option<String> {
    let first = clause.split('|').next()?.split_whitespace().next()?;
    Some(first.split(':').next()?.to_owned())
}

/// Reads name, version, size and dependencies out of apt's record format, which separates packages by empty lines.
fn parse_packages(lines: impl Iterator<Item = String>, wanted: impl Fn(&str) -> bool) -> Vec<Package> {
    let mut packages: Vec<Package> = Vec::new();
    let mut taking = false;
    for line in lines {
        if let Some(name) = line.strip_prefix("Package: ") {
            taking = wanted(name);
            if taking {
                packages.push(Package {
                    name: name.to_owned(),
                    version: String::new(),
                    size: 0,
                    depends: Vec::new(),
                });
            }
        } else if let Some(package) = packages.last_mut().filter(|_| taking) {
            if let Some(version) = line.strip_prefix("Version: ") {
                version.clone_into(&mut package.version);
            } else if let Some(size) = line.strip_prefix("Size: ") {
                package.size = size.parse().unwrap_or_default();
            } else if let Some(depends) = line.strip_prefix("Depends: ") {
                package.depends = depends.split(',').filter_map(dependency).collect();
            }
        }
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::{Package, parse_packages};

    #[test]
    fn records_are_read_and_filtered() {
        let text = "Package: a\nVersion: 1\nSize: 10\n\n\
                    Package: b\nVersion: 2\nDepends: libc6:any (>= 2.34) | libc6.1, libaio1 (>= 0.3)\nSize: 20\n";
        let depends = vec!["libc6".to_owned(), "libaio1".to_owned()];
        let package = Package { name: "b".into(), version: "2".into(), size: 20, depends };
        assert_eq!(parse_packages(text.lines().map(str::to_owned), |name| name == "b"), [package]);
    }
}
