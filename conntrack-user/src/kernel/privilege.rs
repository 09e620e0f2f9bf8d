//! Whether this process may attach at all, asked before anything else so that the answer is plain.

use rustix::thread::{CapabilitySet, capabilities};

use crate::kernel::error::AttachError;

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
