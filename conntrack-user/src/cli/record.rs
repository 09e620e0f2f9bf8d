//! `ctwatch record`: keeps what is needed to explain it later, small and safe.

use std::{
    io::{self, BufWriter, Write},
    num::NonZeroUsize,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result};
use jiff::Timestamp;

use crate::{
    engine::{notice::Notice, snapshot::Attached},
    output::Format,
    record::{
        Retention, Store, StoreError,
        recorder::{Outcome, Recorder},
        thinning::Thinning,
    },
};

use super::{
    attaching::AttachArgs,
    failure::Failure,
    recording::{Drained, Recording, header},
    session::{Needs, Session},
    values,
};

/// Record every refusal, eviction, failed insertion and state edge with its time, and who holds the table
///
/// Besides, one row a second and network namespace and the top holders every interval. What it writes is read by `ctwatch
/// report`, `ctwatch top --replay` and `ctwatch watch --replay`, also while it is being written.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("where").required(true).args(["output", "dir"])))]
pub struct Args {
    /// Write one file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Replace the file if it exists
    #[arg(long, conflicts_with = "dir")]
    force: bool,

    /// Write files into a directory, and remove the oldest of them when it holds too much
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// What the directory may hold
    #[arg(long, default_value = "1G", value_name = "BYTES", value_parser = values::bytes, conflicts_with = "output")]
    max_size: u64,

    /// How long what is recorded is kept, e.g. 7d [default: as long as there is room]
    #[arg(long, value_name = "TIME", value_parser = values::long_duration, conflicts_with = "output")]
    max_age: Option<Duration>,

    /// Record every new and every freed entry too: replayed, all views are there, and other timeouts can be tried
    #[arg(long)]
    entries: bool,

    /// Incidents a second that are recorded one by one; more are summed by source. With --entries all are recorded
    #[arg(long, default_value_t = 2000, value_name = "N", conflicts_with = "entries")]
    detail: usize,

    /// Sources recorded at the end of every interval: those that hold most and those refused most
    #[arg(long, default_value = "20", value_name = "N")]
    top: NonZeroUsize,

    /// Time between two such lists
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = values::duration)]
    interval: Duration,

    /// Stop after this time, e.g. 30s or 12h
    #[arg(long, value_name = "TIME", value_parser = values::long_duration)]
    duration: Option<Duration>,

    #[command(flatten)]
    attach: AttachArgs,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    if let Some(file) = args.output.as_ref().filter(|file| !args.force && file.exists()) {
        return Err(StoreError::Exists(file.clone()).into());
    }
    let needs = Needs { tcp_state: args.entries, recording: true, ..Needs::default() };
    let session = Session::attach(&args.attach.attaching(needs), needs)?;
    let store = args.store(&session.attached)?;
    let mut out = BufWriter::new(io::stdout().lock());
    writeln!(out, "recording to {}", store.file().display())?;
    Format::Text.attached(&mut out, &session.attached)?;
    out.flush()?;
    let thinning = Thinning::new(args.entries, args.detail);
    let recorder = Recorder::start(store, thinning, session.attached.trust.clone())
        .context("start the thread that writes")?;
    let mut recording = Recording::new(recorder, args.entries, args.top.get(), args.interval);
    let mut is_read = true;
    let ran = session.run(async |feed, engine| {
        args.duration.inspect(|limit| feed.end_after(*limit));
        while let Some(batch) = feed.next(engine).await {
            let mut drained = Drained::default();
            // Nobody reads it any more: that is no reason not to record.
            let mut told = if is_read { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) };
            engine.apply(&batch, |notice| {
                drained.note(&notice);
                if told.is_ok() && is_worth_a_line(&notice) {
                    told = Format::Text.notice(&mut out, &notice, batch.wall);
                }
            });
            is_read &= told.and_then(|()| out.flush()).is_ok();
            drained.add_rows(engine);
            if recording.take(engine, &batch, &drained) {
                feed.audit();
            }
            if !recording.is_writing() {
                break;
            }
        }
        let mut drained = Drained::default();
        engine.end_second_early();
        drained.add_rows(engine);
        recording.take_last(engine, &drained);
        Ok(())
    });
    let outcome = recording.finish();
    let engine = ran?;
    Format::Text.summary(&mut out, &engine.summary())?;
    say(&mut out, &outcome)?;
    out.flush()?;
    outcome.error.map_or(Ok(()), |error| Err(Failure::Runtime(error.into())))
}

impl Args {
    fn store(&self, attached: &Attached) -> Result<Store, Failure> {
        let header = header(attached, self.entries, self.attach.thresholds());
        let created = match (&self.output, &self.dir) {
            (Some(file), _) => Store::create(file, self.force, header),
            (None, Some(dir)) => {
                let retention = Retention { max_bytes: self.max_size, max_age: self.max_age };
                let now = Timestamp::from_nanosecond(header.since_unix_ns())
                    .context("a wall clock beyond all dates")?;
                Store::create_in(dir, retention, header, now)
            }
            (None, None) => return Err(Failure::Usage("say where to with -o FILE or --dir DIR".to_owned())),
        };
        Ok(created?)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Exists(_) | StoreError::Taken(_) => Self::Usage(error.to_string()),
            StoreError::Io { .. } => Self::Runtime(error.into()),
        }
    }
}

/// Of what is recorded, what somebody who looks at the terminal wants to know.
fn is_worth_a_line(notice: &Notice) -> bool {
    match notice {
        Notice::Edge { .. } | Notice::Lost(_) | Notice::Gap(_) => true,
        Notice::Audited(audited) => audited.is_news(),
        _ => false,
    }
}

fn say(out: &mut impl Write, outcome: &Outcome) -> io::Result<()> {
    let Outcome { files, bytes, skipped_drains, failed_blocks, error: _ } = outcome;
    let plural = if *files == 1 { "" } else { "s" };
    writeln!(out, "recorded {bytes} bytes in {files} file{plural}")?;
    if *skipped_drains > 0 {
        writeln!(
            out,
            "the disk was too slow for {skipped_drains} drains of the rings: their records are left out"
        )?;
    }
    if *failed_blocks > 0 {
        writeln!(out, "{failed_blocks} blocks could not be written: their records are left out")?;
    }
    Ok(())
}
