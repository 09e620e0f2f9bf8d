//! Options of every command that can replay a recording, and what plays it.

use std::{collections::VecDeque, fs::File, io, path::PathBuf, time::Duration};

use anyhow::Result;
use tokio::{
    task,
    time::{self, Instant},
};

use crate::{
    engine::{
        Config,
        batch::{Batch, WallClock},
    },
    record::{Batches, FileError, Files, Header, Piece, Reader, Recording},
};

use super::{failure::Failure, values};

/// A recording is silent for longer than this only where nothing was recorded.
const SILENCE_NS: u64 = 61_000_000_000;

/// What to replay.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Replaying")]
pub struct ReplayArgs {
    /// Replay recordings, or directories of them, instead of attaching
    #[arg(
        long,
        value_name = "FILE",
        num_args = 1..,
        conflicts_with_all = ["backend", "entries_ring", "incidents_ring", "audit", "wait", "warn"],
    )]
    replay: Vec<PathBuf>,

    /// So many times as fast as it was [default: 1x in the live view, else as fast as it can be read]
    #[arg(long, value_name = "TIMES", value_parser = values::speed, requires = "replay")]
    speed: Option<f64>,
}

impl ReplayArgs {
    /// The sessions to be replayed, in the order of time, at a speed; none if that is not asked for.
    pub fn sessions(&self, speed: Option<f64>) -> Result<Option<Vec<Player>>, Failure> {
        if self.replay.is_empty() {
            return Ok(None);
        }
        let files = Files::find(&self.replay).map_err(failure)?;
        files.skipped().iter().for_each(|skipped| eprintln!("ctwatch: {skipped}"));
        let play = |recordings: &[Recording]| Player::new(recordings, self.speed.or(speed));
        let players: Vec<_> = files.sessions().filter_map(play).collect();
        if players.is_empty() {
            return Err(Failure::Usage("there is nothing to replay in what --replay names".to_owned()));
        }
        Ok(Some(players))
    }

    /// The same for a command that shows one session.
    pub fn session(&self, speed: Option<f64>) -> Result<Option<Player>, Failure> {
        let Some(mut players) = self.sessions(speed)? else { return Ok(None) };
        if players.len() > 1 {
            let first =
                players.iter().filter_map(|it| Some(it.recordings.front()?.path.display().to_string()));
            return Err(Failure::Usage(format!(
                "these are recordings of {} runs, and totals begin anew with each: replay one of them; they begin with {}",
                players.len(),
                first.collect::<Vec<_>>().join(", ")
            )));
        }
        Ok(players.pop())
    }
}

/// A file that cannot be read is a mistake on the command line, unless it is the system that failed.
fn failure(error: FileError) -> Failure {
    let is_systems = match &error {
        FileError::File { error: crate::record::OpenError::Io(io), .. } => {
            io.kind() != io::ErrorKind::NotFound
        }
        _ => false,
    };
    if is_systems { Failure::Runtime(error.into()) } else { Failure::Usage(error.to_string()) }
}

/// Plays the recordings of one session.
pub struct Player {
    header: Header,
    recordings: VecDeque<Recording>,
    reader: Option<Reader<File>>,
    batches: Batches,
    /// The next batch, until its time has come.
    held: Option<Batch>,
    speed: Option<f64>,
    /// When the first batch was played, or the first after a silence, and of what time that was.
    began: Option<(Instant, u64)>,
    /// Of the batch whose time is awaited, or came last.
    played_ktime_ns: u64,
    end_ktime_ns: u64,
    ended: bool,
    failed: Result<()>,
}

impl Player {
    fn new(recordings: &[Recording], speed: Option<f64>) -> Option<Self> {
        let header = recordings.first()?.header.clone();
        let wall = WallClock { offset_ns: header.wall_offset_ns };
        Some(Self {
            batches: Batches::new(header.began_ktime_ns, wall, header.entries),
            header,
            recordings: recordings.iter().cloned().collect(),
            reader: None,
            held: None,
            speed,
            began: None,
            played_ktime_ns: 0,
            end_ktime_ns: u64::MAX,
            ended: false,
            failed: Ok(()),
        })
    }

    /// What the engine is to be told at its start.
    pub fn config(&self) -> Config {
        let Header { since_ktime_ns, wall_offset_ns, ref trust, entries, thresholds, .. } = self.header;
        let wall = WallClock { offset_ns: wall_offset_ns };
        Config { thresholds, recorded: !entries, ..Config::new(since_ktime_ns, wall, trust.clone()) }
    }

    /// Whether every new and freed entry is in it.
    pub fn has_entries(&self) -> bool {
        self.header.entries
    }

    /// Ends so long after the recording's beginning.
    pub fn end_after(&mut self, limit: Duration) {
        let limit_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        self.end_ktime_ns = self.header.began_ktime_ns.saturating_add(limit_ns);
    }

    /// Whether all was played.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Waits until the next batch's time has come; none at the end. May be cancelled: nothing is lost.
    pub async fn next(&mut self) -> Option<Batch> {
        if self.held.is_none() && !self.ended {
            self.held = self.read().unwrap_or_else(|error| {
                self.failed = Err(error);
                None
            });
            self.held.take_if(|batch| batch.ktime_ns > self.end_ktime_ns);
            self.ended = self.held.is_none();
        }
        match self.held.as_ref().and_then(|batch| Some((batch.ktime_ns, self.speed?))) {
            Some((ktime_ns, speed)) => time::sleep_until(self.due(ktime_ns, speed)).await,
            // Signals and keys have their turn.
            None => task::yield_now().await,
        }
        self.held.take()
    }

    /// An error of reading, if one ended it.
    pub fn finish(self) -> Result<()> {
        self.failed
    }

    /// When the time of a batch has come. Where nothing was recorded for long, nobody has to wait so long.
    fn due(&mut self, ktime_ns: u64, speed: f64) -> Instant {
        if ktime_ns.saturating_sub(self.played_ktime_ns) > SILENCE_NS {
            self.began = None;
        }
        self.played_ktime_ns = ktime_ns;
        let (began, began_ktime_ns) = *self.began.get_or_insert((Instant::now(), ktime_ns));
        let since = Duration::from_nanos(ktime_ns.saturating_sub(began_ktime_ns));
        began + since.div_f64(speed)
    }

    fn read(&mut self) -> Result<Option<Batch>> {
        loop {
            if let Some(batch) = self.batches.pop() {
                return Ok(Some(batch));
            }
            if self.reader.is_none() && !self.open_next()? {
                self.batches.end();
                return Ok(self.batches.pop());
            }
            match self.reader.as_mut().map(Reader::next).transpose()?.flatten() {
                Some(Piece::Block(block)) => self.batches.take(&block.records),
                Some(Piece::Damage(damage)) => {
                    self.batches.missing(damage.after_ktime_ns, damage.before_ktime_ns, damage.bytes);
                }
                None => self.reader = None,
            }
        }
    }

    /// The next file; false if there is none.
    fn open_next(&mut self) -> Result<bool> {
        let Some(recording) = self.recordings.pop_front() else { return Ok(false) };
        if recording.missing_before > 0 {
            self.batches.missing(None, Some(recording.header.began_ktime_ns), 0);
        }
        self.reader = Some(recording.open()?);
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
