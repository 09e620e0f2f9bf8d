//! The formats a scrape may be answered in, and which of them a client wants.

use std::fmt::{self, Write as _};

use super::family::{Family, Kind, Metric, Sample, Spread, Value};
use crate::engine::lifetimes::BOUNDS_S;

/// A format that Prometheus reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus's own, 0.0.4.
    Text,
}

impl Exposition {
    /// What a client gets that sends this `Accept` header. The classic format for one that says nothing, likes both as
    /// much without naming OpenMetrics, or accepts neither: better that than nothing.
    pub fn negotiate(accept: Option<&str>) -> Self {
        let accept = accept.unwrap_or("*/*");
        let open_metrics = preference(accept, "application", "openmetrics-text", "1.0.0");
        let text = preference(accept, "text", "plain", "0.0.4");
        let is_named = open_metrics.specificity == NAMED && text.specificity < NAMED;
        let more = open_metrics.weight.cmp(&text.weight);
        match more {
            std::cmp::Ordering::Greater => Self::OpenMetrics,
            std::cmp::Ordering::Equal if is_named && open_metrics.weight > 0 => Self::OpenMetrics,
            _ => Self::Text,
        }
    }

    /// As the header of that name says it.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Writes all families that have values.
    pub fn encode(self, families: &[Family<'_>]) -> String {
        let mut out = String::with_capacity(64 * 1024);
        let written: fmt::Result =
            families.iter().filter(|it| !it.samples.is_empty()).try_for_each(|it| self.family(&mut out, it));
        // A string takes all.
        debug_assert!(written.is_ok());
        if self == Self::OpenMetrics {
            out.push_str("# EOF\n");
        }
        out
    }

    fn family(self, out: &mut String, family: &Family<'_>) -> fmt::Result {
        let metric = family.metric;
        let (name, kind) = match (self, metric.kind) {
            (Self::OpenMetrics, kind) => (metric.name.to_owned(), kind),
            // It knows no info, and a counter by the name of its series.
            (Self::Text, Kind::Info) => (metric.series(), Kind::Gauge),
            (Self::Text, kind) => (metric.series(), kind),
        };
        write!(out, "# HELP {name} ")?;
        escape(out, metric.help, self == Self::OpenMetrics);
        writeln!(out, "\n# TYPE {name} {}", kind.as_str())?;
        if let (Self::OpenMetrics, Some(unit)) = (self, metric.unit()) {
            writeln!(out, "# UNIT {name} {unit}")?;
        }
        family.samples.iter().try_for_each(|sample| write_sample(out, metric, sample))
    }
}

fn write_sample(out: &mut String, metric: &Metric, sample: &Sample<'_>) -> fmt::Result {
    match sample.value {
        Value::Unsigned(value) => line(out, metric, "", sample, None, value),
        Value::Signed(value) => line(out, metric, "", sample, None, value),
        Value::Float(value) => line(out, metric, "", sample, None, value),
        Value::Durations { sum_s, number } => {
            line(out, metric, "_sum", sample, None, sum_s)?;
            line(out, metric, "_count", sample, None, number)
        }
        Value::Spread(Spread { up_to, sum_s, number }) => {
            for (bound_s, up_to) in BOUNDS_S.into_iter().zip(up_to) {
                // With a decimal point in either format: else it would be another series in each.
                line(out, metric, "_bucket", sample, Some(&format!("{bound_s}.0")), up_to)?;
            }
            line(out, metric, "_bucket", sample, Some("+Inf"), number)?;
            line(out, metric, "_sum", sample, None, sum_s)?;
            line(out, metric, "_count", sample, None, number)
        }
    }
}

fn line(
    out: &mut String,
    metric: &Metric,
    ending: &str,
    sample: &Sample<'_>,
    le: Option<&str>,
    value: impl fmt::Display,
) -> fmt::Result {
    out.push_str(metric.name);
    out.push_str(metric.kind.suffix());
    out.push_str(ending);
    let labels = metric.labels.iter().copied().zip(sample.labels.iter().map(AsRef::as_ref));
    let mut begin = '{';
    for (name, value) in labels.chain(le.map(|le| ("le", le))) {
        out.push(begin);
        begin = ',';
        out.push_str(name);
        out.push_str("=\"");
        escape(out, value, true);
        out.push('"');
    }
    if begin == ',' {
        out.push('}');
    }
    // Numbers are written as short as they can be read back.
    writeln!(out, " {value}")
}

fn escape(out: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

/// How a media range names a type.
const NAMED: u8 = 2;

/// How much a client wants a type, by the range that names it best (RFC 9110, 12.5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Preference {
    /// 0 by `*/*`, 1 by `type/*`, 2 by its name.
    specificity: u8,
    /// In thousandths.
    weight: u16,
}

fn preference(accept: &str, of_type: &str, subtype: &str, version: &str) -> Preference {
    let range = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        let (its_type, its_subtype) = parts.next()?.split_once('/')?;
        let specificity = match (its_type, its_subtype) {
            ("*", "*") => 0,
            (its, "*") if its.eq_ignore_ascii_case(of_type) => 1,
            (its, sub) if its.eq_ignore_ascii_case(of_type) && sub.eq_ignore_ascii_case(subtype) => NAMED,
            _ => return None,
        };
        let mut weight = 1000;
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("q") {
                weight = thousandths(value);
            } else if name.eq_ignore_ascii_case("version") && value != version {
                return None;
            }
        }
        Some(Preference { specificity, weight })
    };
    accept.split(',').filter_map(|it| range(it.trim())).max().unwrap_or_default()
}

/// A quality of 0 to 1; what is none counts as nothing.
fn thousandths(quality: &str) -> u16 {
    match quality.parse::<f64>() {
        Ok(quality) if (0.0..=1.0).contains(&quality) => (quality * 1000.0).round() as u16,
        _ => 0,
    }
}
