//! Finds recordings: files and directories of them, in the order they were made.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::header::Header;
use super::reader::{OpenError, Reader};

/// What recordings are called.
const EXTENSION: &str = "ctw";

/// Several files as one: session by session in the order of the wall times they began at, and those of each by sequence.
#[derive(Debug)]
pub struct Files {
    recordings: Vec<Recording>,
    skipped: Vec<FileError>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// Where.
    pub path: PathBuf,
    /// What it says of itself.
    pub header: Header,
    /// How long it was when it was found.
    pub bytes: u64,
    /// How many files of its session are missing between the one before and it.
    pub missing_before: u32,
}

/// What is wrong with a file, and what to do.
#[derive(Debug, Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("{}: {error}{}", path.display(), remedy(.error))]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: OpenError,
    },
    /// A directory has no recordings.
    #[error("{}: there are no recordings in this directory (*.{EXTENSION})", .0.display())]
    NoneIn(PathBuf),
}

fn remedy(error: &OpenError) -> &'static str {
    match error {
        OpenError::Io(_) => "",
        OpenError::Empty | OpenError::HeaderTorn => "; leave it out",
        OpenError::NotARecording => "; give a file that `ctwatch record` wrote, or the directory of --dir",
        OpenError::Newer { .. } => "; read it with the ctwatch that wrote it",
        OpenError::HeaderDamaged | OpenError::HeaderMalformed => {
            "; other files of the session can be read without it"
        }
        OpenError::ByteOrder => "; read it on a machine like that one",
    }
}

impl Files {
    /// Looks at each path: a recording, or a directory of them. A file of a directory that cannot be read is
    /// [`skipped`](Self::skipped); one that was named is an error.
    pub fn find<P: AsRef<Path>>(paths: &[P]) -> Result<Self, FileError> {
        let mut files = Self { recordings: Vec::new(), skipped: Vec::new() };
        for path in paths.iter().map(AsRef::as_ref) {
            if path.is_dir() {
                files.find_in(path)?;
            } else {
                files.recordings.push(Recording::find(path)?);
            }
        }
        files.put_in_order();
        Ok(files)
    }

    /// In the order they were made.
    pub fn recordings(&self) -> &[Recording] {
        &self.recordings
    }

    /// The same, those of a session together.
    pub fn sessions(&self) -> impl Iterator<Item = &[Recording]> {
        self.recordings.chunk_by(|one, next| one.header.session == next.header.session)
    }

    /// Files of the directories that cannot be read, and why.
    pub fn skipped(&self) -> &[FileError] {
        &self.skipped
    }

    fn find_in(&mut self, directory: &Path) -> Result<(), FileError> {
        let failed = |error: io::Error| FileError::File { path: directory.to_owned(), error: error.into() };
        let found = self.recordings.len() + self.skipped.len();
        for entry in fs::read_dir(directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_none_or(|extension| extension != EXTENSION) {
                continue;
            }
            match Recording::find(&path) {
                Ok(recording) => self.recordings.push(recording),
                Err(error) => self.skipped.push(error),
            }
        }
        match self.recordings.len() + self.skipped.len() == found {
            true => Err(FileError::NoneIn(directory.to_owned())),
            false => Ok(()),
        }
    }

    /// A file that is there twice, under whatever names, is taken once: the longer one.
    fn put_in_order(&mut self) {
        let key = |recording: &Recording| {
            let Header { session, sequence, .. } = &recording.header;
            (recording.header.since_unix_ns(), session.clone(), *sequence)
        };
        self.recordings.sort_by_key(|recording| (key(recording), std::cmp::Reverse(recording.bytes)));
        self.recordings.dedup_by(|later, kept| key(later) == key(kept));
        for i in 1..self.recordings.len() {
            let (before, header) = (&self.recordings[i - 1].header, &self.recordings[i].header);
            if before.session == header.session {
                self.recordings[i].missing_before = header.sequence - before.sequence - 1;
            }
        }
    }
}

impl Recording {
    fn find(path: &Path) -> Result<Self, FileError> {
        let reader = read(path)?;
        let (header, bytes) = (reader.header().clone(), reader.len());
        Ok(Self { path: path.to_owned(), header, bytes, missing_before: 0 })
    }

    /// To read it from its beginning.
    pub fn open(&self) -> Result<Reader<File>, FileError> {
        read(&self.path)
    }
}

fn read(path: &Path) -> Result<Reader<File>, FileError> {
    let failed = |error| FileError::File { path: path.to_owned(), error };
    let file = File::open(path).map_err(|error| failed(error.into()))?;
    Reader::open(file).map_err(failed)
}
