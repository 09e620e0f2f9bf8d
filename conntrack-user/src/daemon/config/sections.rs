//! The settings, by section. What each is for, people read in [`KEYS`](super::KEYS).

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use crate::{
    engine::saturation::{State, Thresholds},
    kernel::{attach, backend::BackendChoice},
};

/// Answering HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Web {
    /// None: no HTTP.
    pub listen_address: Vec<SocketAddr>,
    /// Prometheus's web configuration file.
    pub config_file: Option<PathBuf>,
}

/// Attaching to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attach {
    /// Way into the kernel.
    pub backend: BackendChoice,
    /// Bytes of the entries ring.
    pub entries_ring: u32,
    /// Bytes of the incidents ring.
    pub incidents_ring: u32,
    /// Time between two audits.
    pub audit: Duration,
    /// Whether to wait for conntrack.
    pub wait: bool,
    /// Percent of the limit from which there is pressure.
    pub warn: u8,
}

/// What is put up for scrapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Sources that are named.
    pub top_sources: usize,
    /// Whether `node_nf_conntrack_*` is there too.
    pub node_exporter: bool,
    /// Time between two pictures.
    pub interval: Duration,
}

/// The flight recorder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// None: nothing is recorded.
    pub dir: Option<PathBuf>,
    /// How long every new and freed entry is kept.
    pub detail_max_age: Duration,
    /// Bytes of that.
    pub detail_max_size: u64,
    /// How long the rest is kept.
    pub max_age: Duration,
    /// Bytes of that.
    pub max_size: u64,
    /// Incidents a second that are kept one by one.
    pub incidents_per_second: usize,
    /// Sources in each list of those that hold most.
    pub top: usize,
    /// Time between two such lists.
    pub interval: Duration,
}

/// The program that is run.
#[derive(Clone, PartialEq, Eq)]
pub struct OnSaturation {
    /// Program and arguments; empty: none is run.
    pub command: Vec<String>,
    /// What it is run on.
    pub on: Vec<OnEdge>,
    /// Least time between two runs.
    pub min_interval: Duration,
    /// How long it may run.
    pub time_limit: Duration,
    /// Whom it is run as by a daemon of root.
    pub user: String,
}

/// The program's own log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// What is logged.
    pub level: Level,
    /// Where to, and how.
    pub format: LogFormat,
}

/// An edge that a program may be run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnEdge {
    /// Others' entries are freed to make room.
    Evicting,
    /// Connections are refused.
    Refusing,
    /// It is over.
    Recovered,
}

/// From which severity on lines are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What does not work.
    Error,
    /// What works less well than it should.
    Warn,
    /// What happens to the table.
    Info,
    /// What the program does.
    Debug,
    /// Everything.
    Trace,
}

/// How it is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// To the journal where standard error leads there, else text.
    Auto,
    /// Lines on standard error.
    Text,
    /// To the journal, with fields.
    Journald,
}

impl Attach {
    /// When a table counts as full.
    pub fn thresholds(&self) -> Thresholds {
        Thresholds::warn_at(self.warn)
    }

    /// As the kernel room wants it.
    pub fn options(&self, read_mark: bool, read_tcp_state: bool) -> attach::Options {
        attach::Options {
            backend: self.backend,
            entries_ring_bytes: self.entries_ring,
            incidents_ring_bytes: self.incidents_ring,
            read_mark,
            read_tcp_state,
            audit_ns: u64::try_from(self.audit.as_nanos()).unwrap_or(u64::MAX),
        }
    }
}

impl OnSaturation {
    /// Whether the program is to be run when a table comes into this state.
    pub fn wants(&self, state: State) -> bool {
        !self.command.is_empty() && self.on.iter().any(|edge| edge.state() == state)
    }
}

impl OnEdge {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Evicting, Self::Refusing, Self::Recovered];

    /// The state that the edge leads to.
    pub fn state(self) -> State {
        match self {
            Self::Evicting => State::Evicting,
            Self::Refusing => State::Refusing,
            Self::Recovered => State::Recovered,
        }
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        self.state().as_str()
    }
}

impl Level {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// As it is written, and as tracing's filters have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl LogFormat {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Text, Self::Journald];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Journald => "journald",
        }
    }
}

impl Default for Web {
    fn default() -> Self {
        Self { listen_address: vec![(Ipv4Addr::LOCALHOST, 9754).into()], config_file: None }
    }
}

impl Default for Attach {
    fn default() -> Self {
        Self {
            backend: BackendChoice::Auto,
            entries_ring: 8 << 20,
            incidents_ring: 2 << 20,
            audit: Duration::from_secs(60),
            wait: true,
            warn: 80,
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self { top_sources: 20, node_exporter: false, interval: Duration::from_secs(1) }
    }
}

impl Default for Recording {
    fn default() -> Self {
        Self {
            dir: Some("/var/lib/ctwatch".into()),
            detail_max_age: Duration::from_secs(600),
            detail_max_size: 256 << 20,
            max_age: Duration::from_secs(14 * 86_400),
            max_size: 1 << 30,
            incidents_per_second: 2_000,
            top: 20,
            interval: Duration::from_secs(10),
        }
    }
}

impl Default for OnSaturation {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            on: OnEdge::ALL.to_vec(),
            min_interval: Duration::from_secs(60),
            time_limit: Duration::from_secs(10),
            user: "nobody".to_owned(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: Level::Info, format: LogFormat::Auto }
    }
}

/// Arguments of a command may be secrets: the address of a pager, its key.
impl fmt::Debug for OnSaturation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, on, min_interval, time_limit, user } = self;
        f.debug_struct("OnSaturation")
            .field("program", &command.first())
            .field("arguments", &command.len().saturating_sub(1))
            .field("on", on)
            .field("min_interval", min_interval)
            .field("time_limit", time_limit)
            .field("user", user)
            .finish()
    }
}
