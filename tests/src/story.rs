//! The demonstration: a gateway is driven into saturation, ctwatch tells what happens, and in the end its
//! account stands beside the kernel's own.

mod account;
mod guardian;
mod narrator;
mod screen;

use std::env;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::gateway::{Gateway, Limits, Router};
use crate::kernel::{self, Stats};
use crate::player::Player;
use crate::scenario::Scenario;
use crate::watcher::{Signal, Watcher};

use account::Account;
use guardian::Guardian;
use narrator::Narrator;
use screen::Screen;

pub use guardian::{RESTORE, restore};

/// What a visitor would type, and what runs beside it for the account at the end.
/// Should the story be killed, they end by themselves.
const SHOWN: &[&str] = &["watch", "--duration", "5m"];
const COUNTED: &[&str] = &["--all", "-v", "--duration", "5m"];
/// How long a state that a phase leads to may be waited for after its end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells it; true if ctwatch and the kernel agree in the end.
pub fn tell() -> Result<bool> {
    let scenario = Scenario::hog()?;
    let mut screen = Screen::new(env::var_os("CTWATCH_LIVE").is_some_and(|live| live == "1"));
    screen.title(&scenario.title);
    let gateway = Gateway::new(Router::Own).context("build the gateway")?;
    let guardian = Guardian::start()?;
    let limits = Limits::set(scenario.max, scenario.buckets)?;
    introduce(&mut screen, &scenario, &limits);

    // Both attach at the same time; the one that counts is sure to have seen all there is to see.
    let mut shown = Watcher::start(SHOWN)?;
    let mut counted = Watcher::watch(COUNTED)?;
    shown.wait_until_draining()?;

    let before = Stats::read(&gateway.router)?;
    let mut player = Player::start(&gateway, &scenario)?;
    let mut narrator = Narrator::new(&mut screen, &scenario);
    narrator.attached(&mut shown, kernel::count(&gateway.router)?)?;
    for phase in &scenario.phases {
        narrator.begin(phase);
        let count = || kernel::count(&gateway.router);
        player.play(phase, || narrator.look(&mut shown, count()?))?;
        // On a slow machine the last of them may take longer than the phase.
        kernel::until(PATIENCE, || {
            narrator.look(&mut shown, count()?)?;
            counted.catch_up();
            Ok(account::entered(&counted.lines, gateway.router.inum(), &phase.reaches))
        })?;
        narrator.end(count()?);
    }
    player.finish()?;

    let entries = settled(&gateway, &mut counted)?;
    let kernel = Stats::read(&gateway.router)?.since(&before);
    let told = shown.told();
    let shown = shown.stop(Signal::INT)?;
    narrator.closing(&shown.stdout.lines().skip(told).collect::<Vec<_>>());
    let counted = counted.stop(Signal::INT)?;
    let account = Account::new(&shown, &counted, gateway.router.inum(), &scenario, kernel, entries)?;
    let agreed = account.show(&mut screen);
    drop(limits);
    guardian.finish()?;
    Ok(agreed)
}

/// Where this is and what it changes.
fn introduce(screen: &mut Screen, scenario: &Scenario, limits: &Limits) {
    let (max, buckets) = limits.before();
    screen.text(&format!(
        "A masquerading gateway in network namespaces: {} users on one side, servers on the other.",
        scenario.users.sources
    ));
    screen.text(&format!(
        "Its table has room for {} entries. That limit is one number for the whole machine:",
        screen::grouped(u64::from(scenario.max))
    ));
    screen.text(&format!(
        "nf_conntrack_max {max} -> {}, nf_conntrack_buckets {buckets} -> {}, both restored at the end.",
        scenario.max, scenario.buckets
    ));
}

/// Once the traffic is over: the entries the kernel counts and those ctwatch has seen come and not go, read
/// at a moment when neither moves.
fn settled(gateway: &Gateway, counted: &mut Watcher) -> Result<(u64, u64)> {
    let mut both = (0, 0);
    kernel::until(Duration::from_secs(3), || {
        let before = kernel::count(&gateway.router)?;
        std::thread::sleep(Duration::from_millis(200));
        counted.catch_up();
        let seen = account::entries(&counted.lines, gateway.router.inum());
        both = (kernel::count(&gateway.router)?, seen);
        Ok(both.0 == before && both.1 == before)
    })?;
    Ok(both)
}
