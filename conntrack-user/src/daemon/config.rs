//! The daemon's configuration: built-in defaults < file < environment < flags.
//!
//! [`KEYS`] is the one table of keys: the file, `CTWATCH_…` variables, flags, `--check-config`, the shipped file and
//! docs/configuration.md are all made from it or checked against it.

mod keys;
mod load;
mod mistake;
mod reload;
mod sections;
mod shipped;
#[cfg(test)]
mod tests;
mod value;

pub use keys::{KEYS, Key, SECTIONS, Section};
pub use load::{Given, Loaded, Origin, load, read};
pub use mistake::{Mistake, Mistakes};
pub use reload::Reload;
pub use sections::{Attach, Level, Log, LogFormat, Metrics, OnEdge, OnSaturation, Recording, Web};
pub use shipped::{reference, shipped};

/// Where it is looked for if `--config` does not say.
pub const DEFAULT_FILE: &str = "/etc/ctwatch/ctwatch.toml";

/// Every setting of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `[web]`
    pub web: Web,
    /// `[attach]`
    pub attach: Attach,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[recording]`
    pub recording: Recording,
    /// `[on_saturation]`
    pub on_saturation: OnSaturation,
    /// `[log]`
    pub log: Log,
}
