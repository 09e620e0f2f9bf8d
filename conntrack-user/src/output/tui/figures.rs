//! Numbers, spans and times as narrow as they can be read.

use std::fmt::Display;

use crate::engine::batch::WallClock;
use crate::output::time::Rfc3339;

/// With a comma every three digits.
pub fn grouped(number: impl Display) -> String {
    let digits = number.to_string();
    let (sign, digits) = digits.split_at(digits.starts_with('-').into());
    let mut grouped = sign.to_owned();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// In at most seven characters: to the last digit below ten million.
pub fn short(number: u64) -> String {
    match number {
        0..10_000_000 => number.to_string(),
        10_000_000..1_000_000_000 => format!("{:.1}M", number as f64 / 1e6),
        1_000_000_000..1_000_000_000_000 => format!("{:.1}G", number as f64 / 1e9),
        _ => format!("{:.0}T", number as f64 / 1e12),
    }
}

/// Events per second in at most seven characters: one decimal below a thousand.
pub fn rate(per_s: f64) -> String {
    match per_s {
        r if r < 0.05 => "0".into(),
        r if r < 999.95 => format!("{r:.1}"),
        r => short(r.round() as u64),
    }
}

/// In hundredths, one decimal.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "0.0%".into() } else { format!("{:.1}%", part as f64 * 100.0 / whole as f64) }
}

/// A span in the two units that matter: `700ms`, `42.1s`, `3m12s`, `5h10m`, `9d4h`.
pub fn span(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        _ if seconds < 0.9995 => format!("{:.0}ms", seconds * 1e3),
        _ if seconds < 59.95 => format!("{seconds:.1}s"),
        0..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h{:02}m", whole / 3600, whole % 3600 / 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// The same of nanoseconds.
pub fn span_ns(ns: u64) -> String {
    span(ns as f64 / 1e9)
}

/// The time of day in UTC with so many decimals, and the date before it where it is another than that of `now`.
pub fn clock(wall: WallClock, ktime_ns: u64, now_ktime_ns: u64, decimals: usize) -> String {
    let moment = format!("{:.decimals$}", Rfc3339::at(wall, ktime_ns));
    let now = format!("{:.0}", Rfc3339::at(wall, now_ktime_ns));
    match (moment.split_once('T'), now.split_once('T')) {
        (Some((date, time)), Some((today, _))) if date == today => time.into(),
        _ => moment.replace('T', " "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_narrow() {
        assert_eq!(
            ["0", "999", "1000", "262144", "-1234567"].map(grouped).join(" "),
            "0 999 1,000 262,144 -1,234,567"
        );
        let shorts = [0, 9_999_999, 10_000_000, 999_949_999, 4_200_000_000, 18_000_000_000_000];
        assert_eq!(shorts.map(short).join(" "), "0 9999999 10.0M 999.9M 4.2G 18T");
        assert!([u64::MAX, 999_999_999, 999_999_999_999].into_iter().all(|n| short(n).len() <= 9));
        assert_eq!(
            [0.0, 0.04, 0.06, 12.0, 999.9, 1000.4, 1e9].map(rate).join(" "),
            "0 0 0.1 12.0 999.9 1000 1.0G"
        );
        assert_eq!((percent(1, 0), percent(1, 3)), ("0.0%".into(), "33.3%".into()));
    }

    #[test]
    fn spans_have_two_units() {
        let spans = [0.0, 0.7, 0.9999, 42.12, 59.96, 192.0, 18_600.0, 792_000.0];
        assert_eq!(spans.map(span).join(" "), "0ms 700ms 1.0s 42.1s 0m59s 3m12s 5h10m 9d04h");
    }

    #[test]
    fn clocks_show_the_date_of_another_day() {
        let wall = WallClock { offset_ns: 1_795_169_700_000_000_000 };
        assert_eq!(clock(wall, 250_123_456, 9, 9), "10:15:00.250123456Z");
        assert_eq!(clock(wall, 0, 86_400_000_000_000, 0), "2026-11-20 10:15:00Z");
    }
}
