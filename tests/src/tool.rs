//! Runs the system's own tools (`ip`, `nft`, `conntrack`, `bpftool`) and turns their failures into sentences.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

/// Runs a tool and returns what it printed. The words of `line` are split at blanks: no tool here needs quoting.
pub fn run(line: &str) -> Result<String> {
    let mut words = line.split_whitespace();
    let program = words.next().context("empty command line")?;
    let output = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run `{program}`: is it installed?"))?;
    printed(line, output)
}

/// Runs a tool with `input` on its standard input.
pub fn feed(line: &str, input: &str) -> Result<String> {
    let mut words = line.split_whitespace();
    let program = words.next().context("empty command line")?;
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{program}`: is it installed?"))?;
    let mut stdin = child.stdin.take().context("the child has no standard input")?;
    stdin.write_all(input.as_bytes()).with_context(|| format!("write to `{line}`"))?;
    drop(stdin);
    let output = child.wait_with_output().with_context(|| format!("wait for `{line}`"))?;
    printed(line, output)
}

fn printed(line: &str, output: Output) -> Result<String> {
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{line}` failed ({}): {}", output.status, said.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` printed no UTF-8"))
}
