//! Whether the conntrack that was attached to is still there.

use std::{fs, os::unix::fs::MetadataExt as _};

/// The directory exists for a builtin with parameters as for a module, and a module loaded again has a new one.
const DIRECTORY: &str = "/sys/module/nf_conntrack";

/// One loading of nf_conntrack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loading {
    inode: Option<u64>,
}

impl Loading {
    /// The present one.
    pub fn now() -> Self {
        Self { inode: fs::metadata(DIRECTORY).ok().map(|found| found.ino()) }
    }

    /// Whether it lasts. Where it was not visible from the beginning nothing can be told, and it is taken to.
    pub fn lasts(self) -> bool {
        self.inode.is_none() || Self::now() == self
    }
}
