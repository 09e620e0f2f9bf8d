//! Reading kernel structures at the offsets the loader found in the running kernel's BTF.

use core::mem::{MaybeUninit, offset_of};

use aya_ebpf::helpers::{bpf_ktime_get_ns, generated::bpf_probe_read_kernel};
use conntrack_common::{ABSENT, ENTRY_BYTES, Settings, Tuple};

/// Written by the loader, frozen before load.
#[unsafe(no_mangle)]
pub static SETTINGS: Settings = Settings::UNKNOWN;

/// One field of [`SETTINGS`], a constant to the verifier.
macro_rules! setting {
    ($field:ident) => {
        // SAFETY: a static of the object; volatile because the loader replaces what the compiler saw.
        unsafe { core::ptr::read_volatile(&raw const crate::kernel::SETTINGS.$field) }
    };
}
pub(crate) use setting;

/// Whether a returned pointer is an error (include/linux/err.h, `IS_ERR`).
#[inline(always)]
pub fn is_err(pointer: u64) -> bool {
    const MAX_ERRNO: u64 = 4095;
    pointer >= MAX_ERRNO.wrapping_neg()
}

/// CLOCK_MONOTONIC in nanoseconds.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: a helper without preconditions.
    unsafe { bpf_ktime_get_ns() }
}

/// Reads a `T` at a kernel address; zeroes if it cannot be read, as the helper leaves them.
#[inline(always)]
pub fn read<T: Copy>(address: u64) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    read_into(value.as_mut_ptr(), address);
    // SAFETY: the helper fills all of it, with zeroes on failure; T is plain data by the callers' choice.
    unsafe { value.assume_init() }
}

/// Reads a `T` at a kernel address into ring memory or the stack.
#[inline(always)]
pub fn read_into<T: Copy>(destination: *mut T, address: u64) {
    // SAFETY: the destination holds size_of::<T>() bytes; the helper checks the source itself.
    unsafe { bpf_probe_read_kernel(destination.cast(), size_of::<T>() as u32, address as *const _) };
}

/// An `nf_conn` as it was at one moment, or nearly. To read thirty words costs three times as much as to read one, and
/// half as much as to read seven one by one.
pub struct Entry {
    ct: u64,
    words: MaybeUninit<[u64; ENTRY_BYTES as usize / 8]>,
}

impl Entry {
    /// Reads it; all is zero where nothing can be read.
    #[inline(always)]
    pub fn read(ct: u64) -> Self {
        let mut words = MaybeUninit::uninit();
        let size = setting!(ct_bytes);
        // SAFETY: the loader sets no more bytes than there are, which the verifier checks; the helper checks the source.
        unsafe { bpf_probe_read_kernel((&raw mut words).cast(), size, ct as *const _) };
        Self { ct, words }
    }

    /// What lies at an offset that the loader found, which is to the verifier a constant.
    #[inline(always)]
    pub fn at<T: Copy>(&self, offset: u32) -> T {
        if offset + size_of::<T>() as u32 > setting!(ct_bytes) {
            return read(self.ct + u64::from(offset));
        }
        // SAFETY: within what was read, and aligned as in the kernel: the entry begins at a word.
        unsafe { self.words.as_ptr().cast::<u8>().add(offset as usize).cast::<T>().read() }
    }
}

/// `nf_conn.status` bits (include/uapi/linux/netfilter/nf_conntrack_common.h): `IPS_CONFIRMED`.
pub const CONFIRMED: u32 = 1 << 3;
/// `IPS_DYING`
pub const DYING: u32 = 1 << 9;
/// `IPS_SRC_NAT | IPS_DST_NAT`
pub const NAT: u32 = 1 << 4 | 1 << 5;

/// The protocol number of TCP.
pub const IPPROTO_TCP: u8 = 6;

/// `nf_conn.status`
#[inline(always)]
pub fn status(ct: u64) -> u32 {
    read(ct + u64::from(setting!(ct_status)))
}

/// `nf_ct_zone(ct)->id`, 0 where the kernel has no zones.
#[inline(always)]
pub fn zone(ct: u64) -> u16 {
    let at = setting!(ct_zone);
    if at == ABSENT { 0 } else { read(ct + u64::from(at)) }
}

/// `nf_conn.proto.tcp.state` of a TCP entry, 255 of any other and where it is not known.
#[inline(always)]
pub fn tcp_state(ct: u64) -> u8 {
    let at = setting!(ct_tcp_state);
    if at == ABSENT {
        return u8::MAX;
    }
    let protonum: u8 = read(original(ct) + offset_of!(Tuple, protonum) as u64);
    if protonum == IPPROTO_TCP { read(ct + u64::from(at)) } else { u8::MAX }
}

/// The `struct net` of an entry.
#[inline(always)]
pub fn net(ct: u64) -> u64 {
    read(ct + u64::from(setting!(ct_net)))
}

/// Where an entry keeps its original tuple; its reply tuple is one node further.
#[inline(always)]
pub fn original(ct: u64) -> u64 {
    ct + u64::from(setting!(ct_tuple))
}

/// Where an entry keeps its reply tuple.
#[inline(always)]
pub fn reply(ct: u64) -> u64 {
    original(ct) + u64::from(setting!(node_size))
}

/// The entry a packet belongs to: `sk_buff._nfct` without its three bits of `ctinfo`.
#[inline(always)]
pub fn entry_of(skb: u64) -> u64 {
    read::<u64>(skb + u64::from(setting!(skb_nfct))) & !7
}

/// What tells a `struct net` from a later one with its inode number: its cookie, else its address.
#[inline(always)]
pub fn cookie(net: u64) -> u64 {
    let at = setting!(net_cookie);
    if at == ABSENT { net } else { read(net + u64::from(at)) }
}

/// Inode number of a `struct net`.
#[inline(always)]
pub fn netns(net: u64) -> u32 {
    read(net + u64::from(setting!(net_inum)))
}

/// `nf_conntrack_max`, one number for all namespaces; [`ABSENT`] where kallsyms does not have it.
#[inline(always)]
pub fn max() -> u32 {
    let address = setting!(addr_max);
    if address == 0 { ABSENT } else { read(address) }
}

/// `nf_conntrack_count` of a `struct net`; [`ABSENT`] where it cannot be found.
///
/// Before 5.13 it is `net->ct.count`, then `nf_conntrack_pernet(net)->count` through `net->gen`.
#[inline(always)]
pub fn count(net: u64) -> u32 {
    let in_net = setting!(net_ct_count);
    if in_net != ABSENT {
        return read(net + u64::from(in_net));
    }
    let address = setting!(addr_net_id);
    if address == 0 {
        return ABSENT;
    }
    let id: u32 = read(address);
    let generic: u64 = read(net + u64::from(setting!(net_gen)));
    let pernet: u64 = read(generic + u64::from(setting!(gen_ptr)) + 8 * u64::from(id));
    read(pernet + u64::from(setting!(cnet_count)))
}
