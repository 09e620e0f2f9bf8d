//! Talks to conntrack over ctnetlink: its statistics in every network namespace, and the whole of the netlink
//! backend for kernels that let nobody trace them.

mod audit;
mod dump;
mod listening;
mod pace;
mod recorder;
mod socket;
mod source;
mod stats;

use std::path::Path;

pub use dump::{dump, gone};
pub use source::{Options, start};
pub use stats::StatsReader;

/// Whether ctnetlink answers without a module being loaded for it. Where conntrack itself is builtin, so may it be.
pub fn is_at_hand() -> bool {
    is_loaded_module() || (is_conntrack_there() && !Path::new("/sys/module/nf_conntrack/initstate").exists())
}

/// Whether ctnetlink is a module that is loaded now. Builtin it has no such folder.
fn is_loaded_module() -> bool {
    Path::new("/sys/module/nf_conntrack_netlink").exists()
}

/// Whether conntrack is builtin or loaded: to ask where it is not would load it.
fn is_conntrack_there() -> bool {
    Path::new("/sys/module/nf_conntrack").exists()
}
