//! What a program that we start gets to have.
#![expect(unsafe_code, reason = "what happens between fork(2) and exec(2) has no safe interface")]

use std::{io, os::unix::process::CommandExt as _, process::Command, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors a child may open.
const OPEN_FILES: u64 = 256;
/// Bytes of the largest file it may write.
const FILE_BYTES: u64 = 64 << 20;
/// Bytes of memory it may write to.
const MEMORY_BYTES: u64 = 1 << 30;
/// Bytes it may lock; before 5.11 we raise our own limit for maps.
const LOCKED_BYTES: u64 = 64 << 10;

/// What close_range(2) takes from 5.11 on.
const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
/// Before that, descriptors above this are not looked at.
const DESCRIPTORS: u64 = 1 << 16;

/// Gives the child low limits, a group of its own, nothing of ours that is open, / to be in and no environment.
pub fn confine(command: &mut Command, time: Duration) {
    let cpu_seconds = time.as_secs() + 2;
    let limits = [
        (Resource::Core, 0),
        (Resource::Cpu, cpu_seconds),
        (Resource::Nofile, OPEN_FILES),
        (Resource::Fsize, FILE_BYTES),
        (Resource::Data, MEMORY_BYTES),
        (Resource::Memlock, LOCKED_BYTES),
    ];
    command.env_clear().current_dir("/").process_group(0);
    let before_exec = move || {
        close_ours_on_exec()?;
        for (resource, most) in limits {
            lower(resource, most)?;
        }
        Ok(())
    };
    // SAFETY: it makes system calls only: no allocation, no lock, nothing another thread may have been in the midst of.
    unsafe { command.pre_exec(before_exec) };
}

/// Never above what it is already.
fn lower(resource: Resource, most: u64) -> io::Result<()> {
    let before = getrlimit(resource);
    let lower = |limit: Option<u64>| Some(limit.map_or(most, |limit| limit.min(most)));
    Ok(setrlimit(resource, Rlimit { current: lower(before.current), maximum: lower(before.maximum) })?)
}

/// Marks everything beyond the three standard descriptors, also what was handed to us open: sockets by systemd.
fn close_ours_on_exec() -> io::Result<()> {
    // SAFETY: takes numbers, touches no memory.
    let done = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) };
    if done == 0 {
        return Ok(());
    }
    let most = getrlimit(Resource::Nofile).current.unwrap_or(DESCRIPTORS).min(DESCRIPTORS);
    for fd in 3..most as libc::c_int {
        // SAFETY: as above; of a number that is no descriptor it changes nothing.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}
