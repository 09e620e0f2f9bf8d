//! The command line as a visitor meets it, on any machine and without privilege: help, version, mistakes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use assert_cmd::Command as Run;
use conntrack_tests::watcher::binary;

const NOBODY: u32 = 65_534;

fn ctwatch(arguments: &[&str]) -> Result<Run> {
    let mut run = Run::new(binary()?);
    run.args(arguments);
    Ok(run)
}

/// What each command prints is in `cmd/`; `TRYCMD=overwrite` writes it anew.
#[test]
fn help_and_mistakes() -> Result<()> {
    trycmd::TestCases::new().register_bin("ctwatch", binary()?).case("cmd/*.trycmd").run();
    Ok(())
}

#[test]
fn the_version_names_commit_and_object_size() -> Result<()> {
    let output = ctwatch(&["--version"])?.assert().success().get_output().stdout.clone();
    let text = String::from_utf8(output)?;
    let mut words = text.split_whitespace();
    assert_eq!((words.next(), words.next()), (Some("ctwatch"), Some(env!("CARGO_PKG_VERSION"))), "{text}");
    assert!(text.contains("commit "), "{text}");
    let size = text.split_once("eBPF object ").and_then(|(_, rest)| rest.split(' ').next());
    let size: u64 = size.context("no object size")?.parse()?;
    assert!(size > 10_000, "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    Ok(())
}

/// Each mistake is told in one line that names it, with the exit code of a usage error.
#[test]
fn a_mistake_is_one_line() -> Result<()> {
    let cases: &[(&[&str], &str)] = &[
        (&["watch", "--src", "10.1.0"], "10.1.0"),
        (&["watch", "--src", "10.1.0.0/33"], "10.1.0.0/33"),
        (&["watch", "--dst", "fd00::/129"], "fd00::/129"),
        (&["watch", "-p", "carrier-pigeon"], "carrier-pigeon"),
        (&["watch", "--sport", "65536"], "65536"),
        (&["watch", "-f", "ipx"], "ipx"),
        (&["watch", "-m", "0x1/zz"], "0x1/zz"),
        (&["watch", "-w", "70000"], "70000"),
        (&["watch", "--netns", "no-such-namespace"], "no-such-namespace"),
        (&["watch", "--backend", "telepathy"], "fexit-module"),
        (&["watch", "--entries-ring", "5000"], "power of two"),
        (&["watch", "--duration", "soon"], "10s"),
        (&["watch", "-o", "xml"], "json"),
        (&["top", "--once", "--interval", "0"], "500ms"),
        (&["top", "--once", "-n", "3"], "--count"),
        (&["top", "--by", "colour"], "destinations"),
        (&["top", "--sort", "size"], "entries"),
        (&["top", "--prefix", "33"], "24,64"),
        (&["top", "--once", "-m", "1"], "watch --mark"),
        (&["top", "--once", "--focus", "here"], "here"),
        (&["report"], "<FILE>"),
        (&["report", "x.ctw", "--since", "yesterday"], "2026-11-20T10:15:03.25Z"),
        (&["report", "x.ctw", "--cause", "gremlins"], "table_full"),
        (&["report", "x.ctw", "--window", "2s"], "--at"),
        (&["report", "x.ctw", "--what-if", "magic=1"], "magic"),
        (&["wacth"], "wacth"),
        (&["watch", "--no-such-option"], "--no-such-option"),
    ];
    for (arguments, named) in cases {
        let assert = ctwatch(arguments)?.assert().code(2);
        let output = assert.get_output();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(named), "{arguments:?}: {named:?} is not named: {said}");
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?} printed something");
    }
    Ok(())
}

#[test]
fn without_privilege_it_says_what_is_missing() -> Result<()> {
    // Root may look at its files only: the copy is where anybody may run it.
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let copy = folder.path().join("ctwatch");
    fs::copy(binary()?, &copy)?;
    for verb in [["watch", "-o", "json"].as_slice(), &["top", "--once"]] {
        let mut command = Command::new(&copy);
        command.args(verb);
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("root") && said.contains("CAP_"), "no remedy: {said}");
        assert!(output.stdout.is_empty());
    }
    Ok(())
}

/// Where the kernel lets nobody in, or this is not root, it ends at once; elsewhere it runs its second.
#[test]
fn what_cannot_attach_says_so_in_one_line() -> Result<()> {
    let output = Command::new(binary()?).args(["watch", "--duration", "1s"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => println!("this kernel can be attached to: nothing to refuse"),
        Some(3) => {
            assert_eq!(said.lines().count(), 1, "{said}");
            assert!(said.contains("; "), "no remedy: {said}");
            assert!(output.stdout.is_empty());
        }
        other => panic!("exit code {other:?}: {said}"),
    }
    Ok(())
}

#[test]
fn a_closed_pipe_is_no_failure() -> Result<()> {
    for arguments in [["help"].as_slice(), &["help", "watch"], &["--version"]] {
        let mut child =
            Command::new(binary()?).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        drop(child.stdout.take()); // before anything was read
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*said), (Some(0), ""), "{arguments:?}");
    }
    Ok(())
}
