//! A recording: as it is, behind a good header, in a block whose checks are right. Whatever comes, each record of each block can be decoded.
#![no_main]

use std::io::Cursor;
use std::sync::LazyLock;

use conntrack_user::engine::decode::Records;
use conntrack_user::engine::saturation::Thresholds;
use conntrack_user::engine::snapshot::Trust;
use conntrack_user::record::{Header, Piece, Reader, VERSION, Writer};
use libfuzzer_sys::fuzz_target;

static HEADER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let header = Header {
        version: VERSION,
        session: "session".to_owned(),
        sequence: 1,
        host: "gw".to_owned(),
        kernel: "6.12".to_owned(),
        boot_id: "boot".to_owned(),
        program: "0.1.0".to_owned(),
        since_ktime_ns: 1,
        wall_offset_ns: 2,
        began_ktime_ns: 3,
        trust: Trust::default(),
        entries: true,
        thresholds: Thresholds::default(),
    };
    let file = Writer::new(Vec::new(), &header).and_then(Writer::finish);
    file.expect("a Vec takes everything")
});

fuzz_target!(|input: (&[u8], u64, u16, [u8; 29])| {
    let (bytes, ktime_ns, records, head) = input;
    let block = checked(bytes, records.into(), head);
    for recording in [bytes.to_vec(), [&HEADER[..], bytes].concat(), [&HEADER[..], &block, bytes].concat()] {
        let Ok(mut reader) = Reader::open(Cursor::new(recording)) else { continue };
        read(&mut reader);
        reader.seek(ktime_ns).expect("memory can be read");
        read(&mut reader);
    }
});

/// A block whose lengths and checks are right, whatever its payload is; see docs/format.md.
fn checked(payload: &[u8], records: u32, other: [u8; 29]) -> Vec<u8> {
    let length = (payload.len() as u32).to_le_bytes();
    let mut block = [&HEADER[..16], &length, &length, &records.to_le_bytes(), &other[..28]].concat();
    (block[10], block[11]) = (2, other[28] % 2);
    block.extend(crc32fast::hash(payload).to_le_bytes());
    block.extend(crc32fast::hash(&block).to_le_bytes());
    block.extend_from_slice(payload);
    block
}

fn read(reader: &mut Reader<Cursor<Vec<u8>>>) {
    while let Some(piece) = reader.next().expect("memory can be read") {
        if let Piece::Block(block) = piece {
            assert!(Records::new(&block.records).all(|record| record.is_ok()), "blocks hold records");
        }
    }
}
