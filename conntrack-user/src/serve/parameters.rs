//! The part of an address behind `?`: what is asked for, and a sentence for whoever asked wrongly.

use std::borrow::Cow;

use jiff::Timestamp;
use thiserror::Error;

use super::told::{REFUSALS, Stamped};
use crate::engine::notice::Refusal;

/// Refusals in one answer, if it is not said how many.
pub const LIMIT: usize = 1000;

/// What is wrong with a parameter: one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParameterError {
    /// No such parameter.
    #[error("there is no parameter {0:?} here, only: {1}")]
    Unknown(String, &'static str),
    /// It is given twice.
    #[error("the parameter {0:?} is given twice")]
    Twice(&'static str),
    /// Not a time.
    #[error(
        "since={0:?} is no time: write RFC 3339 with a zone (2026-11-20T10:15:03.25Z), @ and Unix seconds \
         (@1795169703.25), or ktime_ns (3250123456)"
    )]
    Since(String),
    /// Not a number, or too large.
    #[error("limit={0:?} is no number from 1 to {REFUSALS}")]
    Limit(String),
}

/// From when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Nanoseconds since 1970.
    Unix(i128),
    /// CLOCK_MONOTONIC, in nanoseconds.
    Ktime(u64),
}

impl Since {
    /// Reads RFC 3339 with a zone, `@` and Unix seconds, or `ktime_ns`.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(seconds) = text.strip_prefix('@') {
            return unix_seconds(seconds).map(Self::Unix);
        }
        if !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit()) {
            return text.parse().ok().map(Self::Ktime);
        }
        text.parse::<Timestamp>().ok().map(|at| Self::Unix(at.as_nanosecond()))
    }

    /// Whether it was then or later, by the wall clock that was told with it.
    pub fn takes_in(self, refusal: &Stamped<Refusal>) -> bool {
        match self {
            Self::Unix(from) => refusal.wall.unix_ns(refusal.it.ktime_ns) >= from,
            Self::Ktime(from) => refusal.it.ktime_ns >= from,
        }
    }
}

/// Exactly: a float has not digits enough.
fn unix_seconds(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    if whole.is_empty() || whole.len() > 12 || fraction.len() > 9 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let nanoseconds: i128 = format!("{fraction:0<9}").parse().ok()?;
    Some(whole.parse::<i128>().ok()? * 1_000_000_000 + nanoseconds)
}

/// What `/api/v1/refused` is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusals {
    /// From when on; None: from the oldest on that is kept.
    pub since: Option<Since>,
    /// At most so many.
    pub limit: usize,
}

impl Refusals {
    /// Reads what is behind `?`.
    pub fn parse(query: &str) -> Result<Self, ParameterError> {
        let (mut since, mut limit) = (None, None);
        for (name, value) in pairs(query) {
            match &*name {
                "since" if since.is_some() => return Err(ParameterError::Twice("since")),
                "limit" if limit.is_some() => return Err(ParameterError::Twice("limit")),
                "since" => {
                    let read = Since::parse(&value);
                    since = Some(read.ok_or_else(|| ParameterError::Since(shortened(&value)))?);
                }
                "limit" => {
                    let read = value.parse().ok().filter(|limit| (1..=REFUSALS).contains(limit));
                    limit = Some(read.ok_or_else(|| ParameterError::Limit(shortened(&value)))?);
                }
                _ => return Err(ParameterError::Unknown(shortened(&name), "since, limit")),
            }
        }
        Ok(Self { since, limit: limit.unwrap_or(LIMIT) })
    }
}

/// Where nothing can be asked for.
pub fn none(query: &str) -> Result<(), ParameterError> {
    match pairs(query).next() {
        Some((name, _)) => Err(ParameterError::Unknown(shortened(&name), "none")),
        None => Ok(()),
    }
}

/// Enough of it to be recognized.
fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

/// Undoes `%3A`. A plus stays what it is, because it is more often that of a zone than a space.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return text.into();
    }
    let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => hex(*high).zip(hex(*low)),
            _ => None,
        };
        let (byte, used) = escaped.map_or((*first, 1), |(high, low)| (high * 16 + low, 3));
        bytes.push(byte);
        rest = &rest[used..];
    }
    String::from_utf8_lossy(&bytes).into_owned().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_written_in_three_ways() {
        const AT: i128 = 1_795_169_703_250_000_000;
        for text in [
            "2026-11-20T10:15:03.25Z",
            "2026-11-20T11:15:03.25+01:00",
            "@1795169703.25",
            "@1795169703.250000000",
        ] {
            assert_eq!(Since::parse(text), Some(Since::Unix(AT)), "{text}");
        }
        assert_eq!(Since::parse("3250123456"), Some(Since::Ktime(3_250_123_456)));
        let wrong = [
            "",
            "@",
            "@-1",
            "@.5",
            "@1.0000000001",
            "@1.x",
            "yesterday",
            "2026-11-20T10:15:03",
            "-1",
            "18446744073709551616",
        ];
        for text in wrong {
            assert_eq!(Since::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_asked() {
        let asked = |since, limit| Ok(Refusals { since, limit });
        assert_eq!(Refusals::parse(""), asked(None, LIMIT));
        assert_eq!(Refusals::parse("since=5&limit=10"), asked(Some(Since::Ktime(5)), 10));
        let zone = "since=2026-11-20T11%3A15%3a03.25+01:00";
        assert_eq!(Refusals::parse(zone), asked(Some(Since::Unix(1_795_169_703_250_000_000)), LIMIT));
        for (query, word) in [
            ("since=now", "\"now\" is no time"),
            ("since", "\"\" is no time"),
            ("limit=0", "no number"),
            ("limit=10001", "no number"),
            ("limit=ten", "no number"),
            ("since=1&since=2", "twice"),
            ("limit=1&limit=1", "twice"),
            ("until=5", "only: since, limit"),
            ("%zz=1", "no parameter"),
        ] {
            let error = Refusals::parse(query).expect_err(query).to_string();
            assert!(error.contains(word), "{query}: {error}");
        }
        assert!(none("").is_ok() && none("&").is_ok() && none("a=1").is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_asked_has_an_answer(query in ".*", more in prop::collection::vec(any::<u8>(), 0..99)) {
            for text in [query, String::from_utf8_lossy(&more).into_owned()] {
                if let Err(error) = Refusals::parse(&text) {
                    prop_assert!(error.to_string().len() < 1200);
                }
                let _ = Refusals::parse(&format!("since={text}"));
            }
        }

        #[test]
        fn a_time_that_was_written_is_read(ns in 0i128..4_000_000_000_000_000_000) {
            let (s, rest) = (ns / 1_000_000_000, ns % 1_000_000_000);
            prop_assert_eq!(Since::parse(&format!("@{s}.{rest:09}")), Some(Since::Unix(ns)));
            let stamp = Timestamp::from_nanosecond(ns).expect("in range").to_string();
            prop_assert_eq!(Since::parse(&stamp), Some(Since::Unix(ns)));
        }
    }
}
