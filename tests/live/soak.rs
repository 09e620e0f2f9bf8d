//! Weeks of a gateway in minutes: the daemon under arrivals, floods, namespaces that come and go, a wall clock that jumps,
//! reloads and scrapes. Not a test of the suite: `cargo xtask soak` runs it for as long as it is told.

use std::env;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use conntrack_tests::gateway::{Gateway, Router};
use conntrack_tests::hog::Hog;
use conntrack_tests::web::{self, Metrics};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use crate::daemon::{ADDRESS, Daemon};
use crate::lab::{self, BUCKETS, Lab, SOON};

/// Entries that the table may have.
const MAX: u32 = 4_096;
/// Memory may be this much larger in the end than after the first rounds: what allocators keep.
const SLACK_BYTES: f64 = 4.0 * 1024.0 * 1024.0;
/// Rounds until everything has reached its size.
const WARM: usize = 5;

/// What the daemon takes after a round.
struct Row {
    at: Duration,
    refused: f64,
    evicted: f64,
    new: f64,
    rss: f64,
    files: f64,
    recordings: usize,
    cpu: f64,
    lost: f64,
}

impl Row {
    fn read(begun: Instant, dir: &str) -> Result<Self> {
        let metrics = Metrics::scrape(ADDRESS)?;
        let recordings =
            ["aggregate", "detail"].map(|name| fs::read_dir(Path::new(dir).join(name)).map(Iterator::count));
        Ok(Self {
            at: begun.elapsed(),
            refused: metrics.sum("ctwatch_refused_total", &[]),
            evicted: metrics.sum("ctwatch_evicted_total", &[]),
            new: metrics.sum("ctwatch_new_total", &[]),
            rss: metrics.sum("ctwatch_resident_memory_bytes", &[]),
            files: metrics.sum("ctwatch_open_files", &[]),
            recordings: recordings.into_iter().flatten().sum(),
            cpu: metrics.sum("ctwatch_cpu_seconds_total", &[]),
            lost: metrics.sum("ctwatch_lost_total", &[]),
        })
    }

    fn print(&self) {
        let Self { at, refused, evicted, new, rss, files, recordings, cpu, lost } = self;
        let mib = rss / 1024.0 / 1024.0;
        println!(
            "{:>7.0} {new:>12} {refused:>10} {evicted:>10} {lost:>6} {mib:>9.1} {files:>6} {recordings:>11} {cpu:>8.1}",
            at.as_secs_f64()
        );
    }
}

#[test]
#[ignore = "as long as CTWATCH_SOAK_S says"]
fn weeks_in_minutes() -> Result<()> {
    let lasts = env::var("CTWATCH_SOAK_S").context("CTWATCH_SOAK_S is not set")?.parse()?;
    let lasts = Duration::from_secs(lasts);
    let lab = Lab::new(MAX, BUCKETS)?;
    let configuration = "[recording]\ndir = \"{folder}\"\ndetail_max_age = \"1m\"\nmax_age = \"4m\"\n";
    let daemon = Daemon::start("soak", configuration)?;
    let dir = daemon.folder.file("");
    let before = lab.stats()?;
    println!("seconds          new    refused    evicted   lost  RSS, MiB  files  recordings  CPU, s");
    let (begun, mut rows) = (Instant::now(), Vec::new());
    for round in 0.. {
        if begun.elapsed() >= lasts {
            break;
        }
        one_round(&lab, &daemon, round, configuration)?;
        let row = Row::read(begun, &dir)?;
        row.print();
        rows.push(row);
    }
    lab.settle()?;
    let kernel = lab.stats()?.since(&before);
    let netns = format!("netns=\"{}\"", lab.inum());
    let metrics = daemon.metrics_when("ctwatch_refused_total", &[&netns], kernel.refused() as f64)?;
    lab::expect_evicted(&kernel, metrics.sum("ctwatch_evicted_total", &[&netns]) as u64);
    daemon.metrics_when("ctwatch_live_entries", &[&netns], lab.count()? as f64)?;
    let warm = rows.get(WARM).context("it was too short to say anything")?;
    let last = rows.last().context("there is a last row")?;
    let most = rows[WARM..].iter().map(|row| row.files).fold(0.0, f64::max);
    assert!(last.rss <= warm.rss + SLACK_BYTES, "memory grows: {} to {}", warm.rss, last.rss);
    assert!(most <= warm.files + 4.0, "open files grow: {} to {most}", warm.files);
    // 16 shards of each recording and what is just being written.
    assert!(rows.iter().all(|row| row.recordings <= 2 * 20), "recordings are not removed");
    let (ended, _) = daemon.stop()?;
    println!("{} lines logged", ended.stderr.lines().count());
    Ok(())
}

/// What a gateway meets in hours.
fn one_round(lab: &Lab, daemon: &Daemon, round: u64, configuration: &str) -> Result<()> {
    for _ in 0..4 {
        lab::crowd(false, 2_500).send(&lab.gateway)?;
        Metrics::scrape(ADDRESS)?;
        web::json(ADDRESS, "/api/v1/snapshot")?;
    }
    {
        let hog = Hog::new(&lab.gateway, false)?;
        let _held = hog.hold(MAX as usize, Gateway::source(false, 90 + round as u32 % 9), SOON)?;
        lab::crowd(false, 5_000).send(&lab.gateway)?;
    }
    {
        let passing = Gateway::new(Router::Own)?;
        lab::crowd(false, 500).send(&passing)?;
        lab::settle(&[&passing.router])?;
    }
    // An hour ahead, and back again.
    let step = if round.is_multiple_of(2) { 3_600 } else { -3_600 };
    let now = clock_gettime(ClockId::Realtime);
    clock_settime(ClockId::Realtime, Timespec { tv_sec: now.tv_sec + step, ..now })?;
    let broken = round.is_multiple_of(3);
    daemon.reload(if broken { "[attach]\nwarn = \"much\"\n" } else { configuration })?;
    lab.settle()
}
