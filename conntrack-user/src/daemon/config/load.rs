//! Merges what is given: built-in defaults < file < environment < flags. All mistakes are told, not just the first.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use super::{
    Config, DEFAULT_FILE, KEYS, Key, Mistake, Mistakes, SECTIONS,
    value::{Value, Wrong, wrong},
};

/// What a variable of ours begins with.
const PREFIX: &str = "CTWATCH_";

/// More than any configuration needs.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Everything that settings are made of, read but not understood.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Path and bytes of the file, if there is one.
    pub file: Option<(PathBuf, Vec<u8>)>,
    /// The environment; others' variables are passed over.
    pub variables: Vec<(String, String)>,
    /// Flags by key, with the values of each in the order they were given.
    pub flags: Vec<(&'static Key, Vec<String>)>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// Path and line.
    File(PathBuf, usize),
    /// Its name.
    Variable(String),
    /// Its name, with its dashes.
    Flag(String),
}

/// A configuration, and where each of its values comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What holds.
    pub config: Config,
    /// In the order of [`KEYS`].
    pub origins: Vec<Origin>,
}

/// Reads the file: the one that is named, else [`DEFAULT_FILE`] if it is there.
pub fn read(named: Option<&Path>) -> Result<Option<(PathBuf, Vec<u8>)>, Mistakes> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    match read_bounded(path) {
        Ok(bytes) => Ok(Some((path.to_owned(), bytes))),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let user =
                "make it readable for the user ctwatch runs as, or name another with --config".to_owned();
            let what = format!("cannot be read: {error}");
            let place = path.display().to_string();
            Err(Mistakes(vec![Mistake { place, line: 0, key: None, what, remedy: user }]))
        }
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other("it is larger than a megabyte"));
    }
    Ok(bytes)
}

/// Understands what is given; pure.
pub fn load(given: &Given) -> Result<Loaded, Mistakes> {
    let config = Config::default();
    let mut loading = Loading { config, origins: vec![Origin::Default; KEYS.len()], mistakes: Vec::new() };
    if let Some((path, bytes)) = &given.file {
        loading.file(path, bytes);
    }
    loading.variables(&given.variables);
    for (key, values) in &given.flags {
        let origin = Origin::Flag(format!("--{}", key.flag()));
        let value = match values.as_slice() {
            [one] => Value::Plain(one.clone()),
            several => Value::List(several.to_vec()),
        };
        loading.set(key, Ok(value), origin);
    }
    let Loading { config, origins, mut mistakes } = loading;
    if mistakes.is_empty() {
        return Ok(Loaded { config, origins });
    }
    mistakes.sort_by_key(|mistake| mistake.line);
    Err(Mistakes(mistakes))
}

struct Loading {
    config: Config,
    origins: Vec<Origin>,
    mistakes: Vec<Mistake>,
}

impl Loading {
    fn set(&mut self, key: &Key, value: Result<Value, Wrong>, origin: Origin) {
        match value.and_then(|value| (key.set)(&mut self.config, &value)) {
            Ok(()) => {
                let at = KEYS.iter().position(|known| known.path() == key.path());
                at.into_iter().for_each(|at| self.origins[at] = origin.clone());
            }
            Err(wrong) => self.mistake(&origin, Some(key.path()), wrong),
        }
    }

    fn mistake(&mut self, origin: &Origin, key: Option<String>, Wrong { what, remedy }: Wrong) {
        let line = if let Origin::File(_, line) = origin { *line } else { 0 };
        self.mistakes.push(Mistake { place: origin.to_string(), line, key, what, remedy });
    }

    fn file(&mut self, path: &Path, bytes: &[u8]) {
        let at = |offset: usize| {
            let before = &bytes[..offset.min(bytes.len())];
            Origin::File(path.to_owned(), 1 + before.iter().filter(|byte| **byte == b'\n').count())
        };
        let text = match str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let wrong = wrong("it is not UTF-8", "save the file as UTF-8");
                return self.mistake(&at(error.valid_up_to()), None, wrong);
            }
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let what = error.message().replace('\n', ", ");
            let origin = at(error.span().map_or(0, |span| span.start));
            self.mistake(&origin, None, wrong(what, "write TOML, e.g. warn = 80 below [attach]"));
        }
        // What was made of a line that is not TOML is anybody's guess.
        let broken: Vec<Origin> =
            errors.iter().map(|error| at(error.span().map_or(0, |span| span.start))).collect();
        for (name, value) in table.get_ref() {
            let origin = at(name.span().start);
            match value.get_ref() {
                _ if broken.contains(&origin) => {}
                DeValue::Table(keys) if is_section(name.get_ref()) => {
                    self.section(name.get_ref(), keys, at, &broken);
                }
                _ => self.mistake(&origin, Some(name.get_ref().to_string()), unknown_section(name.get_ref())),
            }
        }
    }

    fn section(
        &mut self,
        section: &str,
        keys: &DeTable<'_>,
        at: impl Fn(usize) -> Origin,
        broken: &[Origin],
    ) {
        for (name, value) in keys {
            let origin = at(name.span().start);
            if broken.contains(&origin) {
                continue;
            }
            match key_of(section, name.get_ref()) {
                Some(key) => self.set(key, Value::of(value.get_ref()), origin),
                None => {
                    let path = format!("{section}.{}", name.get_ref());
                    self.mistake(&origin, Some(path), unknown_key(section));
                }
            }
        }
    }

    fn variables(&mut self, variables: &[(String, String)]) {
        for (name, text) in variables {
            let origin = Origin::Variable(name.clone());
            if let Some(key) = KEYS.iter().find(|key| key.variable() == *name) {
                self.set(key, Ok(Value::Plain(text.clone())), origin);
            } else if let Some(section) = section_of_variable(name) {
                self.mistake(&origin, None, unknown_key(section));
            }
        }
    }
}

impl Loaded {
    /// Every value and where it comes from, as `--check-config` prints it.
    pub fn lines(&self) -> Vec<String> {
        let values = KEYS.iter().map(|key| format!("{} = {}", key.path(), (key.get)(&self.config)));
        let values: Vec<_> = values.collect();
        let width = values.iter().map(|value| value.chars().count()).max().unwrap_or(0).min(60);
        values
            .iter()
            .zip(&self.origins)
            .map(|(value, origin)| format!("{value:width$}  # {origin}"))
            .collect()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

fn is_section(name: &str) -> bool {
    SECTIONS.iter().any(|section| section.name == name)
}

fn key_of(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && key.name == name)
}

/// The section that a variable would be of, were there such a key.
fn section_of_variable(name: &str) -> Option<&'static str> {
    let rest = name.strip_prefix(PREFIX)?;
    let of = |section: &&str| {
        rest.strip_prefix(section.to_uppercase().as_str()).is_some_and(|rest| rest.starts_with('_'))
    };
    SECTIONS.iter().map(|section| section.name).find(of)
}

fn unknown_section(name: &str) -> Wrong {
    let names: Vec<_> = SECTIONS.iter().map(|section| format!("[{}]", section.name)).collect();
    let remedy = format!("the sections are {}", names.join(", "));
    if is_section(name) {
        wrong("it is no section", format!("write [{name}] on a line of its own"))
    } else {
        wrong("there is no such section", remedy)
    }
}

fn unknown_key(section: &str) -> Wrong {
    let names: Vec<_> = KEYS.iter().filter(|key| key.section == section).map(|key| key.name).collect();
    wrong("there is no such key", format!("the keys of [{section}] are {}", names.join(", ")))
}
