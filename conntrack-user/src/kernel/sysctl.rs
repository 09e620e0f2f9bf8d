//! Reads conntrack's sysctls of this process's network namespace.

use std::{fs, path::Path, str::FromStr};

/// `net.netfilter.<name>`, if it is there and a number.
pub fn netfilter<T: FromStr>(name: &str) -> Option<T> {
    read(Path::new("/proc/sys/net/netfilter"), name)
}

fn read<T: FromStr>(directory: &Path, name: &str) -> Option<T> {
    fs::read_to_string(directory.join(name)).ok()?.trim().parse().ok()
}
