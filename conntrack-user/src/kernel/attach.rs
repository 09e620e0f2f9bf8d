//! Attaches to the running kernel by the best backend that works.

use anyhow::{Context as _, Result};
use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use conntrack_common::{ABSENT, Settings};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::{
    engine::btf::Btf,
    kernel::{
        backend::{Backend, BackendChoice, Degradation, negotiate},
        census::Census,
        clock::{self, Wall},
        error::AttachError,
        kprobe, layout,
        object::OBJECT,
        privilege,
        tracing_link::{self, Target, TracingLink},
    },
};

/// What the user chose.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Which backends may be tried.
    pub backend: BackendChoice,
    /// Size of the entries ring in bytes, a power of two and at least a page.
    pub entries_ring_bytes: u32,
    /// Size of the incidents ring, likewise.
    pub incidents_ring_bytes: u32,
    /// Whether freed entries carry their mark (one more read per free).
    pub read_mark: bool,
}

/// Unread bytes in the entries ring that wake its consumer early: a quarter of it.
const WAKE_FRACTION: u32 = 4;

/// Least time between two wakeups for incidents.
const INCIDENT_WAKE_NS: u64 = 10_000_000;

/// Programs attached and maps open. Dropping it detaches; if the process dies, the kernel does that.
pub struct Attached {
    /// The backend in use.
    pub backend: Backend,
    /// What works less well than it could.
    pub degradations: Vec<Degradation>,
    /// When the last program was in place, CLOCK_MONOTONIC.
    pub since_ktime_ns: u64,
    /// The wall clock of the run.
    pub wall: Wall,
    pub(super) ebpf: Ebpf,
    pub(super) hooks: Hooks,
    pub(super) census: Census,
    /// Writes out what the programs logged; only when debugging.
    pub(super) flush_log: Option<FlushLog>,
}

/// Owns aya's logger, whose type names a crate we do not.
pub(super) type FlushLog = Box<dyn FnMut() + Send>;

/// What holds the programs in place.
pub(super) enum Hooks {
    /// By links of our own.
    Tracing(Vec<TracingLink>),
    /// By aya, in the `Ebpf`.
    Kprobes,
}

/// Attaches, or says why not.
pub fn attach(options: &Options) -> Result<Attached, AttachError> {
    privilege::check()?;
    let symbols = layout::symbols()?;
    let files = layout::BtfFiles::read()?;
    let btf = files.parse()?;
    let settings = Settings {
        entries_wake_bytes: u64::from(options.entries_ring_bytes / WAKE_FRACTION),
        incident_wake_ns: INCIDENT_WAKE_NS,
        read_mark: u32::from(options.read_mark),
        ..layout::settings(&btf, &symbols)?
    };
    // Before 5.11 maps are charged to this limit, which nobody sizes for them.
    setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None })
        .unwrap_or_else(|error| tracing::debug!("cannot raise RLIMIT_MEMLOCK: {error}"));

    let (attached, mut degradations) = negotiate(options.backend.candidates(), |backend| {
        attempt(backend, options, &settings, &btf, files.has_module())
    });
    let Some((backend, (mut ebpf, hooks))) = attached else {
        return Err(AttachError::NoBackend(degradations));
    };
    let since_ktime_ns = clock::ktime_ns();
    let census = census(&mut ebpf, &settings).unwrap_or_else(|reason| {
        degradations.push(Degradation::OwnNamespaceOnly { reason });
        Census::Sysctl
    });
    let flush_log = if debugging() { log_of_programs(&mut ebpf) } else { None };
    Ok(Attached {
        backend,
        degradations,
        since_ktime_ns,
        wall: Wall::measure(),
        ebpf,
        hooks,
        census,
        flush_log,
    })
}

/// A fresh set of maps for each attempt, so that a failed one leaves nothing.
fn attempt(
    backend: Backend,
    options: &Options,
    settings: &Settings,
    btf: &Btf<'_>,
    module_btf: bool,
) -> Result<(Ebpf, Hooks)> {
    let target = match backend {
        Backend::FexitVmlinux => Some(Target::Vmlinux),
        Backend::FexitModule if module_btf => Some(Target::Module("nf_conntrack")),
        Backend::FexitModule => anyhow::bail!("the module has no BTF in /sys/kernel/btf"),
        Backend::Kprobe => None,
    };
    let mut ebpf = maps(options, settings).context("create maps")?;
    let hooks = match target {
        Some(target) => Hooks::Tracing(tracing_link::attach(OBJECT, &ebpf, btf, target)?),
        None => {
            kprobe::attach(&mut ebpf).map_err(one_line)?;
            Hooks::Kprobes
        }
    };
    Ok((ebpf, hooks))
}

fn maps(options: &Options, settings: &Settings) -> Result<Ebpf> {
    let level = if debugging() { LOG_LEVEL_DEBUG } else { 0 };
    Ok(EbpfLoader::new()
        .override_global("SETTINGS", settings, true)
        .override_global(aya_log::LEVEL, &level, false)
        .map_max_entries("CTW_ENTRIES", options.entries_ring_bytes)
        .map_max_entries("CTW_INCIDENTS", options.incidents_ring_bytes)
        .load(OBJECT)?)
}

fn census(ebpf: &mut Ebpf, settings: &Settings) -> Result<Census, String> {
    let countable = settings.net_ct_count != ABSENT || settings.addr_net_id != 0;
    if settings.addr_net_list == 0 || settings.addr_max == 0 || !countable {
        return Err("/proc/kallsyms hides or lacks the addresses of conntrack's variables".to_owned());
    }
    Census::load(ebpf).map_err(|error| format!("the census program was refused: {error:#}"))
}

impl Hooks {
    /// Takes the programs off the kernel; maps stay open.
    pub(super) fn detach(&mut self, ebpf: &mut Ebpf) {
        match self {
            Self::Tracing(links) => links.clear(),
            Self::Kprobes => kprobe::detach(ebpf)
                .unwrap_or_else(|error| tracing::warn!("detaching failed, exit will do it: {error}")),
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

fn debugging() -> bool {
    tracing::enabled!(tracing::Level::DEBUG)
}

/// aya-log's number for "debug"; 0 prunes every log site.
const LOG_LEVEL_DEBUG: u8 = 4;

fn log_of_programs(ebpf: &mut Ebpf) -> Option<FlushLog> {
    match EbpfLogger::init(ebpf) {
        Ok(mut logger) => Some(Box::new(move || logger.flush())),
        Err(error) => {
            tracing::warn!("no log from the eBPF programs: {error}");
            None
        }
    }
}
