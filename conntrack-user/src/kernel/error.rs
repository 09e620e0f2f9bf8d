//! Why ctwatch cannot attach, each with what to do about it.

use std::io;

use thiserror::Error;

use crate::{engine::btf::BtfError, kernel::backend::Degradation};

/// Why attaching failed.
#[derive(Debug, Error)]
pub enum AttachError {
    /// Capabilities are missing.
    #[error("attaching to the kernel needs {needed}, which this process lacks")]
    Privilege {
        /// What is missing.
        needed: &'static str,
    },
    /// The kernel was built without BTF.
    #[error("this kernel describes no types: {path}: {source}")]
    NoBtf {
        /// The file that could not be read.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// nf_conntrack is neither builtin nor loaded.
    #[error("conntrack is not loaded in this kernel, so nothing is tracked and nothing can fill")]
    ConntrackAbsent,
    /// A function we hook exists only in a rewritten form.
    #[error("this kernel has {found} instead of {wanted}: its arguments are not where they should be")]
    Symbol {
        /// The function.
        wanted: &'static str,
        /// What kallsyms has.
        found: String,
    },
    /// Types are not what the programs read.
    #[error("this kernel's types are not understood: {0}")]
    Btf(#[from] BtfError),
    /// `nf_conntrack_tuple` is laid out otherwise.
    #[error("this kernel lays out {member} of nf_conntrack_tuple at {found}, not {expected}")]
    TupleLayout {
        /// Member.
        member: &'static str,
        /// Offset found.
        found: u32,
        /// Offset the records assume.
        expected: u32,
    },
    /// No backend worked.
    #[error("no way into this kernel: {}", list(.0))]
    NoBackend(Vec<Degradation>),
    /// The object or its maps.
    #[error("cannot create the eBPF maps: {0}")]
    Maps(String),
    /// Something of the system that should not fail did.
    #[error("{doing}: {source}")]
    System {
        /// The operation.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl AttachError {
    /// What the person can do, one sentence.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Privilege { .. } => "run it as root (sudo ctwatch …), or grant these capabilities",
            Self::NoBtf { .. } => {
                "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as all current distributions are"
            }
            Self::ConntrackAbsent => {
                "run `modprobe nf_conntrack`, or load the rule set that needs it; with `--wait` ctwatch waits for it"
            }
            Self::NoBackend(_) => {
                "a kernel with CONFIG_KPROBES=y or module BTF, not locked down for confidentiality, is needed; \
                 `--backend auto` tries all"
            }
            Self::Symbol { .. } | Self::Btf(_) | Self::TupleLayout { .. } => {
                "this kernel build is not supported yet: please report it with the output of `uname -a`"
            }
            Self::Maps(_) | Self::System { .. } => {
                "check memory limits (ulimit -l, cgroup) and that bpf(2) is not blocked by seccomp or a container"
            }
        }
    }
}

fn list(refused: &[Degradation]) -> String {
    let reasons: Vec<_> = refused.iter().map(ToString::to_string).collect();
    reasons.join("; ")
}
