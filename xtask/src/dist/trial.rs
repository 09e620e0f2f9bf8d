//! Installs the package into a scratch tree, installs it again over an edited configuration, removes it, purges it.
//!
//! dpkg and the maintainer scripts are the real ones, and so are systemd-sysusers and deb-systemd-helper: told by `DPKG_ROOT`
//! they work on the tree. A mount namespace in which all else is read-only sees to it that a script that forgets cannot
//! touch this machine.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::layout::{CONFFILE, Item};
use crate::host::cache::Cache;
use crate::host::process::{capture, system};
use crate::host::progress::Step;

/// Folders and files that a Debian has before any package of ours comes.
const FOLDERS: [&str; 8] = [
    "etc/systemd/system/multi-user.target.wants",
    "usr/lib/systemd/system",
    "usr/lib/sysusers.d",
    "var/lib/systemd/deb-systemd-helper-enabled/multi-user.target.wants",
    "var/lib/systemd/deb-systemd-helper-masked",
    "var/lib/dpkg/info",
    "var/lib/dpkg/updates",
    "var/log",
];
/// systemd-sysusers keeps the older state of each beside it.
const ACCOUNTS: [(&str, &str); 4] = [
    ("passwd", "root:x:0:0:root:/root:/bin/sh\n"),
    ("group", "root:x:0:\n"),
    ("shadow", "root:*:19000:0:99999:7:::\n"),
    ("gshadow", "root:*::\n"),
];
/// What the package depends on one of.
const STATUS: &str = "Package: adduser\nStatus: install ok installed\nMaintainer: nobody <nobody@localhost>\n\
    Version: 3\nArchitecture: all\nDescription: stands for the real one\n";
const WANTED: &str = "etc/systemd/system/multi-user.target.wants/ctwatch.service";
const RECORDINGS: &str = "var/lib/ctwatch";

/// What is in a tree: the mode of a file or folder, by path.
type Listing = BTreeMap<String, u32>;

/// Installs, upgrades, removes and purges `deb`, which ought to hold `items`.
pub fn run(cache: &Cache, deb: &Path, items: &[Item], version: &str) -> Result<()> {
    let step = Step::begin("package on trial");
    let scratch = cache.scratch()?;
    let root = scratch.path().join("root");
    prepare(&root)?;
    let before = listing(&root)?;

    dpkg(&root, &["--install"], Some(deb))?;
    let installed = compare(&listing(&root)?, &before, items)?;
    let said = capture(Command::new(root.join("usr/bin/ctwatch")).arg("--version"))?;
    if !said.contains(version) {
        bail!("the installed binary says it is {}", said.trim());
    }
    if !fs::read_to_string(root.join("etc/passwd"))?.contains("ctwatch:x:") {
        bail!("the package makes no user");
    }

    // The daemon leaves recordings; the administrator edits.
    fs::create_dir_all(root.join(RECORDINGS))?;
    fs::write(root.join(RECORDINGS).join("detail.ctw"), "x")?;
    fs::write(root.join(CONFFILE), "# edited\n")?;
    dpkg(&root, &["--install"], Some(deb))?;
    if fs::read_to_string(root.join(CONFFILE))? != "# edited\n" {
        bail!("an upgrade overwrites the configuration");
    }

    dpkg(&root, &["--remove", "ctwatch"], None)?;
    let left = listing(&root)?;
    let kept = |path: &str| left.contains_key(path);
    if kept("usr/bin/ctwatch") || !kept(CONFFILE) || !kept(&format!("{RECORDINGS}/detail.ctw")) {
        bail!("removing takes the configuration or recordings along, or leaves the program");
    }
    dpkg(&root, &["--purge", "ctwatch"], None)?;
    let after = listing(&root)?;
    if let Some(path) = differing(&before, &after) {
        bail!("purging leaves or takes {path}");
    }
    step.done(&format!("installed, upgraded and removed: {installed} files, nothing left"));
    Ok(())
}

fn prepare(root: &Path) -> Result<()> {
    for folder in FOLDERS {
        let path = root.join(folder);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    }
    for (name, text) in ACCOUNTS {
        fs::write(root.join("etc").join(name), text)?;
        fs::write(root.join("etc").join(format!("{name}-")), text)?;
        let secret = name.ends_with("shadow");
        for name in [name.to_owned(), format!("{name}-")] {
            let mode = if secret { 0o640 } else { 0o644 };
            fs::set_permissions(root.join("etc").join(name), fs::Permissions::from_mode(mode))?;
        }
    }
    // Folders of links go with their last link, which on no Debian is ours.
    for folder in FOLDERS.iter().filter(|folder| folder.ends_with(".wants") || folder.ends_with("-masked")) {
        fs::write(root.join(folder).join("another.service"), "")?;
    }
    fs::write(root.join("etc/.pwd.lock"), "")?;
    fs::set_permissions(root.join("etc/.pwd.lock"), fs::Permissions::from_mode(0o600))?;
    // dpkg takes empty folders that no other package has.
    let list: Vec<String> = listing(root)?.into_keys().map(|path| format!("/{path}\n")).collect();
    fs::write(root.join("var/lib/dpkg/info/adduser.list"), format!("/.\n{}", list.concat()))?;
    fs::write(root.join("var/lib/dpkg/status"), STATUS).context("cannot prepare the tree")
}

/// dpkg on the tree, as its root, with everything else read-only.
fn dpkg(root: &Path, action: &[&str], deb: Option<&Path>) -> Result<()> {
    const ALONE: &str = r#"mount --bind "$0" "$0" && mount -o remount,ro,bind / && exec "$@""#;
    let mut command = system("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", ALONE]).arg(root).arg("dpkg");
    command.arg(format!("--root={}", root.display()));
    command.args(["--force-script-chrootless", "--force-bad-path", "--log=/dev/null"]);
    command.env("DEBIAN_FRONTEND", "noninteractive").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    capture(command.args(action).args(deb))?;
    Ok(())
}

/// Holds what was installed against what was meant to be; the number of files.
fn compare(installed: &Listing, before: &Listing, items: &[Item]) -> Result<usize> {
    let mut expected = BTreeMap::new();
    for item in items {
        if let Some(path) = &item.package {
            expected.insert(path.clone(), 0o100_000 | item.mode);
        }
    }
    for (path, mode) in &expected {
        match installed.get(path) {
            Some(found) if found == mode => {}
            Some(found) => bail!("{path} has mode {found:o} instead of {mode:o}"),
            None => bail!("{path} is not installed"),
        }
    }
    if !installed.contains_key(WANTED) {
        bail!("the unit is not enabled: there is no {WANTED}");
    }
    let new = installed.iter().filter(|(path, _)| !before.contains_key(*path));
    for (path, mode) in new {
        let ours =
            expected.contains_key(path) || path.ends_with("ctwatch.service") || path.ends_with(".dsh-also");
        let folder = *mode == 0o040_755;
        if !ours && !folder {
            bail!("{path} is installed with mode {mode:o}, and nobody meant it to be");
        }
    }
    Ok(expected.len())
}

/// A path that only one of two listings has, or has otherwise.
fn differing<'a>(one: &'a Listing, other: &'a Listing) -> Option<&'a str> {
    let lacks = |from: &'a Listing, what: &Listing| {
        from.iter().find(|(path, mode)| what.get(*path) != Some(mode)).map(|(path, _)| path.as_str())
    };
    lacks(other, one).or_else(|| lacks(one, other))
}

/// All there is below `root`, but for dpkg's own books.
fn listing(root: &Path) -> Result<Listing> {
    let mut found = Listing::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            let below = path.strip_prefix(root)?.to_string_lossy().into_owned();
            if below == "var/lib/dpkg" {
                continue;
            }
            let about = path.symlink_metadata()?;
            found.insert(below, about.mode());
            if about.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Item, Listing, WANTED, compare, differing};

    fn tree(paths: &[(&str, u32)]) -> Listing {
        paths.iter().map(|(path, mode)| ((*path).to_owned(), *mode)).collect()
    }

    #[test]
    fn what_is_left_taken_or_changed_is_named() {
        let before = tree(&[("etc", 0o040_755)]);
        assert_eq!(differing(&before, &before), None);
        assert_eq!(differing(&before, &tree(&[("etc", 0o040_755), ("x", 0o100_644)])), Some("x"));
        assert_eq!(differing(&before, &tree(&[])), Some("etc"));
        assert_eq!(differing(&before, &tree(&[("etc", 0o040_700)])), Some("etc"));
    }

    #[test]
    fn wrong_modes_and_strangers_are_refused() {
        let item = Item {
            from: PathBuf::new(),
            package: Some("usr/bin/ctwatch".to_owned()),
            tarball: None,
            mode: 0o755,
        };
        let good = [("usr/bin/ctwatch", 0o100_755), (WANTED, 0o120_777)];
        let check =
            |paths: &[(&str, u32)]| compare(&tree(paths), &Listing::new(), std::slice::from_ref(&item));
        assert_eq!(check(&good).expect("as meant"), 1);
        assert!(check(&[("usr/bin/ctwatch", 0o100_775), good[1]]).is_err());
        assert!(check(&[good[0], good[1], ("usr/bin/other", 0o100_755)]).is_err());
        assert!(check(&good[..1]).is_err());
    }
}
