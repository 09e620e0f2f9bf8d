//! Attaches to the running kernel by the best backend that works.

use std::{panic, thread};

use anyhow::{Result, anyhow};
use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use conntrack_common::{ABSENT, Settings};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    engine::{btf::Btf, snapshot::Trust},
    kernel::{
        audit::{self, Auditor},
        backend::{Backend, BackendChoice, Degradation, negotiate},
        census::{self, Census},
        clock::{self, Wall},
        ctnetlink::{self, StatsReader},
        error::AttachError,
        hooks::{Found, Hooks},
        kallsyms::Kallsyms,
        layout,
        module::Loading,
        object::OBJECT,
        privilege, sysctl,
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
    /// Whether freed TCP entries carry their state (two more reads per free).
    pub read_tcp_state: bool,
    /// Time between two audits if nothing asks for one before.
    pub audit_ns: u64,
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
    /// None where the kernel's table cannot be walked.
    pub(super) auditor: Option<Auditor>,
    /// Whether this kernel refuses connections because of chains that are too long.
    pub(super) limits_chains: bool,
    /// None where asking would load a module.
    pub(super) statistics: Option<StatsReader>,
    /// The conntrack that this is attached to.
    pub(super) loading: Loading,
    /// Writes out what the programs logged; only when debugging.
    pub(super) flush_log: Option<FlushLog>,
}

/// Owns aya's logger, whose type names a crate we do not.
pub(super) type FlushLog = Box<dyn FnMut() + Send>;

impl Attached {
    /// Whether entries that were there before come to be known.
    pub fn audits(&self) -> bool {
        self.auditor.is_some()
    }

    /// Backend and degradations, as outputs repeat them.
    pub fn trust(&self) -> Trust {
        Trust {
            backend: self.backend.name().to_owned(),
            degradations: self.degradations.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Attaches, or says why not.
pub fn attach(options: &Options) -> Result<Attached, AttachError> {
    privilege::check()?;
    let symbols = layout::symbols()?;
    // Before 5.11 maps are charged to this limit, which nobody sizes for them.
    setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None })
        .unwrap_or_else(|error| tracing::debug!("cannot raise RLIMIT_MEMLOCK: {error}"));
    // aya's loader reads all types of the kernel when it is made, whether it needs them or not.
    thread::scope(|scope| {
        let loader = scope.spawn(loader);
        attach_by(options, &symbols, || loader.join().unwrap_or_else(|panic| panic::resume_unwind(panic)))
    })
}

fn attach_by(
    options: &Options,
    symbols: &Kallsyms,
    loader: impl FnOnce() -> EbpfLoader<'static>,
) -> Result<Attached, AttachError> {
    let files = layout::BtfFiles::read()?;
    let btf = files.parse()?;
    let settings = Settings {
        entries_wake_bytes: u64::from(options.entries_ring_bytes / WAKE_FRACTION),
        incident_wake_ns: INCIDENT_WAKE_NS,
        read_mark: u32::from(options.read_mark),
        read_tcp_state: u32::from(options.read_tcp_state),
        ..layout::settings(&btf, symbols)?
    };
    let mut loader: EbpfLoader<'_> = loader();
    let level = if debugging() { LOG_LEVEL_DEBUG } else { 0 };
    loader
        .override_global("SETTINGS", &settings, true)
        .override_global(aya_log::LEVEL, &level, false)
        .map_max_entries("CTW_ENTRIES", options.entries_ring_bytes)
        .map_max_entries("CTW_INCIDENTS", options.incidents_ring_bytes);
    let kernel = Kernel {
        settings: &settings,
        limits_chains: layout::limits_chains(&btf),
        has_loop: layout::has_loop(&btf),
        btf,
    };
    let (attached, refused) =
        negotiate(options.backend.candidates(), |backend| attempt(backend, options, &kernel, &mut loader));
    let Some((_, mut attached)) = attached else {
        return Err(AttachError::NoBackend(refused));
    };
    attached.degradations.splice(0..0, refused);
    attached.hooks.log_verified(&attached.ebpf, &[census::PROGRAMS.as_slice(), &audit::PROGRAMS].concat());
    Ok(attached)
}

/// What there is to know of the running kernel.
struct Kernel<'a> {
    settings: &'a Settings,
    btf: Btf<'a>,
    limits_chains: bool,
    has_loop: bool,
}

/// A fresh set of maps for each attempt, so that a failed one leaves nothing. What takes the verifier long is loaded
/// before anything is attached, while nothing can fill the rings.
fn attempt(
    backend: Backend,
    options: &Options,
    kernel: &Kernel<'_>,
    loader: &mut EbpfLoader<'_>,
) -> Result<Attached> {
    let Kernel { settings, ref btf, limits_chains, has_loop } = *kernel;
    let loading = Loading::now();
    let found = Found::look(backend, btf, limits_chains)?;
    let mut ebpf = loader.load(OBJECT).map_err(|error| anyhow!("{}: {error}", creating_maps()))?;
    let (mut hooks, mut unknown) = found.load(&mut ebpf)?;
    let mut worse = Vec::new();
    let census = census(&mut ebpf, settings, has_loop).unwrap_or_else(|reason| {
        worse.push(if ctnetlink::is_at_hand() {
            Degradation::CountsSeldom { reason }
        } else {
            Degradation::OwnNamespaceOnly { reason }
        });
        Census::Sysctl
    });
    let (auditor, unaudited) = Auditor::load(&mut ebpf, settings, has_loop, options.audit_ns);
    worse.extend(unaudited);
    let flush_log = if debugging() { log_of_programs(&mut ebpf) } else { None };
    let (statistics, unread) = statistics();
    worse.extend(unread.into_iter().map(|reason| Degradation::NoStatistics { reason }));
    unknown.extend(hooks.attach(&mut ebpf)?);
    if limits_chains && chains_may_become_long() {
        hooks.watch_chains(&mut ebpf)?;
    }
    worse.extend(unknown.into_iter().map(|reason| Degradation::UnknownCause { reason }));
    let since_ktime_ns = clock::ktime_ns();
    Ok(Attached {
        backend,
        degradations: worse,
        since_ktime_ns,
        wall: Wall::measure(),
        ebpf,
        hooks,
        census,
        auditor,
        limits_chains,
        statistics,
        loading,
        flush_log,
    })
}

/// What creating maps is called where it fails: there may be a simple reason for it.
fn creating_maps() -> &'static str {
    match getrlimit(Resource::Memlock).current {
        None => "create maps",
        Some(_) => {
            "create maps (before Linux 5.11 they count as locked memory, which is limited here: see `ulimit -l`, \
             or grant CAP_SYS_RESOURCE)"
        }
    }
}

/// Begins to count the kernel's own statistics, and says where it cannot.
fn statistics() -> (Option<StatsReader>, Vec<String>) {
    if !ctnetlink::is_at_hand() {
        return (None, vec!["the module nf_conntrack_netlink is not loaded".to_owned()]);
    }
    let (reader, unread) = StatsReader::new();
    (Some(reader), unread)
}

/// Whether the limit lets so many entries into the table that a chain may exceed 50 nodes, which is what the kernel
/// allows. Where it does not, [`Drain`](super::drain::Drain) keeps an eye on the entries there are.
fn chains_may_become_long() -> bool {
    let read = |name| sysctl::netfilter::<u64>(name);
    match (read("nf_conntrack_max"), read("nf_conntrack_buckets")) {
        (Some(max), Some(buckets)) => max == 0 || max > 4 * buckets,
        _ => false,
    }
}

/// Makes a loader that knows what the kernel can do.
fn loader() -> EbpfLoader<'static> {
    aya::features();
    let mut loader = EbpfLoader::new();
    // The programs name no types of the kernel.
    loader.btf(None);
    loader
}

fn census(ebpf: &mut Ebpf, settings: &Settings, has_loop: bool) -> Result<Census, String> {
    let countable = settings.net_ct_count != ABSENT || settings.addr_net_id != 0;
    if settings.addr_net_list == 0 || settings.addr_max == 0 || !countable {
        return Err("/proc/kallsyms hides or lacks the addresses of conntrack's variables".to_owned());
    }
    Census::load(ebpf, has_loop).map_err(|error| format!("the census program was refused: {error:#}"))
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
