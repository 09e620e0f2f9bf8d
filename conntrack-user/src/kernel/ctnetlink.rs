//! Talks to conntrack over ctnetlink: its statistics in every network namespace, and the whole of the netlink
//! backend for kernels that let nobody trace them.

mod audit;
mod listening;
mod pace;
mod recorder;
mod socket;
mod source;
mod stats;

use std::path::Path;

pub use source::{Command, Options, Source};
pub use stats::StatsReader;

/// Whether ctnetlink is a module that is loaded now. Builtin it has no such folder.
fn is_loaded_module() -> bool {
    Path::new("/sys/module/nf_conntrack_netlink").exists()
}

/// Whether conntrack is builtin or loaded: to ask where it is not would load it.
fn is_conntrack_there() -> bool {
    Path::new("/sys/module/nf_conntrack").exists()
}
