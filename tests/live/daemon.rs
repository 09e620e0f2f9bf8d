//! The daemon: what it answers, records and tells the program it runs is what the kernel counted; whatever befalls it,
//! it goes on.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use conntrack_tests::kernel;
use conntrack_tests::modules::Modules;
use conntrack_tests::player::Player;
use conntrack_tests::scenario::Scenario;
use conntrack_tests::watcher::{Ended, Signal, Watcher, number};
use conntrack_tests::web::{self, Metrics};
use serde_json::Value;

use crate::lab::{self, BUCKETS, LARGE, Lab, SMALL, SOON};
use crate::record::{Folder, SmallDisk, report};

/// Where daemons of tests listen.
pub const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 19_754);

/// A picture is put up once a second.
const PICTURE: Duration = Duration::from_millis(1_500);

/// A daemon with a folder of its own.
pub struct Daemon {
    watcher: Watcher,
    /// Its own.
    pub folder: Folder,
}

impl Daemon {
    /// Starts one, and waits until its numbers are complete. `{folder}` in the configuration is its folder.
    pub fn start(name: &str, configuration: &str) -> Result<Self> {
        let folder = Folder::new(name)?;
        let daemon = Self { watcher: Self::run(&folder, configuration)?, folder };
        daemon.wait_until_ready()?;
        Ok(daemon)
    }

    fn run(folder: &Folder, configuration: &str) -> Result<Watcher> {
        let file = folder.file("ctwatch.toml");
        fs::write(&file, Self::filled(folder, configuration))?;
        Watcher::start(&["daemon", "--config", &file, "--web.listen-address", &ADDRESS.to_string()])
    }

    fn filled(folder: &Folder, configuration: &str) -> String {
        configuration.replace("{folder}", folder.file("").trim_end_matches('/'))
    }

    /// Writes another configuration and says so.
    pub fn reload(&self, configuration: &str) -> Result<()> {
        fs::write(self.folder.file("ctwatch.toml"), Self::filled(&self.folder, configuration))?;
        self.watcher.signal(Signal::HUP)
    }

    fn wait_until_ready(&self) -> Result<()> {
        let ready =
            kernel::until(SOON, || Ok(web::get(ADDRESS, "/readyz").is_ok_and(|it| it.status == 200)))?;
        ensure!(ready, "not ready: {:?}\n{}", web::get(ADDRESS, "/readyz"), self.watcher.stderr());
        Ok(())
    }

    /// Metrics once they have this value.
    pub fn metrics_when(&self, name: &str, labels: &[&str], value: f64) -> Result<Metrics> {
        let begun = Instant::now();
        loop {
            let metrics = Metrics::scrape(ADDRESS)?;
            if metrics.sum(name, labels) == value {
                return Ok(metrics);
            }
            let is = metrics.sum(name, labels);
            ensure!(
                begun.elapsed() < SOON,
                "{name} {labels:?} is {is} and not {value}\n{}",
                self.watcher.stderr()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn wait_for_log(&self, what: &str) -> Result<()> {
        let logged = kernel::until(SOON, || Ok(self.watcher.stderr().contains(what)))?;
        ensure!(logged, "{what:?} is not logged: {}", self.watcher.stderr());
        Ok(())
    }

    /// Ends it as a service manager does.
    pub fn stop(self) -> Result<(Ended, Folder)> {
        let Self { watcher, folder } = self;
        let ended = watcher.stop(Signal::TERM)?;
        ensure!(ended.status.success(), "it ended with {}: {}", ended.status, ended.stderr);
        Ok((ended, folder))
    }
}

/// Capabilities of each thread, by its name.
fn capabilities(pid: i32) -> Result<Vec<(String, u64)>> {
    let mut threads = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let name = field("Name:").context("a thread has a name")?.to_owned();
        let held = ["CapPrm:", "CapEff:", "CapAmb:"]
            .map(|set| field(set).and_then(|hex| u64::from_str_radix(hex, 16).ok()));
        threads.push((name, held.into_iter().map(Option::unwrap_or_default).fold(0, |all, set| all | set)));
    }
    Ok(threads)
}

/// A program that keeps what it is told in a folder anybody may write to.
fn program(folder: &Path) -> Result<PathBuf> {
    let told = folder.join("told");
    fs::create_dir_all(&told)?;
    fs::set_permissions(&told, fs::Permissions::from_mode(0o777))?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    let program = folder.join("program");
    fs::write(&program, format!("#!/bin/sh\ncat > {}/$CTWATCH_EDGE\n", told.display()))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(program)
}

#[test]
fn all_it_says_of_a_saturation_is_what_the_kernel_counted() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    let scenario = Scenario::hog()?;
    let lab = Lab::new(scenario.max, scenario.buckets)?;
    let hooked = Folder::new("hooked")?;
    let program = program(Path::new(&hooked.file("")))?;
    let daemon = Daemon::start(
        "daemon",
        &format!(
            "[recording]\ndir = \"{{folder}}\"\n[on_saturation]\ncommand = [\"{}\"]\nmin_interval = \"1s\"\n",
            program.display()
        ),
    )?;
    let kernel = lab.play(&scenario)?;
    let netns = format!("netns=\"{}\"", lab.inum());

    let metrics = daemon.metrics_when("ctwatch_refused_total", &[&netns], kernel.refused() as f64)?;
    println!("{}", metrics.0);
    lab::expect_evicted(&kernel, metrics.sum("ctwatch_evicted_total", &[&netns]) as u64);
    assert_eq!(metrics.sum("ctwatch_lost_total", &[]), 0.0);
    for (of_sources, of_all) in [
        ("ctwatch_source_refused_total", "ctwatch_refused_total"),
        ("ctwatch_source_new_total", "ctwatch_new_total"),
        ("ctwatch_source_entries", "ctwatch_live_entries"),
    ] {
        assert_eq!(metrics.sum(of_sources, &[]), metrics.sum(of_all, &[]), "{of_sources}");
    }
    let count = lab.count()? as f64;
    daemon.metrics_when("ctwatch_entries", &[&netns], count)?;

    let episodes = web::json(ADDRESS, "/api/v1/episodes")?;
    let refused: u64 =
        episodes.as_array().context("episodes")?.iter().map(|it| it["refused"].as_u64().unwrap_or(0)).sum();
    assert_eq!(refused, kernel.refused());
    let refusals = web::json(ADDRESS, "/api/v1/refused?since=0")?;
    assert_eq!(refusals["refused"].as_array().map(Vec::len), Some(kernel.refused() as usize));
    assert_eq!(refusals["more_before"], false);

    let told = |edge: &str| fs::read_to_string(hooked.file(&format!("told/{edge}")));
    let complete = kernel::until(SOON, || Ok(told("recovered").is_ok_and(|text| text.ends_with('\n'))))?;
    ensure!(complete, "the program was not run: {}", daemon.watcher.stderr());
    let told: Value = serde_json::from_str(&told("recovered")?)?;
    assert_eq!(told["episode"]["refused"], episodes[0]["refused"], "{told}");
    assert_eq!(told["episode"]["holders"]["sources"]["top"][0]["src"], Player::hog_address().to_string());

    let threads = capabilities(daemon.watcher.pid().as_raw_pid())?;
    println!("{threads:x?}");
    for (name, held) in &threads {
        assert_eq!(*held != 0, name == "ctwatch-drain", "{threads:x?}");
    }

    let (ended, folder) = daemon.stop()?;
    println!("{}", ended.stderr);
    for recording in ["aggregate", "detail"] {
        let report = report(&folder.file(recording))?;
        assert_eq!(number(&report["totals"], "refused")?, kernel.refused(), "{recording}");
        assert_eq!(report["known"]["missing"], Value::Array(vec![]), "{recording}");
    }
    Ok(())
}

/// A Prometheus that scrapes a daemon every second, and evaluates the alerts that are shipped.
struct Prometheus(Child);

impl Prometheus {
    const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 19_090);

    fn start(folder: &Folder) -> Result<Self> {
        let (file, rules) = (folder.file("prometheus.yml"), folder.file("ctwatch.rules.yml"));
        fs::write(&rules, include_str!("../../packaging/prometheus/ctwatch.rules.yml"))?;
        let scrape = format!("  - job_name: ctwatch\n    static_configs: [{{targets: [\"{ADDRESS}\"]}}]\n");
        let global = "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n";
        fs::write(&file, format!("{global}rule_files: [\"{rules}\"]\nscrape_configs:\n{scrape}"))?;
        let child = Command::new("prometheus")
            .arg(format!("--config.file={file}"))
            .arg(format!("--storage.tsdb.path={}", folder.file("tsdb")))
            .arg(format!("--web.listen-address={}", Self::ADDRESS))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start prometheus")?;
        let prometheus = Self(child);
        let up =
            kernel::until(Duration::from_secs(60), || Ok(prometheus.value("up").is_ok_and(|up| up == 1.0)))?;
        ensure!(up, "prometheus does not scrape");
        Ok(prometheus)
    }

    /// The value of a query that has one sample.
    fn value(&self, query: &str) -> Result<f64> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = web::json(Self::ADDRESS, &format!("/api/v1/query?query={escaped}"))?;
        let value = answer["data"]["result"][0]["value"][1].as_str();
        Ok(value.with_context(|| format!("{query}: {answer}"))?.parse()?)
    }

    fn wait_for(&self, query: &str, value: f64) -> Result<()> {
        let reached = kernel::until(SOON, || Ok(self.value(query).is_ok_and(|it| it == value)))?;
        ensure!(reached, "{query} is {:?} and not {value}", self.value(query));
        Ok(())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

#[test]
fn prometheus_reads_what_the_kernel_counted() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    if !Path::new("/test/prometheus").exists() {
        println!("skipped: no prometheus here; `cargo xtask test` puts it into one guest");
        return Ok(());
    }
    let scenario = Scenario::hog()?;
    let lab = Lab::new(scenario.max, scenario.buckets)?;
    let daemon = Daemon::start("prometheus", "[recording]\ndir = \"\"\n[metrics]\nnode_exporter = true\n")?;
    let prometheus = Prometheus::start(&daemon.folder)?;
    let kernel = lab.play(&scenario)?;
    let of = |name: &str| format!("sum({name}{{netns=\"{}\"}})", lab.inum());
    prometheus.wait_for(&of("ctwatch_refused_total"), kernel.refused() as f64)?;
    prometheus.wait_for(&of("ctwatch_source_refused_total"), kernel.refused() as f64)?;
    prometheus.wait_for(&of("ctwatch_entries"), lab.count()? as f64)?;
    lab::expect_evicted(&kernel, prometheus.value(&of("ctwatch_evicted_total"))? as u64);
    for state in scenario.states() {
        let ever =
            format!("max(max_over_time(ctwatch_state{{netns=\"{}\", state=\"{state}\"}}[5m]))", lab.inum());
        assert_eq!(prometheus.value(&ever)?, 1.0, "{state}");
    }
    assert!(
        prometheus.value("count(ALERTS{alertstate=\"firing\"})")? >= 2.0,
        "refusals and evictions are alerted of"
    );
    daemon.stop()?;
    Ok(())
}

#[test]
fn faults_are_said_once_and_it_goes_on() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    let lab = Lab::new(SMALL, BUCKETS)?;
    let disk = SmallDisk::mount(1 << 20)?;
    let dir = disk.file("recordings");
    let configuration = format!("[recording]\ndir = \"{dir}\"\n");
    let daemon = Daemon::start("faults", &configuration)?;

    let second = Daemon::run(&daemon.folder, &configuration)?.finish(SOON)?;
    assert_eq!(second.status.code(), Some(4), "{}", second.stderr);
    assert!(second.stderr.contains("cannot listen at"), "{}", second.stderr);

    daemon.reload("[attach]\nwarn = 120\n[recordings]\n")?;
    daemon.wait_for_log("left as it was")?;
    let log = daemon.watcher.stderr();
    assert!(log.contains("ctwatch.toml:2: attach.warn") && log.contains("recordings"), "{log}");
    daemon.reload(&format!("{configuration}[metrics]\ntop_sources = 3\n"))?;
    daemon.metrics_when("ctwatch_reloads_total", &["result=\"taken\""], 1.0)?;

    fs::remove_dir_all(&dir)?;
    let again = kernel::until(SOON, || Ok(Path::new(&dir).join("aggregate").is_dir()))?;
    ensure!(again, "the directory is not made again: {}", daemon.watcher.stderr());

    let ballast = disk.file("ballast");
    fs::write(&ballast, vec![1; 1 << 20]).expect_err("the disk is small");
    let before = lab.stats()?;
    let refused = |lab: &Lab| -> Result<f64> {
        for _ in 0..4 {
            lab::crowd(false, 2_000).send(&lab.gateway)?;
            std::thread::sleep(PICTURE);
        }
        lab.settle()?;
        Ok(lab.stats()?.since(&before).refused() as f64)
    };
    let counted = refused(&lab)?;
    let metrics = daemon.metrics_when("ctwatch_refused_total", &[], counted)?;
    let named = metrics.samples("ctwatch_source_entries") - metrics.samples("ctwatch_live_entries");
    assert!((1..=3).contains(&named), "sources are named as it was told: {}", metrics.0);
    daemon.wait_for_log("cannot write")?;
    fs::remove_file(&ballast)?;
    let counted = refused(&lab)?;
    let metrics = daemon.metrics_when("ctwatch_refused_total", &[], counted)?;
    assert!(metrics.sum("ctwatch_recording_failed_blocks_total", &[]) > 0.0, "{}", metrics.0);
    assert_eq!(metrics.sum("ctwatch_recording_writing", &[]), 2.0, "{}", metrics.0);
    assert_eq!(daemon.watcher.stderr().matches("cannot write").count(), 2, "once for each recording");
    let (ended, _) = daemon.stop()?;
    println!("{}", ended.stderr);
    Ok(())
}

#[test]
fn it_outlives_conntrack() -> Result<()> {
    let Some(modules) = Modules::of_guest().filter(|_| lab::ready()) else {
        println!("skipped: conntrack cannot be unloaded here");
        return Ok(());
    };
    modules.unload()?;
    let folder = Folder::new("outlives")?;
    let watcher = Daemon::run(&folder, "[attach]\nbackend = \"kprobe\"\n[recording]\ndir = \"\"\n")?;
    let daemon = Daemon { watcher, folder };
    daemon.wait_for_log("waiting for it")?;
    daemon.watcher.signal(Signal::HUP)?;
    assert_eq!(web::get(ADDRESS, "/readyz")?.status, 503);
    modules.load()?;
    daemon.wait_until_ready()?;
    modules.unload()?;
    daemon.wait_for_log("conntrack is gone")?;
    daemon.metrics_when("ctwatch_conntrack_absent", &[], 1.0)?;
    modules.load()?;
    daemon.wait_for_log("conntrack is there again")?;
    daemon.wait_until_ready()?;
    let lab = Lab::new(LARGE, 65_536)?;
    let sent = lab::crowd(false, 1_000).send(&lab.gateway)?;
    lab.settle()?;
    daemon.metrics_when("ctwatch_new_total", &[&format!("netns=\"{}\"", lab.inum())], sent.packets as f64)?;
    daemon.stop()?;
    Ok(())
}
