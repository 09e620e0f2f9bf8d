//! What the loader tells the programs before load: where the running kernel keeps things.

/// An offset, address or count that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// As much of an `nf_conn` as is read at once: up to `proto.tcp.state`, the last that is wanted, on every kernel without
/// lock debugging (233 bytes on 5.10, 225 later). What lies behind is read by itself.
pub const ENTRY_BYTES: u32 = 240;

/// The programs' one read-only global. The loader fills it from the running kernel's BTF and kallsyms and
/// the map is frozen before load, so the verifier sees constants and prunes what is switched off.
///
/// Offsets are in bytes from the start of the structure named; addresses are kernel virtual, 0 if unknown.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Address of `nf_conntrack_max` (net/netfilter/nf_conntrack_core.c).
    pub addr_max: u64,
    /// Address of `nf_conntrack_net_id`, the index into `net.gen` (5.13+).
    pub addr_net_id: u64,
    /// Address of `net_namespace_list` (net/core/net_namespace.c).
    pub addr_net_list: u64,
    /// Address of `nf_ct_zone_dflt`, the zone of nearly every connection: comparing saves a read.
    pub addr_zone_default: u64,
    /// Address of `nf_conntrack_hash`, the pointer to the table's buckets.
    pub addr_hash: u64,
    /// Address of `nf_conntrack_htable_size`, their number.
    pub addr_hash_size: u64,
    /// Address of `nf_conntrack_generation`, odd while the table is being resized, then another.
    pub addr_generation: u64,
    /// A wakeup of the incidents ring is due this long after the last, in nanoseconds.
    pub incident_wake_ns: u64,
    /// Unread bytes in the entries ring from which its consumer is woken early.
    pub entries_wake_bytes: u64,
    /// `net.ns.inum`
    pub net_inum: u32,
    /// `net.gen`
    pub net_gen: u32,
    /// `net.list`
    pub net_list: u32,
    /// `net.ct.count`, before 5.13; else [`ABSENT`].
    pub net_ct_count: u32,
    /// `net_generic.ptr`
    pub gen_ptr: u32,
    /// `nf_conntrack_net.count`, from 5.13; else [`ABSENT`].
    pub cnet_count: u32,
    /// `nf_conn.ct_net`
    pub ct_net: u32,
    /// `nf_conn.zone`, or [`ABSENT`] without CONFIG_NF_CONNTRACK_ZONES.
    pub ct_zone: u32,
    /// `nf_conn.tuplehash[IP_CT_DIR_ORIGINAL].tuple`
    pub ct_tuple: u32,
    /// `nf_conn.status`
    pub ct_status: u32,
    /// `nf_conn.mark`, or [`ABSENT`] without CONFIG_NF_CONNTRACK_MARK.
    pub ct_mark: u32,
    /// `nf_conn.timeout`
    pub ct_timeout: u32,
    /// `nf_conn.ct_general.use`
    pub ct_use: u32,
    /// `nf_conn.ext`
    pub ct_ext: u32,
    /// `nf_ct_ext.offset[NF_CT_EXT_TSTAMP]`, or [`ABSENT`] without CONFIG_NF_CONNTRACK_TIMESTAMP.
    pub ext_tstamp: u32,
    /// `nf_conntrack_tuple_hash.tuple`
    pub node_tuple: u32,
    /// Size of `nf_conntrack_tuple_hash`.
    pub node_size: u32,
    /// `sk_buff._nfct`
    pub skb_nfct: u32,
    /// `net.net_cookie`, from 5.13 a number of its own for each; else [`ABSENT`].
    pub net_cookie: u32,
    /// 1 to put the mark into every [`Free`](crate::Free).
    pub read_mark: u32,
    /// 1 to put the TCP state into every [`Free`](crate::Free).
    pub read_tcp_state: u32,
    /// `nf_conn.proto.tcp.state`, or [`ABSENT`].
    pub ct_tcp_state: u32,
    /// How much of an `nf_conn` is read at once: whole words, all of it or [`ENTRY_BYTES`].
    pub ct_bytes: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Settings>() == 168 && ENTRY_BYTES.is_multiple_of(8));

impl Settings {
    /// Nothing known: what the object holds until the loader writes it.
    pub const UNKNOWN: Self = Self {
        addr_max: 0,
        addr_net_id: 0,
        addr_net_list: 0,
        addr_zone_default: 0,
        addr_hash: 0,
        addr_hash_size: 0,
        addr_generation: 0,
        incident_wake_ns: 0,
        entries_wake_bytes: u64::MAX,
        net_inum: ABSENT,
        net_gen: ABSENT,
        net_list: ABSENT,
        net_ct_count: ABSENT,
        gen_ptr: ABSENT,
        cnet_count: ABSENT,
        ct_net: ABSENT,
        ct_zone: ABSENT,
        ct_tuple: ABSENT,
        ct_status: ABSENT,
        ct_mark: ABSENT,
        ct_timeout: ABSENT,
        ct_use: ABSENT,
        ct_ext: ABSENT,
        ext_tstamp: ABSENT,
        node_tuple: ABSENT,
        node_size: ABSENT,
        skb_nfct: ABSENT,
        net_cookie: ABSENT,
        read_mark: 0,
        read_tcp_state: 0,
        ct_tcp_state: ABSENT,
        ct_bytes: 0,
        reserved: 0,
    };
}
