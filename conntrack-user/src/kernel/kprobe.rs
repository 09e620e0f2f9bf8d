//! Attaches by kprobe and kretprobe, through aya.

use std::os::fd::{AsFd as _, BorrowedFd};

use aya::{
    Ebpf,
    programs::{KProbe, ProgramError},
};

/// A program and the function it hooks.
type Probe = (&'static str, &'static str);

/// In the order of attaching: what frees before what allocates, so that no entry is seen born whose end would be
/// missed; a call before its return.
const PROBES: [Probe; 4] = [
    ("ctw_free_call", "nf_conntrack_free"),
    ("ctw_early_call", "early_drop"),
    ("ctw_alloc_call", "__nf_conntrack_alloc"),
    ("ctw_alloc_ret", "__nf_conntrack_alloc"),
];

/// Without these a cause stays unknown.
const CLASH: [Probe; 2] =
    [("ctw_clash_call", "nf_ct_resolve_clash"), ("ctw_clash_ret", "nf_ct_resolve_clash")];

/// Attached only when chains may be too long.
const CHAINS: [Probe; 2] =
    [("ctw_conf_call", "__nf_conntrack_confirm"), ("ctw_conf_ret", "__nf_conntrack_confirm")];

/// The probes.
#[derive(Debug)]
pub struct Kprobes {
    chains: Chains,
}

#[derive(Debug, PartialEq, Eq)]
enum Chains {
    Unlimited,
    Loaded,
    Watched,
}

/// Loads all.
pub fn load(ebpf: &mut Ebpf, limits_chains: bool) -> Result<Kprobes, ProgramError> {
    load_all(ebpf, &PROBES)?;
    load_all(ebpf, &CLASH)?;
    if limits_chains {
        load_all(ebpf, &CHAINS)?;
    }
    let chains = if limits_chains { Chains::Loaded } else { Chains::Unlimited };
    Ok(Kprobes { chains })
}

impl Kprobes {
    /// Attaches what is attached at once. Returns why clashes stay unknown, if they do.
    pub fn attach(&self, ebpf: &mut Ebpf) -> Result<Option<ProgramError>, ProgramError> {
        // Before the free hook, which asks whether an entry has just lost a clash.
        let clash = place(ebpf, &CLASH);
        place(ebpf, &PROBES)?;
        Ok(clash.err())
    }

    /// Attaches what tells of chains that are too long, unless that was done.
    pub fn watch_chains(&mut self, ebpf: &mut Ebpf) -> Result<(), ProgramError> {
        if self.chains == Chains::Loaded {
            place(ebpf, &CHAINS)?;
            self.chains = Chains::Watched;
        }
        Ok(())
    }

    /// Detaches and unloads all.
    pub fn detach(&self, ebpf: &mut Ebpf) -> Result<(), ProgramError> {
        for (program, _) in self.probes() {
            probe(ebpf, program)?.unload()?;
        }
        Ok(())
    }

    /// Name and descriptor of each program.
    pub fn programs<'a>(&self, ebpf: &'a Ebpf) -> impl Iterator<Item = (&'static str, BorrowedFd<'a>)> {
        self.probes().filter_map(|(name, _)| {
            let probe: &KProbe = ebpf.program(name)?.try_into().ok()?;
            Some((name, probe.fd().ok()?.as_fd()))
        })
    }

    fn probes(&self) -> impl Iterator<Item = Probe> + use<> {
        let chains = if self.chains == Chains::Unlimited { &[] } else { CHAINS.as_slice() };
        PROBES.into_iter().chain(CLASH).chain(chains.iter().copied())
    }
}

fn load_all(ebpf: &mut Ebpf, probes: &[Probe]) -> Result<(), ProgramError> {
    probes.iter().try_for_each(|(program, _)| probe(ebpf, program)?.load())
}

fn place(ebpf: &mut Ebpf, probes: &[Probe]) -> Result<(), ProgramError> {
    probes.iter().try_for_each(|(program, function)| probe(ebpf, program)?.attach(*function, 0).map(drop))
}

fn probe<'a>(ebpf: &'a mut Ebpf, program: &str) -> Result<&'a mut KProbe, ProgramError> {
    ebpf.program_mut(program).ok_or(ProgramError::NotLoaded)?.try_into()
}
