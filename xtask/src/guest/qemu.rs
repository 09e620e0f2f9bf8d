//! A QEMU that can be trusted with two emulated processors, and its command line.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::suites::{Suite, codename};
use crate::host::cache::Cache;
use crate::host::packages;
use crate::host::process::{capture, which};
use crate::host::progress::{Step, mebibytes};

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";
/// Emulating two processors, QEMU 7.2 corrupts flags after cmpxchg16b and trips over code patching; 10.0 does not.
const OLDEST: u32 = 9;
/// What of the newer QEMU is unpacked: the programs, the firmware, the BIOS.
const BACKPORTED: [&str; 4] = [PACKAGE, "qemu-system-common", "qemu-system-data", "seabios"];
const ENTRY: &str = "qemu";

/// Where QEMU is.
#[derive(Clone, Debug)]
pub struct Qemu {
    program: PathBuf,
    /// Folders of firmware, where they are not the ones built in.
    firmware: Vec<PathBuf>,
}

/// What differs from one start to the next.
#[derive(Debug)]
pub struct Start<'a> {
    /// The kernel image.
    pub image: &'a Path,
    /// The initial file system.
    pub initramfs: &'a Path,
    /// File that receives what the guest writes on its second serial port.
    pub status: &'a Path,
    /// Added to the kernel's command line.
    pub append: &'a str,
    /// Virtual processors.
    pub smp: u32,
    /// One processor whose clock counts instructions.
    pub icount: bool,
    /// File that is the guest's disk, /dev/vda.
    pub disk: Option<&'a Path>,
}

impl Qemu {
    /// The QEMU to use, if the machine has one that will do.
    pub fn find(cache: &Cache) -> Option<Self> {
        let installed = which(PROGRAM).map(|program| Self { program, firmware: Vec::new() });
        let share = cache.path(ENTRY).join("usr/share");
        let cached = Self {
            program: cache.path(ENTRY).join("usr/bin").join(PROGRAM),
            firmware: vec![share.join("qemu"), share.join("seabios")],
        };
        installed.into_iter().chain([cached]).find(|qemu| qemu.version().is_some_and(|major| major >= OLDEST))
    }

    /// The command that starts a guest. It ends with the parent, however that ends.
    pub fn command(&self, start: &Start<'_>) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&self.program);
        for folder in &self.firmware {
            command.arg("-L").arg(folder);
        }
        if start.icount {
            command.args(["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-smp", "1"]);
        } else {
            command.args(["-accel", "tcg,thread=multi", "-smp", &start.smp.to_string()]);
        }
        command.args(["-machine", "q35", "-cpu", "max", "-m", "2048", "-nodefaults", "-net", "none"]);
        command.args(["-display", "none", "-no-reboot", "-serial", "stdio"]);
        command.arg("-serial").arg(format!("file:{}", start.status.display()));
        command.arg("-kernel").arg(start.image).arg("-initrd").arg(start.initramfs);
        if let Some(disk) = start.disk {
            command.arg("-drive").arg(format!("file={},format=raw,if=virtio", disk.display()));
        }
        // no_timer_check: on a busy host the check of the timer takes longer than it allows.
        // oops=panic and panic=-1: a broken kernel ends the guest at once instead of limping on.
        let line = "console=ttyS0 quiet loglevel=3 panic=-1 oops=panic mitigations=off no_timer_check";
        command.arg("-append").arg(format!("{line} {}", start.append));
        command
    }

    fn version(&self) -> Option<u32> {
        parse_major(&capture(Command::new(&self.program).arg("--version")).ok()?)
    }
}

/// Sees to it that there is a QEMU that will do.
pub fn ensure(cache: &Cache) -> Result<()> {
    if Qemu::find(cache).is_some() {
        return Ok(());
    }
    let own = packages::candidate(PACKAGE)?.and_then(|version| parse_debian_major(&version));
    if own.is_some_and(|major| major >= OLDEST) {
        packages::install(cache, &[PACKAGE])?;
        return Qemu::find(cache).map(drop).with_context(|| format!("{PACKAGE} brought no {PROGRAM}"));
    }
    let suite = format!("{}-backports", codename()?);
    let step = Step::begin(format!("package lists of {suite}"));
    let advice = || format!("QEMU {OLDEST} or newer is needed: install it, or let apt reach {suite}");
    let lists = Suite::open(cache, &suite, &step).with_context(advice)?;
    let wanted = lists.packages(|name| BACKPORTED.contains(&name))?;
    if wanted.len() < BACKPORTED.len() {
        bail!(advice());
    }
    step.done("read");
    // Only the libraries are installed. An older QEMU would bring them too, and push a newer qemu-utils out.
    let libraries: BTreeSet<&str> = wanted
        .iter()
        .flat_map(|package| &package.depends)
        .map(String::as_str)
        .filter(|name| name.starts_with("lib"))
        .collect();
    packages::install(cache, &libraries.into_iter().collect::<Vec<_>>())?;
    let step = Step::begin(format!("QEMU from {suite}"));
    let made = cache.scratch()?;
    let size = lists.unpack(cache, &wanted, made.path(), &step).with_context(advice)?;
    cache.publish(made.path(), ENTRY)?;
    let qemu = Qemu::find(cache).with_context(advice)?;
    step.done(&format!("version {}, {}", qemu.version().unwrap_or_default(), mebibytes(size)));
    Ok(())
}

/// The major number in a package's version, `1:10.0.2+ds-2`.
fn parse_debian_major(version: &str) -> Option<u32> {
    version.rsplit(':').next()?.split('.').next()?.parse().ok()
}

/// The major number in `QEMU emulator version 10.0.2 (…)`.
fn parse_major(text: &str) -> Option<u32> {
    text.split_once("version ")?.1.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{parse_debian_major, parse_major};

    #[test]
    fn version_is_read() {
        assert_eq!(parse_major("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright\n"), Some(10));
        assert_eq!(parse_major("QEMU emulator version 7.2.17\n"), Some(7));
        assert_eq!(parse_major(""), None);
        assert_eq!(parse_debian_major("1:10.0.2+ds-2+deb13u1~bpo12+1"), Some(10));
        assert_eq!(parse_debian_major("9.1.0-1"), Some(9));
    }
}
