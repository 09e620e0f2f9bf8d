//! Virtual machines: a Debian kernel under QEMU, booted into a shell script that runs one command.
//!
//! [`Guest`] is the way in; the modules are its parts.

mod console;
mod cpio;
mod initramfs;
pub mod kernel;
mod machine;
mod modules;
mod qemu;
mod sources;
mod suites;

pub use kernel::{Kernel, KernelName, Unavailable};
pub use machine::Guest;
pub use qemu::ensure as ensure_qemu;
