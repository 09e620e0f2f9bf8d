//! `__nf_conntrack_alloc`: where every entry is born and every refusal happens.
//!
//! ```c
//! static struct nf_conn *__nf_conntrack_alloc(struct net *net, const struct nf_conntrack_zone *zone,
//!         const struct nf_conntrack_tuple *orig, const struct nf_conntrack_tuple *repl,
//!         gfp_t gfp, u32 hash);      // net/netfilter/nf_conntrack_core.c, 5.10 to 7.3
//! ```

use conntrack_common::{ABSENT, Cause, EarlyDrop, Kind, New, PerCpu, RefusalKey, Refused, RoomMade, Tuple};

use crate::{
    early_drop,
    kernel::{self, is_err, read, read_into, setting},
    maps,
};

/// The arguments of one call, as kernel addresses.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Request {
    /// `net`
    pub net: u64,
    /// Its inode number.
    pub netns: u32,
    /// `hash`: 0 if ctnetlink or a kfunc asks instead of a packet.
    pub hash: u32,
    /// `zone`, whose first member is the id.
    pub zone: u64,
    /// `orig`
    pub tuple: u64,
}

impl Request {
    /// What an entry tells of the call that made it, for a return whose call was not caught.
    #[inline(always)]
    fn of_entry(ct: u64) -> Self {
        let zone = setting!(ct_zone);
        let net = read(ct + u64::from(setting!(ct_net)));
        Self {
            net,
            netns: kernel::netns(net),
            hash: 0,
            zone: if zone == ABSENT { 0 } else { ct + u64::from(zone) },
            tuple: ct + u64::from(setting!(ct_tuple)),
        }
    }

    /// Nothing known.
    const UNKNOWN: Self = Self { net: 0, netns: 0, hash: 0, zone: 0, tuple: 0 };

    #[inline(always)]
    fn zone_id(&self) -> u16 {
        if self.zone == 0 || self.zone == setting!(addr_zone_default) { 0 } else { read(self.zone) }
    }
}

/// The function returned `ret`, an entry or an error.
#[inline(always)]
pub fn returned(request: Option<Request>, ret: u64) {
    let Some(cpu) = maps::cpu() else { return };
    if request.is_none() {
        cpu.totals.unmatched += 1;
        // Without its hash nothing tells whether an early_drop was this call's: better none than a wrong one.
        cpu.early_drop.task = 0;
    }
    if is_err(ret) {
        refused(cpu, &request.unwrap_or(Request::UNKNOWN));
    } else {
        allocated(cpu, &request.unwrap_or_else(|| Request::of_entry(ret)), ret);
    }
}

#[inline(always)]
fn allocated(cpu: &mut PerCpu, request: &Request, ct: u64) {
    let zone = request.zone_id();
    cpu.totals.new += 1;
    if cpu.insertion.failed == ct {
        // That one was freed on another CPU.
        cpu.insertion.failed = 0;
    }
    maps::send_entry(cpu, |record: *mut New| {
        // SAFETY: a reserved record; every field is written.
        unsafe {
            (*record).kind = Kind::New as u8;
            (*record).may_be_seen = 0;
            (*record).zone = zone;
            (*record).netns = request.netns;
            (*record).ktime_ns = kernel::now();
            (*record).ct = ct;
            read_into(&raw mut (*record).tuple, request.tuple);
        }
    });
    if let Some(made_room) = early_drop::take(cpu, request.hash) {
        maps::send_incident(cpu, |record: *mut RoomMade, now| {
            // SAFETY: a reserved record; every field is written.
            unsafe {
                (*record).kind = Kind::RoomMade as u8;
                (*record).reserved = 0;
                (*record).zone = zone;
                (*record).netns = request.netns;
                (*record).ktime_ns = now;
                (*record).hash = made_room.hash;
                (*record).victims = made_room.victims;
                read_into(&raw mut (*record).tuple, request.tuple);
            }
        });
    }
}

#[inline(always)]
fn refused(cpu: &mut PerCpu, request: &Request) {
    let mut count = ABSENT;
    let mut tuple = Tuple::ZERO;
    if request.net != 0 {
        count = kernel::count(request.net);
        read_into(&raw mut tuple, request.tuple);
    }
    let zone = request.zone_id();
    let max = kernel::max();
    let cause = cause(cpu, request, count, max);
    match cause {
        Cause::TableFull => cpu.totals.refused_table_full += 1,
        Cause::NoMemory => cpu.totals.refused_no_memory += 1,
        Cause::Ctnetlink => cpu.totals.refused_ctnetlink += 1,
    }
    let now = maps::send_incident(cpu, |record: *mut Refused, now| {
        // SAFETY: a reserved record; every field is written.
        unsafe {
            (*record).kind = Kind::Refused as u8;
            (*record).cause = cause as u8;
            (*record).zone = zone;
            (*record).netns = request.netns;
            (*record).ktime_ns = now;
            (*record).count = count;
            (*record).max = max;
            (*record).tuple = tuple;
        }
    });
    maps::ledger(&RefusalKey { netns: request.netns, l3num: u32::from(tuple.l3num), src: tuple.src }, now);
}

/// Only two things make the allocation fail: a full table, where `early_drop` is asked first and finds
/// nothing, and the slab, before which it may have made room.
#[inline(always)]
fn cause(cpu: &mut PerCpu, request: &Request, count: u32, max: u32) -> Cause {
    let drop = early_drop::take(cpu, request.hash);
    if request.net != 0 && request.hash == 0 {
        return Cause::Ctnetlink;
    }
    match drop {
        Some(EarlyDrop { victims: 0, .. }) => Cause::TableFull,
        Some(_) => Cause::NoMemory,
        // early_drop was not entered, or that was missed: the count decides.
        None if max == ABSENT || count >= max => Cause::TableFull,
        None => Cause::NoMemory,
    }
}
