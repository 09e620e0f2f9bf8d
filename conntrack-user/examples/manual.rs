//! Writes what ships beside the program and is made from its command line: one manual page for `ctwatch` and one for each
//! subcommand, and completions for bash, zsh and fish.
//!
//! `cargo run --example manual -- FOLDER [DATE]`; the date stands at the foot of each page.

#[path = "manual/page.rs"]
mod page;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::Command;
use clap_complete::{
    Shell,
    aot::{Generator as _, generate_to},
};
use conntrack_user::cli;

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let folder = PathBuf::from(arguments.next().context("usage: manual FOLDER [DATE]")?);
    let date = arguments.next().unwrap_or_default();
    write(&folder, &date)
}

/// Writes all into `folder`, which is created.
fn write(folder: &Path, date: &str) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (name, text) in page::all(command(), date)? {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut command = command();
        generate_to(shell, &mut command, "ctwatch", folder)
            .with_context(|| format!("cannot write {}", shell.file_name("ctwatch")))?;
    }
    Ok(())
}

/// `--version` names a commit; a page that did would differ with each.
fn command() -> Command {
    let command = cli::command().version(env!("CARGO_PKG_VERSION"));
    // A page begins with the name anyway.
    let about = command.get_about().map(|about| about.to_string().replacen("ctwatch: ", "", 1));
    command.about(about.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
        process::{Command, Stdio},
    };

    use super::write;

    fn written() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), "2026-01-02").expect("pages are written");
        folder
    }

    fn pages(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("the folder is there");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths.filter(|path| path.extension().is_some_and(|kind| kind == "1")).collect()
    }

    #[test]
    fn every_subcommand_has_a_page_with_every_section() {
        let folder = written();
        assert_eq!(pages(folder.path()).len(), 1 + super::command().get_subcommands().count());
        for path in pages(folder.path()) {
            let text = fs::read_to_string(&path).expect("a page");
            let sections =
                ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "FILES", "ENVIRONMENT"];
            for section in sections.into_iter().chain(["SEE ALSO"]) {
                let heading = [format!(".SH {section}\n"), format!(".SH \"{section}\"\n")];
                assert!(
                    heading.iter().any(|line| text.contains(line)),
                    "{} has no {section}",
                    path.display()
                );
            }
        }
    }

    #[test]
    fn groff_has_nothing_to_say_against_a_page() {
        let folder = written();
        for path in pages(folder.path()) {
            let mut groff = Command::new("groff");
            groff.args(["-man", "-Tutf8", "-Kutf8", "-ww", "-z"]).arg(&path).stdin(Stdio::null());
            let Ok(output) = groff.output() else {
                println!("skipped: no groff in PATH");
                return;
            };
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{}: {said}", path.display());
        }
    }

    #[test]
    fn completions_know_subcommands_and_flags() {
        let folder = written();
        for name in ["ctwatch.bash", "_ctwatch", "ctwatch.fish"] {
            let text = fs::read_to_string(folder.path().join(name)).expect(name);
            assert!(text.contains("daemon") && text.contains("check-config"), "{name}");
        }
        let bash = folder.path().join("ctwatch.bash");
        let status = Command::new("bash").arg("-n").arg(bash).status().expect("bash is everywhere");
        assert!(status.success());
    }
}
