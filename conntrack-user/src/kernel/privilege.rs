//! What this process may do: asked before anything else so that the answer is plain, and given up thread by thread.
//!
//! Capabilities belong to threads. Only the one that touches the kernel needs any once programs are attached; a thread
//! inherits from the one that starts it, so whoever drops them first and starts others then has none to hand on.
//! docs/privileges.md has what each is for.

use std::{fs, io};

use rustix::{
    io::Errno,
    process::{DumpableBehavior, Gid, Uid, geteuid, set_dumpable_behavior},
    thread::{
        CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
        clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
        set_capabilities_secure_bits, set_no_new_privs, set_thread_groups, set_thread_res_gid,
        set_thread_res_uid,
    },
};

use crate::kernel::error::AttachError;

/// What the drain thread goes on using: it runs programs, reads maps, opens namespaces, and attaches again when
/// conntrack was away.
const DRAINING: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYSLOG)
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::SYS_RESOURCE);

/// The kernel numbers capabilities from 0; it has had 41 since 5.9.
const CAPABILITIES: u32 = 64;

/// A user and its group, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// uid
    pub uid: u32,
    /// gid
    pub gid: u32,
}

/// Checks the capabilities every backend needs.
///
/// CAP_SYS_ADMIN serves everywhere. CAP_BPF and CAP_PERFMON (5.8+) do for kprobes; finding a module's BTF by
/// id wants CAP_SYS_ADMIN (kernel/bpf/syscall.c, `bpf_btf_get_fd_by_id`), so then fexit on the module degrades.
pub fn check() -> Result<(), AttachError> {
    let held = capabilities(None)
        .map_err(|error| AttachError::System {
            doing: "read this process's capabilities",
            source: error.into(),
        })?
        .effective;
    let enough = CapabilitySet::BPF.union(CapabilitySet::PERFMON);
    if held.contains(CapabilitySet::SYS_ADMIN) || held.contains(enough) {
        Ok(())
    } else {
        Err(AttachError::Privilege { needed: "CAP_SYS_ADMIN, or CAP_BPF with CAP_PERFMON" })
    }
}

/// Whether ctnetlink lists its entries to this thread.
pub fn may_dump() -> bool {
    capabilities(None).is_ok_and(|held| held.effective.contains(CapabilitySet::NET_ADMIN))
}

/// The calling thread, and those it starts from now on, can do nothing that another process of this user could not.
pub fn drop_all_of_this_thread() -> io::Result<()> {
    keep(CapabilitySet::empty())
}

/// The calling thread keeps what draining needs, of what it has.
pub fn keep_for_draining() -> io::Result<()> {
    keep(DRAINING)
}

/// The calling thread, not the process, becomes this user without any capability, and so does what it starts. Whoever
/// is not root cannot: then it drops its capabilities alone.
pub fn become_user(user: User) -> io::Result<()> {
    lock_up()?;
    if geteuid().is_root() {
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
    }
    drop_all_of_this_thread()
}

/// Other processes of this user can neither trace this one nor read its memory, in which threads that have capabilities
/// lie beside those that have none.
pub fn guard_memory() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Whether the calling thread is root.
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// A user by name or number, from /etc/passwd; `nobody` is everywhere, even without that file.
pub fn user(name: &str) -> io::Result<User> {
    let passwd = fs::read_to_string("/etc/passwd").or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(String::new()),
        _ => Err(error),
    })?;
    find_user(&passwd, name)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no user `{name}`")))
}

/// 65534 is `nobody` to the kernel (`DEFAULT_OVERFLOWUID`).
const NOBODY: User = User { uid: 65_534, gid: 65_534 };

fn find_user(passwd: &str, name: &str) -> Option<User> {
    let of_line = |line: &str| {
        let mut fields = line.split(':');
        let (its_name, uid) = (fields.next()?, fields.nth(1)?);
        let gid = fields.next()?.parse().ok()?;
        (its_name == name || uid == name).then_some(User { uid: uid.parse().ok()?, gid })
    };
    let number = || name.parse().ok().map(|number| User { uid: number, gid: number });
    passwd.lines().find_map(of_line).or_else(number).or((name == "nobody").then_some(NOBODY))
}

fn keep(wanted: CapabilitySet) -> io::Result<()> {
    lock_up()?;
    let held = capabilities(None)?.permitted.intersection(wanted);
    let inheritable = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: held, permitted: held, inheritable })?;
    Ok(())
}

/// Nothing that is executed from here on gains privileges: not as root, not by a file's bits.
fn lock_up() -> io::Result<()> {
    set_no_new_privs(true)?;
    clear_ambient_capability_set()?;
    // Without it the two below are refused; no_new_privs alone does the same for what is executed.
    if !capabilities(None)?.effective.contains(CapabilitySet::SETPCAP) {
        return Ok(());
    }
    for number in 0..CAPABILITIES {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(capability) {
            Ok(true) => remove_capability_from_bounding_set(capability)?,
            Ok(false) => {}
            // There are no more.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    type Bits = CapabilitiesSecureBits;
    let root_is_nobody = Bits::NO_ROOT | Bits::NO_ROOT_LOCKED;
    let none_ambient = Bits::NO_CAP_AMBIENT_RAISE | Bits::NO_CAP_AMBIENT_RAISE_LOCKED;
    Ok(set_capabilities_secure_bits(root_is_nobody | none_ambient | Bits::KEEP_CAPS_LOCKED)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_by_name_and_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nalert:x:105:112::/:/bin/false\nbroken\n:::\n";
        assert_eq!(find_user(passwd, "alert"), Some(User { uid: 105, gid: 112 }));
        assert_eq!(find_user(passwd, "105"), Some(User { uid: 105, gid: 112 }));
        assert_eq!(find_user(passwd, "106"), Some(User { uid: 106, gid: 106 }));
        assert_eq!(find_user(passwd, "nobody"), Some(NOBODY));
        assert_eq!(find_user(passwd, "somebody"), None);
        assert_eq!(find_user(passwd, ""), None);
    }

    /// In a thread of its own, which nothing else uses afterwards.
    #[test]
    fn a_thread_that_dropped_all_has_none_and_the_others_keep_theirs() {
        let before = capabilities(None).expect("of this thread");
        std::thread::spawn(|| {
            drop_all_of_this_thread().expect("anybody may");
            let CapabilitySets { effective, permitted, inheritable } = capabilities(None).expect("of it");
            assert!(effective.is_empty() && permitted.is_empty() && inheritable.is_empty());
            assert!(rustix::thread::no_new_privs().expect("of it"));
            let started = std::thread::spawn(|| capabilities(None).expect("of one it started").permitted);
            assert!(started.join().expect("no panic").is_empty());
            drop_all_of_this_thread().expect("once more");
        })
        .join()
        .expect("no panic");
        assert_eq!(capabilities(None).expect("of this thread"), before);
    }

    #[test]
    fn the_draining_thread_keeps_no_more_than_it_says() {
        std::thread::spawn(|| {
            let before = capabilities(None).expect("of this thread").permitted;
            keep_for_draining().expect("anybody may");
            assert_eq!(capabilities(None).expect("of it").permitted, before.intersection(DRAINING));
        })
        .join()
        .expect("no panic");
    }
}
