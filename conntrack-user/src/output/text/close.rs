//! One source looked at closely.

use std::io::{self, Write};

use super::{Port, ranking, refused};
use crate::engine::batch::WallClock;
use crate::engine::holders::AGE_BOUNDS_S;
use crate::engine::snapshot::Close;
use crate::output::time::{Rfc3339, Span};

/// Writes it: where its entries go, in which states and how old they are, why there are so many, who was refused.
pub fn close(out: &mut impl Write, close: &Close, wall: WallClock) -> io::Result<()> {
    writeln!(out, "\nsource {} netns={}", close.focus.src, close.focus.netns)?;
    occupancy(out, close)?;
    ranking(out, "to", &close.destinations)?;
    ranking(out, "ports", &close.ports.map(|(proto, port)| Port(proto, port)))?;
    ranking(out, "states", &close.states)?;
    ages(out, close)?;
    for refusal in &close.refusals {
        write!(out, "  {} ", Rfc3339::at(wall, refusal.ktime_ns))?;
        refused(out, refusal)?;
    }
    Ok(())
}

/// Why it holds so many: rate times lifetime.
fn occupancy(out: &mut impl Write, close: &Close) -> io::Result<()> {
    let (rate, holds) = (close.arrivals_per_s, close.row.entries);
    match (close.row.mean_lifetime_ns, close.occupancy()) {
        (Some(lifetime_ns), Some(entries)) => {
            let lifetime = Span::ns(lifetime_ns);
            writeln!(out, "  {rate:.1} new/s x {lifetime} = {entries:.0} entries; it holds {holds}")
        }
        _ => writeln!(out, "  {rate:.1} new/s; it holds {holds} entries, and none has ended yet"),
    }
}

fn ages(out: &mut impl Write, close: &Close) -> io::Result<()> {
    let under = AGE_BOUNDS_S.map(|bound| format!("<{}", Span { seconds: bound as f64 }));
    let over = AGE_BOUNDS_S.last().map(|bound| format!(">{}", Span { seconds: *bound as f64 }));
    let unknown = ("unknown".to_owned(), close.age_unknown);
    let rows = under.into_iter().chain(over).zip(close.ages).chain([unknown]);
    let rows: Vec<_> = rows.filter(|(_, n)| *n > 0).map(|(age, n)| format!("{age} {n}")).collect();
    if rows.is_empty() { Ok(()) } else { writeln!(out, "  {:<13} {}", "ages", rows.join(", ")) }
}
