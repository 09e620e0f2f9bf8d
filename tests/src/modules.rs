//! The kernel modules of a guest, which its init has left in `/mods`: conntrack can be taken away and put back.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::kernel::until;
use crate::tool;

/// A namespace that is gone for us may hold rules, and so modules, until the kernel has cleaned up after it.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the guest's init loaded, in that order.
#[derive(Clone, Debug)]
pub struct Modules {
    /// `FILE OPTIONS…` each.
    order: Vec<String>,
}

impl Modules {
    /// Those of this guest; none where conntrack cannot be unloaded: on a machine, or built into the kernel.
    pub fn of_guest() -> Option<Self> {
        let order = fs::read_to_string("/mods/order").ok()?;
        let order: Vec<String> = order.lines().map(str::to_owned).collect();
        order.iter().any(|line| line.starts_with("nf_conntrack.ko")).then_some(Self { order })
    }

    /// Whether conntrack is in the kernel.
    pub fn has_conntrack() -> bool {
        fs::metadata("/sys/module/nf_conntrack").is_ok()
    }

    /// Takes conntrack and all that uses it out of the kernel.
    pub fn unload(&self) -> Result<()> {
        let gone = until(PATIENCE, || {
            self.try_unload();
            Ok(!Self::has_conntrack())
        })?;
        ensure!(gone, "nf_conntrack cannot be unloaded: {}", self.why_not());
        Ok(())
    }

    /// Removes whatever can be removed. Several passes, because a module may be used by one that comes before it in
    /// the list.
    pub fn try_unload(&self) {
        for _ in 0..2 {
            for line in self.order.iter().rev() {
                let file = line.split_whitespace().next().unwrap_or(line);
                let _in_use_or_gone = tool::run(&format!("rmmod {}", file.trim_end_matches(".ko")));
            }
        }
    }

    fn why_not(&self) -> String {
        tool::run("rmmod nf_conntrack").err().map_or_else(String::new, |error| format!("{error:#}"))
    }

    /// Puts them all back.
    pub fn load(&self) -> Result<()> {
        for line in &self.order {
            let _loaded_already = tool::run(&format!("insmod /mods/{line}"));
        }
        ensure!(Self::has_conntrack(), "nf_conntrack did not come back");
        Ok(())
    }

    /// Runs `work` without conntrack in the kernel, and puts it back whatever comes of it.
    pub fn without<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let outcome = self.unload().and_then(|()| work());
        self.load().context("after a test without conntrack")?;
        outcome
    }
}
