//! What would be set otherwise: `time_wait=30,max=524288`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::timeouts::{Timeout, Timeouts};

/// What all sysctls have in common.
const PREFIX: &str = "nf_conntrack_";

/// Settings other than those that were recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// `nf_conntrack_max`
    pub max: Option<u32>,
    /// `nf_conntrack_buckets`, which matters to memory only.
    pub buckets: Option<u64>,
    /// Timeouts in seconds, each once, in the order of [`Timeout::ALL`].
    pub timeouts: Vec<(Timeout, u64)>,
}

/// Why a text is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseError {
    /// Not `NAME=VALUE`.
    #[error("{0:?} is not NAME=VALUE, such as time_wait=30 or max=524288")]
    Shape(String),
    /// No such setting, or none that can be simulated.
    #[error("no setting {0:?} can be simulated; there are max, buckets, {names}", names = names())]
    Name(String),
    /// The value is no number, or none that the kernel would take.
    #[error("{name} cannot be {value:?}: {wanted}")]
    Value {
        /// Which setting.
        name: &'static str,
        /// What was given.
        value: String,
        /// What could be.
        wanted: &'static str,
    },
    /// The same setting once more.
    #[error("{0} is given twice")]
    Twice(&'static str),
}

fn names() -> String {
    Timeout::ALL.map(Timeout::short_name).join(", ")
}

impl Changes {
    /// The timeouts of a namespace whose recorded ones are given.
    pub fn apply(&self, recorded: &Timeouts) -> Timeouts {
        let mut changed = *recorded;
        self.timeouts.iter().for_each(|(timeout, seconds)| changed.set(*timeout, *seconds));
        changed
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), ParseError> {
        match name {
            "max" => once(&mut self.max, "max", count(value).filter(|max| *max > 0), value),
            "buckets" => once(&mut self.buckets, "buckets", count(value).filter(|it| *it > 0), value),
            _ => {
                let timeout =
                    Timeout::ALL.into_iter().find(|it| it.name() == name || it.short_name() == name);
                let timeout = timeout.ok_or_else(|| ParseError::Name(name.to_owned()))?;
                if self.timeouts.iter().any(|(other, _)| *other == timeout) {
                    return Err(ParseError::Twice(timeout.name()));
                }
                let wanted = "a time in seconds, or with s, m, h or d, up to 2147483s";
                let seconds = seconds(value).ok_or_else(|| ParseError::Value {
                    name: timeout.name(),
                    value: value.to_owned(),
                    wanted,
                })?;
                self.timeouts.push((timeout, seconds));
                Ok(())
            }
        }
    }
}

fn once<T>(
    place: &mut Option<T>,
    name: &'static str,
    value: Option<T>,
    text: &str,
) -> Result<(), ParseError> {
    if place.is_some() {
        return Err(ParseError::Twice(name));
    }
    *place = value;
    let wanted = "a whole number above 0";
    if place.is_some() { Ok(()) } else { Err(ParseError::Value { name, value: text.to_owned(), wanted }) }
}

fn count<T: TryFrom<u64>>(text: &str) -> Option<T> {
    T::try_from(text.parse::<u64>().ok()?).ok()
}

/// Up to what fits the kernel's timers, which are half of 32 bits of ticks of a millisecond.
fn seconds(text: &str) -> Option<u64> {
    const LONGEST: u64 = (i32::MAX / 1_000) as u64;
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit).filter(|seconds| *seconds <= LONGEST)
}

impl FromStr for Changes {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut changes = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| ParseError::Shape(part.to_owned()))?;
            let name = name.trim();
            changes.take(name.strip_prefix(PREFIX).unwrap_or(name), value.trim())?;
        }
        if changes == Self::default() {
            return Err(ParseError::Shape(text.to_owned()));
        }
        changes.timeouts.sort_unstable();
        Ok(changes)
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { max, buckets, timeouts } = self;
        let numbers = [("max", max.map(u64::from)), ("buckets", *buckets)];
        let numbers = numbers.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        let timeouts =
            timeouts.iter().map(|(timeout, seconds)| format!("{}={seconds}", timeout.short_name()));
        f.write_str(&numbers.chain(timeouts).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_or_the_kernels_own_and_times_have_units() {
        let text =
            "time_wait=30, max=524288,udp=10s,nf_conntrack_tcp_timeout_established=1h,udp_timeout_stream=2m,";
        let changes: Changes = text.parse().expect("a list of settings");
        let expected = Changes {
            max: Some(524_288),
            buckets: None,
            timeouts: vec![
                (Timeout::TcpEstablished, 3_600),
                (Timeout::TcpTimeWait, 30),
                (Timeout::Udp, 10),
                (Timeout::UdpStream, 120),
            ],
        };
        assert_eq!(changes, expected);
        let shown = "max=524288,established=3600,time_wait=30,udp=10,udp_stream=120";
        assert_eq!(changes.to_string(), shown);
        assert_eq!(shown.parse(), Ok(changes));
    }

    #[test]
    fn one_line_says_what_is_wrong() {
        let error = |text: &str| text.parse::<Changes>().expect_err(text).to_string();
        assert!(
            error("timewait=30")
                .starts_with(r#"no setting "timewait" can be simulated; there are max, buckets, syn_sent"#)
        );
        assert!(error("timewait=30").ends_with("gre_stream, generic"));
        for (text, said) in [
            ("", r#""" is not NAME=VALUE"#),
            ("max", r#""max" is not NAME=VALUE"#),
            ("max=0", r#"max cannot be "0""#),
            ("max=4294967296", r#"max cannot be "4294967296""#),
            ("udp=-1", r#"udp_timeout cannot be "-1""#),
            ("udp=10w", r#"udp_timeout cannot be "10w""#),
            ("udp=25d", r#"udp_timeout cannot be "25d""#),
            ("udp=1,udp_timeout=2", "udp_timeout is given twice"),
            ("max=1,max=2", "max is given twice"),
        ] {
            assert!(error(text).starts_with(said), "{text}: {}", error(text));
        }
    }
}
