//! Everything that touches the kernel: what it is, what lets us in, what streams out. All `unsafe` is here.

pub mod attach;
pub mod backend;
mod census;
pub mod clock;
pub mod ctnetlink;
pub mod drain;
pub mod error;
mod kallsyms;
mod kprobe;
mod layout;
pub mod netns;
pub mod object;
pub mod privilege;
mod sysctl;
mod tracing_link;
