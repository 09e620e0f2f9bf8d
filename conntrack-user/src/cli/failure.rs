//! How a command ends when it does not end well: one line, a remedy, an exit code.

use std::{io, process::ExitCode};

use crate::kernel::error::AttachError;

/// Why a command ended.
#[derive(Debug)]
pub enum Failure {
    /// It did not fail: help or version was asked for, or the reader of our output had enough.
    None,
    /// A mistake on the command line, already explained.
    Shown,
    /// A mistake on the command line.
    Usage(String),
    /// Mistakes in the daemon's configuration, a line each.
    Configuration(String),
    /// The kernel or our privileges do not allow it.
    Attach(AttachError),
    /// Something failed while running.
    Runtime(anyhow::Error),
}

impl Failure {
    /// Says it on stderr; its exit code.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::None => ExitCode::SUCCESS,
            Self::Shown => ExitCode::from(2),
            Self::Usage(mistake) => {
                eprintln!("ctwatch: {mistake}; see `ctwatch help`");
                ExitCode::from(2)
            }
            Self::Configuration(mistakes) => {
                mistakes.lines().for_each(|mistake| eprintln!("ctwatch: {mistake}"));
                ExitCode::from(2)
            }
            Self::Attach(error) => {
                eprintln!("ctwatch: {error}; {}", error.remedy());
                ExitCode::from(match error {
                    AttachError::Maps(_) | AttachError::System { .. } => 4,
                    _ => 3,
                })
            }
            Self::Runtime(error) => {
                eprintln!("ctwatch: {error:#}");
                ExitCode::from(4)
            }
        }
    }
}

impl From<AttachError> for Failure {
    fn from(error: AttachError) -> Self {
        Self::Attach(error)
    }
}

impl From<anyhow::Error> for Failure {
    /// A closed pipe is no failure: `ctwatch watch | head` ends when head does.
    fn from(error: anyhow::Error) -> Self {
        match error.downcast_ref::<io::Error>() {
            Some(io) if io.kind() == io::ErrorKind::BrokenPipe => Self::None,
            _ => Self::Runtime(error),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        anyhow::Error::from(error).into()
    }
}
