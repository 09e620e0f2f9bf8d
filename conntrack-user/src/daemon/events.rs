//! What is logged of what happens: edges, losses, gaps, audits that are news, episodes. Their numbers are fields; what
//! comes by the thousand is in recordings and metrics.

use crate::{
    engine::{
        account::Repaired,
        episode::Episode,
        gauge::Level,
        notice::{Lost, Notice},
        saturation::State,
    },
    output::time::Span,
};

/// Logs it if it is worth a line. `name` names a network namespace.
pub fn log(notice: &Notice, name: impl Fn(u32) -> Option<String>) {
    match notice {
        Notice::Edge { netns, edge } => {
            let name = name(*netns).unwrap_or_else(|| netns.to_string());
            let (state, was) = (edge.state.as_str(), edge.was.as_str());
            let Level { count, max } = edge.level;
            let shown = level(edge.level);
            // A line's severity is part of its place in the code.
            macro_rules! line {
                ($severity:ident) => {
                    tracing::$severity!(
                        event = "edge",
                        netns,
                        name,
                        state,
                        was,
                        count,
                        max,
                        "{name}: {state}, {shown}"
                    )
                };
            }
            match edge.state {
                State::Evicting | State::Refusing => line!(warn),
                State::Pressure | State::Recovered | State::Ok => line!(info),
            }
        }
        Notice::Lost(Lost { ktime_ns: _, entries, incidents, unmatched }) => tracing::warn!(
            event = "lost",
            entries,
            incidents,
            unmatched,
            "events came faster than they were read: {entries} of entries and {incidents} incidents are lost; sums are \
             exact, and an audit puts the table right"
        ),
        Notice::Gap(gap) if gap.over => {
            let length = Span::ns(gap.length_ns());
            tracing::info!(
                event = "gap_over",
                length_ns = gap.length_ns(),
                "conntrack is there again after {length}"
            );
        }
        Notice::Gap(_) => {
            tracing::warn!(event = "gap", "conntrack is gone, with all entries; waiting for it")
        }
        Notice::Audited(audited) if audited.is_news() => {
            let (report, trigger) = (&audited.report, audited.report.trigger_str());
            let Repaired { added, removed, replaced } = report.repaired;
            if audited.abandoned {
                tracing::warn!(event = "audit", trigger, "audit {} was abandoned", report.number);
            } else {
                tracing::info!(
                    event = "audit",
                    trigger,
                    entries = report.entries,
                    added,
                    removed,
                    replaced,
                    "audit {} ({trigger}): {} entries, {added} added, {removed} removed, {replaced} replaced",
                    report.number,
                    report.entries
                );
            }
        }
        Notice::Audited(_)
        | Notice::Refused(_)
        | Notice::Evicted(_)
        | Notice::New { .. }
        | Notice::Free(_)
        | Notice::InsertFailed(_)
        | Notice::Counted(_)
        | Notice::Summed(_)
        | Notice::Unrecorded(_) => {}
    }
}

/// Logs an episode that is over: what it cost, who held the table, who suffered.
pub fn log_episode(episode: &Episode, name: impl Fn(u32) -> Option<String>) {
    let Some(end_ktime_ns) = episode.end_ktime_ns else { return };
    let name = name(episode.netns).unwrap_or_else(|| episode.netns.to_string());
    let length_ns = end_ktime_ns.saturating_sub(episode.start_ktime_ns);
    let (refused, evicted) = (episode.refused.total(), episode.evicted);
    let first = |ranking: &crate::engine::tally::Ranking<std::net::IpAddr>| {
        ranking.top.first().map(|(source, count)| (source.to_string(), *count))
    };
    let holder = first(&episode.holders.sources);
    let sufferer = first(&episode.refused_sources);
    let held = holder.as_ref().map(|(source, count)| format!(", {source} held {count}")).unwrap_or_default();
    tracing::warn!(
        event = "episode",
        netns = episode.netns,
        name,
        length_ns,
        refused,
        evicted,
        held_by = holder.as_ref().map(|(source, _)| source.as_str()),
        held = holder.as_ref().map(|(_, count)| *count),
        most_refused = sufferer.as_ref().map(|(source, _)| source.as_str()),
        "{name}: saturated for {}: {refused} refused, {evicted} evicted{held}",
        Span::ns(length_ns)
    );
}

fn level(level: Level) -> String {
    let known = |value: Option<u32>| value.map_or_else(|| "?".to_owned(), |value| value.to_string());
    format!("{} of {} entries", known(level.count), known(level.max))
}
