//! Where the running kernel keeps what the programs read: from its BTF and kallsyms into [`Settings`].

use std::{fs, mem::offset_of};

use conntrack_common::{ABSENT, ENTRY_BYTES, Settings, Tuple};

use crate::{
    engine::btf::{Btf, BtfError},
    kernel::{error::AttachError, kallsyms::Kallsyms},
};

/// The functions the programs hook, which every kernel must have.
pub const FUNCTIONS: [&str; 3] = ["nf_conntrack_free", "early_drop", "__nf_conntrack_alloc"];

const VARIABLES: [&str; 7] = [
    "nf_conntrack_max",
    "nf_conntrack_net_id",
    "net_namespace_list",
    "nf_ct_zone_dflt",
    "nf_conntrack_hash",
    "nf_conntrack_htable_size",
    "nf_conntrack_generation",
];

/// BTF of vmlinux and, where it has one, of the nf_conntrack module, as files.
pub struct BtfFiles {
    vmlinux: Vec<u8>,
    module: Option<Vec<u8>>,
}

impl BtfFiles {
    /// Reads /sys/kernel/btf. A missing module file is no error: conntrack may be builtin, and Debian's 5.10 has none.
    pub fn read() -> Result<Self, AttachError> {
        let path = "/sys/kernel/btf/vmlinux";
        let vmlinux =
            fs::read(path).map_err(|source| AttachError::NoBtf { path: path.to_owned(), source })?;
        Ok(Self { vmlinux, module: fs::read("/sys/kernel/btf/nf_conntrack").ok() })
    }

    /// Both as one.
    pub fn parse(&self) -> Result<Btf<'_>, BtfError> {
        Btf::parse(&self.vmlinux, self.module.as_deref())
    }
}

/// Asks for the symbols or reads them, and checks that conntrack is there under the names we hook.
pub fn symbols() -> Result<Kallsyms, AttachError> {
    let names: Vec<&str> = FUNCTIONS.iter().chain(&VARIABLES).copied().collect();
    if let Some(symbols) = Kallsyms::ask(&names, &FUNCTIONS) {
        return Ok(symbols);
    }
    let symbols = Kallsyms::read(&names)
        .map_err(|source| AttachError::System { doing: "read /proc/kallsyms", source })?;
    for wanted in FUNCTIONS {
        if !symbols.has(wanted) {
            return Err(match symbols.rewritten(wanted) {
                Some(found) => AttachError::Symbol { wanted, found: found.to_owned() },
                None => AttachError::ConntrackAbsent,
            });
        }
    }
    Ok(symbols)
}

/// Fills the settings that describe the kernel; the caller adds those that describe the run.
pub fn settings(btf: &Btf<'_>, symbols: &Kallsyms) -> Result<Settings, AttachError> {
    check_tuple(btf)?;
    let optional = |of, path| btf.offset_of(of, path).unwrap_or(ABSENT);
    // Before 5.13 the count is a member of net itself.
    let net_ct_count = optional("net", "ct.count");
    Ok(Settings {
        addr_max: symbols.address("nf_conntrack_max"),
        addr_net_id: symbols.address("nf_conntrack_net_id"),
        addr_net_list: symbols.address("net_namespace_list"),
        addr_zone_default: symbols.address("nf_ct_zone_dflt"),
        addr_hash: symbols.address("nf_conntrack_hash"),
        addr_hash_size: symbols.address("nf_conntrack_htable_size"),
        addr_generation: symbols.address("nf_conntrack_generation"),
        net_inum: btf.offset_of("net", "ns.inum")?,
        net_gen: btf.offset_of("net", "gen")?,
        net_list: btf.offset_of("net", "list")?,
        net_ct_count,
        gen_ptr: btf.offset_of("net_generic", "ptr")?,
        // The module's private struct: without module BTF its first member, where it always was.
        cnet_count: btf.offset_of("nf_conntrack_net", "count").unwrap_or(0),
        ct_net: btf.offset_of("nf_conn", "ct_net")?,
        ct_zone: optional("nf_conn", "zone"),
        ct_tuple: btf.offset_of("nf_conn", "tuplehash.0.tuple")?,
        ct_status: btf.offset_of("nf_conn", "status")?,
        ct_timeout: btf.offset_of("nf_conn", "timeout")?,
        ct_mark: optional("nf_conn", "mark"),
        ct_use: btf.offset_of("nf_conn", "ct_general.use")?,
        ct_ext: optional("nf_conn", "ext"),
        ext_tstamp: timestamp_extension(btf).unwrap_or(ABSENT),
        node_tuple: btf.offset_of("nf_conntrack_tuple_hash", "tuple")?,
        node_size: btf.size_of("nf_conntrack_tuple_hash")?,
        ct_tcp_state: optional("nf_conn", "proto.tcp.state"),
        ct_bytes: btf.size_of("nf_conn")?.min(ENTRY_BYTES) / 8 * 8,
        skb_nfct: btf.offset_of("sk_buff", "_nfct")?,
        // 5.12 has it too, but gives it out on demand only.
        net_cookie: if net_ct_count == ABSENT { optional("net", "net_cookie") } else { ABSENT },
        ..Settings::UNKNOWN
    })
}

/// Where an entry's extensions keep the offset of its timestamps (include/net/netfilter/nf_conntrack_extend.h).
fn timestamp_extension(btf: &Btf<'_>) -> Option<u32> {
    let offsets = btf.offset_of("nf_ct_ext", "offset").ok()?;
    Some(offsets + btf.enumerator("NF_CT_EXT_TSTAMP")?)
}

/// Whether programs may call `bpf_loop` (5.17+).
pub fn has_loop(btf: &Btf<'_>) -> bool {
    btf.enumerator("BPF_FUNC_loop").is_some()
}

/// Whether `__nf_conntrack_confirm` refuses chains that are too long (5.15+): it counts them then.
pub fn limits_chains(btf: &Btf<'_>) -> bool {
    btf.offset_of("ip_conntrack_stat", "chaintoolong").is_ok()
}

/// The records carry `nf_conntrack_tuple` as it is, so it must be what they declare.
fn check_tuple(btf: &Btf<'_>) -> Result<(), AttachError> {
    let members: [(&str, usize); 6] = [
        ("src.u3", offset_of!(Tuple, src)),
        ("src.u", offset_of!(Tuple, sport)),
        ("src.l3num", offset_of!(Tuple, l3num)),
        ("dst.u3", offset_of!(Tuple, dst)),
        ("dst.u", offset_of!(Tuple, dport)),
        ("dst.protonum", offset_of!(Tuple, protonum)),
    ];
    for (member, expected) in members {
        let found = btf.offset_of("nf_conntrack_tuple", member)?;
        let expected = expected as u32;
        if found != expected {
            return Err(AttachError::TupleLayout { member, found, expected });
        }
    }
    // The walker reads a node of the table as two pointers and a tuple.
    let found = btf.offset_of("nf_conntrack_tuple_hash", "tuple")?;
    if found != 16 {
        return Err(AttachError::TupleLayout {
            member: "tuple of nf_conntrack_tuple_hash",
            found,
            expected: 16,
        });
    }
    Ok(())
}
