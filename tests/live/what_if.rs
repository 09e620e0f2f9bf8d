//! What-if against truth: the same load under two sets of timeouts, each predicted from a recording of the other.

use std::cell::Cell;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use conntrack_tests::flood::Flood;
use conntrack_tests::gateway::Gateway;
use conntrack_tests::netns::Resident;
use conntrack_tests::watcher::{Signal, Watcher};
use conntrack_user::advise::timeouts::Timeout;
use conntrack_user::advise::what_if::{NetnsPrediction, Prediction};
use conntrack_user::cli::what_if;
use conntrack_user::record::Files;

use crate::lab::{self, LARGE, Lab};

/// New UDP entries a second; nobody answers.
const DATAGRAMS: u32 = 400;
/// TCP connections a second, each closed in order at once.
const CONNECTIONS: u32 = 30;
/// So few that packets come across nearly all that has expired before the collector does, which would come once a minute
/// first, and every ten seconds later: peaks are rate times lifetime.
const BUCKETS: u32 = 512;
/// The timeouts that are changed, and what to.
const CHANGED: [&str; 2] = ["udp_timeout", "tcp_timeout_time_wait"];
const LONG_S: u64 = 12;
const SHORT_S: u64 = 6;
/// The prediction of the longer timeout takes that long to fill up; that of the shorter one needs half of it, and leaves
/// out the other half at the end.
const RECORDED: Duration = Duration::from_secs(LONG_S + 8);
/// Nobody waits longer for the other side of a connection.
const PATIENCE: Duration = Duration::from_secs(2);

#[test]
fn a_prediction_comes_true() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    if !lab::is("6.12") {
        println!(
            "skipped: its subject is arithmetic over a recording, and one kernel's truth is enough for that"
        );
        return Ok(());
    }
    let lab = Lab::new(LARGE, BUCKETS)?;
    // By a process in it a namespace can be reached, and its settings read.
    let _resident = Resident::new(&lab.gateway.router)?;
    let listener = lab.gateway.server.run(|| Ok(TcpListener::bind(server())?))?;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let over = Over(&is_over);
        let loads = [
            scope.spawn(|| send_datagrams(&lab.gateway, &is_over)),
            scope.spawn(|| accept(&listener, &is_over)),
            scope.spawn(|| connect(&lab.gateway, &is_over)),
        ];
        let tested = compare(&lab);
        drop(over);
        for load in loads {
            load.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        tested
    })
}

/// Ends the load when it goes, by a panic too: nobody waits for it for ever.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn compare(lab: &Lab) -> Result<()> {
    let [short, long] = [(SHORT_S, "/tmp/short.ctw"), (LONG_S, "/tmp/long.ctw")];
    for (seconds, file) in [short, long] {
        set(lab, seconds)?;
        // Until there are as many entries as there will be.
        thread::sleep(Duration::from_secs(seconds + 2));
        record(file)?;
    }
    for ((_, recorded), (seconds, other)) in [(long, short), (short, long)] {
        let changes = format!("udp={seconds},time_wait={seconds}");
        let prediction = play(recorded, &changes)?;
        let predicted = of_router(lab, &prediction)?;
        let truth = play(other, &changes)?;
        let actual = of_router(lab, &truth)?;
        // What was set already changes nothing.
        ensure!(actual.peak.recorded == actual.peak.predicted, "{:?}", actual.peak);
        let (said, was) = (predicted.peak.predicted.entries as f64, actual.peak.recorded.entries as f64);
        let off = (said / was - 1.0) * 100.0;
        println!(
            "{changes}: peak {} recorded, {said} predicted, {was} came: {off:+.1} %; mean {:.0} predicted, {:.0} came",
            predicted.peak.recorded.entries, predicted.mean.predicted, actual.mean.recorded
        );
        println!("{:?}", prediction.doubts);
        let timeouts = [Timeout::Udp, Timeout::TcpTimeWait];
        let explained = predicted.occupancy.waiting.iter().filter(|it| timeouts.contains(&it.timeout));
        ensure!(explained.filter(|it| it.ended > 100).count() == 2, "{predicted:?}");
        ensure!(predicted.timeouts_recorded, "the router's settings were not read");
        // Twice the lifetime is not twice the entries, and far from the same.
        ensure!((predicted.peak.recorded.entries as f64 / was - 1.0).abs() > 0.25, "{predicted:?}");
        ensure!(off.abs() <= 5.0, "{changes}: {said} predicted, {was} came\n{prediction:?}\n{truth:?}");
    }
    Ok(())
}

fn set(lab: &Lab, seconds: u64) -> Result<()> {
    CHANGED.iter().try_for_each(|name| {
        lab.gateway.router.set_sysctl(&format!("net/netfilter/nf_conntrack_{name}"), seconds)
    })
}

/// Records for a while.
fn record(file: &str) -> Result<()> {
    let mut recorder = Watcher::start(&["record", "--entries", "--force", "-o", file])?;
    recorder.wait_until_draining()?;
    thread::sleep(RECORDED);
    let ended = recorder.stop(Signal::INT)?;
    ensure!(ended.status.success(), "record ended with {}: {}", ended.status, ended.stderr);
    Ok(())
}

fn play(file: &str, changes: &str) -> Result<Prediction> {
    let prediction = what_if::predict(Files::find(&[file])?.recordings(), &changes.parse()?)?;
    // A busy machine may lose some; each is an entry among thousands.
    ensure!(prediction.doubts.lost < 20, "{:?}", prediction.doubts);
    Ok(prediction)
}

fn of_router<'a>(lab: &Lab, prediction: &'a Prediction) -> Result<&'a NetnsPrediction> {
    let inum = lab.gateway.router.inum();
    prediction.netns.iter().find(|it| it.netns == inum).context("nothing of the router")
}

/// Turns at a steady rate.
struct Turns {
    due: Cell<Instant>,
    every: Duration,
}

impl Turns {
    /// What is late by less is made up for. More is not: by as much the table would first shrink, and then grow when the
    /// entries from before expire.
    const LEEWAY: Duration = Duration::from_millis(50);

    fn new(per_second: u32) -> Self {
        Self { due: Cell::new(Instant::now()), every: Duration::from_secs(1) / per_second }
    }

    /// Waits for the next.
    fn wait(&self) {
        let now = Instant::now();
        let earliest = now.checked_sub(Self::LEEWAY).unwrap_or(now);
        self.due.set((self.due.get() + self.every).max(earliest));
        thread::sleep(self.due.get().saturating_duration_since(now));
    }
}

/// Each of its own connection, until it is over.
fn send_datagrams(gateway: &Gateway, is_over: &AtomicBool) -> Result<()> {
    let flood = Flood { sources: 50, packets: u64::MAX, batch: 4, ..Flood::default() };
    gateway.client.run(|| {
        let turns = Turns::new(DATAGRAMS / 4);
        flood.send_here(&|| {
            turns.wait();
            is_over.load(Ordering::Relaxed)
        })
    })?;
    Ok(())
}

fn server() -> SocketAddr {
    SocketAddr::new(Gateway::listener(false), 80)
}

/// Waits for each client to close, and closes too.
fn accept(listener: &TcpListener, is_over: &AtomicBool) -> Result<()> {
    listener.set_nonblocking(true)?;
    while !is_over.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((mut stream, _)) => {
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.read_to_end(&mut Vec::new())?;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(2)),
            Err(error) => return Err(error).context("accept a connection"),
        }
    }
    Ok(())
}

/// Opens connections one after the other, which the client closes first.
fn connect(gateway: &Gateway, is_over: &AtomicBool) -> Result<()> {
    gateway.client.run(|| {
        let turns = Turns::new(CONNECTIONS);
        while !is_over.load(Ordering::Relaxed) {
            match say(b"ctw") {
                Err(_) if is_over.load(Ordering::Relaxed) => break, // The server has gone.
                said => said?,
            }
            turns.wait();
        }
        Ok(())
    })
}

fn say(what: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&server(), PATIENCE).context("connect to the server")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(what)?;
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut Vec::new()).context("wait for the server to close")?;
    Ok(())
}
