//! `ctwatch top`: who holds the table now.

use std::{
    io::{self, BufWriter, Write},
    time::Duration,
};

use crate::{engine::query::Query, output::Format};

use super::{
    OutputFormat, attaching::AttachArgs, failure::Failure, filtering::FilterArgs, session::Session, values,
};

/// Show who holds the table, how full it is and what happens to it
///
/// Entries that were there before it attached are found by walking the kernel's table; rates and sums begin when
/// it attaches.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one table and end
    #[arg(long)]
    once: bool,

    /// How long to count before printing; rates are over this time
    #[arg(short, long, default_value = "2s", value_name = "TIME", value_parser = values::duration)]
    interval: Duration,

    /// Sources to list
    #[arg(short = 'n', long, default_value_t = 20, value_name = "N")]
    rows: usize,

    /// Text, or one JSON object
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    output: OutputFormat,

    #[command(flatten)]
    filter: FilterArgs,

    #[command(flatten)]
    attach: AttachArgs,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    if !args.once {
        return Err(Failure::Usage(
            "the live view is still to come: add --once for one table, or use `ctwatch watch`".to_owned(),
        ));
    }
    let filter = args.filter.filter()?;
    if let Some(option) = filter.beyond_sources() {
        return Err(Failure::Usage(format!(
            "top lists sources, which have no {}: use `ctwatch watch {option} …`",
            option.trim_start_matches('-')
        )));
    }
    let session = Session::attach(&args.attach, false)?;
    let mut engine = session.run(Some(args.interval), |engine, batch| {
        engine.apply(batch, |_| {});
        Ok(())
    })?;
    let mut out = BufWriter::new(io::stdout().lock());
    let format: Format = args.output.into();
    engine.ask(Query { rows: args.rows, filter, ..Query::default() });
    engine.end_interval();
    format.top(&mut out, &engine.snapshot())?;
    Ok(out.flush()?)
}
