//! Reads option values that are neither numbers nor names.

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::engine::query::{Column, PrefixLengths, View};
pub use crate::quantity::{bytes, duration, long_duration, ring_bytes};

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

/// How many times as fast, like `10x`, `0.5x` or `2`.
pub fn speed(text: &str) -> Result<f64, String> {
    let times = text.strip_suffix(['x', 'X']).unwrap_or(text).parse::<f64>().ok();
    times
        .filter(|times| (0.001..=1e6).contains(times))
        .ok_or_else(|| "write how many times as fast, e.g. 10x or 0.5x".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        assert_eq!(prefix_lengths("16"), Ok(PrefixLengths { v4: 16, v6: 64 }));
        assert_eq!(prefix_lengths("0, 128"), Ok(PrefixLengths { v4: 0, v6: 128 }));
        for text in ["", "33", "24,129", "24,", "/24", "24,64,1", "-1"] {
            assert!(prefix_lengths(text).is_err(), "{text}");
        }
    }
}
