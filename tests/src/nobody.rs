//! ctwatch as a user that is not root, with the capabilities a test gives it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::panic;
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Gid, Pid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, configure_capability_in_ambient_set, set_capabilities,
    set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::watcher::{self, Watcher};

const NOBODY: u32 = 65_534;

/// What the unit grants.
const UNIT: &str = include_str!("../../packaging/systemd/ctwatch.service");
/// What it grants where it must do without CAP_SYS_ADMIN.
const DROP_IN: &str = include_str!("../../packaging/systemd/without-sys-admin.conf");

/// The capabilities of the shipped unit.
pub fn granted() -> Result<CapabilitySet> {
    ambient(UNIT)
}

/// Those of the drop-in that takes CAP_SYS_ADMIN away.
pub fn granted_without_sys_admin() -> Result<CapabilitySet> {
    ambient(DROP_IN)
}

/// The last line of a unit that grants some, and that it grants no more than it bounds.
fn ambient(unit: &str) -> Result<CapabilitySet> {
    let last = |name| unit.lines().rev().find_map(|line| line.strip_prefix(name));
    let ambient = last("AmbientCapabilities=").context("the unit grants no capabilities")?;
    ensure!(last("CapabilityBoundingSet=") == Some(ambient), "the bounding set is another");
    named(ambient)
}

/// Capabilities by their names, separated by blanks.
pub fn named(names: &str) -> Result<CapabilitySet> {
    names.split_whitespace().try_fold(CapabilitySet::empty(), |set, name| {
        let capability = name.strip_prefix("CAP_").and_then(CapabilitySet::from_name);
        Ok(set | capability.with_context(|| format!("{name} is no capability"))?)
    })
}

/// Starts ctwatch as nobody with these capabilities, permitted and ambient, as systemd does. This process keeps its own.
pub fn start(arguments: &[&str], capabilities: CapabilitySet) -> Result<Watcher> {
    let binary = watcher::binary()?;
    for path in binary.ancestors().take(2) {
        fs::set_permissions(path, Permissions::from_mode(0o755))
            .with_context(|| format!("let anybody run {}", path.display()))?;
    }
    // Who one is belongs to a thread, and is inherited by what it starts.
    thread::scope(|scope| {
        let nobody = scope.spawn(|| {
            become_nobody(capabilities).context("become nobody")?;
            Watcher::start(arguments)
        });
        nobody.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    })
}

fn become_nobody(capabilities: CapabilitySet) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    set_keep_capabilities(true)?;
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    let (effective, permitted, inheritable) = (capabilities, capabilities, capabilities);
    set_capabilities(None, CapabilitySets { effective, permitted, inheritable })?;
    for capability in capabilities.iter() {
        configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

/// A field of the status of one of a process's threads, which is found by its name.
pub fn thread_status(process: Pid, thread: &str, field: &str) -> Result<String> {
    let tasks = format!("/proc/{}/task", process.as_raw_nonzero());
    for task in fs::read_dir(&tasks).with_context(|| format!("list {tasks}"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let of = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        if of("Name") == Some(thread) {
            return Ok(of(field).with_context(|| format!("no {field} in {status}"))?.to_owned());
        }
    }
    bail!("no thread {thread} in {tasks}")
}
