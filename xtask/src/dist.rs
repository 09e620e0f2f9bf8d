//! `cargo xtask dist`: what is shipped, in `target/dist`: tarball, .deb, SBOM, checksums. The same commit gives the same
//! bytes; the package is installed into a scratch tree and removed again before it counts as made.

mod archive;
mod layout;
mod linked;
mod recipes;
mod sbom;
mod trial;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use crate::build::{self, Executable};
use crate::host::cache::Cache;
use crate::host::cargo::{cargo, root, target_folder};
use crate::host::process::{capture, logged, system};
use crate::host::progress::{Step, mebibytes};
use crate::setup::{self, Needs};
use archive::Edition;
use layout::Made;

/// Version of everything in the workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Makes all of it.
pub fn run() -> Result<ExitCode> {
    let cache = Cache::open()?;
    setup::ensure(&cache, Needs { build: true, ..Needs::default() })?;
    recipes::check()?;
    let binary = build::build(Executable::Ctwatch)?;
    warn_of_another_commit(&binary)?;
    let edition = Edition::of_last_commit()?;
    let made = make_inputs(&cache, binary, &edition)?;
    let items = layout::items(&made)?;

    let step = Step::begin("tarball and package");
    let folder = empty(target_folder()?.join("dist"))?;
    let (first, second) = (cache.scratch()?, cache.scratch()?);
    let archives = archive::make(&items, &edition, first.path(), &folder)?;
    let again = archive::make(&items, &edition, second.path(), second.path())?;
    for (one, other) in archives.both().into_iter().zip(again.both()) {
        if fs::read(one)? != fs::read(other)? {
            bail!("made twice, {} is not the same twice", one.display());
        }
    }
    step.done("the same when made twice");

    trial::run(&cache, &archives.deb, &items, VERSION)?;
    let sbom = folder.join(format!("ctwatch-{VERSION}.cdx.json"));
    fs::copy(&made.sbom, &sbom).with_context(|| format!("cannot write {}", sbom.display()))?;
    write_sums(&folder)?;
    report(&folder)?;
    Ok(ExitCode::SUCCESS)
}

/// Archives take their time from the last commit: what is not of it is told.
fn warn_of_another_commit(binary: &Path) -> Result<()> {
    let mut describe = system("git");
    describe.args(["describe", "--always", "--dirty", "--abbrev=12"]).current_dir(root());
    let here = capture(&mut describe)?;
    let said = capture(Command::new(binary).arg("--version"))?;
    if here.trim().ends_with("-dirty") || !said.contains(&format!("commit {},", here.trim())) {
        eprintln!("not to be published: the tree is {}, the binary {}", here.trim(), said.trim());
    }
    Ok(())
}

/// What is not in the repository: pages, completions, licences, changelog, SBOM.
fn make_inputs(cache: &Cache, binary: PathBuf, edition: &Edition) -> Result<Made> {
    let folder = empty(target_folder()?.join("dist-parts"))?;
    let step = Step::begin("manual pages and completions");
    let manual = folder.join("manual");
    let mut command = cargo();
    command.args(["run", "--package", "conntrack-user", "--example", "manual", "--"]);
    command.arg(&manual).arg(&edition.date);
    logged(&mut command, &cache.log("manual"), &step)?;
    step.done("");

    let linked = linked::list()?;
    let write = |name: &str, text: String| -> Result<PathBuf> {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    };
    let text = serde_json::to_string_pretty(&sbom::document(&linked, VERSION, &edition.timestamp))?;
    Ok(Made {
        binary,
        manual,
        sbom: write("sbom.json", text + "\n")?,
        licences: write("licences.txt", linked::licences(&linked)?)?,
        copyright: write("copyright", layout::copyright()?)?,
        changelog: write("changelog", edition.changelog(VERSION))?,
    })
}

/// `folder`, existing and empty.
fn empty(folder: PathBuf) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// The names of what is in `folder`, sorted.
fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn write_sums(folder: &Path) -> Result<()> {
    let sums = capture(system("sha256sum").arg("--").args(names(folder)?).current_dir(folder))?;
    fs::write(folder.join("SHA256SUMS"), sums).context("cannot write SHA256SUMS")
}

fn report(folder: &Path) -> Result<()> {
    for name in names(folder)? {
        let path = folder.join(&name);
        eprintln!("{:>9}  {name}", mebibytes(path.metadata()?.len()));
    }
    println!("{}", folder.display());
    Ok(())
}

/// The root of the repository with `path` behind it.
fn source(path: &str) -> PathBuf {
    root().join(path)
}
