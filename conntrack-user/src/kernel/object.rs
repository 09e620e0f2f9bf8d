//! The eBPF object this binary carries.

/// Built by build.rs from conntrack-ebpf.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/conntrack"));
