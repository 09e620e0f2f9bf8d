//! What the tasks do to this machine: run programs, install packages, keep a cache, report progress.

pub mod cache;
pub mod cargo;
pub mod packages;
pub mod process;
pub mod progress;
pub mod toolchain;
