//! Which way into the kernel is taken: the best that works, found by trying, with the reason each better one
//! was refused.

use std::fmt;

use clap::ValueEnum;

/// A way to run a program when a kernel function is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// fentry and fexit on functions of vmlinux: conntrack is builtin.
    FexitVmlinux,
    /// fentry and fexit on functions of the nf_conntrack module.
    FexitModule,
    /// kprobe and kretprobe.
    Kprobe,
    /// No program at all: what ctnetlink lists and tells.
    Netlink,
}

/// What the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum BackendChoice {
    /// The best that works.
    #[default]
    Auto,
    /// fexit on vmlinux or on the module.
    Fexit,
    /// fexit, conntrack builtin.
    FexitVmlinux,
    /// fexit, conntrack a module.
    FexitModule,
    /// kprobe and kretprobe.
    Kprobe,
    /// What ctnetlink lists and tells, without any program: not who was refused.
    Netlink,
}

/// Something that works less well than it could, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Degradation {
    /// A better backend was refused.
    Refused {
        /// The one refused.
        backend: Backend,
        /// What the kernel or its BTF said.
        reason: String,
    },
    /// Entries that were there before, and missed events, stay unknown.
    NoAudit {
        /// What is missing.
        reason: String,
    },
    /// The kernel's table cannot be walked: ctnetlink lists it instead.
    AuditByDumps {
        /// What is missing.
        reason: String,
    },
    /// Some connections are lost for a reason that is not told.
    UnknownCause {
        /// What is missing.
        reason: String,
    },
    /// The kernel's own statistics cannot be compared with.
    NoStatistics {
        /// What is missing.
        reason: String,
    },
    /// Counts of other namespaces are read with their statistics.
    CountsSeldom {
        /// What is missing.
        reason: String,
    },
    /// Counts of other namespaces cannot be read.
    OwnNamespaceOnly {
        /// What is missing.
        reason: String,
    },
}

impl Backend {
    /// fexit on vmlinux and on a module are one thing: which applies depends on how conntrack is built.
    fn is_fexit(self) -> bool {
        matches!(self, Self::FexitVmlinux | Self::FexitModule)
    }

    /// As outputs name it; stable.
    pub fn name(self) -> &'static str {
        match self {
            Self::FexitVmlinux => "fexit-vmlinux",
            Self::FexitModule => "fexit-module",
            Self::Kprobe => "kprobe",
            Self::Netlink => "netlink",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Degradation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { backend, reason } => write!(f, "{backend} refused: {reason}"),
            Self::NoAudit { reason } => {
                write!(f, "entries older than the attachment are not known and nothing is audited: {reason}")
            }
            Self::AuditByDumps { reason } => write!(
                f,
                "entries older than the attachment are known by dumps only: not those unconfirmed or in namespaces that \
                 cannot be entered, and only the next dump tells which have ended: {reason}"
            ),
            Self::UnknownCause { reason } => write!(f, "failed insertions are not all told: {reason}"),
            Self::NoStatistics { reason } => {
                write!(f, "not compared with all of the kernel's own statistics: {reason}")
            }
            Self::CountsSeldom { reason } => {
                write!(
                    f,
                    "counts of other network namespaces every 10 s, of those that can be entered: {reason}"
                )
            }
            Self::OwnNamespaceOnly { reason } => {
                write!(f, "counts of this network namespace only: {reason}")
            }
        }
    }
}

impl BackendChoice {
    /// Whether ctnetlink may serve.
    pub fn allows_netlink(self) -> bool {
        matches!(self, Self::Auto | Self::Netlink)
    }

    /// The backends with programs to try, best first.
    pub fn candidates(self) -> &'static [Backend] {
        match self {
            Self::Auto => &[Backend::FexitVmlinux, Backend::FexitModule, Backend::Kprobe],
            Self::Fexit => &[Backend::FexitVmlinux, Backend::FexitModule],
            Self::FexitVmlinux => &[Backend::FexitVmlinux],
            Self::FexitModule => &[Backend::FexitModule],
            Self::Kprobe => &[Backend::Kprobe],
            Self::Netlink => &[],
        }
    }
}

/// Tries candidates in order: the first that works with the refusals of better ones, or the refusals of all.
pub fn negotiate<T, E: fmt::Display>(
    candidates: &[Backend],
    mut attempt: impl FnMut(Backend) -> Result<T, E>,
) -> (Option<(Backend, T)>, Vec<Degradation>) {
    let mut refused = Vec::new();
    for &backend in candidates {
        match attempt(backend) {
            Ok(attached) => {
                refused.retain(|(better, _)| !(backend.is_fexit() && Backend::is_fexit(*better)));
                return (Some((backend, attached)), degradations(refused));
            }
            Err(error) => refused.push((backend, error.to_string())),
        }
    }
    (None, degradations(refused))
}

fn degradations(refused: Vec<(Backend, String)>) -> Vec<Degradation> {
    refused.into_iter().map(|(backend, reason)| Degradation::Refused { backend, reason }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_first_that_works_and_keeps_the_reasons_of_better_ones() {
        let (attached, refused) = negotiate(BackendChoice::Auto.candidates(), |backend| match backend {
            Backend::Kprobe => Ok("probes"),
            other => Err(format!("no {other}")),
        });
        assert_eq!(attached, Some((Backend::Kprobe, "probes")));
        let reasons: Vec<_> = refused.iter().map(ToString::to_string).collect();
        assert_eq!(
            reasons,
            ["fexit-vmlinux refused: no fexit-vmlinux", "fexit-module refused: no fexit-module"]
        );
    }

    #[test]
    fn a_module_instead_of_a_builtin_is_no_degradation() {
        let (attached, refused) = negotiate(BackendChoice::Auto.candidates(), |backend| match backend {
            Backend::FexitVmlinux => Err("no BTF"),
            _ => Ok(()),
        });
        assert_eq!(attached, Some((Backend::FexitModule, ())));
        assert_eq!(refused, []);
    }

    #[test]
    fn a_forced_backend_is_the_only_one_tried() {
        let mut tried = Vec::new();
        let (attached, refused) = negotiate(BackendChoice::FexitModule.candidates(), |backend| {
            tried.push(backend);
            Err::<(), _>("no BTF")
        });
        assert!(attached.is_none());
        assert_eq!(tried, [Backend::FexitModule]);
        assert_eq!(refused.len(), 1);
    }
}
