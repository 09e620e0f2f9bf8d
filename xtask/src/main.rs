//! The project's tasks: every command a contributor runs is one variant of [`Command`] and one file beside this one.

mod build;
mod check;
mod demo;
mod dist;
mod guest;
mod host;
mod power_cut;
mod setup;
mod soak;
mod test;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's tasks. What a task needs and does not find, it installs, and says so.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Tasks {
    #[command(subcommand)]
    command: Command,
}

/// The table of contents.
#[derive(Subcommand)]
enum Command {
    /// Install what the other tasks need: toolchain, bpf-linker, QEMU, guest tools, kernels.
    Setup(setup::Args),
    /// Build the shipped binary, static; its path is the last line printed.
    Build,
    /// Check formatting and lints, for the host and for the BPF target.
    Check,
    /// Run every check and every test, the live ones in virtual machines.
    Test(test::Args),
    /// Run a command in a virtual machine with a given kernel.
    Vm(vm::Args),
    /// Make what is shipped: tarball, .deb, SBOM, checksums; the .deb is installed and removed on trial.
    Dist,
    /// Run the daemon under weeks of a gateway's traffic in minutes, and look whether it grows.
    Soak(soak::Args),
    /// Show ctwatch at work on a gateway that is driven into saturation.
    Demo(demo::Args),
}

fn main() -> ExitCode {
    let outcome = match Tasks::parse().command {
        Command::Setup(args) => setup::run(&args),
        Command::Build => build::run(),
        Command::Check => check::run(),
        Command::Test(args) => test::run(&args),
        Command::Vm(args) => vm::run(&args),
        Command::Dist => dist::run(),
        Command::Soak(args) => soak::run(&args),
        Command::Demo(args) => demo::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
