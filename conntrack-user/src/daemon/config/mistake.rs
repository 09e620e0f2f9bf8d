//! What is wrong with a configuration: where, which key, what, and what to do about it.

use std::fmt;

/// One mistake; a sentence a person can act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// `/etc/ctwatch/ctwatch.toml:12`, a variable, or a flag.
    pub place: String,
    /// The line of the file, from 1; 0 elsewhere.
    pub line: usize,
    /// `attach.warn`; none where the file cannot be read at all.
    pub key: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
}

/// All mistakes of a configuration, never none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, line: _, key, what, remedy } = self;
        write!(f, "{place}: ")?;
        if let Some(key) = key {
            write!(f, "{key}: ")?;
        }
        write!(f, "{what}: {remedy}")
    }
}

fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n")
}
