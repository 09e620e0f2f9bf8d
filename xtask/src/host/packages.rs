//! Debian packages of the machine's own suites: which are missing, which can be had, and installing them.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::cache::Cache;
use super::process::{capture, logged, system, which};
use super::progress::Step;

/// Those of `wanted` that dpkg does not know as installed.
pub fn missing<'a>(wanted: &[&'a str]) -> Result<Vec<&'a str>> {
    if which("dpkg-query").is_none() {
        bail!("this machine has no dpkg: install the packages {} by hand", wanted.join(" "));
    }
    let output = system("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
        .args(wanted)
        .output()
        .context("cannot run dpkg-query")?;
    // dpkg-query fails when it knows nothing of a package, and that is an answer like any other.
    let listing = String::from_utf8_lossy(&output.stdout);
    let installed: BTreeSet<&str> =
        listing.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    Ok(wanted.iter().copied().filter(|name| !installed.contains(name)).collect())
}

/// The version apt would install, if the machine's suites have the package; never refreshes the lists.
pub fn candidate(package: &str) -> Result<Option<String>> {
    let policy = capture(system("apt-cache").args(["policy", package]))?;
    Ok(parse_candidate(&policy))
}

/// Whether every one of `wanted` can be had, refreshing the lists once if they do not say so.
pub fn installable(cache: &Cache, wanted: &[&str]) -> Result<bool> {
    if all_known(wanted)? {
        return Ok(true);
    }
    refresh(cache)?;
    all_known(wanted)
}

/// Installs those of `wanted` that are missing.
pub fn install(cache: &Cache, wanted: &[&str]) -> Result<()> {
    let missing = missing(wanted)?;
    if missing.is_empty() {
        return Ok(());
    }
    if !installable(cache, &missing)? {
        let mut absent = Vec::new();
        for name in missing {
            if candidate(name)?.is_none() {
                absent.push(name);
            }
        }
        bail!("apt knows no package {}: add a suite that has it to the machine's sources", absent.join(", "));
    }
    let step = Step::begin(format!("packages {}", missing.join(" ")));
    if apt_install(cache, &missing, &step).is_err() {
        // The usual reason is lists so old that the mirror no longer has what they name.
        step.progress("refreshing the package lists");
        update(cache, &step)?;
        apt_install(cache, &missing, &step)?;
    }
    step.done("installed");
    Ok(())
}

fn all_known(wanted: &[&str]) -> Result<bool> {
    for name in wanted {
        if candidate(name)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn refresh(cache: &Cache) -> Result<()> {
    let step = Step::begin("package lists");
    update(cache, &step)?;
    step.done("refreshed");
    Ok(())
}

fn update(cache: &Cache, step: &Step) -> Result<()> {
    logged(as_root("apt-get")?.arg("update"), &cache.log("apt-update"), step)
}

fn apt_install(cache: &Cache, names: &[&str], step: &Step) -> Result<()> {
    let mut command = as_root("apt-get")?;
    command
        // Nothing that is installed may go: where that is the price, apt says so and this fails.
        .args(["install", "--yes", "--no-install-recommends", "--no-remove"])
        // Another apt may be at work: wait for it instead of failing.
        .args(["--option", "DPkg::Lock::Timeout=600"])
        .args(names);
    logged(&mut command, &cache.log("apt-install"), step)
}

/// `program` run as root: directly, or through sudo, which may ask for a password only on a terminal.
fn as_root(program: &str) -> Result<Command> {
    let user = capture(system("id").arg("-u"))?;
    if user.trim() == "0" {
        let mut command = system(program);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        return Ok(command);
    }
    if which("sudo").is_none() {
        bail!("installing packages needs root and there is no sudo: run `cargo xtask setup` once as root");
    }
    let mut command = system("sudo");
    if !io::stdin().is_terminal() {
        command.arg("--non-interactive");
    }
    command.args(["env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", program]);
    Ok(command)
}

/// Reads the candidate out of `apt-cache policy`.
fn parse_candidate(policy: &str) -> Option<String> {
    policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))
        .filter(|version| *version != "(none)")
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::parse_candidate;

    #[test]
    fn candidate_is_read_from_the_policy() {
        let policy = "nftables:\n  Installed: (none)\n  Candidate: 1.0.6-2\n  Version table:\n";
        assert_eq!(parse_candidate(policy).as_deref(), Some("1.0.6-2"));
        assert_eq!(parse_candidate("busybox:\n  Candidate: (none)\n"), None);
        assert_eq!(parse_candidate(""), None);
    }
}
