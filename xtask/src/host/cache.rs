//! The folder where everything that was fetched or derived is kept, so that a second run has nothing to do.
//!
//! An entry is made in a scratch folder and renamed into place when it is whole. Killing a task at any moment
//! therefore leaves either the entry or nothing, and what a killed task left in scratch is swept by the next.

use std::env;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};

/// Handle on the cache folder.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens `$XDG_CACHE_HOME/ctwatch` or `~/.cache/ctwatch`, creating it when it is not there.
    pub fn open() -> Result<Self> {
        let base = match env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
            Some(folder) => PathBuf::from(folder),
            None => env::home_dir().context("no cache folder: set HOME or XDG_CACHE_HOME")?.join(".cache"),
        };
        let root = base.join("ctwatch");
        for folder in ["tmp", "logs"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        Ok(Self { root })
    }

    /// Path of an entry, whether it exists or not.
    pub fn path(&self, entry: impl AsRef<Path>) -> PathBuf {
        self.root.join(entry)
    }

    /// Where the output of a failing step called `name` is kept for the reader.
    pub fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }

    /// Waits until no other task is installing, and holds them off until the guard is dropped.
    pub fn lock(&self) -> Result<File> {
        let path = self.root.join("lock");
        let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                eprintln!("waiting for another cargo xtask to finish installing");
                file.lock().context("cannot lock the cache folder")?;
            }
            Err(TryLockError::Error(error)) => return Err(error).context("cannot lock the cache folder"),
        }
        self.sweep();
        Ok(file)
    }

    /// An empty folder inside the cache, removed when the guard is dropped.
    pub fn scratch(&self) -> Result<Scratch> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join("tmp").join(format!("{}-{serial}", process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Scratch { path })
    }

    /// Makes the finished `made` the entry called `entry`, replacing an older one.
    pub fn publish(&self, made: &Path, entry: impl AsRef<Path>) -> Result<PathBuf> {
        let target = self.path(entry);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        }
        if target.is_dir() {
            fs::remove_dir_all(&target).with_context(|| format!("cannot remove {}", target.display()))?;
        }
        fs::rename(made, &target).with_context(|| format!("cannot create {}", target.display()))?;
        Ok(target)
    }

    /// Removes the scratch folders of tasks that no longer run.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(self.root.join("tmp")) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let owner = name.to_string_lossy().split('-').next().map(str::to_owned);
            if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                // A leftover that cannot be removed costs space, nothing else.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// A folder that lives as long as this guard.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Published folders are gone already, and what stays is cleared away when the cache is next opened.
        let _ = fs::remove_dir_all(&self.path);
    }
}
