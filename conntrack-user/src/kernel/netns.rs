//! Network namespaces by inode number, as the kernel's records name them.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use hashbrown::HashMap;

/// The inode number of this process's network namespace.
pub fn own() -> Option<u32> {
    inum(Path::new("/proc/self/ns/net"))
}

/// Names by inode number: those `ip netns` gives, and "init" for the first process's.
pub fn names() -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        if let (Some(inum), Ok(name)) = (inum(&entry.path()), entry.file_name().into_string()) {
            names.insert(inum, name);
        }
    }
    if let Some(init) = inum(Path::new("/proc/1/ns/net")) {
        names.insert(init, "init".to_owned());
    }
    names
}

fn inum(path: &Path) -> Option<u32> {
    fs::metadata(path).ok().and_then(|found| found.ino().try_into().ok())
}
