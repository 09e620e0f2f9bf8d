//! What a metric is, and its values at one time: what every format is written from.

use std::borrow::Cow;

use crate::engine::lifetimes::BOUNDS_S;

/// A metric as it is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name, without what a format adds for the kind (`_total`, `_info`), but with the unit.
    pub name: &'static str,
    /// What kind of number.
    pub kind: Kind,
    /// What it means, in one sentence without a full stop.
    pub help: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// When there is no such series; nothing if it is always there.
    pub absent: &'static str,
}

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Lifetimes by bucket, with sum and number.
    Histogram,
    /// A sum and a number.
    Summary,
    /// Nothing but labels.
    Info,
}

impl Kind {
    /// As formats and the documentation write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Info => "info",
        }
    }

    /// What is added to the name of its series.
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Histogram | Self::Summary => "",
        }
    }
}

impl Metric {
    /// Declares one that is always there and has no labels.
    pub const fn new(kind: Kind, name: &'static str, help: &'static str) -> Self {
        Self { name, kind, help, labels: &[], absent: "" }
    }

    /// With labels.
    #[must_use]
    pub const fn by(self, labels: &'static [&'static str]) -> Self {
        Self { labels, ..self }
    }

    /// Not always there.
    #[must_use]
    pub const fn absent(self, absent: &'static str) -> Self {
        Self { absent, ..self }
    }

    /// The unit its name ends with, if it has one: all others are counts.
    pub fn unit(&self) -> Option<&'static str> {
        ["seconds", "bytes"].into_iter().find(|unit| self.name.ends_with(unit))
    }

    /// The name of its series; those of a histogram or summary have an ending more.
    pub fn series(&self) -> String {
        format!("{}{}", self.name, self.kind.suffix())
    }

    /// The names of all its series, as a query may have them.
    pub fn all_series(&self) -> Vec<String> {
        let endings: &[&str] = match self.kind {
            Kind::Histogram => &["_bucket", "_sum", "_count"],
            Kind::Summary => &["_sum", "_count"],
            Kind::Counter | Kind::Gauge | Kind::Info => &[""],
        };
        endings.iter().map(|ending| format!("{}{ending}", self.series())).collect()
    }
}

/// A metric with all its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Family<'a> {
    /// Which.
    pub metric: &'static Metric,
    /// One for each set of labels.
    pub samples: Vec<Sample<'a>>,
}

impl<'a> Family<'a> {
    /// Without values.
    pub const fn of(metric: &'static Metric) -> Self {
        Self { metric, samples: Vec::new() }
    }

    /// Adds a value with the values of the labels, in the order they are declared. What is no number is left out.
    pub fn push(&mut self, labels: impl IntoIterator<Item = Cow<'a, str>>, value: impl Into<Value>) {
        let value = value.into();
        if value.is_finite() {
            self.samples.push(Sample { labels: labels.into_iter().collect(), value });
        }
    }

    /// With one value that has no labels.
    #[must_use]
    pub fn one(metric: &'static Metric, value: impl Into<Value>) -> Self {
        let mut family = Self::of(metric);
        family.push([], value);
        family
    }

    /// The same, if there is a value.
    #[must_use]
    pub fn maybe(metric: &'static Metric, value: Option<impl Into<Value>>) -> Self {
        value.map_or(Self::of(metric), |value| Self::one(metric, value))
    }
}

/// A value with its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    /// As many as the metric declares.
    pub labels: Vec<Cow<'a, str>>,
    /// The value.
    pub value: Value,
}

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// Exact.
    Unsigned(u64),
    /// Exact.
    Signed(i64),
    /// Never infinite, and always a number.
    Float(f64),
    /// Of a histogram.
    Spread(Spread),
    /// Of a summary.
    Durations {
        /// All together.
        sum_s: f64,
        /// How many.
        number: u64,
    },
}

/// Lifetimes by bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// How many were not longer than each of [`BOUNDS_S`].
    pub up_to: [u64; BOUNDS_S.len()],
    /// All together.
    pub sum_s: f64,
    /// How many.
    pub number: u64,
}

impl Value {
    fn is_finite(&self) -> bool {
        match self {
            Self::Float(value) => value.is_finite(),
            Self::Unsigned(_) | Self::Signed(_) | Self::Spread(_) | Self::Durations { .. } => true,
        }
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Unsigned(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Unsigned(value.into())
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Signed(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Unsigned(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}
