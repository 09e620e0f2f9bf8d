//! The batches that a recording was made of, put together again from its records.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use conntrack_common::Totals;
use zerocopy::IntoBytes;

use crate::engine::batch::{Batch, WallClock};
use crate::engine::decode::{Record, Records};
use crate::engine::recorded::{NetnsSecond, Recorded, RecordedKind, Text, Unrecorded};
use crate::engine::snapshot::Trust;

/// Seconds end at whole ones of the kernel's clock.
const SECOND_NS: u64 = 1_000_000_000;

/// Takes the records of a recording in order and hands out the batches they came in. A batch may be spread over
/// several blocks; the last is complete when all records are.
#[derive(Debug, Default)]
pub struct Batches {
    ready: VecDeque<Batch>,
    wall: WallClock,
    /// Whether every entry is recorded: what a recorder adds instead of them is left out.
    entries: bool,
    /// Of the last record, whatever batch it is of.
    ktime_ns: u64,
    open: Option<Open>,
    text: Vec<u8>,
}

/// A batch as far as its records have come.
#[derive(Debug, Default)]
struct Open {
    ktime_ns: u64,
    /// Whether its beginning was there.
    began: bool,
    entries: Vec<u8>,
    /// What the recorder added and what is to be known before incidents of the same time are.
    before: Vec<u8>,
    incidents: Vec<u8>,
    /// What the recorder added and what takes in incidents of the same time.
    after: Vec<u8>,
    totals: Option<Totals>,
    trust: Option<Arc<Trust>>,
}

impl Batches {
    /// None yet, of a recording that began then, by this clock, with or without every entry.
    pub fn new(since_ktime_ns: u64, wall: WallClock, entries: bool) -> Self {
        Self { wall, entries, ktime_ns: since_ktime_ns, ..Self::default() }
    }

    /// Takes the records of a block.
    pub fn take(&mut self, block: &[u8]) {
        let mut records = Records::new(block);
        let mut from = 0;
        while let Some(record) = records.next() {
            let bytes = &block[from..records.offset()];
            from = records.offset();
            match record {
                Ok(record) => self.record(record, bytes),
                // For the engine to say so.
                Err(_) => self.open().incidents.extend(bytes),
            }
        }
    }

    /// So many bytes of records are damaged, and so the times between these are missing; none if it is not known when
    /// the last record before was, or the first one after is.
    pub fn missing(&mut self, after_ktime_ns: Option<u64>, before_ktime_ns: Option<u64>, bytes: u64) {
        self.finish();
        self.text.clear();
        let from_ktime_ns = after_ktime_ns.unwrap_or(self.ktime_ns);
        let ktime_ns = before_ktime_ns.unwrap_or(from_ktime_ns).max(from_ktime_ns);
        let record = Unrecorded {
            kind: RecordedKind::Unrecorded as u8,
            reason: Unrecorded::DAMAGED,
            reserved: [0; 6],
            ktime_ns,
            from_ktime_ns,
            drains: 0,
            bytes,
        };
        self.ktime_ns = ktime_ns;
        self.open().before.extend(record.as_bytes());
    }

    /// There are no more records: the last batch is complete.
    pub fn end(&mut self) {
        self.finish();
    }

    /// The next batch that is complete.
    pub fn pop(&mut self) -> Option<Batch> {
        self.ready.pop_front()
    }

    fn record(&mut self, record: Record<'_>, bytes: &[u8]) {
        self.ktime_ns = record.ktime_ns();
        match record {
            Record::New(_) | Record::Free(_) | Record::Seen(_) | Record::Audit(_) | Record::Gap(_) => {
                self.open().entries.extend(bytes);
            }
            Record::Recorded(record) => self.recorded(record, bytes),
            _ => self.open().incidents.extend(bytes),
        }
    }

    fn recorded(&mut self, record: Recorded<'_>, bytes: &[u8]) {
        match record {
            Recorded::Drain(drain) => {
                self.finish();
                self.wall = WallClock { offset_ns: drain.get().wall_offset_ns };
                self.open = Some(Open { ktime_ns: drain.get().ktime_ns, began: true, ..Open::default() });
            }
            Recorded::Counters(counters) => self.open().totals = Some(counters.get().totals),
            Recorded::Text(text) => self.text(&text.get()),
            Recorded::Summed(_) | Recorded::Unrecorded(_) => self.open().before.extend(bytes),
            Recorded::Setting(_) | Recorded::Ended(_) => {}
            _ if self.entries => {}
            Recorded::NetnsSecond(second) if is_seconds_end(&second.get()) => {
                self.open().before.extend(bytes)
            }
            // The sums so far, and who held what when something befell others.
            Recorded::NetnsSecond(_) | Recorded::Holder(_) | Recorded::Holding(_) => {
                self.open().after.extend(bytes);
            }
            Recorded::Crossed(_) | Recorded::AuditDone(_) => self.open().before.extend(bytes),
        }
    }

    /// The batch that records are of: where its beginning is missing, one of the time of the last of them.
    fn open(&mut self) -> &mut Open {
        let open = self.open.get_or_insert_default();
        if !open.began {
            open.ktime_ns = open.ktime_ns.max(self.ktime_ns);
        }
        open
    }

    fn text(&mut self, text: &Text) {
        if text.subject != Text::TRUST {
            return;
        }
        if text.piece == 0 {
            self.text.clear();
        }
        let said = text.text.split(|byte| *byte == 0).next().unwrap_or_default();
        self.text.extend(said);
        // It is said to its end once it can be read.
        if let Some(trust) = trust(&self.text) {
            self.open().trust = Some(Arc::new(trust));
        }
    }

    fn finish(&mut self) {
        let Some(open) = self.open.take() else { return };
        let Open { ktime_ns, began: _, entries, before, incidents, after, totals, trust } = open;
        // What is of the same time stays in this order.
        let incidents = [before, incidents, after].concat();
        let (entries, incidents) = (Bytes::from(entries), Bytes::from(incidents));
        self.ready.push_back(Batch { ktime_ns, wall: self.wall, entries, incidents, totals, trust });
    }
}

/// Whether it ended then, and was not cut off.
fn is_seconds_end(second: &NetnsSecond) -> bool {
    second.ktime_ns.is_multiple_of(SECOND_NS)
}

/// Backend and degradations as the records of a recording.
pub fn trust_texts(ktime_ns: u64, trust: &Trust) -> Vec<Text> {
    let Trust { backend, degradations } = trust;
    let said = serde_json::json!({ "backend": backend, "degradations": degradations }).to_string();
    // The last has a zero byte.
    let padded = [said.as_bytes(), &[0]].concat();
    let piece = |(piece, said): (u16, &[u8])| {
        let mut text = [0; Text::BYTES];
        text[..said.len()].copy_from_slice(said);
        Text { kind: RecordedKind::Text as u8, subject: Text::TRUST, piece, reserved: 0, ktime_ns, text }
    };
    (0..).zip(padded.chunks(Text::BYTES)).map(piece).collect()
}

/// Read from a text, if that is all of it.
fn trust(said: &[u8]) -> Option<Trust> {
    let said: serde_json::Value = serde_json::from_slice(said).ok()?;
    let text = |it: &serde_json::Value| it.as_str().map(str::to_owned);
    let degradations = said.get("degradations")?.as_array()?.iter().filter_map(text).collect();
    Some(Trust { backend: text(said.get("backend")?)?, degradations })
}

#[cfg(test)]
mod tests;
