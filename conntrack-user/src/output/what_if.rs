//! Writes what would have been with other settings.

use std::fmt::Display;
use std::io::{self, Write};

use super::Format;
use super::schema::{
    self, WhatIf, WhatIfLosses, WhatIfMemory, WhatIfNetns, WhatIfOccupancy, WhatIfPeak, WhatIfWaiting,
};
use super::time::{Rfc3339, Span};
use crate::advise::what_if::{Both, Losses, Memory, NetnsPrediction, Occupancy, Peak, Prediction};
use crate::engine::batch::WallClock;

impl Format {
    /// Writes a prediction: a page of text, or one JSON object.
    pub fn what_if(self, out: &mut impl Write, prediction: &Prediction, wall: WallClock) -> io::Result<()> {
        match self {
            Self::Text => text(out, prediction, wall),
            Self::Json => {
                serde_json::to_writer(&mut *out, &document(prediction, wall))?;
                out.write_all(b"\n")
            }
        }
    }
}

fn text(out: &mut impl Write, prediction: &Prediction, wall: WallClock) -> io::Result<()> {
    let Prediction { changes, began_ktime_ns, ended_ktime_ns, netns, .. } = prediction;
    let span = Span::ns(ended_ktime_ns.saturating_sub(*began_ktime_ns));
    writeln!(out, "what if {changes}, over {span} from {:.3}", Rfc3339::at(wall, *began_ktime_ns))?;
    for it in netns {
        namespace(out, it, wall)?;
    }
    memory(out, &prediction.memory)?;
    list(out, "assumed:", &prediction.assumptions())?;
    list(out, "worth less because:", &prediction.caveats())
}

fn list(out: &mut impl Write, title: &str, lines: &[String]) -> io::Result<()> {
    if !lines.is_empty() {
        writeln!(out, "{title}")?;
    }
    lines.iter().try_for_each(|line| writeln!(out, "  - {line}"))
}

fn namespace(out: &mut impl Write, it: &NetnsPrediction, wall: WallClock) -> io::Result<()> {
    let NetnsPrediction { netns, name, max, peak, mean, refused, evicted, occupancy, .. } = it;
    let name = name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let known = |max: Option<u32>| max.map_or_else(|| "?".to_owned(), |max| max.to_string());
    writeln!(out, "netns={netns}{name} max {}", arrow(known(max.recorded), known(max.predicted)))?;
    let Both { recorded, predicted } = peak;
    let percent = change(recorded.entries as f64, predicted.entries as f64);
    writeln!(out, "  peak      {} -> {}{percent}", at(recorded, wall), at(predicted, wall))?;
    writeln!(
        out,
        "  mean      {:.1} -> {:.1}{}",
        mean.recorded,
        mean.predicted,
        change(mean.recorded, mean.predicted)
    )?;
    losses(out, "refused", *refused)?;
    losses(out, "evicted", *evicted)?;
    held(out, occupancy, mean.recorded)?;
    if it.alive > 0 {
        write!(out, "  at the end {} were there: when they would end is not known", it.alive)?;
        match it.alive_perhaps_gone {
            0 => writeln!(out)?,
            gone => writeln!(out, "; {gone} may have ended before")?,
        }
    }
    Ok(())
}

fn losses(out: &mut impl Write, what: &str, losses: Losses) -> io::Result<()> {
    let Losses { recorded, avoided, caused } = losses;
    writeln!(out, "  {what:<9} {recorded} -> {} ({avoided} avoided, {caused} caused)", losses.predicted())
}

/// What entries were there for.
fn held(out: &mut impl Write, occupancy: &Occupancy, mean: f64) -> io::Result<()> {
    let Occupancy { waiting, active, unknown } = occupancy;
    let share = |entries: f64| if mean > 0.0 { entries * 100.0 / mean } else { 0.0 };
    let row = |out: &mut dyn Write, what: &str, entries: f64, more: &str| {
        writeln!(out, "    {what:<28} {entries:>10.1} {:>4.0} %{more}", share(entries))
    };
    writeln!(out, "  entries in the mean, by what they were there for:")?;
    for it in waiting {
        let seconds = arrow(format!("{} s", it.seconds.recorded), format!("{} s", it.seconds.predicted));
        let what = format!("{} {seconds}", it.timeout.short_name());
        row(out, &what, it.entries, &format!("  {} ended", it.ended))?;
    }
    row(out, "in use", *active, "")?;
    row(out, "not known", *unknown, "")
}

fn memory(out: &mut impl Write, memory: &Memory) -> io::Result<()> {
    let Memory { entry_bytes: _, buckets: _, at_peak, at_limit } = memory;
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    write!(out, "memory {} at the peaks", arrow(mib(at_peak.recorded), mib(at_peak.predicted)))?;
    match (at_limit.recorded, at_limit.predicted) {
        (Some(recorded), Some(predicted)) => {
            writeln!(out, ", {} at the limit", arrow(mib(recorded), mib(predicted)))
        }
        (None, Some(predicted)) => writeln!(out, ", {} at the limit", mib(predicted)),
        _ => writeln!(out),
    }
}

/// One of them where both are the same.
fn arrow(recorded: impl Display, predicted: impl Display) -> String {
    let (recorded, predicted) = (recorded.to_string(), predicted.to_string());
    if recorded == predicted { recorded } else { format!("{recorded} -> {predicted}") }
}

fn at(peak: &Peak, wall: WallClock) -> String {
    match peak.entries {
        0 => "0".to_owned(),
        entries => format!("{entries} at {:.3}", Rfc3339::at(wall, peak.ktime_ns)),
    }
}

fn change(from: f64, to: f64) -> String {
    if from > 0.0 { format!(" ({:+.1} %)", (to / from - 1.0) * 100.0) } else { String::new() }
}

fn document(prediction: &Prediction, wall: WallClock) -> WhatIf {
    let Prediction { changes, began_ktime_ns, ended_ktime_ns, netns, memory, .. } = prediction;
    WhatIf {
        what_if: changes.to_string(),
        start: Rfc3339::at(wall, *began_ktime_ns),
        start_ktime_ns: *began_ktime_ns,
        end: Rfc3339::at(wall, *ended_ktime_ns),
        end_ktime_ns: *ended_ktime_ns,
        known_until: Rfc3339::at(wall, prediction.known_until_ktime_ns),
        known_until_ktime_ns: prediction.known_until_ktime_ns,
        netns: netns.iter().map(|it| netns_row(it, wall)).collect(),
        memory: WhatIfMemory {
            entry_bytes: memory.entry_bytes,
            buckets: both(memory.buckets, |it| it),
            at_peak_bytes: both(memory.at_peak, |it| it),
            at_limit_bytes: both(memory.at_limit, |it| it),
        },
        assumptions: prediction.assumptions(),
        caveats: prediction.caveats(),
    }
}

fn both<T, U>(of: Both<T>, each: impl Fn(T) -> U) -> schema::Both<U> {
    schema::Both { recorded: each(of.recorded), predicted: each(of.predicted) }
}

fn netns_row(it: &NetnsPrediction, wall: WallClock) -> WhatIfNetns {
    let NetnsPrediction { netns, ref name, max, peak, mean, refused, evicted, ref occupancy, .. } = *it;
    let peak_row = |peak: Peak| {
        let ktime_ns = (peak.entries > 0).then_some(peak.ktime_ns);
        WhatIfPeak { entries: peak.entries, time: ktime_ns.map(|at| Rfc3339::at(wall, at)), ktime_ns }
    };
    let losses = |losses: Losses| WhatIfLosses {
        recorded: losses.recorded,
        predicted: losses.predicted(),
        avoided: losses.avoided,
        caused: losses.caused,
    };
    let waiting = occupancy.waiting.iter().map(|it| WhatIfWaiting {
        timeout: it.timeout.name(),
        seconds: both(it.seconds, |it| it),
        ended: it.ended,
        entries: tenths(it.entries),
    });
    WhatIfNetns {
        netns,
        name: name.clone(),
        max: both(max, |it| it),
        peak: both(peak, peak_row),
        mean_entries: both(mean, tenths),
        refused: losses(refused),
        evicted: losses(evicted),
        occupancy: WhatIfOccupancy {
            waiting: waiting.collect(),
            active: tenths(occupancy.active),
            unknown: tenths(occupancy.unknown),
        },
        alive: it.alive,
        alive_perhaps_gone: it.alive_perhaps_gone,
    }
}

/// More decimals would be noise.
fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes as _;

    use super::*;
    use crate::advise::what_if::Simulation;
    use crate::engine::testing::{self, S, WALL};

    /// Two UDP entries of one packet, collected after 30 and 35 s, and two refusals.
    fn prediction() -> Prediction {
        let changes = "udp=10,max=3".parse().expect("changes");
        let mut simulation = Simulation::new(changes, "6.12.107");
        let free = |ct, at| conntrack_common::Free { status: 8, ..testing::free(ct, at) };
        let records = [
            testing::new(1, S, 1).as_bytes().to_vec(),
            testing::new(2, 2 * S, 1).as_bytes().to_vec(),
            testing::refused(3 * S, 2, 2, 2).as_bytes().to_vec(),
            testing::refused(4 * S, 3, 2, 2).as_bytes().to_vec(),
            free(1, 31 * S).as_bytes().to_vec(),
            testing::new(3, 32 * S, 1).as_bytes().to_vec(),
            free(2, 37 * S).as_bytes().to_vec(),
        ];
        records.iter().for_each(|record| simulation.play(record).expect("records"));
        simulation.finish()
    }

    fn written(format: Format) -> String {
        let mut out = Vec::new();
        format.what_if(&mut out, &prediction(), WALL).expect("a vector takes it");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn the_page() {
        let page = written(Format::Text);
        for line in [
            "what if max=3,udp=10, over 36.0 s from 2026-11-20T10:15:01.000Z",
            "netns=1 max 2 -> 3",
            "  refused   2 -> 1 (1 avoided, 0 caused)",
            "  at the end 1 were there: when they would end is not known",
            "    udp 30 s -> 10 s ",
            "memory 0.0 MiB at the peaks, 0.0 MiB at the limit",
            "assumed:",
            "worth less because:",
            "  - the timeouts of netns 1 were not recorded: the kernel's defaults are taken",
        ] {
            assert!(page.lines().any(|it| it.starts_with(line)), "{line:?} is not in\n{page}");
        }
    }

    #[test]
    fn the_object_says_the_same() {
        let json: serde_json::Value = serde_json::from_str(&written(Format::Json)).expect("JSON");
        let it = &json["netns"][0];
        assert_eq!(json["what_if"], "max=3,udp=10");
        assert_eq!(it["max"], serde_json::json!({"recorded": 2, "predicted": 3}));
        let refused = serde_json::json!({"recorded": 2, "predicted": 1, "avoided": 1, "caused": 0});
        assert_eq!(it["refused"], refused);
        assert_eq!(it["peak"]["recorded"]["entries"], 2);
        assert_eq!(it["peak"]["recorded"]["time"], "2026-11-20T10:15:02.000000000Z");
        assert_eq!(it["occupancy"]["waiting"][0]["timeout"], "udp_timeout");
        assert_eq!(it["alive"], 1);
        // 20 s shorter than the 30 of the recording, which is less than twice as long: it is not cut off.
        assert_eq!(json["known_until"], "2026-11-20T10:15:37.000000000Z");
        assert_eq!(json["known_until_ktime_ns"], json["end_ktime_ns"]);
        assert_eq!(json["assumptions"].as_array().map(Vec::len), Some(prediction().assumptions().len()));
    }
}
