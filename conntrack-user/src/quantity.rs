//! Times and sizes as people write them, read and written.

use std::time::Duration;

use jiff::SignedDuration;

/// A time like `10s`, `1m 30s` or `500ms`; a bare number is seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse::<u32>() {
        Ok(seconds) => Some(Duration::from_secs(seconds.into())),
        Err(_) => text.parse::<SignedDuration>().ok().and_then(|parsed| parsed.try_into().ok()),
    };
    parsed
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "write a time like 10s, 500ms or 2m".to_owned())
}

/// A time as [`duration`] reads it, or in days or weeks: `7d`, `2w`.
pub fn long_duration(text: &str) -> Result<Duration, String> {
    let days =
        |number: &str, days: u64| number.trim().parse::<u32>().ok().map(|number| u64::from(number) * days);
    let days = match text.char_indices().last() {
        Some((at, 'd')) => days(&text[..at], 1),
        Some((at, 'w')) => days(&text[..at], 7),
        _ => None,
    };
    match days {
        Some(days) if days > 0 => Ok(Duration::from_secs(days * 86_400)),
        _ => duration(text).map_err(|_| "write a time like 90s, 12h or 7d".to_owned()),
    }
}

/// A number of bytes, e.g. `500M` or `1G`; at least a mebibyte.
pub fn bytes(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        Some((at, 't' | 'T')) => (&text[..at], 40),
        _ => (text, 0),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|bytes| *bytes >= 1 << 20)
        .ok_or_else(|| "write a size of at least 1M, e.g. 500M or 1G".to_owned())
}

/// The size of a ring: a power of two and at least a page, e.g. `65536`, `256K`, `8M`.
pub fn ring_bytes(text: &str) -> Result<u32, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        _ => (text, 0),
    };
    digits
        .parse::<u32>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|bytes| bytes.is_power_of_two() && (4096..=1 << 30).contains(bytes))
        .ok_or_else(|| "write a power of two from 4K to 1G".to_owned())
}

/// A time as [`long_duration`] reads it, in the largest unit that it is a whole number of.
pub fn write_duration(duration: Duration) -> String {
    const UNITS: [(u128, &str); 5] =
        [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let ms = duration.as_millis();
    let unit = UNITS.iter().find(|(unit, _)| ms != 0 && ms.is_multiple_of(*unit));
    let (unit, name) = unit.unwrap_or(&(1, "ms"));
    format!("{}{name}", ms / unit)
}

/// A size as [`bytes`] reads it, in the largest unit that it is a whole number of.
pub fn write_bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    let unit = UNITS.iter().find(|(unit, _)| bytes != 0 && bytes.is_multiple_of(*unit));
    let (unit, name) = unit.unwrap_or(&(1, ""));
    format!("{}{name}", bytes / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("10"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        for text in ["", "0", "-1s", "soon", "10 parsecs"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn long_durations() {
        assert_eq!(long_duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(long_duration("2w"), Ok(Duration::from_secs(14 * 86_400)));
        assert_eq!(long_duration("12h"), Ok(Duration::from_secs(12 * 3_600)));
        for text in ["", "0d", "d", "-1d", "1.5d", "99999999999w", "soon"] {
            assert!(long_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!([bytes("1M"), bytes("2g"), bytes("1048576")], [Ok(1 << 20), Ok(2 << 30), Ok(1 << 20)]);
        for text in ["", "0", "1K", "G", "-1G", "1.5G", "99999999T", "1 µ"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ring_sizes() {
        assert_eq!(ring_bytes("4096"), Ok(4096));
        assert_eq!(ring_bytes("8M"), Ok(8 << 20));
        assert_eq!(ring_bytes("256k"), Ok(256 << 10));
        for text in ["", "0", "M", "4095", "6M", "2048M", "-4096", "8G", "8µ"] {
            assert!(ring_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for text in ["14d", "12h", "10m", "90s", "1500ms"] {
            assert_eq!(long_duration(text).map(write_duration).as_deref(), Ok(text));
        }
        assert_eq!(long_duration("2w").map(write_duration).as_deref(), Ok("14d"));
        for text in ["1T", "3G", "256M", "1025K", "1048577"] {
            assert_eq!(bytes(text).map(write_bytes).as_deref(), Ok(text));
        }
        assert_eq!((write_duration(Duration::ZERO), write_bytes(0)), ("0ms".to_owned(), "0".to_owned()));
    }
}
