//! Recordings of real saturations: what is read from them is what the kernel and the sender counted, whatever
//! happened to recorder, machine and disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use conntrack_tests::flood::monotonic_ns;
use conntrack_tests::gateway::Gateway;
use conntrack_tests::hog::Hog;
use conntrack_tests::player::Player;
use conntrack_tests::scenario::Scenario;
use conntrack_tests::watcher::{EXIT_LIMIT, Ended, Signal, Watcher, number};
use serde_json::Value;

use crate::lab::{self, BUCKETS, Lab, SMALL, SOON};

/// Packets may be worked off this long after they were sent, when a burst is left to ksoftirqd.
const SOFTIRQ_DELAY_NS: u64 = 1_000_000_000;

/// A folder of its own for each test, gone when it ends.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes it.
    pub fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("ctwatch-{name}-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

/// A recorder that is attached.
pub fn record(arguments: &[&str]) -> Result<Watcher> {
    let mut recorder = Watcher::start(&[&["record"], arguments].concat())?;
    recorder.wait_until_draining()?;
    Ok(recorder)
}

/// A ctwatch that reads a recording, to its end.
pub fn read(arguments: &[&str]) -> Result<Ended> {
    let ended = Watcher::start(arguments)?.finish(EXIT_LIMIT)?;
    ensure!(ended.status.success(), "{arguments:?} ended with {}: {}", ended.status, ended.stderr);
    Ok(ended)
}

/// What a report says.
pub fn report(file: &str) -> Result<Value> {
    let ended = read(&["report", "-o", "json", file])?;
    serde_json::from_str(&ended.stdout).with_context(|| format!("report printed {:?}", ended.stdout))
}

#[test]
fn a_recording_says_what_kernel_and_sender_say() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    let scenario = Scenario::hog()?;
    let lab = Lab::new(scenario.max, scenario.buckets)?;
    let folder = Folder::new("recording")?;
    let (thin, whole) = (folder.file("thin.ctw"), folder.file("whole.ctw"));
    let recorders = [record(&["-o", &thin])?, record(&["--entries", "-o", &whole])?];
    let begun = monotonic_ns();
    let kernel = lab.play(&scenario)?;
    let until = monotonic_ns();
    for (recorder, file) in recorders.into_iter().zip([&thin, &whole]) {
        let live = recorder.stop(Signal::INT)?;
        ensure!(live.status.success(), "it ended with {}: {}", live.status, live.stderr);
        println!("{}: {} bytes", file, fs::metadata(file)?.len());

        let report = report(file)?;
        let totals = &report["totals"];
        assert_eq!(number(totals, "refused")?, kernel.refused(), "{totals}");
        lab::expect_evicted(&kernel, number(totals, "evicted")?);
        let (first, last) = (&totals["first_refused"], &totals["last_refused"]);
        assert!(number(first, "ktime_ns")? >= begun && number(last, "ktime_ns")? <= until, "{totals}");
        assert_eq!(report["known"]["missing"], Value::Array(vec![]), "{}", report["known"]);
        assert_eq!(report["known"]["sessions"][0]["ended"], true, "{}", report["known"]);

        let replayed = read(&["watch", "--replay", file, "-o", "json"])?;
        assert_eq!(last_line(&read(&["watch", "--replay", file])?.stdout), summary_line(&live.stdout));
        let refused: Vec<u64> =
            replayed.of_kind("refused").filter_map(|line| line["ktime_ns"].as_u64()).collect();
        assert_eq!(refused.first(), first["ktime_ns"].as_u64().as_ref());
        assert_eq!(refused.last(), last["ktime_ns"].as_u64().as_ref());
        let states: Vec<_> = replayed.of_kind("edge").filter_map(|line| line["state"].as_str()).collect();
        let mut entered = states.iter();
        for state in scenario.states() {
            assert!(entered.any(|entered| *entered == state), "{state} is not in its turn: {states:?}");
        }
        let episode = &report["episodes"]["first"][0];
        assert_eq!(number(episode, "refused")?, number(&replayed.summary()?["episodes"][0], "refused")?);
        let holder = &episode["holders"]["sources"]["top"][0];
        assert_eq!(holder["src"], Player::hog_address().to_string(), "{episode}");
    }
    Ok(())
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

/// A recorder says more after it.
fn summary_line(text: &str) -> &str {
    text.lines().find(|line| line.contains(" summary ")).unwrap_or_default()
}

#[test]
fn a_flood_is_kept_to_its_budget_and_summed_to_the_unit() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    let lab = Lab::new(SMALL, BUCKETS)?;
    let folder = Folder::new("flood")?;
    let file = folder.file("flood.ctw");
    let recorder = record(&["-o", &file, "--detail", "100"])?;
    let hog = Hog::new(&lab.gateway, false)?;
    let _held = hog.hold(SMALL as usize, Gateway::source(false, 99), SOON)?;
    let before = lab.stats()?;
    let flood = lab::crowd(false, 20_000);
    let sent = flood.send(&lab.gateway)?;
    lab.settle()?;
    let kernel = lab.stats()?.since(&before);
    recorder.stop(Signal::INT)?;

    let report = report(&file)?;
    let totals = &report["totals"];
    assert_eq!(number(totals, "refused")?, kernel.refused(), "{totals}");
    assert_eq!(number(totals, "refused")?, sent.packets);
    let (first, last) = (&totals["first_refused"], &totals["last_refused"]);
    let begun = sent.first_ns..=sent.first_batch_ns + SOFTIRQ_DELAY_NS;
    let ended = sent.first_batch_ns..=sent.last_ns + SOFTIRQ_DELAY_NS;
    assert!(begun.contains(&number(first, "ktime_ns")?), "sent from {begun:?} on: {totals}");
    assert!(ended.contains(&number(last, "ktime_ns")?), "sent until {ended:?}: {totals}");
    let (told, summed) = (&totals["told"]["table_full"], &totals["summed"]["table_full"]);
    println!("{} bytes, told {told}, summed {summed}", fs::metadata(&file)?.len());
    assert!(number(&totals["told"], "table_full")? < sent.packets / 2, "{totals}");
    for n in 0..flood.sources {
        let src = Gateway::source(false, n).to_string();
        let rows = report["sources"]["top"].as_array().context("no sources")?;
        let row = rows.iter().find(|row| row["src"] == src).with_context(|| format!("{src} is missing"))?;
        assert_eq!(number(row, "refused")?, flood.packets_of(n), "{row}");
    }
    Ok(())
}

#[test]
fn a_recorder_that_is_killed_leaves_what_it_had_written() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    let lab = Lab::new(SMALL, BUCKETS)?;
    let folder = Folder::new("killed")?;
    for round in 0..3u64 {
        let file = folder.file(&format!("{round}.ctw"));
        let recorder = record(&["--entries", "-o", &file])?;
        let flood = lab::crowd(false, 5_000);
        flood.send(&lab.gateway)?;
        std::thread::sleep(Duration::from_millis(100 + 3_000 * round));
        let killed = recorder.stop(Signal::KILL)?;
        ensure!(!killed.status.success(), "SIGKILL kills");
        let report = report(&file)?;
        assert_eq!(report["known"]["sessions"][0]["ended"], false, "{}", report["known"]);
        let new = report["totals"]["new"].as_u64();
        println!("killed after {} ms: {new:?} entries recorded", 100 + 3_000 * round);
        // Nearly all: some entries of the round before are still there.
        assert!(round < 2 || new > Some(4_500), "blocks are closed every 5 s: {}", report["totals"]);
    }
    Ok(())
}

#[test]
fn a_full_disk_costs_what_does_not_fit_and_nothing_else() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    let lab = Lab::new(SMALL, BUCKETS)?;
    let disk = SmallDisk::mount(256 << 10)?;
    let (file, ballast) = (disk.file("full.ctw"), disk.file("ballast"));
    let recorder = record(&["--entries", "-o", &file])?;
    let flood = lab::crowd(false, 5_000);
    let before = lab.stats()?;
    flood.send(&lab.gateway)?;
    std::thread::sleep(Duration::from_secs(6));
    fs::write(&ballast, vec![1; 256 << 10]).expect_err("the disk is small");
    flood.send(&lab.gateway)?;
    std::thread::sleep(Duration::from_secs(6));
    fs::remove_file(&ballast)?;
    flood.send(&lab.gateway)?;
    lab.settle()?;
    let kernel = lab.stats()?.since(&before);
    let ended = recorder.stop(Signal::INT)?;
    assert!(ended.stderr.contains("cannot write"), "{}", ended.stderr);
    assert_eq!(ended.status.code(), Some(4), "{}", ended.stderr);

    let report = report(&file)?;
    assert_ne!(report["known"]["missing"], Value::Array(vec![]), "{}", report["known"]);
    assert_eq!(
        number(&report["totals"], "refused")?,
        kernel.refused(),
        "sums are so far: {}",
        report["totals"]
    );
    Ok(())
}

/// Not a test by itself: `cargo xtask test` runs it in a guest whose power it cuts at some moment, and then reads the disk
/// and holds it against what is printed here.
#[test]
#[ignore = "it never ends"]
fn records_until_the_power_is_cut() -> Result<()> {
    let lab = Lab::new(SMALL, BUCKETS)?;
    let _recorder = record(&["--entries", "--force", "-o", "/dev/vda"])?;
    let before = lab.stats()?;
    let hog = Hog::new(&lab.gateway, false)?;
    let half = SMALL as usize / 2;
    let mut held = hog.hold(half, Gateway::source(false, 99), SOON)?;
    for round in 0.. {
        // From here on nobody can be evicted.
        if round == 6 {
            held.join(hog.hold(half, Gateway::source(false, 98), SOON)?);
        }
        lab::crowd(false, 1_000).send(&lab.gateway)?;
        lab.settle()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        let kernel = lab.stats()?.since(&before);
        let (ktime, refused, evicted) = (monotonic_ns(), kernel.refused(), kernel.early_drop);
        println!("kernel: unix_ns={now} ktime_ns={ktime} refused={refused} evicted={evicted}");
    }
    Ok(())
}

/// A file system that is full soon.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one.
    pub fn mount(bytes: usize) -> Result<Self> {
        let path = std::env::temp_dir().join("ctwatch-small-disk");
        fs::create_dir_all(&path)?;
        let options = std::ffi::CString::new(format!("size={bytes}"))?;
        rustix::mount::mount("tmpfs", &path, "tmpfs", rustix::mount::MountFlags::empty(), Some(&*options))
            .context("mount a small tmpfs")?;
        Ok(Self(path))
    }

    /// A file on it.
    pub fn file(&self, name: &str) -> String {
        Path::new(&self.0).join(name).display().to_string()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _gone = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
        let _gone = fs::remove_dir(&self.0);
    }
}
