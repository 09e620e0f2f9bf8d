//! What the numbers are worth: how they were come by, what was lost or missed, and when they were audited.

use super::super::declared as d;
use super::super::family::Family;
use super::seconds;
use crate::engine::account::AuditReport;
use crate::engine::snapshot::Snapshot;

pub(super) fn families(snapshot: &Snapshot) -> Vec<Family<'_>> {
    let Snapshot { events, totals, trust, wall, .. } = snapshot;
    let unix_s = |ktime_ns: u64| wall.unix_ns(ktime_ns) as f64 / 1e9;
    let mut build = Family::of(&d::BUILD);
    build.push([env!("CARGO_PKG_VERSION").into()], 1_u64);
    let mut backend = Family::of(&d::BACKEND);
    backend.push([trust.backend.as_str().into()], 1_u64);
    let mut degradation = Family::of(&d::DEGRADATION);
    trust.degradations.iter().for_each(|it| degradation.push([it.as_str().into()], 1_u64));
    let mut lost = Family::of(&d::LOST);
    lost.push(["entries".into()], totals.lost_entries);
    lost.push(["incidents".into()], totals.lost_incidents);
    let mut program = Family::of(&d::PROGRAM_MISSED);
    events.missed_by_program.iter().for_each(|(name, missed)| program.push([name.into()], *missed));
    let mut repaired = Family::of(&d::REPAIRED);
    repaired.push(["added".into()], events.repaired.added);
    repaired.push(["removed".into()], events.repaired.removed);
    repaired.push(["replaced".into()], events.repaired.replaced);
    let audit = events.last_audit.as_ref();
    let audited = audit.map_or(snapshot.since_ktime_ns, |it| it.ended_ktime_ns);
    vec![
        build,
        backend,
        Family::one(&d::DEGRADATIONS, trust.degradations.len() as u64),
        degradation,
        Family::one(&d::ATTACHED, unix_s(snapshot.since_ktime_ns)),
        Family::one(&d::EVENTS, events.seen),
        lost,
        Family::one(&d::UNMATCHED, totals.unmatched),
        Family::one(&d::MISSED, events.missed()),
        program,
        Family::one(&d::DECODE_ERRORS, events.decode_errors),
        repaired,
        Family::one(&d::BOOTSTRAPPED, events.bootstrapped),
        Family::maybe(&d::AUDITS, audit.map(|it| it.number)),
        Family::one(&d::AUDIT_ABANDONED, events.abandoned.is_some()),
        Family::maybe(&d::LAST_AUDIT, audit.map(|it| unix_s(it.ended_ktime_ns))),
        Family::maybe(&d::LAST_AUDIT_DURATION, audit.map(AuditReport::length_ns).map(seconds)),
        Family::one(&d::AUDIT_AGE, seconds(snapshot.ktime_ns.saturating_sub(audited))),
    ]
}
