//! Attaches by kprobe and kretprobe, through aya.

use aya::{
    Ebpf,
    programs::{KProbe, ProgramError},
};

/// Programs and the functions they hook, in the order of attaching: what frees before what allocates, so that
/// no entry is seen born whose end would be missed; a call before its return.
const PROBES: [(&str, &str); 4] = [
    ("ctw_free_call", "nf_conntrack_free"),
    ("ctw_early_call", "early_drop"),
    ("ctw_alloc_call", "__nf_conntrack_alloc"),
    ("ctw_alloc_ret", "__nf_conntrack_alloc"),
];

/// Loads and attaches all.
pub fn attach(ebpf: &mut Ebpf) -> Result<(), ProgramError> {
    for (program, function) in PROBES {
        let probe = probe(ebpf, program)?;
        probe.load()?;
        probe.attach(function, 0)?;
    }
    Ok(())
}

/// Detaches and unloads all.
pub fn detach(ebpf: &mut Ebpf) -> Result<(), ProgramError> {
    for (program, _) in PROBES {
        probe(ebpf, program)?.unload()?;
    }
    Ok(())
}

fn probe<'a>(ebpf: &'a mut Ebpf, program: &str) -> Result<&'a mut KProbe, ProgramError> {
    ebpf.program_mut(program).ok_or(ProgramError::NotLoaded)?.try_into()
}
