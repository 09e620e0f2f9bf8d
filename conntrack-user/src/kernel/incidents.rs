//! The ring of incidents, read so that nothing that happened earlier can come in a later batch.

use std::{thread, time::Duration};

use bytes::BytesMut;

use super::{clock, ring::Ring};

/// A place is taken before its record is stamped; that it is taken is seen by other CPUs within this.
const VISIBLE_NS: u64 = 1_000;

/// Time between two looks for a record that is not committed yet.
const LOOK_AGAIN: Duration = Duration::from_micros(50);

/// A program that does not commit for longer has been stopped in its middle with its CPU: a paused virtual machine.
/// Then its record comes late and out of order.
const PATIENCE_NS: u64 = 1_000_000_000;

/// The incidents ring and what was read from it too early.
pub struct Incidents {
    ring: Ring,
    /// Stamped after the clock was read: something that happened before may still be missing.
    held: Vec<(u64, Box<[u8]>)>,
}

impl Incidents {
    /// Nothing was read yet.
    pub fn new(ring: Ring) -> Self {
        Self { ring, held: Vec::new() }
    }

    /// The ring.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Whether anything waits for the next time.
    pub fn are_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Reads every incident stamped until now and not read before: a CPU that has taken its place and not committed
    /// is waited for. `last`: nothing comes any more, so nothing is held back either.
    pub fn read(&mut self, out: &mut BytesMut, last: bool) {
        let now = clock::ktime_ns();
        while clock::ktime_ns() < now + VISIBLE_NS {
            std::hint::spin_loop();
        }
        let until = if last { u64::MAX } else { now };
        self.held.retain(|(ktime_ns, record)| {
            let waits = *ktime_ns > until;
            if !waits {
                out.extend_from_slice(record);
            }
            waits
        });
        let taken = self.ring.taken();
        loop {
            self.read_committed(taken, until, out);
            if self.ring.has_passed(taken) || clock::ktime_ns() > now + PATIENCE_NS {
                return;
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    fn read_committed(&mut self, taken: u64, until: u64, out: &mut BytesMut) {
        let held = &mut self.held;
        self.ring.each(taken, |record| match record {
            [_, _, _, _, _, _, _, _, a, b, c, d, e, f, g, h, ..] => {
                let ktime_ns = u64::from_ne_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
                if ktime_ns > until {
                    held.push((ktime_ns, record.into()));
                } else {
                    out.extend_from_slice(record);
                }
            }
            // No record of ours: that is told where it is decoded.
            _ => out.extend_from_slice(record),
        });
    }
}
