//! Acts a scenario out on a gateway: the users in the background, the hog as the phases say.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::flood::{Flood, Sent};
use crate::gateway::Gateway;
use crate::hog::{Held, Hog};
use crate::scenario::{Phase, Scenario};

/// The hog's number in [`Gateway::source`]; the users have those after it.
const HOG: u32 = 0;
/// How often the hog acts and the audience may look.
const TICK: Duration = Duration::from_millis(100);
/// A SYN that is not answered by then was refused.
const PATIENCE: Duration = Duration::from_millis(300);

/// A scenario under way. Dropping it ends all traffic.
#[derive(Debug)]
pub struct Player<'a> {
    hog: Hog<'a>,
    gateway: &'a Gateway,
    held: Option<Held>,
    scanned: u64,
    users: Background,
}

impl<'a> Player<'a> {
    /// Prepares the router and starts the users.
    pub fn start(gateway: &'a Gateway, scenario: &Scenario) -> Result<Self> {
        gateway.router.set_sysctl("net/netfilter/nf_conntrack_udp_timeout", scenario.unanswered)?;
        gateway.router.set_sysctl("net/netfilter/nf_conntrack_tcp_timeout_syn_sent", scenario.unanswered)?;
        let hog = Hog::new(gateway, false)?;
        let users = Flood {
            sources: scenario.users.sources,
            first_source: HOG + 1,
            packets: u64::MAX,
            rate: Some(scenario.users.rate),
            batch: 1,
            ..Flood::default()
        };
        Ok(Self { hog, gateway, held: None, scanned: 0, users: Background::start(gateway, users)? })
    }

    /// The address of the one who takes it all.
    pub fn hog_address() -> IpAddr {
        Gateway::source(false, HOG)
    }

    /// Connections the hog holds open.
    pub fn held(&self) -> usize {
        self.held.as_ref().map_or(0, Held::len)
    }

    /// Acts one phase out, calling `look` about ten times a second.
    pub fn play(&mut self, phase: &Phase, mut look: impl FnMut() -> Result<()>) -> Result<()> {
        let scan = phase.scan.map(|rate| self.scan(rate, phase.duration())).transpose()?;
        let begun = Instant::now();
        let held_before = self.held();
        let mut ticks = 0;
        loop {
            let elapsed = begun.elapsed().as_secs_f64() / phase.seconds;
            if let Some(target) = phase.hold {
                self.approach(held_before, target as usize, elapsed)?;
            }
            look()?;
            if elapsed >= 1.0 {
                break;
            }
            ticks += 1;
            thread::sleep((TICK * ticks).saturating_sub(begun.elapsed()));
        }
        scan.map_or(Ok(()), |scan| scan.finish().map(drop))
    }

    /// Ends the users' traffic and says what they sent.
    pub fn finish(self) -> Result<Sent> {
        self.users.finish()
    }

    /// Holds what is due when this share of the phase has passed: growing is gradual, letting go is at once.
    fn approach(&mut self, before: usize, target: usize, elapsed: f64) -> Result<()> {
        if target <= before {
            if target == 0 {
                self.held = None;
            }
            return Ok(());
        }
        // The rest of the phase shows what a full table means.
        let due = before + ((target - before) as f64 * (elapsed / 0.6).min(1.0)) as usize;
        let missing = due.saturating_sub(self.held());
        if missing > 0 {
            let more = self.hog.hold(missing, Self::hog_address(), PATIENCE)?;
            match &mut self.held {
                Some(held) => held.join(more),
                None => self.held = Some(more),
            }
        }
        Ok(())
    }

    fn scan(&mut self, rate: u64, duration: Duration) -> Result<Background> {
        let packets = (rate as f64 * duration.as_secs_f64()) as u64;
        let scan = Flood {
            first_source: HOG,
            packets,
            first: self.scanned,
            rate: Some(rate),
            batch: 16,
            ..Flood::default()
        };
        self.scanned += packets;
        Background::start(self.gateway, scan)
    }
}

/// A flood on a thread of its own. Dropping it stops the flood.
#[derive(Debug)]
pub struct Background {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Sent>>>,
}

impl Background {
    /// Starts it from the client of `gateway`.
    pub fn start(gateway: &Gateway, flood: Flood) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = gateway.client.spawn(move || flood.send_here(&|| asked.load(Ordering::Relaxed)))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Waits until all is sent.
    pub fn finish_sending(mut self) -> Result<Sent> {
        self.join()
    }

    /// Stops it and says what was sent.
    pub fn finish(mut self) -> Result<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        self.join()
    }

    fn join(&mut self) -> Result<Sent> {
        let thread = self.thread.take().ok_or_else(|| anyhow!("the flood has ended before"))?;
        thread.join().map_err(|_| anyhow!("the flood panicked"))?
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.is_some() {
            let _what_was_sent = self.join();
        }
    }
}
