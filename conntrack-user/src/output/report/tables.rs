//! The tables of a report: which columns each has, of which type, and what is in its rows. How they are written is said
//! by the formats beside.

use std::fmt::{self, Display};
use std::io;
use std::net::IpAddr;

use crate::engine::gauge::Level;
use crate::engine::recorded::NetnsSecond;
use crate::engine::report::{self, Class, ClassSpan, Incident, Moment, Report, ReportEpisode};
use crate::engine::sources::Sums;
use crate::engine::tuple::Proto;
use crate::output::time::Rfc3339;

use Kind::{Rate, Text, Time, U16, U32, U64};

/// A table.
#[derive(Debug)]
pub struct Table {
    /// What its file is called, without the format's extension.
    pub name: &'static str,
    /// Its columns, in their order. Any may be empty where a thing is not known.
    pub columns: &'static [(&'static str, Kind)],
}

/// What a column has in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nanoseconds since the Unix epoch.
    Time,
    /// A number of 16 bits.
    U16,
    /// A number of 32 bits.
    U32,
    /// A number of 64 bits.
    U64,
    /// Per second.
    Rate,
    /// An address, or a word of ours.
    Text,
}

/// What is in a column of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell {
    /// Not known.
    Empty,
    /// Of [`Kind::Time`].
    Time(i64),
    /// Of one of the unsigned kinds.
    Number(u64),
    /// Of [`Kind::Rate`].
    Rate(f64),
    /// Of [`Kind::Text`].
    Word(&'static str),
    /// Of [`Kind::Text`].
    Address(IpAddr),
    /// Of [`Kind::Text`].
    Proto(Proto),
}

/// Writes one table in a format.
pub trait Rows<W> {
    /// Writes a row: as many cells as the table has columns, each of its column's kind or empty.
    fn row(&mut self, cells: &[Cell]) -> io::Result<()>;

    /// Writes what is left, and gives back what was written to.
    fn end(self: Box<Self>) -> io::Result<W>;
}

/// Begins a table in a format.
pub type Begin<W> = fn(W, &'static Table) -> io::Result<Box<dyn Rows<W>>>;

/// Takes row after row.
pub type Take<'a> = &'a mut dyn FnMut(&[Cell]) -> io::Result<()>;

/// A table made of a whole report, and what gives its rows.
pub type OfReport = (Table, fn(&Report, Take<'_>) -> io::Result<()>);

/// Every second of every namespace; grows as a recording is read.
pub static SECONDS: Table = Table {
    name: "seconds",
    columns: &[
        ("time", Time),
        ("ktime_ns", U64),
        ("netns", U32),
        ("state", Text),
        ("count", U32),
        ("max", U32),
        ("peak", U32),
        ("new", U64),
        ("freed", U64),
        ("refused", U64),
        ("evicted", U64),
        ("failed", U64),
        ("unconfirmed", U64),
    ],
};

/// A row of [`SECONDS`]: what happened since the row before.
pub fn second(at: Moment, row: &NetnsSecond, sums: &Sums) -> [Cell; 13] {
    let Level { count, max } = Level::new(row.count, row.max);
    let peak = (row.peak > 0).then_some(row.peak);
    let &Sums { new, freed, refused, evicted, failed, unconfirmed } = sums;
    [
        at.into(),
        at.ktime_ns.into(),
        row.netns.into(),
        report::state(row.state).as_str().into(),
        count.into(),
        max.into(),
        peak.into(),
        new.into(),
        freed.into(),
        refused.into(),
        evicted.into(),
        failed.into(),
        unconfirmed.into(),
    ]
}

/// Every incident; grows as a recording is read.
pub static INCIDENTS: Table = Table {
    name: "incidents",
    columns: &[
        ("time", Time),
        ("ktime_ns", U64),
        ("kind", Text),
        ("cause", Text),
        ("netns", U32),
        ("events", U64),
        ("first", Time),
        ("first_ktime_ns", U64),
        ("proto", Text),
        ("src", Text),
        ("sport", U16),
        ("dst", Text),
        ("dport", U16),
        ("zone", U16),
        ("count", U32),
        ("max", U32),
    ],
};

/// A row of [`INCIDENTS`].
pub fn incident(it: &Incident) -> [Cell; 16] {
    let of = it.connection.as_ref();
    [
        it.at.into(),
        it.at.ktime_ns.into(),
        it.class.as_str().into(),
        it.cause.as_str().into(),
        it.netns.into(),
        it.count.into(),
        it.first.into(),
        it.first.ktime_ns.into(),
        of.map(|of| of.proto).into(),
        it.src.into(),
        of.map(|of| of.sport).into(),
        of.map(|of| of.dst).into(),
        of.map(|of| of.dport).into(),
        of.map(|of| of.zone).into(),
        it.level.count.into(),
        it.level.max.into(),
    ]
}

/// The tables that are made when all is read.
pub static OF_REPORT: [OfReport; 3] = [(EPISODES, episodes), (HOLDERS, holders), (SOURCES, sources)];

const EPISODES: Table = Table {
    name: "episodes",
    columns: &[
        ("start", Time),
        ("start_ktime_ns", U64),
        ("end", Time),
        ("end_ktime_ns", U64),
        ("netns", U32),
        ("began", Text),
        ("count", U32),
        ("max", U32),
        ("peak", U32),
        ("refused", U64),
        ("evicted", U64),
        ("failed", U64),
        ("first_refused", Time),
        ("first_refused_ktime_ns", U64),
        ("last_refused", Time),
        ("last_refused_ktime_ns", U64),
    ],
};

fn episodes(report: &Report, take: Take<'_>) -> io::Result<()> {
    report.episodes.iter().try_for_each(|it| take(&episode(it)))
}

fn episode(it: &ReportEpisode) -> [Cell; 16] {
    let ClassSpan { first, last } = it.spans[Class::Refused as usize];
    let [refused, evicted, failed] = Class::ALL.map(|class| it.by_cause.class(class).into());
    [
        it.start.into(),
        it.start.ktime_ns.into(),
        it.end.into(),
        ktime_ns(it.end),
        it.netns.into(),
        it.began.as_str().into(),
        it.level.count.into(),
        it.level.max.into(),
        it.peak.into(),
        refused,
        evicted,
        failed,
        first.into(),
        ktime_ns(first),
        last.into(),
        ktime_ns(last),
    ]
}

const HOLDERS: Table = Table {
    name: "holders",
    columns: &[
        ("time", Time),
        ("ktime_ns", U64),
        ("netns", U32),
        ("src", Text),
        ("entries", U64),
        ("new_per_s", Rate),
    ],
};

/// One row per time and source; the others together have no source.
fn holders(report: &Report, take: Take<'_>) -> io::Result<()> {
    let over = &report.holders;
    for (row, at) in over.at.iter().enumerate() {
        let (time, ktime_ns) = ((*at).into(), at.ktime_ns.into());
        for series in &over.series {
            let (entries, rate) = (series.entries[row].into(), series.new_per_s[row].into());
            take(&[time, ktime_ns, series.netns.into(), series.src.into(), entries, rate])?;
        }
        take(&[time, ktime_ns, Cell::Empty, OTHER, over.other[row].into(), Cell::Empty])?;
    }
    Ok(())
}

const SOURCES: Table = Table {
    name: "sources",
    columns: &[
        ("src", Text),
        ("netns", U32),
        ("refused", U64),
        ("evicted", U64),
        ("failed", U64),
        ("first", Time),
        ("first_ktime_ns", U64),
        ("last", Time),
        ("last_ktime_ns", U64),
    ],
};

/// Who suffered; the last row is what the others leave.
fn sources(report: &Report, take: Take<'_>) -> io::Result<()> {
    for row in &report.sources.top {
        let ClassSpan { first, last } = row.span;
        let [refused, evicted, failed] = Class::ALL.map(|class| row.of(class).into());
        let (src, netns) = (row.src.into(), row.netns.into());
        let (began, ended) = (ktime_ns(first), ktime_ns(last));
        take(&[src, netns, refused, evicted, failed, first.into(), began, last.into(), ended])?;
    }
    let [refused, evicted, failed] = Class::ALL.map(|class| report.sources.other.class(class).into());
    let none = Cell::Empty;
    take(&[OTHER, none, refused, evicted, failed, none, none, none, none])
}

/// In the place of a source.
const OTHER: Cell = Cell::Word("other");

fn ktime_ns(at: Option<Moment>) -> Cell {
    at.map(|at| at.ktime_ns).into()
}

/// As people and spreadsheets read it.
impl Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => Ok(()),
            Self::Time(unix_ns) => Rfc3339::unix_ns(unix_ns).fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Rate(rate) => write!(f, "{rate:.3}"),
            Self::Word(word) => word.fmt(f),
            Self::Address(address) => address.fmt(f),
            Self::Proto(proto) => proto.fmt(f),
        }
    }
}

/// What is made a cell of.
macro_rules! cells {
    ($($from:ty => $cell:expr),* $(,)?) => {$(
        impl From<$from> for Cell {
            fn from(it: $from) -> Self {
                $cell(it)
            }
        }
    )*};
}

cells! {
    u16 => |it| Self::Number(u64::from(it)),
    u32 => |it| Self::Number(u64::from(it)),
    u64 => Self::Number,
    f64 => Self::Rate,
    Moment => |it: Moment| Self::Time(it.unix_ns),
    &'static str => Self::Word,
    IpAddr => Self::Address,
    Proto => Self::Proto,
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(it: Option<T>) -> Self {
        it.map_or(Self::Empty, Into::into)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::engine::decode::Records;
    use crate::engine::report::{Builder, Narrow, Told, tests};

    /// All tables of a story in a format.
    pub fn story(begin: Begin<Vec<u8>>) -> Vec<(&'static Table, Vec<u8>)> {
        let begin = |table| begin(Vec::new(), table).expect("a vector takes all");
        let (mut seconds, mut incidents) = (begin(&SECONDS), begin(&INCIDENTS));
        let mut builder = Builder::new(Narrow::default());
        builder.file(&tests::head(), true);
        let mut tell = |it: Told<'_>| {
            let row = match it {
                Told::Second { at, row, sums } => seconds.row(&second(at, row, sums)),
                Told::Incident(it) => incidents.row(&incident(it)),
            };
            row.expect("a vector takes all");
        };
        for record in Records::new(&tests::story()) {
            builder.feed(record.expect("a record"), &mut tell);
        }
        let report = builder.finish(&mut tell);
        let mut tables = vec![(&SECONDS, seconds), (&INCIDENTS, incidents)];
        for (table, rows) in &OF_REPORT {
            let mut out = begin(table);
            rows(&report, &mut |cells| out.row(cells)).expect("a vector takes all");
            tables.push((table, out));
        }
        tables.into_iter().map(|(table, out)| (table, out.end().expect("a vector takes all"))).collect()
    }
}
