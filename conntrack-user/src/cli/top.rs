//! `ctwatch top`: who holds the table now, how full it is, and what happens to it.

mod live;

use std::{
    io::{self, BufWriter, Write},
    net::IpAddr,
    time::Duration,
};

use anyhow::Result;
use tokio::time::{self, Instant, MissedTickBehavior};

use crate::{
    engine::{
        Engine,
        query::{Column, Focus, PrefixLengths, Query, Sort, View},
    },
    kernel::netns,
    output::Format,
};

pub use live::is_utf8;

use super::{
    OutputFormat,
    attaching::AttachArgs,
    failure::Failure,
    filtering::FilterArgs,
    replaying::{Player, ReplayArgs},
    session::{Feed, Needs, Session},
    values,
};

/// Show who holds the table, how full it is and what happens to it
///
/// On a terminal a live view, whose keys `?` tells; with --once or -b the same as text or JSON. Entries that were
/// there before it attached are found by walking the kernel's table; rates and sums begin when it attaches.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one table and end: as soon as all entries are known, or after the interval if one is given
    #[arg(short = '1', long, visible_alias = "single", conflicts_with_all = ["batch", "count"])]
    once: bool,

    /// Print a table after every interval, without a terminal
    #[arg(short, long)]
    batch: bool,

    /// Tables to print with -b before it ends
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Time between two pictures, which the rates are over [default: 1s]
    #[arg(short, long, value_name = "TIME", value_parser = values::duration)]
    interval: Option<Duration>,

    /// The table to show
    #[arg(long, value_name = "VIEW", default_value = "sources", value_parser = values::view())]
    by: View,

    /// The column to sort by
    #[arg(long, value_name = "COLUMN", default_value = "entries", value_parser = values::column())]
    sort: Column,

    /// The other way round: least first
    #[arg(short, long)]
    reverse: bool,

    /// Rows to print
    #[arg(long, default_value_t = 20, value_name = "N")]
    rows: usize,

    /// Bits of a source address that make its prefix, in IPv4 and IPv6
    #[arg(long, value_name = "V4[,V6]", default_value = "24,64", value_parser = values::prefix_lengths)]
    prefix: PrefixLengths,

    /// Look closely at one source too: its destinations, ports, states, ages and last refusals
    #[arg(long, value_name = "ADDRESS")]
    focus: Option<IpAddr>,

    /// Text, or JSON with one object per table
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    output: OutputFormat,

    #[command(flatten)]
    screen: live::ScreenArgs,

    #[command(flatten)]
    filter: FilterArgs,

    #[command(flatten)]
    replay: ReplayArgs,

    #[command(flatten)]
    attach: AttachArgs,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let query = args.query()?;
    if args.once || args.is_batch() {
        return print(args, query);
    }
    live::run(|| args.session(Some(1.0)), &args.screen, query, args.interval())
}

impl Args {
    fn is_batch(&self) -> bool {
        self.batch || self.count.is_some() || self.output == OutputFormat::Json
    }

    fn interval(&self) -> Duration {
        self.interval.unwrap_or(Duration::from_secs(1))
    }

    /// Attaches, or opens a recording that is played at a speed unless another is asked for.
    fn session(&self, speed: Option<f64>) -> Result<Session, Failure> {
        let needs = Needs { live_view: true, ..Needs::default() };
        match self.replay.session(speed)? {
            Some(player) => {
                self.can_be_told_by(&player)?;
                Session::replay(player, needs)
            }
            None => Session::attach(&self.attach.attaching(needs), needs),
        }
    }

    /// What only entries tell is not in a recording without them.
    fn can_be_told_by(&self, player: &Player) -> Result<(), Failure> {
        let by = matches!(self.by, View::Destinations | View::Ports | View::States);
        let by = by.then(|| format!("--by {}", self.by.as_str()));
        let beyond = self.filter.filter()?.beyond_sources().map(str::to_owned);
        let focus = self.focus.map(|_| "--focus".to_owned());
        match by.or(beyond).or(focus).filter(|_| !player.has_entries()) {
            Some(option) => Err(Failure::Usage(format!(
                "{option} needs entries, and this was recorded without: record with `ctwatch record --entries`"
            ))),
            None => Ok(()),
        }
    }

    fn query(&self) -> Result<Query, Failure> {
        let filter = self.filter.filter()?;
        if filter.mark.is_some() {
            return Err(Failure::Usage(
                "top does not know the marks of live entries: use `ctwatch watch --mark …`".to_owned(),
            ));
        }
        let netns = filter.netns.as_ref().and_then(|asked| asked.first().copied());
        let focus = self.focus.map(|src| Focus { netns: netns.or_else(netns::own).unwrap_or(0), src });
        let sort = Sort { column: self.sort, reverse: self.reverse };
        Ok(Query { view: self.by, sort, filter, prefix: self.prefix, rows: self.rows, focus, netns })
    }
}

/// Prints one table, or one after every interval.
fn print(args: &Args, query: Query) -> Result<(), Failure> {
    let session = args.session(None)?;
    let out = BufWriter::new(io::stdout().lock());
    let mut printer = Printer { out, format: args.output.into(), query: query.clone() };
    session.run(async |feed, engine| {
        engine.ask(query);
        if args.once {
            printer.once(feed, engine, args.interval).await
        } else if feed.is_replay() {
            printer.batch_replayed(feed, engine, args).await
        } else {
            printer.batch(feed, engine, args).await
        }
    })?;
    Ok(())
}

struct Printer<W: Write> {
    out: W,
    format: Format,
    query: Query,
}

impl<W: Write> Printer<W> {
    /// Prints when the time is over and all entries are known, and only then detaches: that takes a moment. A
    /// recording is over at its end, unless the time is.
    async fn once(&mut self, feed: &mut Feed, engine: &mut Engine, limit: Option<Duration>) -> Result<()> {
        if let Some(limit) = limit.or((!feed.is_replay()).then_some(Duration::ZERO)) {
            feed.end_after(limit);
        }
        while let Some(batch) = feed.next(engine).await {
            engine.apply(&batch, |_| ());
            if feed.is_over(engine) {
                break;
            }
        }
        self.table(engine)
    }

    /// Prints after every interval, so many times if that is given.
    async fn batch(&mut self, feed: &mut Feed, engine: &mut Engine, args: &Args) -> Result<()> {
        let (interval, mut left) = (args.interval(), args.count);
        let mut due = time::interval_at(Instant::now() + interval, interval);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while left != Some(0) {
            tokio::select! {
                batch = feed.next(engine) => match batch {
                    Some(batch) => engine.apply(&batch, |_| ()),
                    None => break,
                },
                _ = due.tick(), if feed.is_complete(engine) => {
                    if self.query.needs_audits() {
                        feed.audit();
                    }
                    self.table(engine)?;
                    left = left.map(|left| left - 1);
                }
            }
        }
        Ok(())
    }

    /// Prints after every interval of the recording's own time, in which seconds are whole.
    async fn batch_replayed(&mut self, feed: &mut Feed, engine: &mut Engine, args: &Args) -> Result<()> {
        let interval_ns = u64::try_from(args.interval().as_nanos()).unwrap_or(u64::MAX);
        let after = |ktime_ns: u64| (ktime_ns / interval_ns + 1).saturating_mul(interval_ns);
        let (mut left, mut due) = (args.count, None);
        while left != Some(0) {
            let Some(batch) = feed.next(engine).await else { break };
            let ktime_ns = batch.ktime_ns;
            engine.apply(&batch, |_| ());
            if ktime_ns >= *due.get_or_insert(after(ktime_ns)) {
                due = Some(after(ktime_ns));
                self.table(engine)?;
                left = left.map(|left| left - 1);
            }
        }
        Ok(())
    }

    fn table(&mut self, engine: &mut Engine) -> Result<()> {
        engine.end_interval();
        self.format.top(&mut self.out, &engine.snapshot())?;
        Ok(self.out.flush()?)
    }
}
