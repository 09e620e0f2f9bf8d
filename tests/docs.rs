//! What README and docs say is true: their commands are accepted, their blocks are what is printed, and every
//! JSON field has its place.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use conntrack_tests::watcher::binary;

/// Long enough to refuse a command line.
const USAGE_LIMIT: Duration = Duration::from_secs(3);

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(workspace().join(path)).with_context(|| format!("read {path}"))
}

/// Lines of all fenced blocks of a language.
fn block_lines<'a>(markdown: &'a str, language: &str) -> Vec<&'a str> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in markdown.lines() {
        match line.strip_prefix("```") {
            Some(fence) => inside = !inside && fence == language,
            None if inside => lines.push(line),
            None => {}
        }
    }
    lines
}

/// A command line without its comment.
fn command(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}

#[test]
fn console_blocks_are_what_is_printed() -> Result<()> {
    trycmd::TestCases::new().register_bin("ctwatch", binary()?).case(workspace().join("README.md"));
    Ok(())
}

#[test]
fn commands_in_readme_are_accepted() -> Result<()> {
    const PAGES: [&str; 5] =
        ["README.md", "docs/top.md", "docs/record.md", "docs/report.md", "docs/what-if.md"];
    let pages = PAGES.map(read).into_iter().collect::<Result<Vec<_>>>()?.join("\n");
    let commands: Vec<_> = block_lines(&pages, "sh").into_iter().map(command).collect();
    let ctwatch: Vec<_> = commands.iter().filter_map(|line| line.strip_prefix("ctwatch ")).collect();
    ensure!(ctwatch.len() > 4, "README shows {} uses of ctwatch", ctwatch.len());
    let scratch = tempfile::tempdir()?;
    for arguments in ctwatch {
        let anywhere = anywhere(arguments);
        ensure!(!refused_as_usage(&anywhere, scratch.path())?, "`ctwatch {arguments}` is refused");
    }
    let tasks = read("xtask/src/main.rs")?;
    for task in commands.iter().filter_map(|line| line.strip_prefix("cargo xtask ")) {
        let variant = format!("    {}{}", task[..1].to_uppercase(), &task[1..]);
        ensure!(tasks.contains(&variant), "there is no `cargo xtask {task}`");
    }
    Ok(())
}

/// The same where there is no terminal, nothing but one recording to read, and a folder of its own to write to.
fn anywhere(arguments: &str) -> Vec<String> {
    let arguments = arguments.split('|').next().unwrap_or_default();
    // Only those who may look at the first process know the namespace it is in.
    let arguments = arguments.replace("--netns init", "--netns 1");
    let recording = workspace().join("tests/recordings/hog.ctw").display().to_string();
    let writes = arguments.starts_with("record");
    let mut words: Vec<String> = arguments
        .split_whitespace()
        .map(|word| match word {
            "/var/lib/ctwatch" if writes => "recordings".to_owned(),
            word if !writes && (word == "/var/lib/ctwatch" || word.ends_with(".ctw")) => recording.clone(),
            word => word.to_owned(),
        })
        .collect();
    if writes && !arguments.contains("--dir") {
        // One of the commands before has made it.
        words.push("--force".to_owned());
    }
    if arguments == "top" || arguments.starts_with("top --replay") {
        words.push("--once".to_owned());
    }
    words
}

/// Whether ctwatch ends with the exit code for mistakes. Where it can attach, it runs: that is acceptance.
fn refused_as_usage(arguments: &[String], folder: &Path) -> Result<bool> {
    let mut child = Command::new(binary()?)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("run ctwatch")?;
    let deadline = Instant::now() + USAGE_LIMIT;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code() == Some(2));
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.kill()?;
    child.wait()?;
    Ok(false)
}

/// The captures are real; should the format change, they must be taken anew.
#[test]
fn captures_in_readme_are_of_todays_format() -> Result<()> {
    const KINDS: [&str; 8] =
        ["attached", "audit", "edge", "evicted", "failed", "refused", "episode", "summary"];
    let readme = read("README.md")?;
    let lines: Vec<_> =
        block_lines(&readme, "text").into_iter().filter(|line| line.starts_with("20")).collect();
    for kind in KINDS {
        let of_kind = |line: &&str| line.split_whitespace().nth(1) == Some(kind);
        ensure!(lines.iter().any(of_kind), "README shows no line of kind {kind}");
    }
    for line in lines {
        let mut words = line.split_whitespace();
        let (time, kind) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        ensure!(time.len() == "2026-11-20T10:15:03.250123456Z".len(), "{line}");
        ensure!(KINDS.contains(&kind), "{line}");
    }
    Ok(())
}

#[test]
fn every_json_field_is_documented() -> Result<()> {
    const SCHEMA: [&str; 6] = [
        "schema.rs",
        "schema/episode.rs",
        "schema/http.rs",
        "schema/report.rs",
        "schema/top.rs",
        "schema/what_if.rs",
    ];
    let schema = SCHEMA.map(|file| read(&format!("conntrack-user/src/output/{file}")));
    let schema = schema.into_iter().collect::<Result<String>>()?;
    let docs = read("docs/json.md")?;
    let documented: BTreeSet<&str> = docs.split('`').skip(1).step_by(2).collect();
    let mut missing = fields(&schema);
    missing.retain(|field| !documented.contains(field));
    ensure!(missing.is_empty(), "docs/json.md does not name {missing:?}");
    Ok(())
}

/// Names of the fields as they are written: renamed ones by their new name, flattened ones not at all.
fn fields(schema: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    let mut attribute = "";
    for line in schema.lines().map(str::trim) {
        if let Some(field) = line.strip_prefix("pub ").and_then(|line| line.split_once(": ")) {
            match attribute.strip_prefix("#[serde(rename = \"") {
                Some(renamed) => names.extend(renamed.split('"').next()),
                None if attribute.contains("flatten") => {}
                None => names.extend(Some(field.0)),
            }
        }
        attribute = if line.starts_with("#[serde") { line } else { "" };
    }
    names
}

#[test]
fn links_lead_somewhere() -> Result<()> {
    for page in [
        "README.md",
        "ARCHITECTURE.md",
        "docs/json.md",
        "docs/causes.md",
        "docs/metrics.md",
        "docs/configuration.md",
        "docs/daemon.md",
        "docs/install.md",
        "docs/privileges.md",
        "docs/http.md",
        "docs/report.md",
        "docs/top.md",
        "docs/what-if.md",
    ] {
        let text = read(page)?;
        let folder = workspace().join(page);
        let folder = folder.parent().context("a page has a folder")?;
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            if !path.is_empty() && !folder.join(path).exists() {
                bail!("{page} links to {link}");
            }
        }
    }
    Ok(())
}
