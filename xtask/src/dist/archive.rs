//! Tarball and .deb, from a staged tree each. Order, owners and times are fixed, so that the same files give the same bytes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::layout::{CONFFILE, Item};
use super::{VERSION, source};
use crate::host::process::{capture, system};

/// The commit that is shipped, as far as archives show it.
#[derive(Clone, Debug)]
pub struct Edition {
    /// Its time in seconds since 1970: `SOURCE_DATE_EPOCH`.
    pub epoch: String,
    /// The same as `2026-11-20`.
    pub date: String,
    /// The same as `2026-11-20T10:00:00Z`.
    pub timestamp: String,
    /// The same as a changelog has it.
    mail_date: String,
}

/// The archives that were made.
#[derive(Clone, Debug)]
pub struct Archives {
    /// `ctwatch-VERSION-ARCH.tar.gz`
    pub tarball: PathBuf,
    /// `ctwatch_VERSION_ARCH.deb`
    pub deb: PathBuf,
}

impl Archives {
    /// Both of them.
    pub fn both(&self) -> [&Path; 2] {
        [&self.tarball, &self.deb]
    }
}

impl Edition {
    /// That of the last commit.
    pub fn of_last_commit() -> Result<Self> {
        let epoch = capture(system("git").args(["log", "-1", "--format=%ct"]).current_dir(source("")))?;
        let epoch = epoch.trim().to_owned();
        let shown = |format: &str| -> Result<String> {
            let text = capture(system("date").arg("-u").arg(format!("-d@{epoch}")).arg(format))?;
            Ok(text.trim().to_owned())
        };
        Ok(Self {
            date: shown("+%Y-%m-%d")?,
            timestamp: shown("+%Y-%m-%dT%H:%M:%SZ")?,
            mail_date: shown("-R")?,
            epoch,
        })
    }

    /// Debian's changelog of this one version.
    pub fn changelog(&self, version: &str) -> String {
        format!(
            "ctwatch ({version}) unstable; urgency=medium\n\n  * Release {version}.\n\n \
             -- ctwatch contributors <ctwatch@localhost>  {}\n",
            self.mail_date
        )
    }
}

/// Makes both in `folder`; `scratch` holds the trees.
pub fn make(items: &[Item], edition: &Edition, scratch: &Path, folder: &Path) -> Result<Archives> {
    Ok(Archives {
        tarball: tarball(items, edition, scratch, folder)?,
        deb: deb(items, edition, &scratch.join("deb"), folder)?,
    })
}

fn tarball(items: &[Item], edition: &Edition, scratch: &Path, folder: &Path) -> Result<PathBuf> {
    let arch = std::env::consts::ARCH;
    let name = format!("ctwatch-{VERSION}-{arch}");
    let tree = scratch.join(&name);
    for item in items {
        if let Some(path) = &item.tarball {
            put(item, &tree.join(path))?;
        }
    }
    open_folders(&tree)?;
    let plain = folder.join(format!("{name}.tar"));
    let mut tar = system("tar");
    tar.args(["--create", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu"]);
    tar.arg(format!("--mtime=@{}", edition.epoch)).arg("--file").arg(&plain).arg("--directory").arg(scratch);
    capture(tar.arg(&name))?;
    pack(&plain)
}

fn deb(items: &[Item], edition: &Edition, tree: &Path, folder: &Path) -> Result<PathBuf> {
    for item in items {
        let Some(path) = &item.package else { continue };
        match path.strip_suffix(".gz") {
            Some(plain) => {
                put(item, &tree.join(plain))?;
                pack(&tree.join(plain))?;
            }
            None => put(item, &tree.join(path))?,
        }
    }
    let paths: Vec<&str> = items.iter().filter_map(|item| item.package.as_deref()).collect();
    let sums = capture(system("md5sum").arg("--").args(&paths).current_dir(tree))?;
    let mut size = 0;
    for path in &paths {
        size += tree.join(path).metadata()?.len();
    }
    let architecture = capture(system("dpkg").arg("--print-architecture"))?;
    let template = read("packaging/debian/control")?;
    let meta = tree.join("DEBIAN");
    fs::create_dir_all(&meta).with_context(|| format!("cannot create {}", meta.display()))?;
    let files = [
        ("control", control(&template, VERSION, architecture.trim(), size), 0o644),
        ("conffiles", format!("/{CONFFILE}\n"), 0o644),
        ("md5sums", sums, 0o644),
        ("postinst", read("packaging/debian/postinst")?, 0o755),
        ("prerm", read("packaging/debian/prerm")?, 0o755),
        ("postrm", read("packaging/debian/postrm")?, 0o755),
    ];
    for (name, text, mode) in files {
        let path = meta.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    open_folders(tree)?;
    let path = folder.join(format!("ctwatch_{VERSION}_{}.deb", architecture.trim()));
    let mut build = system("dpkg-deb");
    build.args(["--root-owner-group", "-Zxz", "--threads-max=1", "--build"]).arg(tree).arg(&path);
    capture(build.env("SOURCE_DATE_EPOCH", &edition.epoch))?;
    Ok(path)
}

/// Debian's control file; `size` is in bytes.
fn control(template: &str, version: &str, architecture: &str, size: u64) -> String {
    template
        .replace("@VERSION@", version)
        .replace("@ARCHITECTURE@", architecture)
        .replace("@SIZE@", &size.div_ceil(1024).to_string())
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(source(path)).with_context(|| format!("cannot read {path}"))
}

fn put(item: &Item, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::copy(&item.from, to).with_context(|| format!("cannot copy {}", item.from.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(item.mode))?;
    Ok(())
}

/// Packs a file without its name and time, and returns its new path.
fn pack(path: &Path) -> Result<PathBuf> {
    capture(system("gzip").args(["--force", "--no-name", "--best"]).arg(path))?;
    let mut packed = path.as_os_str().to_owned();
    packed.push(".gz");
    Ok(packed.into())
}

/// Folders are open to all, whatever the umask.
fn open_folders(tree: &Path) -> Result<()> {
    capture(system("find").arg(tree).args(["-type", "d", "-exec", "chmod", "0755", "{}", "+"]))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::control;
    use crate::dist::source;

    #[test]
    fn control_is_filled_in() {
        let template = std::fs::read_to_string(source("packaging/debian/control")).expect("it is there");
        let text = control(&template, "1.2.3", "amd64", 1025);
        assert!(text.contains("\nVersion: 1.2.3\nArchitecture: amd64\n"), "{text}");
        assert!(text.contains("\nInstalled-Size: 2\n") && !text.contains("@VERSION@"), "{text}");
    }
}
