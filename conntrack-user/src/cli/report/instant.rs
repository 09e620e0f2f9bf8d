//! Reads instants as people and logs write them.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// Nanoseconds since the Unix epoch: RFC 3339 with a zone, a local time without one, or `@` and Unix seconds.
pub fn unix_ns(text: &str) -> Result<i64, String> {
    read(text, TimeZone::system).and_then(|ns| i64::try_from(ns).ok()).ok_or_else(|| {
        "write a time like 2026-11-20T10:15:03.25Z, 2026-11-20T10:15:03+01:00, 2026-11-20 10:15:03 (local) or \
         @1795169703.25"
            .to_owned()
    })
}

fn read(text: &str, local: impl FnOnce() -> TimeZone) -> Option<i128> {
    let text = text.trim();
    if let Some(seconds) = text.strip_prefix('@') {
        return unix_seconds(seconds);
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at.as_nanosecond());
    }
    let civil: DateTime = text.parse().ok()?;
    Some(civil.to_zoned(local()).ok()?.timestamp().as_nanosecond())
}

/// Exactly: a float has not digits enough.
fn unix_seconds(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let whole: i128 = whole.parse().ok()?;
    let fraction: i128 = format!("{fraction:0<9}").parse().ok()?;
    (whole >= 0).then_some(whole * 1_000_000_000 + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants() {
        const AT: i128 = 1_795_169_703_250_000_000;
        let berlin = || TimeZone::fixed(jiff::tz::offset(1));
        for text in [
            "2026-11-20T10:15:03.250Z",
            "2026-11-20T10:15:03.25+00:00",
            "2026-11-20T11:15:03.25",
            "2026-11-20 11:15:03.25",
            "@1795169703.25",
            " @1795169703.250000000 ",
        ] {
            assert_eq!(read(text, berlin), Some(AT), "{text}");
        }
        assert_eq!(read("@1795169703.250000001", berlin), Some(AT + 1));
        for text in ["", "@", "@-1", "@1.0000000001", "@1.x", "yesterday", "10:15", "@99999999999999999999"] {
            assert!(unix_ns(text).is_err(), "{text}");
        }
    }
}
