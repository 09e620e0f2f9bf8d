//! Reads option values that are neither numbers nor names.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::SignedDuration;

use crate::engine::query::{Column, PrefixLengths, View};

/// A table by its name.
pub fn view() -> impl TypedValueParser<Value = View> {
    named(View::ALL.map(View::as_str), View::ALL)
}

/// A column by its name.
pub fn column() -> impl TypedValueParser<Value = Column> {
    named(Column::ALL.map(Column::as_str), Column::ALL)
}

fn named<T: Copy + Send + Sync + 'static, const N: usize>(
    names: [&'static str; N],
    values: [T; N],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(names).map(move |name| {
        let at = names.iter().position(|known| *known == name).expect("clap lets only these names through");
        values[at]
    })
}

/// Prefix lengths like `24` or `24,64`.
pub fn prefix_lengths(text: &str) -> Result<PrefixLengths, String> {
    let (v4, v6) = text.split_once(',').unwrap_or((text, "64"));
    let bits = |text: &str, most: u8| text.trim().parse().ok().filter(|bits| *bits <= most);
    bits(v4, 32)
        .zip(bits(v6, 128))
        .map(|(v4, v6)| PrefixLengths { v4, v6 })
        .ok_or_else(|| "write bits of IPv4 and IPv6 addresses, e.g. 24,64".to_owned())
}

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

/// How many times as fast, like `10x`, `0.5x` or `2`.
pub fn speed(text: &str) -> Result<f64, String> {
    let times = text.strip_suffix(['x', 'X']).unwrap_or(text).parse::<f64>().ok();
    times
        .filter(|times| (0.001..=1e6).contains(times))
        .ok_or_else(|| "write how many times as fast, e.g. 10x or 0.5x".to_owned())
}

/// The size of a ring: a power of two and at least a page, e.g. `65536`, `256K`, `8M`.
pub fn ring_bytes(text: &str) -> Result<u32, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        _ => (text, 0),
    };
    digits
        .parse::<u32>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|bytes| bytes.is_power_of_two() && (4096..=1 << 30).contains(bytes))
        .ok_or_else(|| "write a power of two from 4K to 1024M".to_owned())
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
    fn prefixes() {
        assert_eq!(prefix_lengths("16"), Ok(PrefixLengths { v4: 16, v6: 64 }));
        assert_eq!(prefix_lengths("0, 128"), Ok(PrefixLengths { v4: 0, v6: 128 }));
        for text in ["", "33", "24,129", "24,", "/24", "24,64,1", "-1"] {
            assert!(prefix_lengths(text).is_err(), "{text}");
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
}
