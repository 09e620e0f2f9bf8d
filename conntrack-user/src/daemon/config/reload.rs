//! What of a new configuration a running daemon takes over.

use super::{Config, KEYS, Key};

/// The keys whose values differ.
#[derive(Clone, Debug, Default)]
pub struct Reload {
    /// Those that are taken over at once.
    pub apply: Vec<&'static Key>,
    /// Those that wait for a restart; until then the old value holds.
    pub needs_restart: Vec<&'static Key>,
}

impl Config {
    /// What taking over `new` means for a daemon that runs with `old`.
    pub fn changes(old: &Self, new: &Self) -> Reload {
        let changed = KEYS.iter().filter(|key| (key.get)(old) != (key.get)(new));
        let (apply, needs_restart) = changed.partition(|key| key.reloads);
        Reload { apply, needs_restart }
    }

    /// `old` with those values of `new` that need no restart.
    pub fn taken_over(old: &Self, new: &Self) -> Self {
        let Self { web, attach: _, metrics, recording, on_saturation, log } = new.clone();
        let mut taken = old.clone();
        taken.web.config_file = web.config_file;
        taken.metrics = metrics;
        taken.recording = recording;
        taken.recording.dir.clone_from(&old.recording.dir);
        taken.on_saturation = on_saturation;
        taken.on_saturation.user.clone_from(&old.on_saturation.user);
        taken.log.level = log.level;
        taken
    }
}

impl Reload {
    /// Whether a section has values to take over.
    pub fn applies_to(&self, section: &str) -> bool {
        self.apply.iter().any(|key| key.section == section)
    }

    /// One line for the log and for systemd's status.
    pub fn describe(&self) -> String {
        let names = |keys: &[&Key]| keys.iter().map(|key| key.path()).collect::<Vec<_>>().join(", ");
        match (self.apply.as_slice(), self.needs_restart.as_slice()) {
            ([], []) => "nothing has changed".to_owned(),
            (apply, []) => format!("taken over: {}", names(apply)),
            ([], restart) => format!("only a restart takes over: {}", names(restart)),
            (apply, restart) => {
                format!("taken over: {}; only a restart takes over: {}", names(apply), names(restart))
            }
        }
    }
}
