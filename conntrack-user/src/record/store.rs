//! Where a recorder writes to: one file, or a directory of which it keeps the last ones. Whoever writes holds a lock.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

use super::header::Header;
use super::shards::{Name, Retention, Shard};
use super::writer::Writer;
use crate::engine::snapshot::Trust;

/// In a directory of recordings; whoever writes there has it locked.
const LOCK: &str = ".ctwatch.lock";
/// Addresses of people are in it.
const MODE: u32 = 0o640;
/// A name that is taken: by a session that began within the same second, or before the clock was set back.
const NAMES: i64 = 60;

/// A recording being written.
pub struct Store {
    writer: Writer<File>,
    header: Header,
    path: PathBuf,
    directory: Option<Directory>,
    /// Somebody has removed the file: what is written to it goes nowhere.
    is_removed: bool,
}

/// Held as long as the recording lasts.
struct Directory {
    path: PathBuf,
    retention: Retention,
    lock: File,
}

/// Why a recording cannot be begun or go on in another file.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The file is there already.
    #[error("{} exists: replace it with --force, or choose another name", .0.display())]
    Exists(PathBuf),
    /// Another process has the lock.
    #[error("another ctwatch is recording to {}: stop it, or record elsewhere", .0.display())]
    Taken(PathBuf),
    /// The system refused something.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// A verb.
        what: &'static str,
        /// What it is about.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Store {
    /// Begins a recording in one file. What is there already is only replaced by `force`, and never what
    /// is being recorded.
    pub fn create(path: &Path, force: bool, header: Header) -> Result<Self, StoreError> {
        let file = match options().create_new(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && force => {
                options().open(path).map_err(failed("open", path))?
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(StoreError::Exists(path.to_owned()));
            }
            created => created.map_err(failed("create", path))?,
        };
        lock(&file, path)?;
        // A device, or a pipe, has no length.
        if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            file.set_len(0).map_err(failed("empty", path))?;
        }
        let writer = Writer::new(file, &header).map_err(failed("write", path))?;
        remember(parent(path));
        Ok(Self { writer, header, path: path.to_owned(), directory: None, is_removed: false })
    }

    /// Begins a recording in a directory, which is made if it is not there.
    pub fn create_in(
        directory: &Path,
        retention: Retention,
        header: Header,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let held = locked(directory)?;
        let directory = Directory { path: directory.to_owned(), retention, lock: held };
        let (name, path, writer) = directory.begin(&header, now)?;
        directory.remove_outdated(&name)?;
        Ok(Self { writer, header, path, directory: Some(directory), is_removed: false })
    }

    /// As [`Writer::push`].
    pub fn push(&mut self, records: &[u8]) -> io::Result<()> {
        self.writer.push(records)
    }

    /// As [`Writer::flush`].
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    /// Closes the block and waits until all that was written so far would survive a power cut (`fdatasync`).
    pub fn sync(&mut self) -> io::Result<()> {
        let flushed = self.writer.flush();
        self.is_removed = self.writer.sink().metadata().is_ok_and(|metadata| metadata.nlink() == 0);
        match self.writer.sink().sync_data() {
            // A pipe has no disk.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => flushed,
            synchronized => synchronized.and(flushed),
        }
    }

    /// Whether it is time for [`next_file`](Self::next_file). Never without a directory.
    pub fn is_full(&self, ktime_ns: u64) -> bool {
        let Some(Directory { retention, .. }) = &self.directory else { return false };
        let age = Duration::from_nanos(ktime_ns.saturating_sub(self.header.began_ktime_ns));
        self.is_removed
            || self.writer.bytes_written() >= retention.shard_bytes()
            || retention.shard_age().is_some_and(|shard_age| age >= shard_age)
    }

    /// Ends the file, goes on in another one, and removes what is too much or too old by now. Before, the caller
    /// pushes what shall be the last record; after, what a reader needs who has only the new one.
    ///
    /// If the new file cannot be made, the old one goes on. If it was made and [`file`](Self::file) is another one, only
    /// an old one could not be removed.
    pub fn next_file(&mut self, began_ktime_ns: u64, trust: Trust, now: Timestamp) -> Result<(), StoreError> {
        let Some(directory) = &mut self.directory else { return Ok(()) };
        self.writer.flush().map_err(failed("write", &self.path))?;
        self.writer.sink().sync_data().map_err(failed("write", &self.path))?;
        let sequence = self.header.sequence + 1;
        let header = Header { sequence, began_ktime_ns, trust, ..self.header.clone() };
        if self.is_removed {
            directory.make_again()?;
        }
        let (name, path, writer) = directory.begin(&header, now)?;
        self.is_removed = false;
        (self.writer, self.header, self.path) = (writer, header, path);
        directory.remove_outdated(&name)
    }

    /// The file being written.
    pub fn file(&self) -> &Path {
        &self.path
    }

    /// What that file says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What was written to that file.
    pub fn bytes_written(&self) -> u64 {
        self.writer.bytes_written()
    }

    /// Writes what waits, to the disk.
    pub fn finish(mut self) -> io::Result<()> {
        self.sync()
    }
}

impl Directory {
    /// After somebody has removed it: the lock went with it.
    fn make_again(&mut self) -> Result<(), StoreError> {
        if self.lock.metadata().is_ok_and(|metadata| metadata.nlink() == 0) {
            self.lock = locked(&self.path)?;
        }
        Ok(())
    }

    /// The next file, under a name that is not taken.
    fn begin(&self, header: &Header, now: Timestamp) -> Result<(Name, PathBuf, Writer<File>), StoreError> {
        let mut later = 0;
        let (name, path, file) = loop {
            let began = Timestamp::from_second(now.as_second().saturating_add(later)).unwrap_or(now);
            let name = Name { began, sequence: header.sequence };
            let path = self.path.join(name.to_file_name());
            match options().create_new(true).open(&path) {
                Ok(file) => break (name, path, file),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && later < NAMES => later += 1,
                Err(error) => return Err(failed("create", &path)(error)),
            }
        };
        let writer = Writer::new(file, header).map_err(|error| {
            // Without its header it is of no use to anybody.
            let _ = fs::remove_file(&path);
            failed("write", &path)(error)
        })?;
        remember(&self.path);
        Ok((name, path, writer))
    }

    fn remove_outdated(&self, being_written: &Name) -> Result<(), StoreError> {
        let mut shards = self.shards().map_err(failed("list", &self.path))?;
        shards.retain(|shard| shard.name != *being_written);
        shards.sort();
        shards.truncate(self.retention.outdated(&shards, being_written));
        for shard in shards {
            let path = self.path.join(shard.name.to_file_name());
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        Ok(())
    }

    /// Files that are named as ours are.
    fn shards(&self) -> io::Result<Vec<Shard>> {
        let mut shards = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if let Some(name) = entry.file_name().to_str().and_then(Name::parse)
                && entry.file_type()?.is_file()
            {
                shards.push(Shard { name, bytes: entry.metadata()?.len() });
            }
        }
        Ok(shards)
    }
}

/// Makes a directory unless it is there, and keeps others from recording to it.
fn locked(directory: &Path) -> Result<File, StoreError> {
    fs::create_dir_all(directory).map_err(failed("create", directory))?;
    let at = directory.join(LOCK);
    let held = options().create(true).open(&at).map_err(failed("open", &at))?;
    lock(&held, directory)?;
    Ok(held)
}

fn options() -> OpenOptions {
    let mut options = File::options();
    options.write(true).mode(MODE);
    options
}

/// Until the file is closed, also by a process that dies.
fn lock(file: &File, what: &Path) -> Result<(), StoreError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Taken(what.to_owned())),
        Err(errno) => Err(failed("lock", what)(errno.into())),
    }
}

/// That there is a new file in a directory would otherwise be forgotten in a power cut. Some file systems cannot.
fn remember(directory: &Path) {
    let _ = File::open(directory).and_then(|directory| directory.sync_all());
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Io { what, path: path.clone(), source }
}
