//! The 64 bytes that every block begins with, and its payload.

use std::io;

use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::columns::{from_columns, to_columns};
use super::schema::Sizes;

/// Of the format. A reader refuses what is newer.
pub const VERSION: u16 = 1;
/// Every block begins with it. Its first byte is no ASCII, and line ends are in it: what takes it for text
/// damages it.
pub(super) const MAGIC: [u8; 8] = *b"\x89CTW\r\n\x1a\n";
/// Bytes before the payload.
pub(super) const HEAD: usize = size_of::<Head>();
/// A block is closed when it has so many records.
pub(super) const MAX_RECORDS: usize = 4096;
/// No payload is longer, packed or not.
pub(super) const MAX_PAYLOAD: usize = 16 << 20;

/// What a payload is.
pub(super) const HEADER: u8 = 1;
pub(super) const RECORDS: u8 = 2;
/// How it is stored.
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
/// Level 3 gains 4 %, higher ones nothing more, and 6 takes twice the time.
const LEVEL: i32 = 1;

/// See docs/format.md.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
pub(super) struct Head {
    pub magic: [u8; 8],
    pub version: U16,
    pub what: u8,
    pub packed: u8,
    pub file: U32,
    pub stored_bytes: U32,
    pub plain_bytes: U32,
    pub records: U32,
    pub sequence: U32,
    pub first_ktime_ns: U64,
    pub last_ktime_ns: U64,
    pub wall_offset_ns: I64,
    pub payload_crc: U32,
    pub head_crc: U32,
}

const _: () = assert!(HEAD == 64);

impl Head {
    /// What 64 bytes say if they are the head of a block of this version.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (head, _) = Self::read_from_prefix(bytes).ok()?;
        let lengths = [head.stored_bytes, head.plain_bytes];
        let good = head.magic == MAGIC
            && head.version == VERSION
            && head.head_crc.get() == crc32fast::hash(&bytes[..HEAD - 4])
            && lengths.iter().all(|length| length.get() as usize <= MAX_PAYLOAD);
        good.then_some(head)
    }

    /// Bytes of its block.
    pub fn block_bytes(&self) -> u64 {
        HEAD as u64 + u64::from(self.stored_bytes.get())
    }

    /// Whether this is its payload.
    pub fn fits(&self, payload: &[u8]) -> bool {
        payload.len() == self.stored_bytes.get() as usize
            && crc32fast::hash(payload) == self.payload_crc.get()
    }

    /// The records in its payload, in the layout of the file.
    pub fn unpack(&self, payload: &[u8], sizes: &Sizes) -> Option<Vec<u8>> {
        let (plain, count) = (self.plain_bytes.get() as usize, self.records.get() as usize);
        let unpacked;
        let columns = match self.packed {
            PLAIN => payload,
            ZSTD => {
                unpacked = zstd::bulk::decompress(payload, plain).ok()?;
                &unpacked
            }
            _ => return None,
        };
        (columns.len() == plain && count > 0).then_some(())?;
        from_columns(columns, sizes, count, self.first_ktime_ns.get())
    }

    /// The block: this head with what is told of the payload, and the payload.
    pub fn seal(mut self, payload: &[u8]) -> Vec<u8> {
        self.magic = MAGIC;
        self.version = VERSION.into();
        self.stored_bytes = length(payload);
        self.payload_crc = crc32fast::hash(payload).into();
        self.head_crc = crc32fast::hash(&self.as_bytes()[..HEAD - 4]).into();
        [self.as_bytes(), payload].concat()
    }
}

/// Packs the payloads of a file.
pub(super) struct Packer(zstd::bulk::Compressor<'static>);

impl Packer {
    /// Fails only where there is no memory.
    pub fn new() -> io::Result<Self> {
        Ok(Self(zstd::bulk::Compressor::new(LEVEL)?))
    }

    /// A block of whole records in the layout of `sizes`. Of `head` all is taken that records do not tell.
    pub fn block(
        &mut self,
        records: &[u8],
        count: u32,
        mut head: Head,
        sizes: &Sizes,
    ) -> io::Result<Vec<u8>> {
        let columns = to_columns(records, sizes, head.first_ktime_ns.get());
        head.what = RECORDS;
        head.packed = ZSTD;
        head.plain_bytes = length(&columns);
        head.records = count.into();
        Ok(head.seal(&self.0.compress(&columns)?))
    }
}

/// The block of a file's header.
pub(super) fn header_block(json: &[u8]) -> Vec<u8> {
    let head = Head {
        what: HEADER,
        packed: PLAIN,
        file: crc32fast::hash(json).into(),
        plain_bytes: length(json),
        ..Head::default()
    };
    head.seal(json)
}

fn length(payload: &[u8]) -> U32 {
    u32::try_from(payload.len()).expect("a payload is far smaller than 4 GiB").into()
}
