//! Where the daemon's log goes: to the journal with fields, or as lines on standard error.

use std::{
    env,
    io::{self, IsTerminal as _},
};

use anyhow::{Context as _, Result};
use rustix::fs::fstat;
use tracing_subscriber::{
    EnvFilter, Registry, fmt::format, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

use super::config;

/// What journal fields of ours begin with: `CTWATCH_NETNS`.
const FIELD_PREFIX: &str = "CTWATCH";

/// The log, whose level can be changed.
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
}

/// Begins to log. `CTWATCH_LOG`, in the syntax of tracing's filters, goes before the level.
pub fn init(log: &config::Log) -> Result<Log> {
    let (filter, handle) = reload::Layer::new(filter(log.level));
    let journal = match log.format {
        config::LogFormat::Auto => is_journal(env::var("JOURNAL_STREAM").ok().as_deref()),
        config::LogFormat::Journald => true,
        config::LogFormat::Text => false,
    };
    let registry = tracing_subscriber::registry().with(filter);
    if journal {
        let journal =
            tracing_journald::layer().context("reach the journal; with log.format = \"text\" it is not")?;
        let journal = journal
            .with_field_prefix(Some(FIELD_PREFIX.to_owned()))
            .with_syslog_identifier("ctwatch".to_owned());
        registry.with(journal).try_init()?;
    } else {
        // The fields are in the words too; by themselves they are for the journal.
        let words = format::debug_fn(|out, field, value| match field.name() {
            "message" => write!(out, "{value:?}"),
            _ => Ok(()),
        });
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .fmt_fields(words);
        registry.with(lines).try_init()?;
    }
    Ok(Log { filter: handle })
}

impl Log {
    /// Logs from this severity on.
    pub fn set_level(&self, level: config::Level) -> Result<()> {
        self.filter.reload(filter(level)).context("change what is logged")
    }
}

/// Others' crates only where something is wrong, unless everything is wanted.
fn filter(level: config::Level) -> EnvFilter {
    let default = || match level {
        config::Level::Trace => EnvFilter::new("trace"),
        level => EnvFilter::new(format!("warn,conntrack_user={}", level.as_str())),
    };
    EnvFilter::try_from_env("CTWATCH_LOG").unwrap_or_else(|_| default())
}

/// Whether standard error is the stream to the journal that systemd has made: device and inode are told.
fn is_journal(stream: Option<&str>) -> bool {
    let told = stream.and_then(|stream| stream.split_once(':'));
    let told = told.and_then(|(device, inode)| Some((device.parse().ok()?, inode.parse().ok()?)));
    told.is_some_and(|told: (u64, u64)| {
        fstat(io::stderr()).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == told)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        let stat = fstat(io::stderr()).expect("standard error is there");
        assert!(is_journal(Some(&format!("{}:{}", stat.st_dev, stat.st_ino))));
        for other in
            [None, Some(""), Some("8"), Some("a:b"), Some(&*format!("{}:{}", stat.st_dev, stat.st_ino + 1))]
        {
            assert!(!is_journal(other), "{other:?}");
        }
    }
}
