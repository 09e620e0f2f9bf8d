//! One flood sent twice, from two processors in step: each connection's first packet is on both at about the same
//! time, and sometimes both make an entry of it.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::Result;

use crate::datagrams::stay_on;
use crate::flood::{Flood, Sent};
use crate::gateway::Gateway;

const TWINS: u64 = 2;
/// Turns of waiting after which a processor is given to others: the twin may have none.
const SPINS: u32 = 10_000;

/// Sends it; both wait for each other before each batch of [`Flood::batch`].
pub fn send(flood: &Flood, gateway: &Gateway) -> Result<[Sent; 2]> {
    let arrived = AtomicU64::new(0);
    let ended = AtomicU64::new(0);
    let send_on = |cpu| {
        gateway.client.run(|| {
            stay_on(cpu)?;
            let sent = flood.send_here(&|| {
                wait_for_twin(&arrived, &ended);
                false
            });
            ended.fetch_add(1, Ordering::SeqCst);
            sent
        })
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| send_on(1));
        let first = send_on(0);
        Ok([first?, other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?])
    })
}

/// Waits until the other one has come as far; not for one that has ended.
fn wait_for_twin(arrived: &AtomicU64, ended: &AtomicU64) {
    let turn = arrived.fetch_add(1, Ordering::SeqCst) / TWINS;
    let mut spins = 0;
    while arrived.load(Ordering::SeqCst) < (turn + 1) * TWINS && ended.load(Ordering::SeqCst) == 0 {
        spins += 1;
        if spins % SPINS == 0 {
            thread::yield_now();
        } else {
            spin_loop();
        }
    }
}
