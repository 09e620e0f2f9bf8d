//! One manual page: what clap knows of a command, and the sections that it does not.

use anyhow::{Context as _, Result};
use clap::Command;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

const EXIT_STATUS: [(&str, &str); 5] = [
    ("0", "All is well."),
    ("1", "There are findings, or a threshold was crossed."),
    ("2", "The command line or the configuration is wrong."),
    ("3", "A privilege or something in the kernel is missing."),
    ("4", "Something failed while it ran."),
];
const FILES: [(&str, &str); 3] = [
    ("/etc/ctwatch/ctwatch.toml", "Configuration of the daemon, with every key and its default."),
    ("/var/lib/ctwatch", "Recordings of the daemon; ctwatch report reads them."),
    ("/sys/kernel/btf", "The kernel's own types, from which ctwatch learns where to look."),
];
const ENVIRONMENT: [(&str, &str); 2] = [
    (
        "CTWATCH_LOG",
        "The program's own log, on standard error: error, warn, info, debug or trace. The log of the daemon is configured.",
    ),
    (
        "CTWATCH_SECTION_KEY",
        "Each key of the daemon's configuration, as CTWATCH_ATTACH_WARN=90; goes before the file.",
    ),
];

/// Name and text of every page: of `command` itself and of what it has for subcommands.
pub fn all(command: Command, date: &str) -> Result<Vec<(String, String)>> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let names: Vec<String> = command.get_subcommands().map(display_name).collect();
    let main = display_name(&command);
    let mut pages = vec![one(&command, date, &names)?];
    for subcommand in command.get_subcommands() {
        let others = names.iter().filter(|name| **name != display_name(subcommand));
        let related: Vec<String> = std::iter::once(&main).chain(others).cloned().collect();
        pages.push(one(subcommand, date, &related)?);
    }
    Ok(pages)
}

fn display_name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

fn one(command: &Command, date: &str, related: &[String]) -> Result<(String, String)> {
    let name = display_name(command);
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        .date(date)
        .source(format!("ctwatch {}", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut rest = Roff::new();
    list(&mut rest, "EXIT STATUS", &EXIT_STATUS);
    list(&mut rest, "FILES", &FILES);
    list(&mut rest, "ENVIRONMENT", &ENVIRONMENT);
    see_also(&mut rest, related);
    rest.to_writer(&mut page)?;
    let text = String::from_utf8(page).context("a page is no UTF-8")?;
    Ok((format!("{name}.1"), text))
}

fn list(roff: &mut Roff, heading: &str, items: &[(&str, &str)]) {
    roff.control("SH", [heading]);
    for (term, meaning) in items {
        roff.control("TP", []);
        roff.text([bold(*term)]);
        roff.text([roman(*meaning)]);
    }
}

fn see_also(roff: &mut Roff, related: &[String]) {
    roff.control("SH", ["SEE ALSO"]);
    let pages = related.iter().map(|name| (name.as_str(), "(1)"));
    let mut line = Vec::new();
    for (name, section) in pages.chain([("conntrack", "(8)"), ("nft", "(8)")]) {
        if !line.is_empty() {
            line.push(roman(", "));
        }
        line.extend([bold(name), roman(section)]);
    }
    roff.text(line);
}
