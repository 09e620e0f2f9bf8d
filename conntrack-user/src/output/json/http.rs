//! What the daemon's HTTP interface answers besides what `top` shows; one object or array each.

use std::io::{self, Write};
use std::sync::Arc;

use super::episode::episode;
use super::{refused, write_line};
use crate::engine::batch::WallClock;
use crate::engine::episode::Episode;
use crate::engine::notice::Refusal;
use crate::engine::snapshot::Snapshot;
use crate::output::schema;
use crate::output::time::Rfc3339;

/// Writes whether the numbers are what they will be, and else why not. `latest` is the snapshot and its age in seconds.
pub fn ready(out: &mut impl Write, reasons: Vec<String>, latest: Option<(&Snapshot, f64)>) -> io::Result<()> {
    let snapshot = latest.map(|(snapshot, _)| snapshot);
    let ready = schema::Ready {
        ready: reasons.is_empty(),
        reasons,
        backend: snapshot.map(|it| it.trust.backend.clone()),
        degradations: snapshot.map(|it| it.trust.degradations.clone()).unwrap_or_default(),
        bootstrapped: snapshot.is_some_and(|it| it.events.bootstrapped),
        since: snapshot.map(since),
        age_s: latest.map(|(_, age_s)| (age_s * 1000.0).round() / 1000.0),
    };
    write_line(out, &ready)
}

/// Writes episodes, oldest first.
pub fn episodes(out: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
    let episode = |it: &Arc<Episode>| episode(it, snapshot.wall);
    write_line(out, &snapshot.episodes.iter().map(episode).collect::<Vec<_>>())
}

/// Which refusals there are beside those that are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct More {
    /// Some that were asked for are no longer kept.
    pub before: bool,
    /// Later ones were left out.
    pub after: bool,
}

/// Writes refusals, oldest first.
pub fn refusals(
    out: &mut impl Write,
    refusals: impl Iterator<Item = (Refusal, WallClock)>,
    more: More,
    latest: Option<&Snapshot>,
) -> io::Result<()> {
    let refusals = schema::Refusals {
        refused: refusals.map(|(refusal, wall)| refused(&refusal, wall)).collect(),
        more_before: more.before,
        more_after: more.after,
        since: latest.map(since),
        lost_incidents: latest.map_or(0, |it| it.totals.lost_incidents),
    };
    write_line(out, &refusals)
}

/// Writes what the program run on saturation is told.
pub fn occasion(
    out: &mut impl Write,
    edge: &'static str,
    host: &str,
    it: &Episode,
    netns_name: Option<&str>,
    wall: WallClock,
) -> io::Result<()> {
    let occasion = schema::Occasion {
        edge,
        host: host.to_owned(),
        netns_name: netns_name.map(ToOwned::to_owned),
        episode: episode(it, wall),
    };
    write_line(out, &occasion)
}

/// Writes what is wrong with a request.
pub fn mistake(out: &mut impl Write, error: String) -> io::Result<()> {
    write_line(out, &schema::Mistake { error })
}

fn since(snapshot: &Snapshot) -> Rfc3339 {
    Rfc3339::at(snapshot.wall, snapshot.since_ktime_ns)
}
