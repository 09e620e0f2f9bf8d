//! A gateway of network namespaces, if this machine lets us make one.

use std::ops::Deref;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use conntrack_tests::gateway::{Gateway, Router};
use conntrack_tests::kernel::{self, Stats};
use conntrack_tests::netns::Netns;
use conntrack_tests::tool;

/// Patience with what should happen at once.
pub const SOON: Duration = Duration::from_secs(10);

/// A gateway, and the only one: a dump passes through the whole kernel's table, so tests would slow each other down.
pub struct Lab {
    gateway: Gateway,
    _alone: MutexGuard<'static, ()>,
}

impl Deref for Lab {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.gateway
    }
}

/// A gateway whose router is a namespace of its own; none, with the reason on stderr, where that cannot be had.
pub fn gateway() -> Result<Option<Lab>> {
    static ALONE: Mutex<()> = Mutex::new(());
    // A test that failed before leaves nothing behind.
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    match Gateway::new(Router::Own) {
        Ok(gateway) => Ok(Some(Lab { gateway, _alone: alone })),
        Err(error) if std::env::var_os("CTWATCH_REQUIRE_NETLINK").is_none() => {
            eprintln!("skipped: no gateway can be made here: {error:#}");
            Ok(None)
        }
        Err(error) => bail!("no gateway can be made here: {error:#}"),
    }
}

/// From now on NAT has a single port for UDP: a second connection to the same address and port fails.
pub fn leave_nat_one_port(gateway: &Gateway) -> Result<()> {
    let rules = "table ip one_port {\n\
                   chain leaving {\n\
                     type nat hook postrouting priority 90;\n\
                     oifname \"ctw-servers\" meta l4proto udp masquerade to :7000\n\
                   }\n\
                 }\n";
    gateway.router.run(|| tool::feed("nft -f -", rules)).map(drop)
}

/// Waits until what was sent has passed: a burst may be worked off after it was sent.
pub fn settle(netns: &Netns) -> Result<()> {
    let mut before = None;
    let quiet = kernel::until(SOON, || {
        let now = (Stats::read(netns)?, kernel::count(netns)?);
        Ok(before.replace(now) == Some(now))
    })?;
    ensure!(quiet, "conntrack does not come to rest");
    Ok(())
}

/// A process that lives in a namespace, so that others can find it.
pub struct Resident(Child);

impl Resident {
    pub fn of(netns: &Netns) -> Result<Self> {
        netns.run(|| Ok(Command::new("sleep").arg("1000").spawn()?)).map(Self)
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        // Fails only if it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
