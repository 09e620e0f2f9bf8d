//! What is written as the value of a key, and what it is read as.

use std::{
    fmt::Display,
    net::{Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use toml::de::DeValue;

use crate::quantity::{self, write_duration};

/// A value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// `"8M"`
    Text(String),
    /// `80`
    Number(i64),
    /// `true`
    Switch(bool),
    /// `["a", "b"]`
    List(Vec<String>),
    /// A variable or a flag, which have no types.
    Plain(String),
}

/// What is wrong with a value, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub what: String,
    pub remedy: String,
}

pub(super) fn wrong(what: impl Into<String>, remedy: impl Into<String>) -> Wrong {
    Wrong { what: what.into(), remedy: remedy.into() }
}

impl Value {
    /// Of a file; an error names what it is instead.
    pub fn of(value: &DeValue<'_>) -> Result<Self, Wrong> {
        match value {
            DeValue::String(text) => Ok(Self::Text(text.to_string())),
            DeValue::Boolean(on) => Ok(Self::Switch(*on)),
            DeValue::Integer(number) => {
                let digits = number.as_str().strip_prefix('+').unwrap_or(number.as_str());
                i64::from_str_radix(digits, number.radix())
                    .map(Self::Number)
                    .map_err(|_| wrong(format!("{digits} is too large"), "write a smaller number"))
            }
            DeValue::Array(values) => {
                let texts = values.iter().map(|value| value.get_ref().as_str().map(str::to_owned));
                let list: Option<_> = texts.collect();
                list.map(Self::List).ok_or_else(|| {
                    wrong("not all of the list is text", "put each in quotes, e.g. [\"a\", \"b\"]")
                })
            }
            other => Err(wrong(
                format!("a {} is not expected here", other.type_str()),
                "see docs/configuration.md for what the key takes",
            )),
        }
    }

    /// Text in quotes; of a variable or a flag, all of it.
    pub fn text(&self) -> Result<&str, Wrong> {
        match self {
            Self::Text(text) | Self::Plain(text) => Ok(text),
            Self::Number(number) => {
                Err(wrong(format!("{number} is a number"), format!("write \"{number}\"")))
            }
            Self::Switch(on) => Err(wrong(format!("{on} is not text"), "write text in quotes")),
            Self::List(_) => Err(wrong("it is a list", "write one text in quotes")),
        }
    }

    /// A list; one text alone is a list of one. Variables and flags are split at blanks.
    pub fn list(&self) -> Result<Vec<String>, Wrong> {
        match self {
            Self::List(list) => Ok(list.clone()),
            Self::Text(text) => Ok(vec![text.clone()]),
            Self::Plain(text) => Ok(text.split_whitespace().map(str::to_owned).collect()),
            Self::Number(_) | Self::Switch(_) => {
                Err(wrong("it is no list", "write a list of texts, e.g. [\"a\", \"b\"]"))
            }
        }
    }

    pub fn switch(&self) -> Result<bool, Wrong> {
        match self {
            Self::Switch(on) => Ok(*on),
            Self::Plain(text) if text == "true" => Ok(true),
            Self::Plain(text) if text == "false" => Ok(false),
            _ => Err(wrong("it is neither true nor false", "write true or false, without quotes")),
        }
    }

    /// A number within bounds; `remedy` says what to write instead.
    pub fn number<T: TryFrom<i64> + Copy + Into<i64>>(
        &self,
        range: RangeInclusive<T>,
        remedy: &str,
    ) -> Result<T, Wrong> {
        let number = match self {
            Self::Number(number) => *number,
            Self::Plain(text) => {
                text.trim().parse().map_err(|_| wrong(format!("`{text}` is not a number"), remedy))?
            }
            _ => return Err(wrong("it is not a number", format!("{remedy}, without quotes"))),
        };
        let (least, most): (i64, i64) = ((*range.start()).into(), (*range.end()).into());
        T::try_from(number)
            .ok()
            .filter(|_| (least..=most).contains(&number))
            .ok_or_else(|| wrong(format!("{number} is not between {least} and {most}"), remedy))
    }

    /// What a parser of [`quantity`] or one like it makes of the text.
    pub fn parsed<T>(&self, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, Wrong> {
        let text = self.text()?;
        parse(text).map_err(|remedy| wrong(format!("`{text}` is not understood"), remedy))
    }

    /// A time within bounds.
    pub fn duration(&self, range: RangeInclusive<Duration>) -> Result<Duration, Wrong> {
        if let Self::Number(number) = self {
            let remedy = format!("write a time with its unit in quotes, e.g. \"{number}s\"");
            return Err(wrong(format!("{number} has no unit"), remedy));
        }
        let duration = self.parsed(quantity::long_duration)?;
        if range.contains(&duration) {
            return Ok(duration);
        }
        let [given, least, most] = [duration, *range.start(), *range.end()].map(write_duration);
        Err(wrong(format!("{given} is not between {least} and {most}"), format!("write e.g. \"{least}\"")))
    }

    /// One of several names.
    pub fn one_of<T: Copy>(&self, all: &[T], name: impl Fn(T) -> &'static str) -> Result<T, Wrong> {
        named(self.text()?, all, name)
    }

    /// Several of several names.
    pub fn some_of<T: Copy>(&self, all: &[T], name: impl Fn(T) -> &'static str) -> Result<Vec<T>, Wrong> {
        self.list()?.iter().map(|text| named(text, all, &name)).collect()
    }

    /// An absolute path; none if it is empty.
    pub fn path(&self) -> Result<Option<PathBuf>, Wrong> {
        let text = self.text()?;
        if text.contains('\0') {
            return Err(wrong("it holds a NUL", "write a path without one"));
        }
        match text {
            "" => Ok(None),
            path if path.starts_with('/') => Ok(Some(path.into())),
            path => Err(wrong(format!("`{path}` is relative"), "write a path that begins with /")),
        }
    }

    /// Addresses with ports; none for `none`.
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, Wrong> {
        let list = self.list()?;
        if list == ["none"] {
            return Ok(Vec::new());
        }
        if list.is_empty() {
            return Err(wrong("the list is empty", "write \"none\" to switch HTTP off"));
        }
        let mut addresses = Vec::new();
        for text in &list {
            let address = address(text)?;
            if addresses.contains(&address) {
                return Err(wrong(format!("{text} is there twice"), "write each address once"));
            }
            addresses.push(address);
        }
        Ok(addresses)
    }
}

fn named<T: Copy>(text: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Result<T, Wrong> {
    all.iter().copied().find(|one| name(*one) == text).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|one| name(*one)).collect();
        wrong(format!("`{text}` is not known"), format!("write one of {}", names.join(", ")))
    })
}

/// `127.0.0.1:9754`, `[::1]:9754`, or `:9754` for all addresses.
fn address(text: &str) -> Result<SocketAddr, Wrong> {
    let remedy = "write address and port, e.g. 127.0.0.1:9754, [::1]:9754, or :9754 for all addresses";
    let all = text.strip_prefix(':').and_then(|port| port.parse().ok());
    let address = all.map(|port: u16| (Ipv6Addr::UNSPECIFIED, port).into());
    let address = address.or_else(|| text.parse().ok());
    address.ok_or_else(|| wrong(format!("`{text}` is no address with a port"), remedy))
}

/// A list as TOML has it.
pub(super) fn write_list<'a>(list: impl IntoIterator<Item = impl AsRef<str> + 'a>) -> String {
    let list: Vec<_> = list.into_iter().map(|text| write_text(text.as_ref())).collect();
    format!("[{}]", list.join(", "))
}

/// Text in quotes, as TOML has it.
pub(super) fn write_text(text: impl Display) -> String {
    let mut quoted = String::from("\"");
    for c in text.to_string().chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
