//! The last minutes of the namespace that is worst off, as SVG.

use std::fmt::Write as _;

use super::parts::{name, time};
use crate::engine::snapshot::Snapshot;
use crate::output::markup::Number;

/// Units of height.
const HEIGHT: f64 = 1000.0;

/// Nothing where no history is kept.
pub fn chart(snapshot: &Snapshot) -> String {
    let history = &snapshot.history;
    let seconds = &history.seconds;
    let (Some(first), Some(last)) = (seconds.first(), seconds.last()) else { return String::new() };
    let count = |at: usize| seconds[at].level.count.unwrap_or(0);
    let peak = (0..seconds.len()).map(count).max().unwrap_or(0);
    let max = last.level.max.filter(|max| *max > 0);
    // The limit is drawn where it is near enough to mean something.
    let limit = max.filter(|max| u64::from(*max) < u64::from(peak) * 4);
    let top = f64::from(limit.unwrap_or(0).max(peak).max(1));
    let y = |count: u32| HEIGHT - f64::from(count) / top * HEIGHT;
    let width = seconds.len().max(2) - 1;
    let mut line = String::new();
    for at in 0..seconds.len() {
        let _ = write!(line, "L{at} {:.0}", y(count(at)));
    }
    let mut marks = String::new();
    for (at, second) in seconds.iter().enumerate() {
        let (refused, evicted) = (second.sums.refused > 0, second.sums.evicted > 0);
        let class = if refused { "refusing" } else { "evicting" };
        if refused || evicted {
            let x = at.saturating_sub(1);
            let _ = write!(
                marks,
                "<rect class=\"shade {class}\" x=\"{x}\" y=\"-30\" width=\"1\" height=\"1030\"/>"
            );
        }
    }
    let limit_line = limit.map(|max| format!("<path class=\"limit\" d=\"M0 {0:.0}H{width}\"/>", y(max)));
    let which = snapshot.netns.iter().find(|row| row.netns == history.netns);
    let which = which.map_or_else(|| format!("netns {}", history.netns), name);
    let of = max.map(|max| format!(" of {}", Number(max.into()))).unwrap_or_default();
    let end = y(0);
    format!(
        "<figure class=\"chart now\"><figcaption><h3>Entries of {which}</h3><p>at most {}{of} in this time; shaded where \
         connections were refused or entries cut off</p></figcaption><div class=\"frame\"><div class=\"marks\">\
         <span class=\"top\">{}</span><span class=\"bottom\">0</span></div><div class=\"plot\">\
         <svg viewBox=\"0 -30 {width} 1030\" preserveAspectRatio=\"none\" aria-hidden=\"true\">{marks}\
         <path class=\"area\" d=\"M0 {end:.0}{line}L{} {end:.0}Z\"/>{}</svg></div></div>\
         <div class=\"ticks\"><span>{}</span><span>{}</span></div></figure>",
        Number(peak.into()),
        Number(top as u64),
        seconds.len() - 1,
        limit_line.unwrap_or_default(),
        time(snapshot, first.ktime_ns, 0),
        time(snapshot, last.ktime_ns, 0)
    )
}
