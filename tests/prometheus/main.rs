//! What Prometheus and its tools say of the metrics, the alerts and the dashboard. Where they are not installed it is said
//! that nothing was tried; with `CTWATCH_REQUIRE_TOOLS` in the environment that is a failure.

mod server;
mod tools;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use conntrack_user::output::metrics::{Exposition, Metric, Options, declared, families, sample};
use serde_json::Value;
use server::Scraped;
use tools::{Prometheus, tool};

const RULES: &str = "packaging/prometheus/ctwatch.rules.yml";
const RULES_TEST: &str = "packaging/prometheus/ctwatch.rules.test.yml";
const DASHBOARD: &str = "packaging/grafana/ctwatch.json";

fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(workspace(path)).with_context(|| format!("read {path}"))
}

fn encoded(exposition: Exposition) -> String {
    let scrape = sample::Gateway::new(12).scrape();
    exposition.encode(&families(&scrape, &Options { node_exporter: true }))
}

/// Names of ctwatch's series in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !inside(c)).filter(|word| word.starts_with("ctwatch_")).collect()
}

#[test]
fn alerts_and_dashboard_use_what_exists() -> Result<()> {
    let declared: BTreeSet<String> = declared::all().flat_map(Metric::all_series).collect();
    for path in [RULES, RULES_TEST, DASHBOARD] {
        let text = read(path)?;
        let names = names(&text);
        ensure!(names.len() > 5, "{path} has only {names:?}");
        let unknown: Vec<_> = names.into_iter().filter(|name| !declared.contains(*name)).collect();
        ensure!(unknown.is_empty(), "{path} uses {unknown:?}, which are not declared");
    }
    Ok(())
}

#[test]
fn every_metric_that_ctwatch_has_is_shown_or_alerted_on() -> Result<()> {
    // Of these the dashboard shows the sum, or another that has them in it.
    const NOT_SHOWN: [&str; 6] = [
        "ctwatch_conntrack_absences",
        "ctwatch_conntrack_absent_seconds",
        "ctwatch_program_missed",
        "ctwatch_audits",
        "ctwatch_last_audit_timestamp_seconds",
        "ctwatch_start_time_seconds",
    ];
    let text = read(RULES)? + &read(DASHBOARD)?;
    let names = names(&text);
    let of_ctwatch = declared::all().filter(|it| it.name.starts_with("ctwatch_"));
    let is_used = |metric: &&Metric| metric.all_series().iter().any(|it| names.contains(it.as_str()));
    let unused: Vec<_> = of_ctwatch.filter(|it| !is_used(it)).map(|it| it.name).collect();
    ensure!(unused == NOT_SHOWN, "{unused:?}");
    Ok(())
}

#[test]
fn every_alert_is_tested_firing_and_not() -> Result<()> {
    let (rules, tests) = (read(RULES)?, read(RULES_TEST)?);
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    ensure!(alerts.len() > 9, "{alerts:?}");
    for alert in alerts {
        let expected = format!("alertname: {alert}\n        exp_alerts:");
        let (quiet, firing): (Vec<_>, Vec<_>) =
            tests.split(&expected).skip(1).partition(|after| after.starts_with(" []"));
        ensure!(!quiet.is_empty() && !firing.is_empty(), "{alert}: {} and {}", quiet.len(), firing.len());
    }
    Ok(())
}

#[test]
fn promtool_finds_nothing_to_say_of_the_classic_format() -> Result<()> {
    let Some(promtool) = tool("promtool")? else { return Ok(()) };
    let said = tools::said(Command::new(promtool).args(["check", "metrics"]), &encoded(Exposition::Text))?;
    ensure!(said.is_empty(), "{said}");
    Ok(())
}

/// `promtool check metrics` knows the classic format only; this reads OpenMetrics, of samples that have a time.
#[test]
fn promtool_reads_open_metrics() -> Result<()> {
    let Some(promtool) = tool("promtool")? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let text = encoded(Exposition::OpenMetrics);
    let samples = text.lines().filter(|line| !line.starts_with('#')).count();
    let timed =
        |line: &str| if line.starts_with('#') { line.to_owned() } else { format!("{line} 1795169700") };
    let file = folder.path().join("scrape");
    fs::write(&file, text.lines().map(|line| timed(line) + "\n").collect::<String>())?;
    let mut command = Command::new(promtool);
    command.args(["tsdb", "create-blocks-from", "openmetrics"]).arg(&file).arg(folder.path().join("blocks"));
    let said = tools::said(&mut command, "")?;
    let blocks = said.lines().last().context("a table of blocks")?;
    let read = blocks.split_whitespace().any(|word| word == samples.to_string());
    ensure!(read, "{samples} samples: {said}");
    Ok(())
}

#[test]
fn promtool_accepts_the_alerts_and_their_tests_pass() -> Result<()> {
    let Some(promtool) = tool("promtool")? else { return Ok(()) };
    tools::said(Command::new(&promtool).args(["check", "rules"]).arg(workspace(RULES)), "")?;
    tools::said(Command::new(&promtool).args(["test", "rules"]).arg(workspace(RULES_TEST)), "")?;
    Ok(())
}

#[test]
fn a_real_prometheus_answers_every_query() -> Result<()> {
    let Some(program) = tool("prometheus")? else { return Ok(()) };
    let (negotiated, classic) = (Scraped::serve(None)?, Scraped::serve(Some(Exposition::Text))?);
    let targets = [("ctwatch", negotiated.address()), ("classic", classic.address())];
    let prometheus = Prometheus::start(&program, &targets, &workspace(RULES))?;
    prometheus.wait_until("of each job five scrapes", || {
        let scraped = prometheus.query(r#"count_over_time(up{job=~"ctwatch|classic"}[1m]) >= 5"#)?;
        Ok(scraped.len() == targets.len())
    })?;
    ensure!(prometheus.query("up == 1")?.len() == targets.len(), "a scrape was not understood");
    ensure!(negotiated.formats() == BTreeSet::from([Exposition::OpenMetrics.content_type()]));
    ensure!(classic.formats() == BTreeSet::from([Exposition::Text.content_type()]));
    expect_same_series(&prometheus)?;
    expect_sums_add_up(&prometheus)?;
    expect_dashboard(&prometheus)?;
    expect_alerts(&prometheus)
}

/// Whichever format is asked for, the series are the same.
fn expect_same_series(prometheus: &Prometheus) -> Result<()> {
    let series = |job: &str| -> Result<BTreeSet<String>> {
        let found =
            prometheus.query(&format!(r#"group without (job, instance) ({{job="{job}",__name__=~".+"}})"#));
        found.map(|rows| rows.iter().map(|row| row["metric"].to_string()).collect())
    };
    let named = |job: &str| -> Result<BTreeSet<String>> {
        let path = format!(r#"/api/v1/label/__name__/values?match[]={{job="{job}"}}"#);
        let names = prometheus.get(&path)?;
        Ok(names.as_array().context("names")?.iter().map(Value::to_string).collect())
    };
    ensure!(named("ctwatch")? == named("classic")?, "{:?}\n{:?}", named("ctwatch")?, named("classic")?);
    ensure!(series("ctwatch")? == series("classic")?);
    ensure!(named("ctwatch")?.len() > 60);
    Ok(())
}

fn expect_sums_add_up(prometheus: &Prometheus) -> Result<()> {
    for (one, other) in [
        ("ctwatch_source_new_total", "ctwatch_new_total"),
        ("ctwatch_source_refused_total", "ctwatch_refused_total"),
        ("ctwatch_source_entries", "ctwatch_live_entries"),
    ] {
        let differ = format!(
            r#"sum by (netns, netns_name) ({one}{{job="ctwatch",netns!~"0|gone"}})
               != sum by (netns, netns_name) ({other}{{job="ctwatch",netns!~"0|gone"}})"#
        );
        ensure!(prometheus.query(&differ)?.is_empty(), "{one} and {other}");
    }
    Ok(())
}

/// Every query of the dashboard has an answer, and every variable values.
fn expect_dashboard(prometheus: &Prometheus) -> Result<()> {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)?).context(DASHBOARD)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let panels = list(&dashboard["panels"]);
    let targets: Vec<Value> = panels.iter().flat_map(|panel| list(&panel["targets"])).collect();
    ensure!(targets.len() > 40, "only {} queries", targets.len());
    for target in &targets {
        let query = filled_in(target["expr"].as_str().context("a target has a query")?);
        let rows = prometheus.query(&query)?;
        ensure!(!rows.is_empty(), "no data: {query}");
        let refused = rows.iter().find(|row| row["value"][1] == "NaN");
        // Of what did not happen there is no quantile.
        ensure!(refused.is_none() || query.contains("ctwatch_lifetime") || query.contains(" / "), "{query}");
    }
    for annotation in list(&dashboard["annotations"]["list"]) {
        prometheus.query(&filled_in(annotation["expr"].as_str().context("an annotation has a query")?))?;
    }
    let variables = list(&dashboard["templating"]["list"]);
    let queries: Vec<_> = variables.iter().filter_map(|it| it["query"]["query"].as_str()).collect();
    ensure!(queries.len() == 3, "{queries:?}");
    for query in queries {
        let inside = query.strip_prefix("label_values(").and_then(|it| it.strip_suffix(')'));
        let (series, label) = inside.and_then(|it| it.rsplit_once(", ")).with_context(|| query.to_owned())?;
        let path = format!("/api/v1/label/{label}/values?match[]={}", filled_in(series));
        ensure!(!list(&prometheus.get(&path)?).is_empty(), "no values: {query}");
    }
    Ok(())
}

fn filled_in(query: &str) -> String {
    let query = query.replace("$__rate_interval", "1m").replace("$job", "ctwatch");
    query.replace("$instance", ".*").replace("$netns", ".*")
}

/// Every alert is evaluated without error, and those of what the sample does fire.
fn expect_alerts(prometheus: &Prometheus) -> Result<()> {
    let rules = || -> Result<Vec<Value>> {
        let groups = prometheus.get("/api/v1/rules")?;
        let groups = groups["groups"].as_array().context("groups")?.clone();
        Ok(groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect())
    };
    prometheus.wait_until("every alert evaluated", || {
        Ok(rules()?.iter().all(|rule| rule["health"] != "unknown"))
    })?;
    let rules = rules()?;
    ensure!(rules.len() > 9, "{} alerts", rules.len());
    for rule in &rules {
        ensure!(rule["health"] == "ok", "{}: {}", rule["name"], rule["lastError"]);
        prometheus.query(rule["query"].as_str().context("an alert has a query")?)?;
    }
    for alert in ["ConntrackRefusing", "ConntrackEvicting", "ConntrackNatPortsExhausted", "CtwatchEventsLost"]
    {
        prometheus.wait_until(alert, || {
            let firing = format!(r#"ALERTS{{alertname="{alert}",alertstate="firing",job="ctwatch"}}"#);
            Ok(!prometheus.query(&firing)?.is_empty())
        })?;
    }
    Ok(())
}

#[test]
fn tools_are_found_in_path() -> Result<()> {
    ensure!(tools::find("no such tool at all").is_none());
    ensure!(tools::find("sh").is_some_and(|shell| shell.is_file()));
    Ok(())
}
