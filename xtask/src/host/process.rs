//! Runs other programs and turns what goes wrong into one sentence.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::progress::Step;

/// Finds an executable in `PATH`, or in the folders of system programs that a user's `PATH` often lacks.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// A system program with messages in English, whatever the user's language, because some are parsed.
pub fn system(program: &str) -> Command {
    let mut command = Command::new(which(program).unwrap_or_else(|| program.into()));
    command.env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// Runs `command` and returns what it wrote to stdout; failing is an error that carries its last words.
pub fn capture(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!("`{}` failed: {}", describe(command), last_words(&output.stderr));
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{}` wrote no UTF-8", describe(command)))
}

/// Runs `command` with its output in `log`, showing the newest line of it as the progress of `step`; failing is
/// an error that carries its last words and names the log.
pub fn logged(command: &mut Command, log: &Path, step: &Step) -> Result<()> {
    let file = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
    let mut child = command
        .stdout(file.try_clone().context("cannot share the log")?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("cannot run `{}`", describe(command)))?;
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot wait for a program")? {
            break status;
        }
        step.progress(&newest_line(log));
        thread::sleep(Duration::from_millis(100));
    };
    if !status.success() {
        let words = last_words(&fs::read(log).unwrap_or_default());
        bail!("`{}` failed: {words} (all of it is in {})", describe(command), log.display());
    }
    Ok(())
}

/// Runs `command` with this process's stdout and stderr; failing is an error that names it.
pub fn inherit(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run `{}`", describe(command)))?;
    if !status.success() {
        bail!("`{}` failed", describe(command));
    }
    Ok(())
}

/// Runs `command` to its end, whatever that is.
fn output(command: &mut Command) -> Result<Output> {
    command.output().with_context(|| format!("cannot run `{}`", describe(command)))
}

/// The program and its first arguments, as a reader would type them.
fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let mut words = vec![program.to_string_lossy().into_owned()];
    words.extend(command.get_args().take(6).map(|word| word.to_string_lossy().into_owned()));
    if command.get_args().count() > 6 {
        words.push("…".to_owned());
    }
    words.join(" ")
}

/// The newest line of a log, cut to what fits beside a step's name.
fn newest_line(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.lines().last().unwrap_or_default().trim().chars().take(60).collect()
}

/// The last line of an output that says something, preferring one that calls itself an error.
pub fn last_words(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let error = lines.iter().find(|line| line.starts_with("E: ") || line.starts_with("error"));
    error.or(lines.last()).map_or_else(|| "it gave no reason".to_owned(), |line| (*line).to_owned())
}

#[cfg(test)]
mod tests {
    use super::{capture, last_words, system};

    #[test]
    fn last_words_prefer_an_error_line() {
        assert_eq!(last_words(b"Reading lists\nE: no such suite\nW: ignored\n"), "E: no such suite");
        assert_eq!(last_words(b"one\n\ntwo\n\n"), "two");
        assert_eq!(last_words(b""), "it gave no reason");
    }

    #[test]
    fn failure_names_the_command() {
        let error = capture(system("sh").args(["-c", "echo broken >&2; exit 3"])).expect_err("sh exits 3");
        assert!(error.to_string().ends_with("failed: broken"), "{error}");
    }
}
