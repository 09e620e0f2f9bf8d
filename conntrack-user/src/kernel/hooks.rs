//! The programs on conntrack's functions, by whatever backend.

use std::os::fd::{AsFd as _, BorrowedFd};

use anyhow::{Result, bail};
use aya::{Ebpf, programs::RawTracePoint};
use conntrack_common::{Kind, Missed};

use crate::{
    engine::btf::Btf,
    kernel::{
        backend::Backend,
        bpf,
        kprobe::{self, Kprobes},
        object::OBJECT,
        tracing_link::{self, Target, TracingLinks},
    },
};

/// What holds the programs in place.
pub enum Hooks {
    /// Links of our own.
    Tracing(TracingLinks),
    /// aya, in the `Ebpf`.
    Kprobes(Kprobes),
}

/// The functions that the programs of a backend are for.
pub enum Found {
    /// With their types.
    Tracing(tracing_link::Found),
    /// By their names.
    Kprobes {
        /// Whether chains may be too long in this kernel.
        limits_chains: bool,
    },
}

impl Found {
    /// Looks for them: what the kernel's types alone refuse costs no maps.
    pub fn look(backend: Backend, btf: &Btf<'_>, limits_chains: bool) -> Result<Self> {
        let target = match backend {
            Backend::FexitVmlinux => Target::Vmlinux,
            Backend::FexitModule if btf.has_split() => Target::Module("nf_conntrack"),
            Backend::FexitModule => bail!("the module has no BTF in /sys/kernel/btf"),
            Backend::Netlink => bail!("it has no programs"),
            Backend::Kprobe => return Ok(Self::Kprobes { limits_chains }),
        };
        Ok(Self::Tracing(tracing_link::Found::look(btf, target, limits_chains)?))
    }

    /// Loads the programs. Returns besides what stays unknown, and why.
    pub fn load(self, ebpf: &mut Ebpf) -> Result<(Hooks, Vec<String>)> {
        match self {
            Self::Tracing(found) => {
                let (links, unknown) = found.load(OBJECT, ebpf)?;
                Ok((Hooks::Tracing(links), unknown.iter().map(ToString::to_string).collect()))
            }
            Self::Kprobes { limits_chains } => {
                let probes = kprobe::load(ebpf, limits_chains).map_err(one_line)?;
                Ok((Hooks::Kprobes(probes), Vec::new()))
            }
        }
    }
}

impl Hooks {
    /// Attaches them. Returns what stays unknown, and why.
    pub fn attach(&mut self, ebpf: &mut Ebpf) -> Result<Vec<String>> {
        match self {
            Self::Tracing(links) => Ok(links.attach()?.iter().map(ToString::to_string).collect()),
            Self::Kprobes(probes) => {
                let unknown = probes.attach(ebpf).map_err(one_line)?;
                Ok(unknown.map(|error| one_line(error).to_string()).into_iter().collect())
            }
        }
    }

    /// Hooks `__nf_conntrack_confirm`, which alone tells of chains that are too long. It is called for every new
    /// connection, so it is left alone until that may happen.
    pub fn watch_chains(&mut self, ebpf: &mut Ebpf) -> Result<()> {
        match self {
            Self::Tracing(links) => Ok(links.watch_chains()?),
            Self::Kprobes(probes) => Ok(probes.watch_chains(ebpf)?),
        }
    }

    /// Takes the programs off the kernel; maps stay open.
    pub fn detach(&mut self, ebpf: &mut Ebpf) {
        match self {
            Self::Tracing(links) => links.detach(),
            Self::Kprobes(probes) => probes
                .detach(ebpf)
                .unwrap_or_else(|error| tracing::warn!("detaching failed, exit will do it: {error}")),
        }
    }

    /// How often the kernel skipped each program, where it counts that; see [`Missed`].
    pub fn missed(&self, ebpf: &Ebpf, ktime_ns: u64) -> Vec<Missed> {
        let misses = match self {
            Self::Tracing(_) => Vec::new(),
            Self::Kprobes(_) => bpf::kprobe_misses().unwrap_or_default(),
        };
        let missed = |(name, program): (&str, BorrowedFd<'_>)| {
            let facts = bpf::program_facts(program).ok()?;
            let of_links = misses.iter().filter(|(id, _)| *id == facts.id).map(|(_, missed)| *missed);
            let missed = facts.recursion_misses + of_links.sum::<u64>();
            (missed > 0).then(|| Missed {
                kind: Kind::Missed as u8,
                reserved: [0; 7],
                ktime_ns,
                program: padded(name),
                missed,
            })
        };
        self.programs(ebpf).filter_map(missed).collect()
    }

    /// Writes to the log what the verifier went through.
    pub fn log_verified(&self, ebpf: &Ebpf, others: &[&str]) {
        let others = others.iter().filter_map(|name| {
            let program: &RawTracePoint = ebpf.program(name)?.try_into().ok()?;
            Some((*name, program.fd().ok()?.as_fd()))
        });
        let hooked = self.programs(ebpf).collect::<Vec<(&str, BorrowedFd<'_>)>>();
        for (program, fd) in hooked.into_iter().chain(others) {
            if let Ok(facts) = bpf::program_facts(fd) {
                let verified_insns = match facts.verified_insns {
                    0 => "-".to_owned(),
                    insns => insns.to_string(),
                };
                tracing::debug!(
                    "program={program} verified_insns={verified_insns} translated_bytes={}",
                    facts.translated_bytes
                );
            }
        }
    }

    fn programs<'a>(
        &'a self,
        ebpf: &'a Ebpf,
    ) -> Box<dyn Iterator<Item = (&'static str, BorrowedFd<'a>)> + 'a> {
        match self {
            Self::Tracing(links) => Box::new(links.programs()),
            Self::Kprobes(probes) => Box::new(probes.programs(ebpf)),
        }
    }
}

/// aya's errors keep the verifier's whole log in their text.
fn one_line(error: impl std::error::Error) -> anyhow::Error {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    tracing::debug!("{text}");
    anyhow::anyhow!("{}", text.lines().next().unwrap_or_default().trim_end())
}

/// Zero-terminated; program names are at most 15 bytes long.
fn padded(name: &str) -> [u8; 16] {
    let bytes = name.as_bytes();
    std::array::from_fn(|at| if at < 15 { bytes.get(at).copied().unwrap_or(0) } else { 0 })
}
