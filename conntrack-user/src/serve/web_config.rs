//! Prometheus's web configuration file: TLS, passwords and headers. What of it is not done here is an error, never ignored:
//! a file that asks for more protection than it gets would be a trap.

mod file;
mod tls;
mod users;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};
use thiserror::Error;
use tokio_rustls::rustls::ServerConfig;

pub use file::{Description, Mistake};
pub use users::{Users, Verdict, Workers};

/// The largest file that is read.
const LARGEST: u64 = 1 << 20;

/// What is wrong with a web configuration.
#[derive(Debug, Error)]
pub enum WebConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is too large to be one.
    #[error("{} is larger than 1 MiB, which no web configuration, certificate or key is", .0.display())]
    TooLarge(PathBuf),
    /// It says what it should not.
    #[error("{}{}: {}", path.display(), .mistake.line.map(|line| format!(":{line}")).unwrap_or_default(), .mistake.what)]
    Mistake {
        /// The file.
        path: PathBuf,
        /// Where and what.
        mistake: Mistake,
    },
    /// A certificate or key it names is of no use.
    #[error("{}: {key}: {what}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// The key that names it.
        key: &'static str,
        /// What is wrong.
        what: String,
    },
}

/// What the file asks for.
#[derive(Debug)]
pub struct WebConfig {
    /// TLS, if it is spoken.
    pub tls: Option<Arc<ServerConfig>>,
    /// Who is let in.
    pub users: Users,
    /// Headers of every answer.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl WebConfig {
    /// No TLS, no password.
    pub fn open() -> Self {
        Self { tls: None, users: Users::everybody(), headers: Vec::new() }
    }

    /// Reads the file, and the certificates and keys it names. Paths in it begin at its folder.
    pub fn read(path: &Path) -> Result<Self, WebConfigError> {
        let text = read(path)?;
        let path = || path.to_owned();
        let mistake = |mistake| WebConfigError::Mistake { path: path(), mistake };
        let text = std::str::from_utf8(&text)
            .map_err(|error| mistake(Mistake { line: None, what: format!("not UTF-8: {error}") }))?;
        let description = Description::parse(text).map_err(mistake)?;
        let folder = path().parent().map(Path::to_owned).unwrap_or_default();
        let tls = match &description.tls {
            Some(wanted) => Some(tls::server_config(wanted, &folder, &path())?),
            None => None,
        };
        Ok(Self { tls, users: Users::new(description.users), headers: description.headers })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, WebConfigError> {
    use std::io::Read;
    let unreadable = |source| WebConfigError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err(WebConfigError::TooLarge(path.to_owned()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
