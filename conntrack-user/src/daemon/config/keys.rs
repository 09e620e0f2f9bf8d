//! What a key is, and the sections they are in.

mod table;

pub use table::KEYS;

use super::{
    Config,
    value::{Value, Wrong},
};

/// A table of the file.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// `attach`
    pub name: &'static str,
    /// What its keys are about, one sentence.
    pub about: &'static str,
}

/// A key, and how it is read and written.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// `attach`
    pub section: &'static str,
    /// `entries_ring`
    pub name: &'static str,
    /// What it is for, and in what unit; one or more sentences.
    pub about: &'static str,
    /// Whether a running daemon can take a new value over.
    pub reloads: bool,
    /// The value of a configuration, as TOML.
    pub get: fn(&Config) -> String,
    pub(super) set: fn(&mut Config, &Value) -> Result<(), Wrong>,
}

impl Key {
    /// `attach.entries_ring`
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// `CTWATCH_ATTACH_ENTRIES_RING`
    pub fn variable(&self) -> String {
        format!("CTWATCH_{}_{}", self.section, self.name).to_uppercase()
    }

    /// `attach.entries-ring`; as it is given, two dashes before it.
    pub fn flag(&self) -> String {
        // Prometheus's own name, with one more dot than there are sections.
        match (self.section, self.name) {
            ("web", "config_file") => "web.config.file".to_owned(),
            _ => self.path().replace('_', "-"),
        }
    }

    /// The built-in default, as TOML.
    pub fn default(&self) -> String {
        (self.get)(&Config::default())
    }
}

/// The sections, as they are written.
pub const SECTIONS: [Section; 6] = [
    Section { name: "web", about: "HTTP: metrics, health, the JSON of views, a page for people." },
    Section { name: "attach", about: "How to attach to the kernel." },
    Section { name: "metrics", about: "What a scrape is made of." },
    Section {
        name: "recording",
        about: "The flight recorder: the last minutes with every entry, and days of what happened to the table.",
    },
    Section {
        name: "on_saturation",
        about: "A program that is run when a table fills or has recovered, with the episode as one JSON object on its \
                standard input.",
    },
    Section { name: "log", about: "The daemon's own log." },
];
