//! What the daemon knows of itself.

use super::super::declared as d;
use super::super::family::{Family, Metric, Value};
use super::super::own::{Durations, Hook, Own, Recording};
use super::seconds;

pub(super) fn families(own: &Own) -> Vec<Family<'_>> {
    let (taken, refused) = own.reloads;
    let mut reloads = Family::of(&d::RELOADS);
    reloads.push(["taken".into()], taken);
    reloads.push(["refused".into()], refused);
    let recordings = |metric, value: fn(&Recording) -> Value| {
        let mut family = Family::of(metric);
        own.recordings.iter().for_each(|it| family.push([it.name.into()], value(it)));
        family
    };
    let hook = |metric: &'static Metric, value: fn(&Hook) -> u64| {
        Family::maybe(metric, own.hook.as_ref().map(value))
    };
    vec![
        work(&d::WORK, own, |it| Value::Durations { sum_s: seconds(it.sum_ns), number: it.number }),
        work(&d::WORK_LONGEST, own, |it| seconds(it.max_ns).into()),
        Family::one(&d::MEMORY, own.rss_bytes),
        Family::one(&d::CPU, seconds(own.cpu_ns)),
        Family::one(&d::OPEN_FILES, own.open_files),
        Family::one(&d::START_TIME, own.started_unix_ns as f64 / 1e9),
        Family::one(&d::REQUESTS_REFUSED, own.requests_refused),
        Family::one(&d::CONNECTIONS, own.connections),
        reloads,
        recordings(&d::RECORDING_BYTES, |it| it.bytes.into()),
        recordings(&d::RECORDING_WRITING, |it| it.is_writing.into()),
        recordings(&d::RECORDING_SKIPPED, |it| it.skipped_drains.into()),
        recordings(&d::RECORDING_FAILED, |it| it.failed_blocks.into()),
        hook(&d::HOOK_RUNS, |it| it.runs),
        hook(&d::HOOK_FAILED, |it| it.failed),
        hook(&d::HOOK_TIMED_OUT, |it| it.timed_out),
        hook(&d::HOOK_SUPPRESSED, |it| it.suppressed),
    ]
}

fn work<'a>(metric: &'static Metric, own: &Own, value: impl Fn(&Durations) -> Value) -> Family<'a> {
    let mut family = Family::of(metric);
    let all = [("drain", &own.drains), ("snapshot", &own.snapshots), ("scrape", &own.scrapes)];
    all.into_iter().for_each(|(what, durations)| family.push([what.into()], value(durations)));
    family
}
