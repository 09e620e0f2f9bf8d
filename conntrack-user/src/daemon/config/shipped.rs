//! The file that is shipped and the table of docs/configuration.md, made from the table of keys.

use std::fmt::Write as _;

use super::{KEYS, SECTIONS};

/// Width of comments.
const WIDTH: usize = 100;

/// packaging/ctwatch.toml: every key with its default, commented out.
pub fn shipped() -> String {
    let mut text = String::from(
        "# Configuration of `ctwatch daemon`. Every key is here with its built-in default; remove the # before one to\n\
         # change it. Variables (CTWATCH_ATTACH_WARN=90) and flags (--attach.warn=90) go before this file.\n\
         #\n\
         # `ctwatch daemon --check-config` says what is wrong, and where each value comes from.\n\
         # After a change: systemctl reload ctwatch. Keys marked (restart) wait for: systemctl restart ctwatch.\n",
    );
    for section in &SECTIONS {
        let _infallible = write!(text, "\n{}[{}]\n", comment(section.about), section.name);
        for key in KEYS.iter().filter(|key| key.section == section.name) {
            let restart = if key.reloads { "" } else { " (restart)" };
            let about = comment(&format!("{}{restart}", key.about));
            let _infallible = write!(text, "\n{about}#{} = {}\n", key.name, key.default());
        }
    }
    text
}

/// The table of keys in docs/configuration.md.
pub fn reference() -> String {
    let mut text = String::new();
    for section in &SECTIONS {
        let _infallible = write!(
            text,
            "### [{}]\n\n{}\n\n| key | default | reload | what it is |\n|---|---|---|---|\n",
            section.name, section.about
        );
        for key in KEYS.iter().filter(|key| key.section == section.name) {
            let reload = if key.reloads { "yes" } else { "restart" };
            let about = key.about.replace('|', "\\|");
            let _infallible = writeln!(text, "| `{}` | `{}` | {reload} | {about} |", key.name, key.default());
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

/// Broken at blanks, each line behind a `# `.
fn comment(text: &str) -> String {
    let mut lines = vec![String::from("#")];
    for word in text.split_whitespace() {
        if let Some(line) = lines.last_mut().filter(|line| line.len() + 1 + word.len() <= WIDTH) {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(format!("# {word}"));
        }
    }
    lines.join("\n") + "\n"
}
