//! Looks at the address of an entry and reports what is there.

use core::{arch::asm, mem::offset_of};

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use conntrack_common::{ABSENT, Kind, Seen, Tuple};

use crate::{
    kernel::{self, Entry, IPPROTO_TCP, read, setting},
    maps,
};

/// Whether dead addresses are reported too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Report {
    Alive,
    Always,
}

/// Reports the entry at `ct`; false if the entries ring has no room.
///
/// The place in the ring comes first and the look after: an entry that is alive now is freed later, so its `Free`
/// has a later place, and one that is dead has been freed, with an earlier one. The memory may be anything by
/// now (the slab cache is `SLAB_TYPESAFE_BY_RCU`, an unused slab goes back to the page allocator): what does
/// not look like an entry is none. `nf_conntrack_free` is called when `use` has come to 0.
#[inline(always)]
pub fn look(ct: u64, report: Report, netns_of: impl FnOnce(u64) -> u32) -> bool {
    let Some(mut place) = maps::place_of_entry::<Seen>() else { return false };
    let entry = Entry::read(ct);
    let alive = is_entry(&entry) && entry.at::<u32>(setting!(ct_use)) != 0;
    if !alive && report == Report::Alive {
        place.discard(0);
        return yes();
    }
    let (original, net_at, status_at) = (setting!(ct_tuple), setting!(ct_net), setting!(ct_status));
    let record = place.as_mut_ptr();
    // SAFETY: a reserved record; every field is written.
    unsafe {
        (*record).kind = Kind::Seen as u8;
        (*record).alive = u8::from(alive);
        (*record).zone = if alive { zone(&entry) } else { 0 };
        (*record).netns = if alive { netns_of(entry.at(net_at)) } else { 0 };
        (*record).ktime_ns = kernel::now();
        (*record).ct = ct;
        (*record).tuple = if alive { entry.at(original) } else { Tuple::ZERO };
        (*record).confirmed_unix_ns = if alive { confirmed_unix_ns(&entry) } else { 0 };
        (*record).status = if alive { entry.at(status_at) } else { 0 };
        (*record).listed = 0;
        (*record).tcp_state = if alive { tcp_state(&entry) } else { u8::MAX };
        (*record).reserved = 0;
    }
    place.submit(u64::from(BPF_RB_NO_WAKEUP));
    yes()
}

/// True, unknown to the compiler: else it asks the reserved pointer once more whether it is null, which 5.10's
/// verifier cannot answer and takes for a way out without submitting.
#[inline(always)]
fn yes() -> bool {
    let mut yes = 1_u64;
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(reg) yes) };
    yes != 0
}

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Whether its two tuples are those of an entry.
#[inline(always)]
fn is_entry(entry: &Entry) -> bool {
    let original = setting!(ct_tuple);
    let reply = original + setting!(node_size);
    let dir = |tuple| entry.at::<u8>(tuple + offset_of!(Tuple, dir) as u32);
    let l3num: u16 = entry.at(original + offset_of!(Tuple, l3num) as u32);
    dir(original) == 0 && dir(reply) == 1 && (l3num == AF_INET || l3num == AF_INET6)
}

/// `nf_ct_zone(ct)->id`, 0 where the kernel has no zones.
#[inline(always)]
fn zone(entry: &Entry) -> u16 {
    let at = setting!(ct_zone);
    if at == ABSENT { 0 } else { entry.at(at) }
}

/// `nf_conn.proto.tcp.state` of a TCP entry, 255 of any other.
#[inline(always)]
fn tcp_state(entry: &Entry) -> u8 {
    let at = setting!(ct_tcp_state);
    if at == ABSENT {
        return u8::MAX;
    }
    let protonum: u8 = entry.at(setting!(ct_tuple) + offset_of!(Tuple, protonum) as u32);
    if protonum == IPPROTO_TCP { entry.at(at) } else { u8::MAX }
}

/// `nf_conn_tstamp.start`, which is there if `nf_conntrack_timestamp` was on when the entry was made
/// (net/netfilter/nf_conntrack_timestamp.h: `ktime_get_real_ns`).
#[inline(always)]
fn confirmed_unix_ns(entry: &Entry) -> u64 {
    if setting!(ext_tstamp) == ABSENT {
        return 0;
    }
    let extensions: u64 = entry.at(setting!(ct_ext));
    if extensions == 0 {
        return 0;
    }
    let offset: u8 = read(extensions + u64::from(setting!(ext_tstamp)));
    if offset == 0 { 0 } else { read(extensions + u64::from(offset)) }
}
