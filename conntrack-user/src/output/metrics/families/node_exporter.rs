//! What node_exporter's `conntrack` collector shows, by its names, as far as ctwatch knows it. It reads the namespace it
//! runs in, which is the first process's on most hosts, and says that its counters are gauges. Not known here are
//! `found`, `ignore`, `insert` and `search_restart`, most of which the kernel no longer counts.

use super::super::declared as d;
use super::super::family::Family;
use crate::engine::snapshot::Snapshot;

/// What the first process's namespace is called.
const INIT: &str = "init";

pub(super) fn families(snapshot: &Snapshot) -> [Family<'_>; 6] {
    let init = snapshot.netns.iter().find(|row| row.name.as_deref() == Some(INIT));
    let kernel = init.and_then(|row| row.statistics).map(|both| both.kernel);
    [
        Family::maybe(&d::NODE_ENTRIES, init.and_then(|row| row.level.count)),
        Family::maybe(&d::NODE_ENTRIES_LIMIT, init.and_then(|row| row.level.max)),
        Family::maybe(&d::NODE_DROP, kernel.map(|it| it.drop)),
        Family::maybe(&d::NODE_EARLY_DROP, kernel.map(|it| it.early_drop)),
        Family::maybe(&d::NODE_INSERT_FAILED, kernel.map(|it| it.insert_failed)),
        Family::maybe(&d::NODE_INVALID, kernel.map(|it| it.invalid)),
    ]
}
