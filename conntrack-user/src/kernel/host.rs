//! Which machine this is.

use std::fs;

/// What tells one machine, and one boot of it, from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Release of its kernel.
    pub kernel: String,
    /// Of this boot: CLOCK_MONOTONIC times of two boots have nothing to do with each other.
    pub boot_id: String,
}

/// Reads it from /proc/sys/kernel; what cannot be read is empty.
pub fn host() -> Host {
    let read = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
        text.trim().to_owned()
    };
    Host { name: read("hostname"), kernel: read("osrelease"), boot_id: read("random/boot_id") }
}
