//! The unit is what systemd understands, is hardened, and grants what docs/privileges.md explains.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use conntrack_tests::nobody;

/// The most exposure that is accepted, of systemd's own 100: what is granted and cannot be taken away.
const EXPOSURE: &str = "35";

/// What ctwatch was seen to call on Linux 6.12: every backend, and recording (strace -f).
const CALLED: &str = "arch_prctl bind bpf brk capget capset clock_getres clock_gettime clock_nanosleep clone3 close \
    epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 execve exit exit_group fcntl fdatasync flock fsync futex \
    getdents64 getrandom getsockopt gettid ioctl madvise mkdir mmap mprotect mremap munmap newfstatat openat \
    perf_event_open poll ppoll prctl prlimit64 read readlink recvfrom recvmmsg rseq rt_sigaction rt_sigprocmask \
    sched_getaffinity sendto set_robust_list set_tid_address setns setsockopt sigaltstack socket socketpair statx uname \
    write";

/// What else a daemon calls: HTTP, notification, and the program it runs.
const CALLED_BESIDES: &str = "accept4 listen getsockname getpeername shutdown writev sendmsg recvmsg connect pidfd_open \
    kill wait4 waitid setpgid close_range dup2 chdir pipe2 vfork fork rename unlink ftruncate memfd_create statfs";

fn packaging(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(path)
}

fn read(path: &str) -> Result<String> {
    let path = packaging(path);
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// systemd's checker, or a line that says it is not there. `CTWATCH_REQUIRE_TOOLS` makes that a failure.
fn systemd_analyze() -> Option<Command> {
    let mut command = Command::new("systemd-analyze");
    command.env("SYSTEMD_COLORS", "0").env("SYSTEMD_PAGER", "cat");
    let is_there = Command::new("systemd-analyze").arg("--version").output().is_ok();
    let required = std::env::var_os("CTWATCH_REQUIRE_TOOLS").is_some();
    assert!(is_there || !required, "systemd-analyze is not there: install the package systemd");
    if !is_there {
        println!("skipped: no systemd-analyze (package systemd)");
    }
    is_there.then_some(command)
}

/// The units, starting a program that is there whatever is installed.
fn units() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    for name in ["ctwatch.service", "ctwatch.socket"] {
        let text = read(&format!("systemd/{name}"))?.replace("/usr/bin/ctwatch", "/bin/true");
        fs::write(folder.path().join(name), text)?;
    }
    let drop_ins = folder.path().join("ctwatch.service.d");
    fs::create_dir(&drop_ins)?;
    fs::copy(packaging("systemd/without-sys-admin.conf"), drop_ins.join("without-sys-admin.conf"))?;
    Ok(folder)
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    Ok(said)
}

#[test]
fn systemd_understands_the_units() -> Result<()> {
    let Some(mut analyze) = systemd_analyze() else { return Ok(()) };
    let folder = units()?;
    let files = ["ctwatch.service", "ctwatch.socket"].map(|name| folder.path().join(name));
    let said = run(analyze.args(["verify", "--man=no"]).args(files))?;
    // What it does not know it passes over with a warning.
    ensure!(!said.contains("ctwatch"), "{said}");
    Ok(())
}

#[test]
fn the_unit_is_hardened() -> Result<()> {
    let Some(mut analyze) = systemd_analyze() else { return Ok(()) };
    let folder = units()?;
    fs::remove_dir_all(folder.path().join("ctwatch.service.d"))?;
    let threshold = format!("--threshold={EXPOSURE}");
    let unit = folder.path().join("ctwatch.service");
    let said = run(analyze.args(["security", "--offline=true", &threshold]).arg(unit))?;
    println!("{}", said.lines().last().unwrap_or_default());
    Ok(())
}

#[test]
fn every_capability_that_is_granted_is_explained() -> Result<()> {
    let page = fs::read_to_string(packaging("../docs/privileges.md"))?;
    let rows: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `CAP_")?.split('`').next()).collect();
    for granted in [nobody::granted()?, nobody::granted_without_sys_admin()?] {
        ensure!(!granted.is_empty(), "nothing is granted");
        for (name, _) in granted.iter_names() {
            ensure!(rows.contains(name), "docs/privileges.md has no row for CAP_{name}");
        }
    }
    Ok(())
}

/// What the unit says of the configuration is what the configuration says of itself.
#[test]
fn the_unit_and_the_configuration_agree() -> Result<()> {
    let (unit, configuration) = (read("systemd/ctwatch.service")?, read("ctwatch.toml")?);
    let value = |name: &str| {
        unit.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))
    };
    let recordings = format!("#dir = \"/var/lib/{}\"", value("StateDirectory=")?);
    ensure!(configuration.contains(&recordings), "{recordings} is not in the configuration");
    let socket = read("systemd/ctwatch.socket")?;
    let address = socket.lines().find_map(|line| line.strip_prefix("ListenStream=")).context("no address")?;
    ensure!(configuration.contains(&format!("#listen_address = \"{address}\"")), "it listens elsewhere");
    let users = read("systemd/ctwatch.sysusers")?;
    ensure!(users.contains(&format!("u {} ", value("User=")?)), "the user is not made");
    Ok(())
}

#[test]
fn the_units_filter_lets_through_what_is_called() -> Result<()> {
    let Some(mut analyze) = systemd_analyze() else { return Ok(()) };
    let sets = run(analyze.arg("syscall-filter"))?;
    let unit = read("systemd/ctwatch.service")?;
    let mut allowed = BTreeSet::new();
    for line in unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        match line.strip_prefix('~') {
            None => line.split(' ').for_each(|name| allowed.extend(members(&sets, name))),
            Some(denied) => {
                let denied: BTreeSet<_> = denied.split(' ').flat_map(|name| members(&sets, name)).collect();
                allowed.retain(|name| !denied.contains(name));
            }
        }
    }
    for called in CALLED.split(' ').chain(CALLED_BESIDES.split(' ')).filter(|name| !name.is_empty()) {
        ensure!(allowed.contains(called), "{called} is not let through");
    }
    for dangerous in
        ["init_module", "finit_module", "mount", "ptrace", "reboot", "kexec_load", "clock_settime"]
    {
        ensure!(!allowed.contains(dangerous), "{dangerous} is let through");
    }
    Ok(())
}

/// System calls of a set, as `systemd-analyze syscall-filter` lists them; anything else is one itself.
fn members(sets: &str, name: &str) -> BTreeSet<String> {
    if !name.starts_with('@') {
        return [name.to_owned()].into();
    }
    let lines = sets.lines().skip_while(|line| line.trim() != name).skip(1);
    let lines = lines.take_while(|line| line.starts_with(' ')).map(str::trim);
    lines.filter(|line| !line.starts_with('#')).flat_map(|line| members(sets, line)).collect()
}
