//! Runs the census: `nf_conntrack_count` of every network namespace, into the incidents ring.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, MapData},
    programs::RawTracePoint,
};
use bytes::BytesMut;
use conntrack_common::{ABSENT, Census as Complete, CensusRun, Count, Kind};
use zerocopy::IntoBytes as _;

use crate::kernel::{audit, clock, netns, sysctl};

/// The programs run here, of which one is loaded: with `bpf_loop`, and for kernels before 5.17.
pub const PROGRAMS: [&str; 2] = ["ctw_census", "ctw_census_5_10"];

/// Runs of one census at most: 32 namespaces or more each.
const RUNS: u32 = 1024;

/// How the counts are read.
pub enum Census {
    /// By a program that walks the kernel's list of namespaces.
    Program(&'static str, Array<MapData, CensusRun>),
    /// From /proc/sys, this process's namespace alone.
    Sysctl,
}

impl Census {
    /// Loads the program; it is never attached, only run.
    pub fn load(ebpf: &mut Ebpf, has_loop: bool) -> Result<Self> {
        let name = PROGRAMS[usize::from(!has_loop)];
        let program: &mut RawTracePoint = ebpf.program_mut(name).context("no census program")?.try_into()?;
        program.load()?;
        Ok(Self::Program(name, Array::try_from(ebpf.take_map("CTW_CENSUS").context("no map CTW_CENSUS")?)?))
    }

    /// Reads all counts. The program's arrive through the incidents ring, others are written to `out`.
    pub fn run(&mut self, ebpf: &Ebpf, out: &mut BytesMut) -> Result<CensusRun> {
        let (program, run) = match self {
            Self::Program(name, run) => (*name, run),
            Self::Sysctl => {
                out.extend_from_slice(own_count().as_bytes());
                return Ok(CensusRun::default());
            }
        };
        let began_ktime_ns = clock::ktime_ns();
        run.set(0, CensusRun::default(), 0).context("begin a census")?;
        let mut counted = CensusRun::default();
        for _ in 0..RUNS {
            audit::run(ebpf, program)?;
            counted = run.get(&0, 0).context("read the census")?;
            if counted.next == 0 {
                break;
            }
        }
        if counted.next == 0 {
            let census = Complete {
                kind: Kind::Census as u8,
                reserved: [0; 3],
                counts: counted.counts,
                ktime_ns: clock::ktime_ns(),
                began_ktime_ns,
            };
            out.extend_from_slice(census.as_bytes());
        }
        Ok(counted)
    }
}

fn own_count() -> Count {
    Count {
        kind: Kind::Count as u8,
        reserved: [0; 3],
        netns: netns::own().unwrap_or(0),
        ktime_ns: clock::ktime_ns(),
        count: sysctl::netfilter("nf_conntrack_count").unwrap_or(ABSENT),
        max: sysctl::netfilter("nf_conntrack_max").unwrap_or(ABSENT),
        cookie: 0,
    }
}
