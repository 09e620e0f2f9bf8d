//! A network namespace that lives as long as the value that holds it.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::tool;

/// A network namespace without a name: only the open file keeps it, so the kernel takes it back however
/// this process ends.
#[derive(Debug)]
pub struct Netns {
    file: OwnedFd,
    inum: u32,
}

impl Netns {
    /// Makes a new, empty namespace with `lo` up.
    pub fn new() -> Result<Self> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let name = format!("ctw-{}-{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
        // `ip` makes it (unshare(2) is an unsafe call in Rust); the name goes as soon as the file is open.
        tool::run(&format!("ip netns add {name}"))?;
        let opened = Self::named(&name);
        tool::run(&format!("ip netns del {name}"))?;
        let netns = opened?;
        netns.run(|| tool::run("ip link set lo up"))?;
        Ok(netns)
    }

    /// The namespace this process was started in.
    pub fn current() -> Result<Self> {
        Self::open("/proc/self/ns/net")
    }

    /// One that `ip netns` has made.
    pub fn named(name: &str) -> Result<Self> {
        Self::open(&format!("/var/run/netns/{name}"))
    }

    fn open(path: &str) -> Result<Self> {
        let file = fs::File::open(path).with_context(|| format!("open {path}"))?;
        let inode = file.metadata().with_context(|| format!("stat {path}"))?.ino();
        let inum = u32::try_from(inode).with_context(|| format!("inode {inode} of {path}"))?;
        Ok(Self { file: file.into(), inum })
    }

    /// The inode number that names it in ctwatch's output.
    pub fn inum(&self) -> u32 {
        self.inum
    }

    /// A path by which a child process (`ip link … netns PATH`) finds it while `self` lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Runs `work` inside, on a thread of its own: sockets it opens and processes it starts belong there.
    ///
    /// A namespace is a property of the thread, so the caller's own thread never moves.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    self.enter()?;
                    work()
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// As [`Netns::run`], without waiting for the end.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let inside = Self { file: self.file.try_clone().context("duplicate a namespace")?, inum: self.inum };
        Ok(thread::spawn(move || {
            inside.enter()?;
            work()
        }))
    }

    fn enter(&self) -> Result<()> {
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("enter network namespace {} (root is needed)", self.inum))
    }

    /// Runs a tool inside.
    pub fn tool(&self, line: &str) -> Result<String> {
        self.run(|| tool::run(line))
    }

    /// Reads a sysctl inside, by its path below `/proc/sys`.
    pub fn sysctl(&self, path: &str) -> Result<String> {
        self.run(|| read_sysctl(path))
    }

    /// Reads a sysctl inside that holds one number.
    pub fn sysctl_number(&self, path: &str) -> Result<u64> {
        let text = self.sysctl(path)?;
        text.parse().map_err(|error| anyhow!("/proc/sys/{path} holds {text:?}: {error}"))
    }

    /// Writes a sysctl inside, by its path below `/proc/sys`.
    pub fn set_sysctl(&self, path: &str, value: impl std::fmt::Display + Sync) -> Result<()> {
        self.run(|| write_sysctl(path, &value.to_string()))
    }
}

/// A process inside a namespace without a name, by which others than the owner can find it. It does nothing.
#[derive(Debug)]
pub struct Resident {
    process: Child,
}

impl Resident {
    /// Starts it.
    pub fn new(netns: &Netns) -> Result<Self> {
        netns.run(|| Ok(Self { process: Command::new("sleep").arg("3600").spawn().context("run sleep")? }))
    }

    /// What ctwatch calls a namespace that has no other name.
    pub fn name(&self) -> String {
        format!("sleep[{}]", self.process.id())
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _status = self.process.wait();
    }
}

/// Reads a sysctl of the calling thread's namespace.
pub fn read_sysctl(path: &str) -> Result<String> {
    let path = format!("/proc/sys/{path}");
    Ok(fs::read_to_string(&path).with_context(|| format!("read {path}"))?.trim().to_owned())
}

/// Writes a sysctl of the calling thread's namespace.
pub fn write_sysctl(path: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{path}");
    fs::write(&path, value).with_context(|| format!("write {value} to {path}"))
}
