//! Reads recordings one after the other, only where the time looked at is, and says how far it is.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::watched;
use crate::{
    cli::failure::Failure,
    engine::{
        batch::WallClock,
        decode::{Record, Records},
        recorded::Recorded,
        report::{FileHead, LEAD_NS, Narrow},
    },
    record::{Block, Damage, Files, Header, Piece},
};

/// Files, in the order they were made.
pub struct Recordings {
    files: Files,
}

/// What comes next of them.
pub enum Next<'a> {
    /// A file, and whether reading begins where it does.
    File(&'a FileHead, bool),
    /// A block, by the wall clock of its beginning.
    Block(WallClock, u64),
    /// A record.
    Record(Record<'a>),
    /// No record: nothing more of its block can be read.
    Unreadable,
    /// Bytes that cannot be read.
    Damage(Damage),
}

/// What has to be read, in nanoseconds since the Unix epoch.
#[derive(Clone, Copy)]
pub struct Span {
    since: Option<i64>,
    until: Option<i64>,
}

const LEAD: i64 = LEAD_NS as i64;

impl Span {
    /// Sums so far, and the state of a quiet namespace, are recorded now and then: what is around the time is read too.
    pub fn of(narrow: &Narrow) -> Self {
        Self {
            since: narrow.since_unix_ns.map(|since| since.saturating_sub(LEAD)),
            until: narrow.until_unix_ns.map(|until| until.saturating_add(LEAD)),
        }
    }

    /// What happened later tells nothing of an instant but for what was stamped before and came late.
    pub fn around(at_unix_ns: i64, window_ns: u64) -> Self {
        const LATE: i64 = 10_000_000_000;
        let window = i64::try_from(window_ns).unwrap_or(i64::MAX);
        Self {
            since: Some(at_unix_ns.saturating_sub(window).saturating_sub(LEAD)),
            until: Some(at_unix_ns.saturating_add(window).saturating_add(LATE)),
        }
    }
}

impl Recordings {
    /// Looks at each path.
    pub fn find(paths: &[PathBuf]) -> Result<Self, Failure> {
        let files = Files::find(paths).map_err(anyhow::Error::from)?;
        for skipped in files.skipped() {
            eprintln!("ctwatch: left out {skipped}");
        }
        Ok(Self { files })
    }

    /// The files.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Gives out everything of that time, in order.
    pub fn read(&self, span: Span, mut take: impl FnMut(Next<'_>)) -> Result<(), Failure> {
        let mut progress = Progress::new(self.files.recordings().iter().map(|it| it.bytes).sum());
        for recording in self.files.recordings() {
            let path = recording.path.display();
            let mut reader = recording.open().map_err(anyhow::Error::from)?;
            let header = reader.header().clone();
            let offset_ns = header.wall_offset_ns;
            let ktime_ns = |unix_ns: i64| u64::try_from(unix_ns.saturating_sub(offset_ns)).unwrap_or(0);
            let seek = span.since.map(ktime_ns).filter(|since| *since > header.began_ktime_ns);
            take(Next::File(&head(&header), seek.is_none()));
            if let Some(since) = seek {
                if let Some(Piece::Block(block)) =
                    reader.next().with_context(|| format!("cannot read {path}"))?
                {
                    give_lasting(&block, &mut take);
                }
                reader.seek(since).with_context(|| format!("cannot read {path}"))?;
            }
            let read_before = progress.read;
            while let Some(piece) = reader.next().with_context(|| format!("cannot read {path}"))? {
                match piece {
                    Piece::Damage(damage) => take(Next::Damage(damage)),
                    Piece::Block(block) => {
                        let begins = i128::from(block.first_ktime_ns) + i128::from(block.wall_offset_ns);
                        if span.until.is_some_and(|until| begins > i128::from(until)) {
                            break;
                        }
                        give(&block, &mut take);
                    }
                }
                progress.at(read_before + reader.position());
            }
            progress.at(read_before + recording.bytes);
        }
        progress.done();
        Ok(())
    }

    /// Namespaces by number, or by a name that the recordings tell.
    pub fn netns(&self, asked: &[String]) -> Result<Vec<u32>, Failure> {
        let numbers: Vec<Option<u32>> = asked.iter().map(|name| name.parse().ok()).collect();
        if numbers.iter().all(Option::is_some) {
            return Ok(numbers.into_iter().flatten().collect());
        }
        let mut known: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        self.read(Span { since: None, until: None }, |next| {
            if let Next::Record(Record::NetnsName(record)) = next {
                let record = record.get();
                let name = record.name.split(|byte| *byte == 0).next().unwrap_or_default();
                let of_name = known.entry(String::from_utf8_lossy(name).into_owned()).or_default();
                if !of_name.contains(&record.netns) {
                    of_name.push(record.netns);
                }
            }
        })?;
        let mut found = Vec::new();
        for (name, number) in asked.iter().zip(numbers) {
            match (number, known.get(name)) {
                (Some(number), _) => found.push(number),
                (None, Some(numbers)) => found.extend(numbers),
                (None, None) => {
                    let names: Vec<&str> = known.keys().map(String::as_str).collect();
                    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                    return Err(Failure::Usage(format!(
                        "no network namespace was named `{name}`; names in the recording: {names}"
                    )));
                }
            }
        }
        Ok(found)
    }
}

fn give(block: &Block, take: &mut impl FnMut(Next<'_>)) {
    take(Next::Block(WallClock { offset_ns: block.wall_offset_ns }, block.first_ktime_ns));
    for record in Records::new(&block.records) {
        take(record.map_or(Next::Unreadable, Next::Record));
    }
}

/// What is said where a file begins and holds for all of it.
fn give_lasting(block: &Block, take: &mut impl FnMut(Next<'_>)) {
    take(Next::Block(WallClock { offset_ns: block.wall_offset_ns }, block.first_ktime_ns));
    for record in Records::new(&block.records).map_while(Result::ok) {
        if matches!(record, Record::NetnsName(_) | Record::Recorded(Recorded::Setting(_) | Recorded::Text(_)))
        {
            take(Next::Record(record));
        }
    }
}

fn head(header: &Header) -> FileHead {
    FileHead {
        session: header.session.clone(),
        sequence: header.sequence,
        host: header.host.clone(),
        kernel: header.kernel.clone(),
        boot_id: header.boot_id.clone(),
        program: header.program.clone(),
        since_ktime_ns: header.since_ktime_ns,
        wall: WallClock { offset_ns: header.wall_offset_ns },
        began_ktime_ns: header.began_ktime_ns,
        trust: header.trust.clone(),
        entries: header.entries,
        thresholds: header.thresholds,
    }
}

/// How far reading is, on a terminal's last line; nothing unless it takes a while.
struct Progress {
    all: u64,
    read: u64,
    begun: Instant,
    said: Option<Instant>,
    watched: bool,
}

impl Progress {
    const PATIENCE: Duration = Duration::from_millis(500);
    const EACH: Duration = Duration::from_millis(100);

    fn new(all: u64) -> Self {
        Self { all, read: 0, begun: Instant::now(), said: None, watched: watched() }
    }

    fn at(&mut self, read: u64) {
        self.read = read;
        let now = Instant::now();
        let waits = self.said.map_or(self.begun + Self::PATIENCE, |said| said + Self::EACH);
        if self.watched && now >= waits {
            let percent = read as f64 * 100.0 / self.all.max(1) as f64;
            let (read, all) = (read >> 20, self.all >> 20);
            // Whoever closes stderr does not want to know.
            let _ = write!(io::stderr(), "\rreading: {percent:.0} %, {read} of {all} MiB ");
            self.said = Some(now);
        }
    }

    fn done(&self) {
        if self.said.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
