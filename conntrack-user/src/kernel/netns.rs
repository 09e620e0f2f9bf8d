//! Network namespaces by inode number, as the kernel's records name them: which there are, what people call
//! them, and how to do something inside.
//!
//! One can be reached if it has a name (`ip netns`) or a process whose first thread lives in it. The kernel knows
//! of more: one held by an open file alone, or by another thread.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    thread,
};

use hashbrown::HashMap;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where `ip netns` keeps its names.
const NAMED: &str = "/run/netns";

/// A network namespace that can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Netns {
    /// Its inode number.
    pub inum: u32,
    /// `init` for the first process's, the name `ip netns` gives, else that of the oldest process in it:
    /// `nginx[1234]`.
    pub name: String,
    path: PathBuf,
}

/// The inode number of the calling thread's network namespace.
pub fn own() -> Option<u32> {
    inum(Path::new("/proc/thread-self/ns/net"))
}

/// Names by inode number.
pub fn names() -> HashMap<u32, String> {
    all().into_iter().collect()
}

/// All that can be reached, with their names, each once.
pub fn all() -> Vec<(u32, String)> {
    reachable().into_iter().map(|netns| (netns.inum, netns.name)).collect()
}

/// All that can be reached, each once: the first process's, those with a name, those of processes.
///
/// Costs a readlink(2) per process and is meant to be called once a second at most.
pub fn reachable() -> Vec<Netns> {
    let mut found = Found::default();
    let init = Path::new("/proc/1/ns/net");
    if let Some(inum) = inum(init) {
        found.add(inum, init, || "init".to_owned());
    }
    for entry in fs::read_dir(NAMED).into_iter().flatten().flatten() {
        // After `ip netns del` went wrong an empty file is left, of another filesystem than namespaces are of.
        if let (Some(inum), Ok(name)) = (inum(&entry.path()), entry.file_name().into_string()) {
            found.add(inum, &entry.path(), || name);
        }
    }
    for pid in pids() {
        let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
        if let Some(inum) = fs::read_link(&path).ok().and_then(|link| inum_of_link(link.to_str()?)) {
            found.add(inum, &path, || process_name(pid));
        }
    }
    found.netns
}

#[derive(Default)]
struct Found {
    netns: Vec<Netns>,
    known: hashbrown::HashSet<u32>,
}

impl Found {
    fn add(&mut self, inum: u32, path: &Path, name: impl FnOnce() -> String) {
        if self.known.insert(inum) {
            self.netns.push(Netns { inum, name: name(), path: path.to_owned() });
        }
    }
}

/// Runs `work` once inside each namespace, on a thread of its own: the caller's never moves. What cannot be
/// entered is handed to `work` as an error.
pub fn visit<T: Send>(netns: &[Netns], work: impl Fn(&Netns, io::Result<()>) -> T + Sync) -> Vec<T> {
    let visit_all = || netns.iter().map(|netns| work(netns, netns.enter())).collect();
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("ctwatch-netns".to_owned()).spawn_scoped(scope, visit_all);
        match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(error) => netns.iter().map(|netns| work(netns, Err(io::Error::from(error.kind())))).collect(),
        }
    })
}

impl Netns {
    /// Moves the calling thread into it; it must still be the one that was found. To stay takes no privilege.
    fn enter(&self) -> io::Result<()> {
        if own() == Some(self.inum) {
            return Ok(());
        }
        let file = File::open(&self.path)?;
        if file.metadata()?.ino() != u64::from(self.inum) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?)
    }
}

/// Ascending, so that the oldest process of a namespace names it.
fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

fn process_name(pid: u32) -> String {
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    match comm.trim() {
        // Kernel threads live where the first process was started. Some systems hide that one from root.
        "kthreadd" if pid == 2 => "init".to_owned(),
        comm => format!("{comm}[{pid}]"),
    }
}

/// `net:[4026531840]`
fn inum_of_link(link: &str) -> Option<u32> {
    link.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// The inode number of a file that stands for a namespace.
fn inum(path: &Path) -> Option<u32> {
    let namespaces = fs::metadata("/proc/self/ns/net").ok()?.dev();
    fs::metadata(path)
        .ok()
        .filter(|found| found.dev() == namespaces)
        .and_then(|found| found.ino().try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_can_be_reached_and_has_one_name() {
        let own = own().expect("a thread has a network namespace");
        let all = all();
        assert_eq!(all.iter().filter(|(inum, _)| *inum == own).count(), 1, "{all:?}");
        assert_eq!(all.len(), names().len(), "{all:?}");
        assert!(all.iter().all(|(_, name)| !name.is_empty()), "{all:?}");
    }

    #[test]
    fn links_and_other_files_are_told_apart() {
        assert_eq!(inum_of_link("net:[4026531840]"), Some(4_026_531_840));
        for other in ["mnt:[4026531840]", "net:[]", "net:[4294967296]", "net:[1"] {
            assert_eq!(inum_of_link(other), None, "{other}");
        }
        assert_eq!(inum(Path::new("/proc/self/comm")), None);
    }
}
