//! Appends records to a file, block by block.

use std::io::{self, Write};

use super::block::{Head, MAX_RECORDS, Packer, header_block};
use super::header::Header;
use super::layouts::sizes;
use super::schema::{first, ktime_ns};
use crate::engine::recorded::{Drain, RecordedKind};
use zerocopy::FromBytes as _;

/// Writes one file. Records wait in memory until their block is full or [`flush`](Self::flush)ed.
///
/// After an error the block it was about is given up, and what comes then is written as if nothing had been; the
/// reader tells the hole by the sequence.
pub struct Writer<W> {
    sink: W,
    packer: Packer,
    /// What tells this file's blocks.
    file: u32,
    sequence: u32,
    bytes_written: u64,
    /// Of the drain that records come with now.
    wall_offset_ns: i64,
    open: Open,
}

/// The block that is not yet written.
#[derive(Default)]
struct Open {
    records: Vec<u8>,
    count: usize,
    first_ktime_ns: u64,
    last_ktime_ns: u64,
    wall_offset_ns: i64,
}

impl Open {
    fn push(&mut self, record: &[u8], wall_offset_ns: i64) {
        let ktime = ktime_ns(record);
        if self.count == 0 {
            (self.first_ktime_ns, self.last_ktime_ns, self.wall_offset_ns) = (ktime, ktime, wall_offset_ns);
        }
        self.first_ktime_ns = self.first_ktime_ns.min(ktime);
        self.last_ktime_ns = self.last_ktime_ns.max(ktime);
        self.count += 1;
        self.records.extend_from_slice(record);
    }
}

impl<W: Write> Writer<W> {
    /// Begins a file with its header.
    pub fn new(sink: W, header: &Header) -> io::Result<Self> {
        let json = header.to_json();
        let mut writer = Self {
            sink,
            packer: Packer::new()?,
            file: crc32fast::hash(&json),
            sequence: 0,
            bytes_written: 0,
            wall_offset_ns: header.wall_offset_ns,
            open: Open::default(),
        };
        // Twice: nothing else can be read without it.
        let block = header_block(&json);
        writer.append(&[&block[..], &block].concat())?;
        Ok(writer)
    }

    /// Takes whole records, one after the other; writes the blocks that are full with them.
    ///
    /// Whatever fails, all records are taken but those of the blocks that could not be written, and those from the
    /// first bytes on that are no record (`InvalidData`).
    pub fn push(&mut self, records: &[u8]) -> io::Result<()> {
        let mut result = Ok(());
        let mut rest = records;
        while let Some((record, after)) = first(rest, sizes()) {
            rest = after;
            if record[0] == RecordedKind::Drain as u8
                && let Ok((drain, _)) = Drain::read_from_prefix(record)
            {
                self.wall_offset_ns = drain.wall_offset_ns;
            }
            self.open.push(record, self.wall_offset_ns);
            if self.open.count == MAX_RECORDS {
                result = self.flush().and(result);
            }
        }
        if !rest.is_empty() {
            result = Err(io::Error::new(io::ErrorKind::InvalidData, "what was to be recorded is no record"));
        }
        result
    }

    /// Closes the block, if it has any records, and writes it.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.open.count == 0 {
            return Ok(());
        }
        let head = Head {
            file: self.file.into(),
            sequence: self.sequence.into(),
            first_ktime_ns: self.open.first_ktime_ns.into(),
            last_ktime_ns: self.open.last_ktime_ns.into(),
            wall_offset_ns: self.open.wall_offset_ns.into(),
            ..Head::default()
        };
        self.sequence = self.sequence.wrapping_add(1);
        let count = u32::try_from(self.open.count).expect("a block has some thousand records");
        let block = self.packer.block(&self.open.records, count, head, sizes());
        self.open.records.clear();
        self.open.count = 0;
        self.append(&block?)
    }

    /// What reached the sink so far, torn blocks included.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    /// Records that wait for their block to be closed.
    pub fn waiting(&self) -> usize {
        self.open.count
    }

    /// What is written to.
    pub fn sink(&self) -> &W {
        &self.sink
    }

    /// What is written to; whoever writes there besides tears a block.
    pub fn sink_mut(&mut self) -> &mut W {
        &mut self.sink
    }

    /// Writes what waits and gives the sink back.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        Ok(self.sink)
    }

    fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.sink.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.bytes_written += written as u64;
                    bytes = &bytes[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.sink.flush()
    }
}
