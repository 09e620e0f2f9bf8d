//! Entries that are not inserted into the table, and why.
//!
//! ```c
//! static __cold noinline int nf_ct_resolve_clash(struct sk_buff *skb, struct nf_conntrack_tuple_hash *h,
//!         u32 reply_hash);                      // net/netfilter/nf_conntrack_core.c, 5.10 to 7.3
//! int __nf_conntrack_confirm(struct sk_buff *skb);                           // likewise
//! ```
//!
//! A clash is decided with softirqs off, so its call and its return are on one CPU and nothing comes between.
//! `__nf_conntrack_confirm` is called for every new connection, and the first function below it that says
//! anything is the clash; a chain too long has no call of its own. So its return is hooked only once the table
//! is so loaded that chains may be too long: the loader attaches it then.

use conntrack_common::{InsertCause, InsertFailed, Kind, PerCpu, Tuple};

use crate::{
    kernel::{self, CONFIRMED, DYING, NAT, read, read_into, setting},
    maps,
};

/// `NF_DROP`, `NF_ACCEPT` (include/uapi/linux/netfilter.h)
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;

/// `nf_ct_resolve_clash` was called: the packet's entry met `winner`, a node already in the table.
#[inline(always)]
pub fn clashing(skb: u64, winner: u64) {
    let Some(cpu) = maps::cpu() else { return };
    let ct = kernel::entry_of(skb);
    // fentry's arguments are typed pointers, to which 6.1's verifier lets only constants be added. What is read back
    // from a map is a number.
    let place = &raw mut cpu.insertion.winner;
    // SAFETY: a field of this CPU's map value.
    let winner = unsafe {
        place.write_volatile(winner);
        place.read_volatile()
    };
    cpu.insertion.cause = clash_cause(ct, winner) as u64;
    cpu.insertion.clashing = ct;
}

/// It returned.
#[inline(always)]
pub fn clashed(verdict: u32) {
    let Some(cpu) = maps::cpu() else { return };
    let ct = cpu.insertion.clashing;
    if ct == 0 {
        return;
    }
    cpu.insertion.clashing = 0;
    if verdict == NF_ACCEPT {
        cpu.totals.clash_resolved += 1;
        return;
    }
    let cause = if cpu.insertion.cause == InsertCause::NatPorts as u64 {
        InsertCause::NatPorts
    } else {
        InsertCause::Clash
    };
    cpu.insertion.failed = ct;
    failed(cpu, ct, cause);
}

/// NAT that finds no free port leaves the last one tried, which another connection holds
/// (net/netfilter/nf_nat_core.c, `get_unique_tuple`). Two packets of one connection clash by their original tuple.
#[inline(always)]
fn clash_cause(ct: u64, winner: u64) -> InsertCause {
    if kernel::status(ct) & NAT == 0 {
        return InsertCause::Clash;
    }
    let dir: u8 = read(winner + u64::from(setting!(node_tuple)) + DIR);
    let original =
        winner - u64::from(dir & 1) * u64::from(setting!(node_size)) + u64::from(setting!(node_tuple));
    let (theirs, ours): (Tuple, Tuple) = (read(original), read(kernel::original(ct)));
    if words(&theirs) == words(&ours) { InsertCause::Clash } else { InsertCause::NatPorts }
}

/// `nf_conntrack_tuple.dst.dir`
const DIR: u64 = core::mem::offset_of!(Tuple, dir) as u64;

/// Compared in words, because BPF has no memcmp.
#[inline(always)]
fn words(tuple: &Tuple) -> [u64; 5] {
    // SAFETY: 40 bytes without padding, aligned to 8.
    unsafe { *core::ptr::from_ref(tuple).cast() }
}

/// `__nf_conntrack_confirm` returned for this packet. What was not said before is a chain too long.
#[inline(always)]
pub fn confirmed(skb: u64, verdict: u32) {
    if verdict != NF_DROP {
        return;
    }
    let Some(cpu) = maps::cpu() else { return };
    let ct = kernel::entry_of(skb);
    if ct != 0 && ct != cpu.insertion.failed && kernel::status(ct) & (CONFIRMED | DYING) == 0 {
        cpu.insertion.failed = ct;
        failed(cpu, ct, InsertCause::ChainTooLong);
    }
}

/// An unconfirmed entry is being freed; whether that is because it was not inserted.
#[inline(always)]
pub fn was_refused(cpu: &mut PerCpu, ct: u64, status: u32) -> bool {
    if ct == cpu.insertion.clashing {
        return true;
    }
    if ct == cpu.insertion.failed {
        // The next entry may get the same address, and fail in its turn.
        cpu.insertion.failed = 0;
        return true;
    }
    // Killed before its packet left: `__nf_conntrack_confirm` asks for this bit first.
    if status & DYING == 0 {
        return false;
    }
    failed(cpu, ct, InsertCause::Dying);
    true
}

/// Counts it and tells it.
#[inline(always)]
fn failed(cpu: &mut PerCpu, ct: u64, cause: InsertCause) {
    match cause {
        InsertCause::Clash => cpu.totals.failed_clash += 1,
        InsertCause::ChainTooLong => cpu.totals.failed_chain_too_long += 1,
        InsertCause::NatPorts => cpu.totals.failed_nat_ports += 1,
        InsertCause::Dying => cpu.totals.failed_dying += 1,
    }
    let (zone, netns, status) = (kernel::zone(ct), kernel::netns(kernel::net(ct)), kernel::status(ct));
    maps::send_incident(cpu, |record: *mut InsertFailed, now| {
        // SAFETY: a reserved record; every field is written.
        unsafe {
            (*record).kind = Kind::InsertFailed as u8;
            (*record).cause = cause as u8;
            (*record).zone = zone;
            (*record).netns = netns;
            (*record).ktime_ns = now;
            (*record).ct = ct;
            read_into(&raw mut (*record).original, kernel::original(ct));
            read_into(&raw mut (*record).reply, kernel::reply(ct));
            (*record).status = status;
            (*record).reserved = 0;
        }
    });
}
