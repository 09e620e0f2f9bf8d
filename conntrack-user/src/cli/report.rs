//! `ctwatch report`: what recordings tell, as text, JSON, tables and a page.

mod instant;
mod kept;
mod reading;

use std::{
    io::{self, BufWriter, IsTerminal as _, Write},
    path::PathBuf,
    time::Duration,
};

use clap::{
    ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use ipnet::IpNet;

use crate::{
    advise::changes::Changes,
    engine::{
        filter,
        report::{At, Builder, Cause, Narrow, Report, Told},
    },
    output::{
        json,
        report::{csv, html},
        text,
    },
};

use super::{OutputFormat, daemon, failure::Failure, top, values, what_if};
use kept::{Kept, Tables};
use reading::Recordings;

/// Say what recordings tell: who was refused, evicted or not inserted, when, and who held the table
///
/// Reads files and directories that `ctwatch record` wrote, in the order they were made. With --at it answers what
/// conntrack did around an instant, so that it can be lined up with a log.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Recordings, or directories of them
    #[arg(required_unless_present = "from_daemon", value_name = "FILE")]
    files: Vec<PathBuf>,

    /// What the daemon of this host has recorded, also while it runs: days in aggregate, or the last minutes with every entry
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "aggregate",
        value_name = "WHICH", conflicts_with = "files")]
    from_daemon: Option<OfDaemon>,

    /// Text, or JSON as one object
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    output: OutputFormat,

    /// Write one self-contained page with charts
    #[arg(long, value_name = "FILE", conflicts_with = "at")]
    html: Option<PathBuf>,

    /// Write tables for a spreadsheet into this directory: every second, every incident, episodes, holders, sources
    #[arg(long, value_name = "DIR", conflicts_with = "at")]
    csv: Option<PathBuf>,

    /// Write the same tables as Parquet files into this directory
    #[cfg(feature = "parquet")]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["at", "what_if"])]
    parquet: Option<PathBuf>,

    /// Play the recording once more under other settings, e.g. time_wait=30,max=524288: peak, refusals avoided, memory.
    /// Needs one made with --entries
    #[arg(long, value_name = "SETTINGS", conflicts_with_all = ["at", "html", "csv", "since", "until", "src", "netns", "cause"])]
    what_if: Option<Changes>,

    /// Draw with ASCII only; the default where the locale is not UTF-8
    #[arg(long)]
    ascii: bool,

    #[command(flatten)]
    narrow: NarrowArgs,

    #[command(flatten)]
    at: AtArgs,
}

/// One of the daemon's two recordings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OfDaemon {
    /// Days, a row a second.
    Aggregate,
    /// Minutes, every entry.
    Detail,
}

/// What is looked at; totals count nothing else.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Narrowing (everything, totals included)")]
struct NarrowArgs {
    /// From this time on: 2026-11-20T10:15:03.25Z, local time without a zone, or @ and Unix seconds
    #[arg(long, value_name = "TIME", value_parser = instant::unix_ns, conflicts_with = "at")]
    since: Option<i64>,

    /// Before this time
    #[arg(long, value_name = "TIME", value_parser = instant::unix_ns, conflicts_with = "at")]
    until: Option<i64>,

    /// Source address or network; may be repeated
    #[arg(short, long, value_name = "CIDR", value_parser = filter::parse_network)]
    src: Vec<IpNet>,

    /// Network namespace, by inode number or by the name it had; may be repeated
    #[arg(long, value_name = "NETNS")]
    netns: Vec<String>,

    /// Cause, by its name; may be repeated
    #[arg(long, value_name = "CAUSE", value_parser = cause())]
    cause: Vec<Cause>,
}

/// Looking around an instant.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Around an instant")]
struct AtArgs {
    /// What conntrack did around this instant; written as for --since
    #[arg(long, value_name = "TIME", value_parser = instant::unix_ns)]
    at: Option<i64>,

    /// So long before and after it
    #[arg(long, default_value = "2s", value_name = "TIME", value_parser = values::duration, requires = "at")]
    window: Duration,

    /// List at most so many incidents, the nearest
    #[arg(long, default_value_t = 40, value_name = "N", requires = "at")]
    limit: usize,
}

/// A cause by its name.
fn cause() -> impl TypedValueParser<Value = Cause> {
    PossibleValuesParser::new(Cause::ALL.map(Cause::as_str)).map(|name| {
        let named = Cause::ALL.into_iter().find(|cause| cause.as_str() == name);
        named.expect("clap lets only these names through")
    })
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let recordings = match args.from_daemon {
        Some(which) => Recordings::find(&[daemon::recording(match which {
            OfDaemon::Aggregate => daemon::AGGREGATE,
            OfDaemon::Detail => daemon::DETAIL,
        })?])?,
        None => Recordings::find(&args.files)?,
    };
    if let Some(changes) = &args.what_if {
        let mut out = BufWriter::new(io::stdout().lock());
        return Ok(what_if::run(recordings.files(), changes, args.output.into(), &mut out)?);
    }
    let narrow = narrow(&args.narrow, &recordings)?;
    if let Some(at) = args.at.at {
        return around(args, at, narrow, &recordings);
    }
    // Whether a table can be written shows before hours are read.
    let mut tables = tables(args)?;
    let page = args.html.as_deref().map(Kept::begin).transpose()?;
    let report = read(narrow, &recordings, &mut tables)?;
    for tables in tables {
        tables.finish(&report)?;
    }
    if let Some(mut page) = page {
        html::page(&mut page, &report)?;
        page.finish()?;
    }
    let mut out = BufWriter::new(io::stdout().lock());
    match args.output {
        OutputFormat::Text => text::report(&mut out, &report, args.ascii || !top::is_utf8())?,
        OutputFormat::Json => json::report(&mut out, &report)?,
    }
    Ok(out.flush()?)
}

/// Begins the tables, in each format that is asked for.
fn tables(args: &Args) -> anyhow::Result<Vec<Tables>> {
    let mut tables = Vec::new();
    if let Some(directory) = &args.csv {
        tables.push(Tables::begin(directory, "csv", csv::begin)?);
    }
    #[cfg(feature = "parquet")]
    if let Some(directory) = &args.parquet {
        tables.push(Tables::begin(directory, "parquet", crate::output::report::parquet::begin)?);
    }
    Ok(tables)
}

/// Feeds all records of the time looked at to a report.
fn read(narrow: Narrow, recordings: &Recordings, tables: &mut [Tables]) -> Result<Report, Failure> {
    let span = reading::Span::of(&narrow);
    let mut builder = Builder::new(narrow);
    let mut written = Ok(());
    let mut tell = |it: Told<'_>| {
        if written.is_ok() {
            written = tables.iter_mut().try_for_each(|tables| tables.row(it));
        }
    };
    recordings.read(span, |piece| match piece {
        reading::Next::File(head, whole) => builder.file(head, whole),
        reading::Next::Block(wall, ktime_ns) => builder.wall(wall, ktime_ns),
        reading::Next::Record(record) => builder.feed(record, &mut tell),
        reading::Next::Unreadable => builder.unreadable(),
        reading::Next::Damage(it) => builder.damage(it.after_ktime_ns, it.before_ktime_ns, it.bytes),
    })?;
    let report = builder.finish(&mut tell);
    written?;
    Ok(report)
}

fn around(args: &Args, at_unix_ns: i64, narrow: Narrow, recordings: &Recordings) -> Result<(), Failure> {
    let window_ns = u64::try_from(args.at.window.as_nanos()).unwrap_or(u64::MAX);
    let span = reading::Span::around(at_unix_ns, window_ns);
    let mut at = At::new(at_unix_ns, window_ns, args.at.limit, narrow);
    recordings.read(span, |piece| match piece {
        reading::Next::File(head, _) => at.file(head),
        reading::Next::Block(wall, _) => at.wall(wall),
        reading::Next::Record(record) => at.feed(record),
        reading::Next::Unreadable => at.unreadable(),
        reading::Next::Damage(it) => at.damage(it.after_ktime_ns, it.before_ktime_ns, it.bytes),
    })?;
    let around = at.finish();
    let mut out = BufWriter::new(io::stdout().lock());
    match args.output {
        OutputFormat::Text => text::around(&mut out, &around)?,
        OutputFormat::Json => json::around(&mut out, &around)?,
    }
    Ok(out.flush()?)
}

fn narrow(args: &NarrowArgs, recordings: &Recordings) -> Result<Narrow, Failure> {
    if let (Some(since), Some(until)) = (args.since, args.until)
        && since >= until
    {
        return Err(Failure::Usage("--since is not before --until".into()));
    }
    Ok(Narrow {
        since_unix_ns: args.since,
        until_unix_ns: args.until,
        src: args.src.clone(),
        netns: recordings.netns(&args.netns)?,
        cause: args.cause.clone(),
    })
}

/// Whether a person looks at what goes to stderr.
fn watched() -> bool {
    io::stderr().is_terminal()
}
