//! `ctwatch watch`: one line per thing that matters, until it is stopped.

use std::{
    io::{self, BufWriter, Write},
    time::Duration,
};

use crate::{
    engine::{
        batch::{Batch, WallClock},
        filter::Filter,
        monitor::Engine,
        notice::Notice,
    },
    output::{Format, fold::Fold},
};

use super::{
    OutputFormat,
    attaching::AttachArgs,
    failure::Failure,
    filtering::FilterArgs,
    replaying::ReplayArgs,
    session::{Needs, Session},
    values,
};

/// Print every state edge, refused connection, eviction and failed insertion as it happens
///
/// Evictions are folded into one line per second and network namespace unless -v is given. The last line sums
/// up; it comes when the duration is over, or on SIGINT or SIGTERM.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also print every new and every freed entry, and audits that repair nothing
    #[arg(long)]
    all: bool,

    /// One line per eviction, with whom it was for
    #[arg(short, long)]
    verbose: bool,

    /// Text, or JSON with one object per line
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    output: OutputFormat,

    /// Stop after this time, e.g. 30s or 5m
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    duration: Option<Duration>,

    #[command(flatten)]
    filter: FilterArgs,

    #[command(flatten)]
    replay: ReplayArgs,

    #[command(flatten)]
    attach: AttachArgs,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let filter = args.filter.filter()?;
    let Some(players) = args.replay.sessions(None)? else {
        let needs = Needs { mark: filter.mark.is_some(), ..Needs::default() };
        return watch(args, Session::attach(&args.attach.attaching(needs), needs)?, filter);
    };
    if args.all && players.iter().any(|player| !player.has_entries()) {
        eprintln!("ctwatch: new and freed entries are not in a recording made without --entries");
    }
    for player in players {
        watch(args, Session::replay(player, Needs::default())?, filter.clone())?;
    }
    Ok(())
}

/// Prints what a session brings, from its first line to its summary.
fn watch(args: &Args, session: Session, filter: Filter) -> Result<(), Failure> {
    let mut printer = Printer {
        out: BufWriter::new(io::stdout().lock()),
        format: args.output.into(),
        all: args.all,
        fold: (!args.verbose).then(Fold::default),
        filter,
    };
    printer.format.attached(&mut printer.out, &session.attached)?;
    printer.out.flush()?;
    let mut engine = session.run(async |feed, engine| {
        args.duration.inspect(|limit| feed.end_after(*limit));
        while let Some(batch) = feed.next(engine).await {
            printer.batch(engine, &batch)?;
        }
        Ok(())
    })?;
    let summary = engine.summary();
    let mut written = Ok(());
    engine.flush(|notice| {
        if written.is_ok() {
            written = printer.notice(&notice, summary.wall);
        }
    });
    written?;
    printer.due(u64::MAX, summary.wall)?;
    printer.format.summary(&mut printer.out, &summary)?;
    Ok(printer.out.flush()?)
}

/// What is printed, and where to.
struct Printer<W: Write> {
    out: W,
    format: Format,
    all: bool,
    /// Evictions of the running second; none if each has its own line.
    fold: Option<Fold>,
    filter: Filter,
}

impl<W: Write> Printer<W> {
    fn batch(&mut self, engine: &mut Engine, batch: &Batch) -> io::Result<()> {
        let mut written = Ok(());
        engine.apply(batch, |notice| {
            if written.is_ok() {
                written = self.notice(&notice, batch.wall);
            }
        });
        written?;
        self.due(batch.ktime_ns, batch.wall)?;
        self.out.flush()
    }

    /// Most notices are new and freed entries, and most runs do not show them: that is asked first.
    #[inline]
    fn notice(&mut self, notice: &Notice, wall: WallClock) -> io::Result<()> {
        match notice {
            Notice::New { .. } | Notice::Free(_) if !self.all => Ok(()),
            Notice::Audited(audited) if !self.all && !audited.is_news() => Ok(()),
            _ => self.told(notice, wall),
        }
    }

    fn told(&mut self, notice: &Notice, wall: WallClock) -> io::Result<()> {
        if !notice.passes(&self.filter) {
            return Ok(());
        }
        match (notice, &mut self.fold) {
            (Notice::Evicted(eviction), Some(fold)) => match fold.add(eviction) {
                Some(folded) => self.format.folded(&mut self.out, &folded, wall),
                None => Ok(()),
            },
            _ => self.format.notice(&mut self.out, notice, wall),
        }
    }

    /// Prints the folded lines whose second is over.
    fn due(&mut self, ktime_ns: u64, wall: WallClock) -> io::Result<()> {
        for folded in self.fold.iter_mut().flat_map(|fold| fold.due(ktime_ns)) {
            self.format.folded(&mut self.out, &folded, wall)?;
        }
        Ok(())
    }
}
