//! Attaches fentry and fexit programs to functions of vmlinux or of a module.
//!
//! aya 0.14 cannot name a function of a module: it sets `attach_btf_id` only, from one BTF. So aya makes the
//! maps and globals, and here a second parse of the same object is relocated against them and loaded with
//! `attach_btf_obj_fd` as well. With no module the field stays 0, which the kernel takes for vmlinux.
#![expect(unsafe_code, reason = "arguments of bpf(2) are unions")]

use std::{
    collections::HashSet,
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
};

use aya::{Ebpf, maps::Map};
use aya_obj::{
    Object,
    generated::{bpf_attach_type, bpf_btf_info, bpf_cmd, bpf_prog_type},
};
use thiserror::Error;

use crate::{
    engine::btf::{Btf, Func},
    kernel::bpf::{self, bpf_fd, zeroed_attr},
};

/// A program, the function it hooks and how.
#[derive(Debug)]
struct Hook {
    program: &'static str,
    function: &'static str,
    /// Arguments the program counts on: a result read from the context lies behind them.
    arguments: usize,
    attach: bpf_attach_type,
    when: When,
}

/// When a hook is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// At once; nothing works without it.
    Always,
    /// At once; without it a cause stays unknown.
    IfPossible,
    /// When [`TracingLinks::watch_chains`] says so; likewise.
    Later,
}

const fn hook(
    program: &'static str,
    function: &'static str,
    arguments: usize,
    attach: bpf_attach_type,
    when: When,
) -> Hook {
    Hook { program, function, arguments, attach, when }
}

const ENTRY: bpf_attach_type = bpf_attach_type::BPF_TRACE_FENTRY;
const EXIT: bpf_attach_type = bpf_attach_type::BPF_TRACE_FEXIT;

/// In the order of attaching: what frees before what allocates, a call before its return.
static HOOKS: [Hook; 6] = [
    hook("ctw_free_entry", "nf_conntrack_free", 1, ENTRY, When::Always),
    hook("ctw_clash_entry", "nf_ct_resolve_clash", 3, ENTRY, When::IfPossible),
    hook("ctw_clash_exit", "nf_ct_resolve_clash", 3, EXIT, When::IfPossible),
    hook("ctw_conf_exit", "__nf_conntrack_confirm", 1, EXIT, When::Later),
    hook("ctw_early_entry", "early_drop", 2, ENTRY, When::Always),
    hook("ctw_alloc_exit", "__nf_conntrack_alloc", 6, EXIT, When::Always),
];

/// The verifier's log is read up to here; the end of it says what was wrong.
const LOG_BYTES: usize = 1 << 20;

/// Whose functions are hooked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Builtin.
    Vmlinux,
    /// A module of this name.
    Module(&'static str),
}

/// The programs; dropping it detaches them.
#[derive(Debug)]
pub struct TracingLinks(Vec<Hooked>);

#[derive(Debug)]
struct Hooked {
    hook: &'static Hook,
    program: OwnedFd,
    link: Option<OwnedFd>,
}

impl TracingLinks {
    /// Attaches them, but for what is attached later. Returns what stays unknown, and why.
    pub fn attach(&mut self) -> Result<Vec<TracingError>, TracingError> {
        let mut unknown = Vec::new();
        for hooked in &mut self.0 {
            match (hooked.hook.when, hooked.hook.when != When::Later && hooked.link.is_none()) {
                (When::Always, true) => hooked.attach()?,
                (_, true) => unknown.extend(hooked.attach().err()),
                (_, false) => {}
            }
        }
        Ok(unknown)
    }

    /// Attaches what tells of chains that are too long, unless that was done.
    pub fn watch_chains(&mut self) -> Result<(), TracingError> {
        let mut later = self.0.iter_mut().filter(|hooked| hooked.hook.when == When::Later);
        later.try_for_each(|hooked| if hooked.link.is_none() { hooked.attach() } else { Ok(()) })
    }

    /// Detaches all; the programs stay loaded, for what they counted.
    pub fn detach(&mut self) {
        self.0.iter_mut().for_each(|hooked| hooked.link = None);
    }

    /// Name and descriptor of each program.
    pub fn programs(&self) -> impl Iterator<Item = (&'static str, BorrowedFd<'_>)> {
        self.0.iter().map(|hooked| (hooked.hook.program, hooked.program.as_fd()))
    }
}

impl Hooked {
    fn attach(&mut self) -> Result<(), TracingError> {
        let function = self.hook.function;
        self.link = Some(open(&self.program).map_err(|source| TracingError::Attach { function, source })?);
        Ok(())
    }
}

/// Why a program could not be attached.
#[derive(Debug, Error)]
pub enum TracingError {
    /// The function is not described where it was looked for.
    #[error("{target} has no BTF for {function}")]
    NoFunction {
        /// The function.
        function: &'static str,
        /// "vmlinux" or the module.
        target: String,
    },
    /// The function takes other arguments.
    #[error("{function} takes {found} arguments, not {expected}")]
    Arguments {
        /// The function.
        function: &'static str,
        /// In this kernel.
        found: usize,
        /// What the program reads.
        expected: usize,
    },
    /// The object this binary carries is damaged.
    #[error("eBPF object: {0}")]
    Object(String),
    /// The module's BTF object.
    #[error("BTF object of module {module}: {source}")]
    ModuleBtf {
        /// The module.
        module: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The verifier or the kernel refused the program.
    #[error("load {program}: {source}{}", last_line(.log))]
    Load {
        /// The program.
        program: &'static str,
        /// Why.
        source: io::Error,
        /// What the verifier said.
        log: String,
    },
    /// The trampoline could not be installed.
    #[error("attach to {function}: {source}")]
    Attach {
        /// The function.
        function: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// The functions to be hooked.
pub struct Found {
    target: Target,
    functions: Vec<(&'static Hook, Func)>,
    unknown: Vec<TracingError>,
}

impl Found {
    /// Looks for them; for those for chains too long only if the kernel `limits_chains`.
    pub fn look(btf: &Btf<'_>, target: Target, limits_chains: bool) -> Result<Self, TracingError> {
        let (mut functions, mut unknown) = (Vec::new(), Vec::new());
        for hook in HOOKS.iter().filter(|hook| limits_chains || hook.when != When::Later) {
            match resolve(btf, hook, target) {
                Ok(function) => functions.push((hook, function)),
                Err(error) if hook.when == When::Always => return Err(error),
                Err(error) => unknown.push(error),
            }
        }
        Ok(Self { target, functions, unknown })
    }

    /// Loads the programs against the maps of `ebpf`. Returns besides what stays unknown, and why.
    pub fn load(self, bytes: &[u8], ebpf: &Ebpf) -> Result<(TracingLinks, Vec<TracingError>), TracingError> {
        let Self { target, functions, mut unknown } = self;
        let module = match target {
            Target::Vmlinux => None,
            Target::Module(module) => {
                Some(module_btf(module).map_err(|source| TracingError::ModuleBtf { module, source })?)
            }
        };
        let object = relocated(bytes, ebpf)?;
        let mut loaded = Vec::new();
        for (hook, function) in functions {
            match load_one(&object, hook, function, module.as_ref()) {
                Ok(program) => loaded.push(Hooked { hook, program, link: None }),
                Err(error) if hook.when == When::Always => return Err(error),
                Err(error) => unknown.push(error),
            }
        }
        Ok((TracingLinks(loaded), unknown))
    }
}

fn resolve(btf: &Btf<'_>, hook: &Hook, target: Target) -> Result<Func, TracingError> {
    let function = hook.function;
    let found = btf
        .func(function)
        .filter(|found| found.in_module == matches!(target, Target::Module(_)))
        .ok_or_else(|| TracingError::NoFunction { function, target: target.to_string() })?;
    if found.arguments != hook.arguments {
        return Err(TracingError::Arguments { function, found: found.arguments, expected: hook.arguments });
    }
    Ok(found)
}

/// The object's programs with the file descriptors of `ebpf`'s maps in place.
fn relocated(bytes: &[u8], ebpf: &Ebpf) -> Result<Object, TracingError> {
    let broken = |error: &dyn std::fmt::Display| TracingError::Object(error.to_string());
    let mut object = Object::parse(bytes).map_err(|error| broken(&error))?;
    let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    let declared = std::mem::take(&mut object.maps);
    let maps = declared
        .iter()
        .map(|(name, map)| {
            let fd =
                ebpf.map(name).and_then(map_fd).ok_or_else(|| broken(&format!("map {name} is missing")))?;
            Ok((name.as_str(), fd, map))
        })
        .collect::<Result<Vec<_>, TracingError>>()?;
    object.relocate_maps(maps.into_iter(), &text).map_err(|error| broken(&error))?;
    object.relocate_calls(&text).map_err(|error| broken(&error))?;
    Ok(object)
}

/// The descriptor of a map of the kinds this object has.
fn map_fd(map: &Map) -> Option<RawFd> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::RingBuf(data) => Some(data.fd().as_fd().as_raw_fd()),
        _ => None,
    }
}

fn load_one(
    object: &Object,
    hook: &Hook,
    function: Func,
    module: Option<&OwnedFd>,
) -> Result<OwnedFd, TracingError> {
    let missing = || TracingError::Object(format!("program {} is missing", hook.program));
    let program = object.programs.get(hook.program).ok_or_else(missing)?;
    let instructions = &object.functions.get(&program.function_key()).ok_or_else(missing)?.instructions;
    let mut attr = zeroed_attr();
    // SAFETY: the union's variant of BPF_PROG_LOAD, all zero so far.
    let request = unsafe { &mut attr.__bindgen_anon_3 };
    request.prog_type = bpf_prog_type::BPF_PROG_TYPE_TRACING as u32;
    request.expected_attach_type = hook.attach as u32;
    request.insns = instructions.as_ptr() as u64;
    request.insn_cnt = instructions.len() as u32;
    request.license = program.license.as_ptr() as u64;
    for (to, from) in request.prog_name.iter_mut().zip(hook.program.bytes()) {
        *to = from as _;
    }
    request.attach_btf_id = function.id;
    if let Some(module) = module {
        request.__bindgen_anon_1.attach_btf_obj_fd = module.as_raw_fd() as u32;
    }
    let first = match bpf_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr) {
        Ok(fd) => return Ok(fd),
        Err(error) => error,
    };
    // Once more for the verifier's reasons, which cost time and memory to write.
    let mut log = vec![0_u8; LOG_BYTES];
    // SAFETY: the same variant as above.
    let request = unsafe { &mut attr.__bindgen_anon_3 };
    request.log_level = 1;
    request.log_buf = log.as_mut_ptr() as u64;
    request.log_size = log.len() as u32;
    let source = bpf_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr).err().unwrap_or(first);
    let log =
        CStr::from_bytes_until_nul(&log).map(|log| log.to_string_lossy().into_owned()).unwrap_or_default();
    tracing::debug!(program = hook.program, "verifier log:\n{log}");
    Err(TracingError::Load { program: hook.program, source, log })
}

/// Links a tracing program to the function it was loaded for.
fn open(program: &OwnedFd) -> io::Result<OwnedFd> {
    let mut attr = zeroed_attr();
    attr.raw_tracepoint.prog_fd = program.as_raw_fd() as u32;
    bpf_fd(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)
}

/// The BTF object of a loaded module.
fn module_btf(module: &str) -> io::Result<OwnedFd> {
    let mut id = 0;
    while let Some(next) = bpf::next_id(bpf_cmd::BPF_BTF_GET_NEXT_ID, id)? {
        id = next;
        let mut attr = zeroed_attr();
        attr.__bindgen_anon_6.__bindgen_anon_1.btf_id = id;
        let found = match bpf_fd(bpf_cmd::BPF_BTF_GET_FD_BY_ID, &mut attr) {
            Ok(found) => found,
            // It went away between the two calls.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if kernel_btf_name(&found)?.as_deref().map(CStr::to_bytes) == Some(module.as_bytes()) {
            return Ok(found);
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// The name of a BTF object, if it is the kernel's or a module's.
fn kernel_btf_name(btf: &OwnedFd) -> io::Result<Option<CString>> {
    let mut name = [0_u8; 64];
    // SAFETY: plain data, for which zero is a value.
    let mut info: bpf_btf_info = unsafe { std::mem::zeroed() };
    info.name = name.as_mut_ptr() as u64;
    info.name_len = name.len() as u32;
    bpf::info_by_fd(btf.as_fd(), &mut info)?;
    if info.kernel_btf == 0 {
        return Ok(None);
    }
    Ok(CStr::from_bytes_until_nul(&name).ok().map(CStr::to_owned))
}

/// What the verifier ended with, before its statistics.
fn last_line(log: &str) -> String {
    log.lines()
        .rev()
        .find(|line| !line.is_empty() && !line.starts_with("processed "))
        .map(|line| format!(" ({line})"))
        .unwrap_or_default()
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Vmlinux => f.write_str("vmlinux"),
            Self::Module(name) => write!(f, "module {name}"),
        }
    }
}
