//! Options of every command that attaches to the kernel.

use std::time::Duration;

use crate::{
    engine::saturation::Thresholds,
    kernel::{attach, backend::BackendChoice},
};

use super::{session::Needs, values};

/// How to attach.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Attaching")]
pub struct AttachArgs {
    /// Way into the kernel; `auto` takes the best that works
    #[arg(long, value_enum, default_value_t, value_name = "NAME")]
    backend: BackendChoice,

    /// Size of the ring that carries every new and freed entry
    #[arg(long, default_value = "8M", value_name = "BYTES", value_parser = values::ring_bytes)]
    entries_ring: u32,

    /// Size of the ring that carries every refusal and eviction
    #[arg(long, default_value = "2M", value_name = "BYTES", value_parser = values::ring_bytes)]
    incidents_ring: u32,

    /// Time between two audits against the kernel's own table; a loss or a missed event brings one at once
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = values::duration)]
    audit: Duration,

    /// Wait for conntrack if it is not loaded yet
    #[arg(long)]
    pub wait: bool,

    /// Share of nf_conntrack_max from which there is pressure, in percent
    #[arg(long, default_value_t = 80, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(10..=99))]
    warn: u8,
}

/// What attaching takes, whoever said so.
#[derive(Clone, Copy, Debug)]
pub struct Attaching {
    /// As the kernel room wants it.
    pub options: attach::Options,
    /// When a table counts as full.
    pub thresholds: Thresholds,
    /// Whether to wait for conntrack if it is not loaded yet.
    pub wait: bool,
}

impl AttachArgs {
    /// When a table counts as full.
    pub fn thresholds(&self) -> Thresholds {
        Thresholds::warn_at(self.warn)
    }

    /// What the command line says, and what the command needs.
    pub fn attaching(&self, needs: Needs) -> Attaching {
        let options = attach::Options {
            backend: self.backend,
            entries_ring_bytes: self.entries_ring,
            incidents_ring_bytes: self.incidents_ring,
            read_mark: needs.mark,
            read_tcp_state: needs.tcp_state,
            audit_ns: u64::try_from(self.audit.as_nanos()).unwrap_or(u64::MAX),
        };
        Attaching { options, thresholds: self.thresholds(), wait: self.wait }
    }
}
