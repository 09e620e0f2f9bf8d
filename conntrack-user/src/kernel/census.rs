//! Runs the census: `nf_conntrack_count` of every network namespace, into the incidents ring.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    programs::{RawTracePoint, RawTracePointRunOptions, TestRun as _},
};
use bytes::BytesMut;
use conntrack_common::{ABSENT, Count, Kind};
use zerocopy::IntoBytes as _;

use crate::kernel::{clock, netns, sysctl};

const PROGRAM: &str = "ctw_census";

/// Runs of one census at most: 32 namespaces each.
const RUNS: u32 = 1024;

/// How the counts are read.
pub enum Census {
    /// By a program that walks the kernel's list of namespaces.
    Program,
    /// From /proc/sys, this process's namespace alone.
    Sysctl,
}

impl Census {
    /// Loads the program; it is never attached, only run.
    pub fn load(ebpf: &mut Ebpf) -> Result<Self> {
        let program: &mut RawTracePoint =
            ebpf.program_mut(PROGRAM).context("no census program")?.try_into()?;
        program.load()?;
        Ok(Self::Program)
    }

    /// Reads all counts. The program's arrive through the incidents ring, others are written to `out`.
    pub fn run(&self, ebpf: &Ebpf, out: &mut BytesMut) -> Result<()> {
        match self {
            Self::Program => {
                let program: &RawTracePoint =
                    ebpf.program(PROGRAM).context("no census program")?.try_into()?;
                for _ in 0..RUNS {
                    if program.test_run(RawTracePointRunOptions::new())?.return_value == 0 {
                        break;
                    }
                }
            }
            Self::Sysctl => out.extend_from_slice(own_count().as_bytes()),
        }
        Ok(())
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
