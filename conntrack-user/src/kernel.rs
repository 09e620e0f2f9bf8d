//! Everything that touches the kernel: what it is, what lets us in, what streams out. All `unsafe` is here.

pub mod attach;
mod audit;
pub mod backend;
mod bpf;
mod census;
pub mod clock;
pub mod control;
pub mod ctnetlink;
mod drain;
pub mod error;
mod hooks;
pub mod host;
mod incidents;
mod kallsyms;
mod kprobe;
mod layout;
pub mod memory;
mod module;
pub mod netns;
pub mod object;
pub mod privilege;
mod readings;
mod ring;
pub mod settings;
pub mod source;
mod sysctl;
mod tracing_link;
