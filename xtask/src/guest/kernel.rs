//! Which kernels there are, and getting one into the cache.

use std::cmp::Ordering;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use super::suites::{Package, Suite, architecture};
use crate::host::cache::{Cache, Scratch};
use crate::host::process::{capture, system};
use crate::host::progress::{Step, mebibytes};

/// How many versions of a suite are tried before the suite is given up.
const TRIES: usize = 4;
/// An image package smaller than this only names the packages that hold the image.
const REAL_IMAGE: u64 = 1 << 20;

/// A kernel, by the name it has on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum KernelName {
    /// The oldest supported: no BTF for modules.
    #[value(name = "5.10")]
    V5_10,
    /// Debian 12's.
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13's.
    #[value(name = "6.12")]
    V6_12,
    /// The newest usable one backported to Debian 13.
    Backports,
    /// The newest in Debian's unstable suite.
    Sid,
}

impl KernelName {
    /// Those the live tests run on.
    pub const TESTED: [Self; 5] = [Self::V5_10, Self::V6_1, Self::V6_12, Self::Backports, Self::Sid];

    /// Suites that have it, best first, and what its version starts with.
    fn recipe(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::V5_10 => (&["bullseye-security", "bullseye"], "5.10."),
            Self::V6_1 => (&["bookworm-security", "bookworm"], "6.1."),
            Self::V6_12 => (&["trixie", "trixie-security", "bookworm-backports"], "6.12."),
            Self::Backports => (&["trixie-backports"], ""),
            Self::Sid => (&["sid"], ""),
        }
    }

    /// Whether a mirror without it is reported and passed over. Every mirror has the supported releases.
    pub fn may_be_absent(self) -> bool {
        !matches!(self, Self::V6_1 | Self::V6_12)
    }
}

impl fmt::Display for KernelName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::Backports => "backports",
            Self::Sid => "sid",
        })
    }
}

/// The mirror has no such kernel (any more); a caller may report this instead of failing.
#[derive(Debug)]
pub struct Unavailable {
    name: KernelName,
    reason: String,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "kernel {} is unavailable: {}", self.name, self.reason)
    }
}

impl std::error::Error for Unavailable {}

/// A kernel in the cache.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// What it was asked for as.
    pub name: KernelName,
    /// What `uname -r` says in it.
    pub release: String,
    /// The image QEMU boots.
    pub image: PathBuf,
    /// Its modules, with `modules.dep`.
    pub modules: PathBuf,
}

impl Kernel {
    /// The kernel as it is in the cache, if it is.
    pub fn cached(cache: &Cache, name: KernelName) -> Option<Self> {
        Self::read(name, &cache.path(entry(name)))
    }

    /// Sees to it that the kernel is in the cache. The error is [`Unavailable`] if no suite has it.
    pub fn ensure(cache: &Cache, name: KernelName) -> Result<Self> {
        if let Some(kernel) = Self::cached(cache, name) {
            return Ok(kernel);
        }
        let mut reason = String::new();
        let (suites, prefix) = name.recipe();
        for suite in suites {
            let step = Step::begin(format!("kernel {name} from {suite}"));
            match fetch(cache, suite, prefix, &step) {
                Ok((made, size)) => {
                    cache.publish(made.path(), entry(name))?;
                    let kernel = Self::cached(cache, name).context("the kernel is not whole")?;
                    step.done(&format!("{}, {}", kernel.release, mebibytes(size)));
                    return Ok(kernel);
                }
                Err(error) => {
                    step.done("not there");
                    reason = format!("{error:#}");
                }
            }
        }
        Err(Unavailable { name, reason }.into())
    }

    fn read(name: KernelName, folder: &Path) -> Option<Self> {
        let modules = release_folder(folder)?;
        let release = modules.file_name()?.to_str()?.to_owned();
        let image = folder.join("vmlinuz");
        let whole = image.is_file() && modules.join("modules.dep").is_file();
        whole.then_some(Self { name, release, image, modules })
    }
}

fn entry(name: KernelName) -> PathBuf {
    PathBuf::from("kernels").join(name.to_string())
}

/// Gets the newest usable kernel of a suite into a scratch folder.
fn fetch(cache: &Cache, suite: &str, prefix: &str, step: &Step) -> Result<(Scratch, u64)> {
    let architecture = architecture()?;
    let lists = Suite::open(cache, suite, step)?;
    let listed = lists.packages(|name| name.starts_with("linux-") && name.contains("-cloud-"))?;
    let candidates = choose(&listed, prefix, &architecture);
    let mut problem = format!("{suite} lists no {prefix} cloud kernel for {architecture}");
    for packages in candidates.iter().take(TRIES) {
        let made = cache.scratch()?;
        let unpacked = lists
            .unpack(cache, packages, made.path(), step)
            .and_then(|size| arrange(made.path(), step).map(|()| size));
        match unpacked {
            Ok(size) => return Ok((made, size)),
            Err(error) => problem = format!("{error:#}"),
        }
    }
    bail!(problem)
}

/// The packages of each usable kernel version, newest version first.
///
/// Up to 6.18 one image package holds all. From 6.19 the image is in `linux-binary-*` and the modules in
/// `linux-modules-*`; a suite may list a version whose modules package is gone, and then it cannot be used.
fn choose(listed: &[Package], prefix: &str, architecture: &str) -> Vec<Vec<Package>> {
    let suffix = format!("-cloud-{architecture}");
    let find = |kind: &str, version: &str| {
        let name = format!("linux-{kind}-{version}{suffix}");
        listed
            .iter()
            .filter(|package| package.name == name)
            .max_by(|a, b| compare(&a.version, &b.version))
            .cloned()
    };
    let mut versions: Vec<&str> = listed
        .iter()
        .filter_map(|package| package.name.strip_prefix("linux-image-")?.strip_suffix(suffix.as_str()))
        .filter(|version| {
            version.starts_with(|first: char| first.is_ascii_digit()) && version.starts_with(prefix)
        })
        .collect();
    versions.sort_by(|a, b| compare(b, a));
    versions.dedup();
    versions
        .into_iter()
        .filter_map(|version| match find("binary", version) {
            Some(binary) => Some(vec![binary, find("modules", version)?]),
            None => Some(vec![find("image", version).filter(|image| image.size >= REAL_IMAGE)?]),
        })
        .collect()
}

/// Compares versions: runs of digits as numbers, what is between them as text.
fn compare(a: &str, b: &str) -> Ordering {
    let parts = |version: &str| -> Vec<(u64, String)> {
        let mut parts = Vec::new();
        let mut rest = version;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (number, tail) = rest.split_at(digits);
            let text = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            parts.push((number.parse().unwrap_or(0), tail[..text].to_owned()));
            rest = &tail[text..];
        }
        parts
    };
    parts(a).cmp(&parts(b))
}

/// Leaves `vmlinuz` and `lib/modules/RELEASE` of an unpacked kernel, and indexes the modules.
fn arrange(folder: &Path, step: &Step) -> Result<()> {
    step.progress("indexing modules");
    if folder.join("usr/lib/modules").is_dir() && !folder.join("lib").exists() {
        fs::rename(folder.join("usr/lib"), folder.join("lib")).context("cannot move the modules")?;
    }
    let modules = release_folder(folder).context("the packages hold no modules")?;
    let release =
        modules.file_name().and_then(|name| name.to_str()).context("the modules have no release name")?;
    let in_boot = folder.join("boot").join(format!("vmlinuz-{release}"));
    // Where the image is since it has a package of its own.
    let image = [in_boot, modules.join("vmlinuz")].into_iter().find(|path| path.is_file());
    let image = image.with_context(|| format!("the packages hold no image of {release}"))?;
    fs::rename(image, folder.join("vmlinuz")).context("cannot move the image")?;
    capture(system("depmod").arg("--basedir").arg(folder).arg(release))?;
    for other in ["boot", "usr", "etc", "var"] {
        // Symbols and documentation; a failure to remove them costs space only.
        let _ = fs::remove_dir_all(folder.join(other));
    }
    Ok(())
}

/// The one folder of modules below `folder`; its name is the release.
fn release_folder(folder: &Path) -> Option<PathBuf> {
    Some(fs::read_dir(folder.join("lib/modules")).ok()?.flatten().next()?.path())
}

#[cfg(test)]
mod tests {
    use super::{Package, choose, compare};
    use std::cmp::Ordering;

    fn package(name: &str, size: u64) -> Package {
        named(&format!("{name}-cloud-amd64"), size)
    }

    fn named(name: &str, size: u64) -> Package {
        Package { name: name.to_owned(), version: "1".into(), size, depends: Vec::new() }
    }

    fn names(listed: &[Package], prefix: &str) -> Vec<Vec<String>> {
        let chosen = choose(listed, prefix, "amd64");
        chosen
            .into_iter()
            .map(|packages| packages.into_iter().map(|package| package.name).collect())
            .collect()
    }

    #[test]
    fn versions_compare_by_number() {
        assert_eq!(compare("6.12.9+deb13", "6.12.107+deb13"), Ordering::Less);
        assert_eq!(compare("6.12.90+deb12.1", "6.12.90+deb12"), Ordering::Greater);
        assert_eq!(compare("5.10.0-46", "5.10.0-46"), Ordering::Equal);
        assert_eq!(compare("7.2.11", "6.19.14"), Ordering::Greater);
    }

    #[test]
    fn one_image_package_holds_all() {
        let listed = [
            package("linux-image-5.10.0-9", 2 << 20),
            package("linux-image-5.10.0-46", 2 << 20),
            package("linux-image-6.1.0-0.deb11.52", 2 << 20),
            package("linux-image", 1500),
        ];
        let want = [["linux-image-5.10.0-46-cloud-amd64"], ["linux-image-5.10.0-9-cloud-amd64"]];
        assert_eq!(names(&listed, "5.10."), want);
    }

    #[test]
    fn split_packages_need_both_halves() {
        let listed = [
            package("linux-image-7.1.13+deb13", 1900),
            package("linux-binary-7.1.13+deb13", 13 << 20),
            package("linux-image-7.2.6+deb13", 1900),
            package("linux-binary-7.2.6+deb13", 13 << 20),
            package("linux-modules-7.2.6+deb13", 37 << 20),
            package("linux-image-6.18.15+deb13", 46 << 20),
        ];
        let want = vec![
            vec!["linux-binary-7.2.6+deb13-cloud-amd64", "linux-modules-7.2.6+deb13-cloud-amd64"],
            vec!["linux-image-6.18.15+deb13-cloud-amd64"],
        ];
        assert_eq!(names(&listed, ""), want);
    }

    #[test]
    fn unsigned_and_debug_packages_are_not_kernels() {
        let listed = [
            named("linux-image-7.2.6-cloud-amd64-dbg", 9 << 20),
            named("linux-image-7.2.6-cloud-amd64-unsigned", 9 << 20),
        ];
        assert!(names(&listed, "").is_empty());
    }
}
