//! The table of `top`: a line per group of entries, columns as wide as they need to be.

use std::io::{self, Write};

use crate::engine::query::View;
use crate::engine::snapshot::Snapshot;
use crate::engine::sources::Sums;
use crate::engine::table::{Key, Row};
use crate::output::time::{Rfc3339, Span};

/// The heads after the key, of every table but that of states.
const HEADS: [&str; 9] =
    ["ENTRIES", "SHARE", "NEW/S", "REFUSED", "EVICTED", "FAILED", "UNCONF", "LIFETIME", "OLDEST"];

/// Of these nothing is known by state: they are left out there.
const UNKNOWN_BY_STATE: [&str; 6] = ["NEW/S", "REFUSED", "EVICTED", "FAILED", "UNCONF", "LIFETIME"];

/// Writes it, below an empty line; what it leaves of the totals comes last.
pub fn table(out: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
    let table = &snapshot.table;
    let head = match table.view {
        View::Sources => "SOURCE",
        View::Prefixes => "PREFIX",
        View::Destinations => "DESTINATION",
        View::Ports => "PORT",
        View::States => "STATE",
        View::Netns => "NETNS",
        View::Causes | View::Episodes => return Ok(()),
    };
    writeln!(out)?;
    if table.since_ktime_ns > snapshot.since_ktime_ns {
        let since = Rfc3339::at(snapshot.wall, table.since_ktime_ns);
        writeln!(out, "sums and lifetimes since {since:.3}")?;
    }
    let with_netns = table.view == View::Sources && snapshot.netns.len() > 1;
    let mut lines = vec![cells(head, with_netns.then(|| "NETNS".into()), HEADS.map(Into::into).into())];
    lines.extend(table.rows.iter().map(|row| {
        let netns = with_netns.then(|| netns_of(row.key));
        cells(&key(row.key, snapshot), netns, figures(row, snapshot.entries).into())
    }));
    let netns = with_netns.then(String::new);
    lines.push(cells("other", netns, other(snapshot).into()));
    if table.view == View::States {
        let known = |at: &usize| !UNKNOWN_BY_STATE.contains(&lines[0][*at].as_str());
        let kept: Vec<usize> = (0..lines[0].len()).filter(known).collect();
        lines = lines.iter().map(|line| kept.iter().map(|at| line[*at].clone()).collect()).collect();
    }
    write_aligned(out, &lines)
}

fn cells(key: &str, netns: Option<String>, figures: Vec<String>) -> Vec<String> {
    [key.to_owned()].into_iter().chain(netns).chain(figures).collect()
}

fn netns_of(key: Key) -> String {
    if let Key::Source(_, netns) = key { netns.to_string() } else { String::new() }
}

fn key(key: Key, snapshot: &Snapshot) -> String {
    let Key::Netns(inum) = key else { return key.to_string() };
    let row = snapshot.netns.iter().find(|row| row.netns == inum);
    let name = row.and_then(|row| row.name.as_ref()).map(|name| format!(" ({name})")).unwrap_or_default();
    let state = row.map(|row| format!(" {}", row.state.as_str())).unwrap_or_default();
    format!("{inum}{name}{state}")
}

fn figures(row: &Row, all: u64) -> [String; 9] {
    let Row { key: _, entries, new_per_s, ref sums, mean_lifetime_ns, oldest_ns } = *row;
    let span = |ns: Option<u64>| ns.map_or_else(|| "-".into(), |ns| Span::ns(ns).to_string());
    let [lifetime, oldest] = [mean_lifetime_ns, oldest_ns].map(span);
    figures_of(entries, all, new_per_s, sums, lifetime, oldest)
}

fn other(snapshot: &Snapshot) -> [String; 9] {
    let other = &snapshot.table.other;
    let nothing = String::new;
    figures_of(other.entries, snapshot.entries, other.new_per_s, &other.sums, nothing(), nothing())
}

fn figures_of(
    entries: u64,
    all: u64,
    new_per_s: f64,
    sums: &Sums,
    lifetime: String,
    oldest: String,
) -> [String; 9] {
    let Sums { new: _, freed: _, refused, evicted, failed, unconfirmed } = *sums;
    let share = if all == 0 { 0.0 } else { entries as f64 * 100.0 / all as f64 };
    [
        entries.to_string(),
        format!("{share:.1}%"),
        format!("{new_per_s:.1}"),
        refused.to_string(),
        evicted.to_string(),
        failed.to_string(),
        unconfirmed.to_string(),
        lifetime,
        oldest,
    ]
}

/// The first column to the left, all others to the right.
pub fn write_aligned(out: &mut impl Write, lines: &[Vec<String>]) -> io::Result<()> {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for line in lines {
        let first = format!("{:<width$}", line[0], width = widths[0]);
        let rest = line.iter().zip(&widths).skip(1).map(|(cell, width)| format!(" {cell:>width$}"));
        writeln!(out, "{}", (first + &rest.collect::<String>()).trim_end())?;
    }
    Ok(())
}
