//! `ctwatch record`: keeps what is needed to explain it later, small and safe.

use std::{
    io::{self, BufWriter, Write},
    num::NonZeroUsize,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result};
use bytes::BytesMut;
use jiff::Timestamp;
use zerocopy::IntoBytes as _;

use crate::{
    engine::{
        Engine,
        batch::Batch,
        notice::Notice,
        recorded::{AuditDone, Crossed},
        snapshot::Attached,
    },
    kernel::{
        host::{Host, host},
        settings::Settings,
    },
    output::Format,
    record::{
        Header, Retention, Store, StoreError, VERSION,
        recorder::{Outcome, Recorder},
        thinning::Thinning,
    },
};

use super::{
    attaching::AttachArgs,
    failure::Failure,
    session::{Feed, Needs, Session},
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

/// Time between two readings of the kernel's settings.
const SETTINGS_EVERY_NS: u64 = 60_000_000_000;

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    if let Some(file) = args.output.as_ref().filter(|file| !args.force && file.exists()) {
        return Err(StoreError::Exists(file.clone()).into());
    }
    let needs = Needs { tcp_state: args.entries, recording: true, ..Needs::default() };
    let session = Session::attach(&args.attach, needs)?;
    let store = args.store(&session.attached)?;
    let mut out = BufWriter::new(io::stdout().lock());
    writeln!(out, "recording to {}", store.file().display())?;
    Format::Text.attached(&mut out, &session.attached)?;
    out.flush()?;
    let thinning = Thinning::new(args.entries, args.detail);
    let recorder = Recorder::start(store, thinning, session.attached.trust.clone())
        .context("start the thread that writes")?;
    let mut tap = Tap::new(args, recorder, out);
    let ran = session.run(async |feed, engine| {
        args.duration.inspect(|limit| feed.end_after(*limit));
        while let Some(batch) = feed.next(engine).await {
            tap.batch(feed, engine, &batch);
            if !tap.recorder.is_writing() {
                break;
            }
        }
        tap.last(engine);
        Ok(())
    });
    let Tap { recorder, mut out, .. } = tap;
    let outcome = recorder.finish();
    let engine = ran?;
    Format::Text.summary(&mut out, &engine.summary())?;
    say(&mut out, &outcome)?;
    out.flush()?;
    outcome.error.map_or(Ok(()), |error| Err(Failure::Runtime(error.into())))
}

impl Args {
    fn store(&self, attached: &Attached) -> Result<Store, Failure> {
        let header = self.header(attached);
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

    fn header(&self, attached: &Attached) -> Header {
        let Attached { ktime_ns, wall, ref trust } = *attached;
        let Host { name, kernel, boot_id } = host();
        Header {
            version: VERSION,
            session: format!("{boot_id}-{ktime_ns:x}"),
            sequence: 1,
            host: name,
            kernel,
            boot_id,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            since_ktime_ns: ktime_ns,
            wall_offset_ns: wall.offset_ns,
            began_ktime_ns: ktime_ns,
            trust: trust.clone(),
            entries: self.entries,
            thresholds: self.attach.thresholds(),
        }
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

/// Between engine and recorder.
struct Tap<W: Write> {
    recorder: Recorder,
    out: W,
    /// Whether what is printed goes anywhere.
    is_read: bool,
    settings: Settings,
    settings_ktime_ns: Option<u64>,
    holders_ktime_ns: u64,
    interval_ns: u64,
    top: usize,
    /// Whether records of entries are missing in the recording that only an audit makes good.
    incomplete: bool,
    entries: bool,
}

impl<W: Write> Tap<W> {
    fn new(args: &Args, recorder: Recorder, out: W) -> Self {
        Self {
            recorder,
            out,
            is_read: true,
            settings: Settings::new(),
            settings_ktime_ns: None,
            holders_ktime_ns: 0,
            interval_ns: u64::try_from(args.interval.as_nanos()).unwrap_or(u64::MAX),
            top: args.top.get(),
            incomplete: false,
            entries: args.entries,
        }
    }

    fn batch(&mut self, feed: &Feed, engine: &mut Engine, batch: &Batch) {
        let (mut added, mut urgent) = (Vec::new(), false);
        // Nobody reads it any more: that is no reason not to record.
        let mut told = if self.is_read { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) };
        engine.apply(batch, |notice| {
            match &notice {
                Notice::Edge { netns, edge } => {
                    added.extend_from_slice(Crossed::new(*netns, edge).as_bytes());
                    urgent = true;
                }
                Notice::Audited(audited) => added.extend_from_slice(AuditDone::new(audited).as_bytes()),
                _ => {}
            }
            if told.is_ok() && is_worth_a_line(&notice) {
                told = Format::Text.notice(&mut self.out, &notice, batch.wall);
            }
        });
        self.is_read &= told.and_then(|()| self.out.flush()).is_ok();
        if self.recorder.began_file() {
            self.begin_file();
        }
        self.added(engine, batch.ktime_ns, &mut added);
        let taken = self.recorder.offer(batch, &added, urgent);
        self.incomplete |= !taken && self.entries;
        if taken && std::mem::take(&mut self.incomplete) {
            feed.audit();
        }
    }

    /// What the engine knows that no record of the rings says.
    fn added(&mut self, engine: &mut Engine, ktime_ns: u64, added: &mut Vec<u8>) {
        engine.pictures().iter().for_each(|row| added.extend_from_slice(row.as_bytes()));
        engine.netns_seconds().iter().for_each(|row| added.extend_from_slice(row.as_bytes()));
        if ktime_ns.saturating_sub(self.holders_ktime_ns) >= self.interval_ns {
            self.holders_ktime_ns = ktime_ns;
            engine.holders_rows(self.top).iter().for_each(|row| added.extend_from_slice(row.as_bytes()));
        }
        if self.settings_ktime_ns.is_none_or(|last| ktime_ns.saturating_sub(last) >= SETTINGS_EVERY_NS) {
            self.settings_ktime_ns = Some(ktime_ns);
            let mut settings = BytesMut::new();
            self.settings.read(ktime_ns, &mut settings);
            added.extend_from_slice(&settings);
        }
    }

    /// A file is to be read without those before it: all is told again, and the table is walked.
    fn begin_file(&mut self) {
        self.settings = Settings::new();
        (self.settings_ktime_ns, self.holders_ktime_ns) = (None, 0);
        self.incomplete |= self.entries;
    }

    /// The end of what was going on.
    fn last(&mut self, engine: &mut Engine) {
        engine.end_second_early();
        let summary = engine.summary();
        let last = Batch {
            ktime_ns: summary.ktime_ns,
            wall: summary.wall,
            entries: bytes::Bytes::new(),
            incidents: bytes::Bytes::new(),
            totals: None,
            trust: None,
        };
        self.holders_ktime_ns = 0;
        let mut added = Vec::new();
        self.added(engine, last.ktime_ns, &mut added);
        self.recorder.offer_last(&last, &added);
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
