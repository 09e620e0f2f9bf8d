//! Golden texts, every declared metric in them, and a reader of both formats that knows nothing of the writer.

mod reader;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::*;
use crate::engine::sources::Sums;
use crate::engine::top_sources::{NamedSource, NetnsTotals, Others};
use reader::{Line, read};

const ALL: Options = Options { node_exporter: true };

fn sample() -> Scrape {
    sample::Gateway::new(12).scrape()
}

fn encoded(exposition: Exposition, scrape: &Scrape) -> String {
    exposition.encode(&families(scrape, &ALL))
}

#[test]
fn open_metrics_text() {
    insta::assert_snapshot!("open_metrics", encoded(Exposition::OpenMetrics, &sample()));
}

#[test]
fn classic_text() {
    insta::assert_snapshot!("text", encoded(Exposition::Text, &sample()));
}

#[test]
fn every_declared_metric_is_in_a_scrape_in_the_declared_order() {
    let scrape = sample();
    let families = families(&scrape, &ALL);
    let names: Vec<_> = families.iter().map(|it| it.metric.name).collect();
    assert_eq!(names, declared::all().map(|it| it.name).collect::<Vec<_>>());
    for Family { metric, samples } in &families {
        assert!(!samples.is_empty(), "the sample has no {}", metric.name);
        assert!(samples.iter().all(|it| it.labels.len() == metric.labels.len()), "{}", metric.name);
        let labels: BTreeSet<_> = samples.iter().map(|it| &it.labels).collect();
        assert_eq!(labels.len(), samples.len(), "{} has two series of the same labels", metric.name);
    }
    let without = super::families(&scrape, &Options::default());
    assert_eq!(without.iter().filter(|it| it.metric.name.starts_with("node_")).count(), 0);
}

#[test]
fn both_formats_are_read_back_as_the_same_numbers() {
    let scrape = sample();
    let open = read(&encoded(Exposition::OpenMetrics, &scrape), true).expect("OpenMetrics");
    let text = read(&encoded(Exposition::Text, &scrape), false).expect("classic");
    assert_eq!(open.lines, text.lines);
    let expected: BTreeSet<String> = declared::all().flat_map(Metric::all_series).collect();
    let names: BTreeSet<String> = open.lines.iter().map(|line| line.name.clone()).collect();
    assert_eq!(names, expected);
    assert_eq!(open.units["ctwatch_cpu_seconds"], "seconds");
    assert_eq!(
        (open.kinds["ctwatch_cpu_seconds"].as_str(), open.kinds["ctwatch_build"].as_str()),
        ("counter", "info")
    );
    assert_eq!(
        (text.kinds["ctwatch_cpu_seconds_total"].as_str(), text.kinds["ctwatch_build_info"].as_str()),
        ("counter", "gauge")
    );
    assert!(text.units.is_empty());
}

/// Sums of the lines of a name, by the labels that are not left out.
fn sums(lines: &[Line], name: &str, but: &[&str]) -> BTreeMap<Vec<(String, String)>, u64> {
    let mut sums = BTreeMap::new();
    for line in lines.iter().filter(|line| line.name == name) {
        let kept = line.labels.iter().filter(|(name, _)| !but.contains(&name.as_str())).cloned().collect();
        *sums.entry(kept).or_insert(0) += line.value.parse::<u64>().expect("a whole number");
    }
    sums
}

#[test]
fn sums_add_up_in_the_text() {
    let mut gateway = sample::Gateway::new(5);
    for _ in 0..3 {
        let scrape = gateway.scrape();
        let lines = read(&encoded(Exposition::Text, &scrape), false).expect("classic").lines;
        let by_netns = |name, but: &[&str]| sums(&lines, name, but);
        assert_eq!(by_netns("ctwatch_source_new_total", &["src"]), by_netns("ctwatch_new_total", &[]));
        assert_eq!(
            by_netns("ctwatch_source_refused_total", &["src"]),
            by_netns("ctwatch_refused_total", &["cause"])
        );
        let mut held = by_netns("ctwatch_source_entries", &["src"]);
        held.retain(|labels, _| !["0", "gone"].contains(&labels[0].1.as_str()));
        assert_eq!(held, by_netns("ctwatch_live_entries", &[]));
        let all = |name| sums(&lines, name, &["netns", "netns_name", "cause"])[&vec![]];
        let totals = &scrape.snapshot.totals;
        assert_eq!(all("ctwatch_new_total"), totals.new);
        assert_eq!(all("ctwatch_freed_total"), totals.freed);
        assert_eq!(all("ctwatch_refused_total"), totals.refused());
        assert_eq!(all("ctwatch_evicted_total"), totals.evicted);
        assert_eq!(all("ctwatch_insert_failed_total"), totals.insert_failed());
        assert_eq!(all("ctwatch_unconfirmed_total"), totals.unconfirmed);
        let number = by_netns("ctwatch_lifetime_seconds_count", &[]);
        let inf: BTreeMap<_, _> = sums(&lines, "ctwatch_lifetime_seconds_bucket", &[])
            .into_iter()
            .filter(|(labels, _)| labels.iter().any(|(name, value)| name == "le" && value == "+Inf"))
            .map(|(labels, number)| {
                (labels.into_iter().filter(|(name, _)| name != "le").collect::<Vec<_>>(), number)
            })
            .collect();
        assert_eq!(number, inf);
    }
}

#[test]
fn names_that_anybody_may_give_are_escaped() {
    let mut scrape = sample();
    let name = "a\"b\\c\nd{}=,é";
    scrape.snapshot.netns[0].name = Some(name.to_owned());
    scrape.snapshot.trust.degradations = vec!["one\n\"two\"".to_owned()];
    for (exposition, open) in [(Exposition::OpenMetrics, true), (Exposition::Text, false)] {
        let text = encoded(exposition, &scrape);
        assert!(text.contains(r#"netns_name="a\"b\\c\nd{}=,é""#));
        let lines = read(&text, open).expect("readable").lines;
        let named = lines
            .iter()
            .filter(|it| it.labels.iter().any(|(key, value)| key == "netns_name" && value == name));
        assert!(named.count() > 20);
        assert!(lines.iter().any(|it| it.labels.iter().any(|(_, value)| value == "one\n\"two\"")));
    }
}

#[test]
fn numbers_are_exact_and_always_numbers() {
    static GAUGE: Metric = Metric::new(Kind::Gauge, "ctwatch_open_files", "A number");
    let written = |value: Value| {
        let text = Exposition::Text.encode(&[Family::one(&GAUGE, value)]);
        text.lines().last().and_then(|line| line.split(' ').nth(1)).map(str::to_owned)
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(written(u64::MAX.into()), some("18446744073709551615"));
    assert_eq!(written(i64::MIN.into()), some("-9223372036854775808"));
    assert_eq!(written(0.1.into()), some("0.1"));
    assert_eq!(written(1_795_169_700.25.into()), some("1795169700.25"));
    assert_eq!(written(true.into()), some("1"));
    for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(written(float.into()), None, "no family without values is written");
    }
}

#[test]
fn a_client_gets_what_it_likes_best() {
    use Exposition::{OpenMetrics, Text};
    const PROMETHEUS_2: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                                text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    const PROMETHEUS_3: &str = "application/openmetrics-text;escaping=allow-utf-8;version=1.0.0;q=0.6,\
                                application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    for (accept, expected) in [
        (None, Text),
        (Some(""), Text),
        (Some("*/*"), Text),
        (Some("text/html,application/xhtml+xml,*/*;q=0.8"), Text),
        (Some("application/openmetrics-text"), OpenMetrics),
        (Some("APPLICATION/OpenMetrics-Text; Version=1.0.0"), OpenMetrics),
        (Some("application/openmetrics-text; version=0.0.1"), Text),
        (Some("application/openmetrics-text; version=2.0.0, */*;q=0.1"), Text),
        (Some(PROMETHEUS_2), OpenMetrics),
        (Some(PROMETHEUS_3), OpenMetrics),
        (Some("application/openmetrics-text;q=0.4, text/plain;q=0.5"), Text),
        (Some("application/openmetrics-text;q=0, */*"), Text),
        (Some("application/openmetrics-text, text/plain"), Text),
        (Some("application/openmetrics-text, */*"), OpenMetrics),
        (Some("application/*, text/*;q=0.9"), OpenMetrics),
        (Some("text/plain;q=0, */*;q=0.5"), OpenMetrics),
        (Some("application/openmetrics-text;q=nonsense"), Text),
        (Some("application/openmetrics-text;q=7, text/plain;q=0.1"), Text),
        (Some("image/png"), Text),
        (Some(";;,/,q=1,text"), Text),
    ] {
        assert_eq!(Exposition::negotiate(accept), expected, "{accept:?}");
    }
    assert!(OpenMetrics.content_type().starts_with("application/openmetrics-text; version=1.0.0"));
}

#[test]
fn a_large_scrape_is_written_in_no_time() {
    let mut scrape = sample();
    let row = scrape.snapshot.netns[0].clone();
    let netns = |at: u32| crate::engine::snapshot::NetnsRow {
        netns: at,
        name: Some(format!("pod-{at}")),
        ..row.clone()
    };
    scrape.snapshot.netns = (1..=50).map(netns).collect();
    scrape.sources.netns = (0..=50).map(|netns| NetnsTotals { netns, ..NetnsTotals::default() }).collect();
    scrape.sources.others =
        (0..=50).map(|netns| Others { netns, entries: 7, sums: Sums::default() }).collect();
    let named =
        |at: u8| NamedSource { netns: 1, src: [192, 0, 2, at].into(), entries: 9, sums: Sums::default() };
    scrape.sources.named = (0..100).map(named).collect();
    let took = |exposition| {
        let began = Instant::now();
        let length = encoded(exposition, &scrape).len();
        assert!(length > 100_000, "{length}");
        began.elapsed()
    };
    let fastest = (0..5).map(|_| took(Exposition::OpenMetrics)).min().unwrap_or_default();
    println!("{fastest:?}");
    // Without optimization, on a machine that does other things too.
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
}
