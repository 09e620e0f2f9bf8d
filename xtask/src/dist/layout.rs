//! What is shipped, and where it goes in the package and in the tarball.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::{names, source};

/// What was made for shipping.
#[derive(Debug)]
pub struct Made {
    /// The static binary.
    pub binary: PathBuf,
    /// Folder of manual pages and completions.
    pub manual: PathBuf,
    /// The bill of materials.
    pub sbom: PathBuf,
    /// Licences of all that is linked into the binary.
    pub licences: PathBuf,
    /// Debian's copyright file.
    pub copyright: PathBuf,
    /// Debian's changelog.
    pub changelog: PathBuf,
}

/// One file that is shipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Where it is now.
    pub from: PathBuf,
    /// Its path in the package, without the leading slash; packed by gzip if that ends in `.gz`.
    pub package: Option<String>,
    /// Its path in the tarball, below the one folder there.
    pub tarball: Option<String>,
    /// Its mode.
    pub mode: u32,
}

/// The file that dpkg leaves alone once it was edited.
pub const CONFFILE: &str = "etc/ctwatch/ctwatch.toml";

/// Files of the repository: where they are, in the package, in the tarball.
const FROM_REPOSITORY: [(&str, Option<&str>, Option<&str>); 14] = [
    ("README.md", Some("usr/share/doc/ctwatch/README.md"), Some("README.md")),
    ("docs/install.md", Some("usr/share/doc/ctwatch/install.md"), Some("install.md")),
    ("docs/privileges.md", Some("usr/share/doc/ctwatch/privileges.md"), Some("privileges.md")),
    (
        "packaging/systemd/without-sys-admin.conf",
        Some("usr/share/doc/ctwatch/without-sys-admin.conf"),
        Some("systemd/without-sys-admin.conf"),
    ),
    ("LICENSE-MIT", None, Some("LICENSE-MIT")),
    ("LICENSE-APACHE", None, Some("LICENSE-APACHE")),
    ("packaging/ctwatch.toml", Some(CONFFILE), Some("ctwatch.toml")),
    (
        "packaging/systemd/ctwatch.service",
        Some("usr/lib/systemd/system/ctwatch.service"),
        Some("systemd/ctwatch.service"),
    ),
    (
        "packaging/systemd/ctwatch.socket",
        Some("usr/lib/systemd/system/ctwatch.socket"),
        Some("systemd/ctwatch.socket"),
    ),
    (
        "packaging/systemd/ctwatch.sysusers",
        Some("usr/lib/sysusers.d/ctwatch.conf"),
        Some("systemd/ctwatch.sysusers"),
    ),
    (
        "packaging/prometheus/ctwatch.rules.yml",
        Some("usr/share/doc/ctwatch/ctwatch.rules.yml"),
        Some("prometheus/ctwatch.rules.yml"),
    ),
    (
        "packaging/grafana/ctwatch.json",
        Some("usr/share/doc/ctwatch/grafana-dashboard.json"),
        Some("grafana/ctwatch.json"),
    ),
    ("packaging/Containerfile", None, Some("Containerfile")),
    ("packaging/kubernetes/daemonset.yaml", None, Some("kubernetes/daemonset.yaml")),
];

/// Everything that is shipped.
pub fn items(made: &Made) -> Result<Vec<Item>> {
    let file = |from: PathBuf, package: Option<&str>, tarball: Option<&str>| Item {
        from,
        package: package.map(str::to_owned),
        tarball: tarball.map(str::to_owned),
        mode: 0o644,
    };
    let doc = "usr/share/doc/ctwatch";
    let mut items = vec![
        Item { mode: 0o755, ..file(made.binary.clone(), Some("usr/bin/ctwatch"), Some("ctwatch")) },
        file(made.licences.clone(), Some(&format!("{doc}/licences.txt.gz")), Some("licences.txt")),
        file(made.copyright.clone(), Some(&format!("{doc}/copyright")), None),
        file(made.changelog.clone(), Some(&format!("{doc}/changelog.gz")), None),
    ];
    items.extend(FROM_REPOSITORY.map(|(from, package, tarball)| file(source(from), package, tarball)));
    for name in names(&made.manual)? {
        let (package, tarball) = place(&name).with_context(|| format!("no place is known for {name}"))?;
        items.push(file(made.manual.join(&name), Some(&package), Some(&tarball)));
    }
    Ok(items)
}

/// Where a manual page or a completion goes, by its name: in the package, in the tarball.
fn place(name: &str) -> Option<(String, String)> {
    if name.ends_with(".1") {
        return Some((format!("usr/share/man/man1/{name}.gz"), format!("man/{name}")));
    }
    let package = match name {
        "ctwatch.bash" => "usr/share/bash-completion/completions/ctwatch",
        "_ctwatch" => "usr/share/zsh/vendor-completions/_ctwatch",
        "ctwatch.fish" => "usr/share/fish/vendor_completions.d/ctwatch.fish",
        _ => return None,
    };
    Some((package.to_owned(), format!("completions/{name}")))
}

/// Debian's copyright file: machine-readable as far as ctwatch itself goes.
pub fn copyright() -> Result<String> {
    let mit = fs::read_to_string(source("LICENSE-MIT")).context("cannot read LICENSE-MIT")?;
    let holder =
        mit.lines().find(|line| line.starts_with("Copyright")).context("LICENSE-MIT names no holder")?;
    let holder = holder.trim_start_matches("Copyright (c) ");
    let text: Vec<String> = mit
        .lines()
        .skip_while(|line| !line.starts_with("Permission"))
        .map(|line| if line.is_empty() { " .".to_owned() } else { format!(" {line}") })
        .collect();
    Ok(format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: ctwatch\n\
         Comment: What else is linked into the binary is under the licences in licences.txt.gz beside this file.\n\
         \n\
         Files: *\nCopyright: {holder}\nLicense: MIT or Apache-2.0\n\
         \n\
         License: MIT\n{}\n\
         \n\
         License: Apache-2.0\n On Debian systems its text is in /usr/share/common-licenses/Apache-2.0.\n",
        text.join("\n"),
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{FROM_REPOSITORY, copyright, place};
    use crate::dist::source;

    #[test]
    fn files_of_the_repository_are_there_and_go_to_different_places() {
        let mut places = BTreeSet::new();
        for (from, package, tarball) in FROM_REPOSITORY {
            assert!(source(from).is_file(), "{from} is not there");
            assert!(package.is_none_or(|path| places.insert(format!("package {path}"))), "{from}");
            assert!(tarball.is_none_or(|path| places.insert(format!("tarball {path}"))), "{from}");
        }
    }

    #[test]
    fn pages_are_packed_and_strangers_are_refused() {
        assert_eq!(place("ctwatch-top.1").expect("a page").0, "usr/share/man/man1/ctwatch-top.1.gz");
        assert_eq!(place("_ctwatch").expect("zsh").0, "usr/share/zsh/vendor-completions/_ctwatch");
        assert_eq!(place("notes.txt"), None);
    }

    #[test]
    fn copyright_has_the_whole_licence() {
        let text = copyright().expect("LICENSE-MIT is there");
        assert!(text.contains("Copyright: 20") && text.contains(" .\n THE SOFTWARE IS PROVIDED"), "{text}");
    }
}
