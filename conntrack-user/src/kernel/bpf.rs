//! bpf(2) itself, for the commands aya does not offer.
#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper")]

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_link_info, bpf_link_type, bpf_prog_info};

/// What the kernel says of a loaded program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramFacts {
    /// Its id.
    pub id: u32,
    /// Instructions after the verifier's rewriting, in bytes.
    pub translated_bytes: u32,
    /// Instructions the verifier went through (5.16+), or 0.
    pub verified_insns: u32,
    /// Calls it was not run for because it was running already on that CPU (5.12+), or 0.
    pub recursion_misses: u64,
}

/// Asks for the facts of a program.
pub fn program_facts(program: BorrowedFd<'_>) -> io::Result<ProgramFacts> {
    // SAFETY: plain data, for which zero is a value.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    info_by_fd(program, &mut info)?;
    Ok(ProgramFacts {
        id: info.id,
        translated_bytes: info.xlated_prog_len,
        verified_insns: info.verified_insns,
        recursion_misses: info.recursion_misses,
    })
}

/// Calls that kprobes did not run a program for, by program id (`bpf_link_info.perf_event.kprobe.missed`, 6.7+; before
/// that 0). From 5.15 such probes are links; earlier kernels have none to list.
pub fn kprobe_misses() -> io::Result<Vec<(u32, u64)>> {
    let mut misses = Vec::new();
    let mut id = 0;
    while let Some(next) = next_id(bpf_cmd::BPF_LINK_GET_NEXT_ID, id)? {
        id = next;
        let mut attr = zeroed_attr();
        attr.__bindgen_anon_6.__bindgen_anon_1.link_id = id;
        // It may have gone away between the two calls.
        let Ok(link) = bpf_fd(bpf_cmd::BPF_LINK_GET_FD_BY_ID, &mut attr) else { continue };
        // SAFETY: plain data, for which zero is a value.
        let mut info: bpf_link_info = unsafe { std::mem::zeroed() };
        info_by_fd(std::os::fd::AsFd::as_fd(&link), &mut info)?;
        if info.type_ == bpf_link_type::BPF_LINK_TYPE_PERF_EVENT as u32 {
            // SAFETY: integers all through; what the kernel did not write is zero.
            let missed = unsafe { info.__bindgen_anon_1.perf_event.__bindgen_anon_1.kprobe.missed };
            misses.push((info.prog_id, missed));
        }
    }
    Ok(misses)
}

/// The next id after this one, of what the command lists.
pub(super) fn next_id(command: bpf_cmd, after: u32) -> io::Result<Option<u32>> {
    let mut attr = zeroed_attr();
    attr.__bindgen_anon_6.__bindgen_anon_1.start_id = after;
    match bpf(command, &mut attr) {
        // SAFETY: the command wrote it.
        Ok(_) => Ok(Some(unsafe { attr.__bindgen_anon_6.next_id })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// `BPF_OBJ_GET_INFO_BY_FD` into one of the kernel's info structures.
pub(super) fn info_by_fd<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let mut attr = zeroed_attr();
    attr.info.bpf_fd = object.as_raw_fd() as u32;
    attr.info.info = std::ptr::from_mut(info) as u64;
    attr.info.info_len = size_of::<T>() as u32;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr).map(drop)
}

/// An argument with nothing in it.
pub(super) fn zeroed_attr() -> bpf_attr {
    // SAFETY: a union of plain data, for which zero is a value and which the kernel wants zeroed.
    unsafe { std::mem::zeroed() }
}

/// A command that returns a new descriptor.
pub(super) fn bpf_fd(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    let fd = bpf(command, attr)?;
    // SAFETY: the commands this is called with return a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The system call.
pub(super) fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<RawFd> {
    // SAFETY: attr is as large as it says, and pointers in it outlive the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_int, &raw mut *attr, size_of::<bpf_attr>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as RawFd) }
}
