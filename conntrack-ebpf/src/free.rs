//! `nf_conntrack_free`: where every entry ends, whatever ended it.
//!
//! ```c
//! void nf_conntrack_free(struct nf_conn *ct);       // net/netfilter/nf_conntrack_core.c, 5.10 to 7.3
//! ```
//!
//! Hooked at entry, while the entry is intact and still counted. Templates never come here.

use conntrack_common::{ABSENT, End, Evicted, Free, Kind, PerCpu};

use crate::{
    early_drop, insertion,
    kernel::{self, CONFIRMED, read, read_into, setting},
    maps,
};

/// The function was entered.
#[inline(always)]
pub fn entered(ct: u64) {
    let Some(cpu) = maps::cpu() else { return };
    let status = kernel::status(ct);
    let for_hash = early_drop::victim(cpu, ct);
    cpu.totals.freed += 1;
    // 0 rather than an option: what that leaves unset, 5.10's verifier sees read.
    let (mut end, mut evicted_ktime_ns) = (End::Other, 0);
    if let Some(hash) = for_hash {
        cpu.totals.evicted += 1;
        evicted_ktime_ns = evicted(cpu, ct, status, hash);
        end = End::Evicted;
    } else if status & CONFIRMED == 0 {
        end = unconfirmed(cpu, ct, status);
    }
    let mark = if setting!(read_mark) == 1 { mark(ct) } else { 0 };
    let tcp_state = if setting!(read_tcp_state) == 1 { kernel::tcp_state(ct) } else { u8::MAX };
    maps::send_entry(cpu, |record: *mut Free| {
        // SAFETY: a reserved record; every field is written.
        unsafe {
            (*record).kind = Kind::Free as u8;
            (*record).end = Free::tell_end(end, tcp_state);
            (*record).status = status as u16;
            (*record).mark = mark;
            (*record).ktime_ns = if evicted_ktime_ns == 0 { kernel::now() } else { evicted_ktime_ns };
            (*record).ct = ct;
        }
    });
}

/// The packet that made it never left.
#[inline(always)]
fn unconfirmed(cpu: &mut PerCpu, ct: u64, status: u32) -> End {
    if insertion::was_refused(cpu, ct, status) {
        End::NotInserted
    } else {
        cpu.totals.unconfirmed += 1;
        End::Other
    }
}

/// Tells it, and when it was.
#[inline(always)]
fn evicted(cpu: &mut PerCpu, ct: u64, status: u32, hash: u32) -> u64 {
    let net = kernel::net(ct);
    let netns = kernel::netns(net);
    let zone = kernel::zone(ct);
    let count = kernel::count(net);
    let max = kernel::max();
    let mark = mark(ct);
    let tuple = kernel::original(ct);
    maps::send_incident(cpu, |record: *mut Evicted, now| {
        // SAFETY: a reserved record; every field is written.
        unsafe {
            (*record).kind = Kind::Evicted as u8;
            (*record).reserved = 0;
            (*record).zone = zone;
            (*record).netns = netns;
            (*record).ktime_ns = now;
            (*record).count = count;
            (*record).max = max;
            (*record).ct = ct;
            read_into(&raw mut (*record).tuple, tuple);
            (*record).status = status;
            (*record).mark = mark;
            (*record).hash = hash;
            (*record).reserved2 = 0;
        }
    })
}

#[inline(always)]
fn mark(ct: u64) -> u32 {
    let at = setting!(ct_mark);
    if at == ABSENT { 0 } else { read(ct + u64::from(at)) }
}
