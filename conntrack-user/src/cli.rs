//! The command line: one file per subcommand, which wires the rooms and holds no logic.

mod attaching;
pub mod daemon;
mod failure;
mod filtering;
mod log;
mod record;
mod recording;
mod replaying;
mod report;
mod session;
mod top;
mod values;
mod watch;
pub mod what_if;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum, error::ErrorKind};

use crate::{
    kernel::{memory, object::OBJECT},
    output,
};
use failure::Failure;

/// Who holds the conntrack table, who was refused, when and why.
#[derive(Debug, Parser)]
#[command(
    name = "ctwatch",
    version = version(),
    about,
    disable_help_subcommand = false,
    after_help = "Exit codes: 0 ok, 1 findings or threshold crossed, 2 usage, 3 missing privilege or kernel \
                  support, 4 runtime failure.\nSet CTWATCH_LOG=debug for the program's own log, on stderr."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Watch(watch::Args),
    Top(top::Args),
    Record(record::Args),
    Report(report::Args),
    Daemon(daemon::Args),
}

/// Text for people or JSON for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    /// Lines and tables.
    Text,
    /// One object per line (watch) or one object (top, report).
    Json,
}

impl From<OutputFormat> for output::Format {
    fn from(format: OutputFormat) -> Self {
        match format {
            OutputFormat::Text => Self::Text,
            OutputFormat::Json => Self::Json,
        }
    }
}

/// The command line as clap knows it: what manual pages and completions are made from.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs ctwatch; its exit code.
pub fn main() -> ExitCode {
    memory::give_back();
    match Cli::try_parse().map_err(refused_by_clap).and_then(|cli| run(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    // The daemon's log is configured.
    if !matches!(command, Command::Daemon(_)) {
        log::init();
    }
    match command {
        Command::Watch(args) => watch::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Record(args) => record::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Daemon(args) => daemon::run(&args),
    }
}

/// Help and version are printed as they are; mistakes shrink to one line.
fn refused_by_clap(error: clap::Error) -> Failure {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        return match error.print() {
            Ok(()) if error.exit_code() == 0 => Failure::None,
            Ok(()) => Failure::Shown,
            Err(error) => error.into(),
        };
    }
    Failure::Usage(one_line(&error))
}

/// What clap has to say of a mistake, without what it says besides.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mistake: Vec<&str> = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let mistake = mistake.join(" ");
    mistake.strip_prefix("error: ").unwrap_or(&mistake).to_owned()
}

/// Version, commit, and the size of the eBPF object inside.
fn version() -> &'static str {
    static VERSION: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    VERSION.get_or_init(|| {
        format!(
            "{} (commit {}, eBPF object {} bytes)",
            env!("CARGO_PKG_VERSION"),
            env!("CTWATCH_COMMIT"),
            OBJECT.len()
        )
    })
}
