//! A second process that puts the machine's limits back, also when the story is killed.
//!
//! It waits for the end of its standard input, which is a pipe held by the story: however the story ends, the
//! kernel closes it.

use std::env;
use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

use crate::netns::{read_sysctl, write_sysctl};

/// The argument that makes the story's executable a guardian.
pub const RESTORE: &str = "--restore";

const GUARDED: [&str; 2] = ["net/netfilter/nf_conntrack_buckets", "net/netfilter/nf_conntrack_max"];

/// The guardian at work.
#[derive(Debug)]
pub struct Guardian {
    child: Child,
}

impl Guardian {
    /// Starts it with the limits as they are now.
    pub fn start() -> Result<Self> {
        let mut command = Command::new(env::current_exe().context("find this executable")?);
        command.arg(RESTORE);
        for path in GUARDED {
            command.arg(read_sysctl(path)?);
        }
        let child = command
            .stdin(Stdio::piped())
            .process_group(0) // Ctrl-C is for the story, not for it
            .spawn()
            .context("start the guardian of the limits")?;
        Ok(Self { child })
    }

    /// Lets it restore the limits and waits until it has.
    pub fn finish(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        self.child.wait().map(drop).context("wait for the guardian of the limits")
    }
}

/// What the guardian does.
pub fn restore(values: &[String]) -> Result<()> {
    io::stdin().read_to_end(&mut Vec::new()).context("wait for the story's end")?;
    for (path, value) in GUARDED.iter().zip(values) {
        write_sysctl(path, value)?;
    }
    Ok(())
}
