//! Talks to conntrack over ctnetlink: its statistics in every network namespace, and the whole of the netlink
//! backend for kernels that let nobody trace them.

mod socket;
mod stats;

pub use stats::StatsReader;
