//! Files of other versions.

use super::super::block::{Head, Packer, header_block};
use super::super::schema::{Field, FieldType, KindLayout, Sizes};
use super::*;

/// A file of a program that has these kinds, with one block.
fn file_of(kinds: Vec<KindLayout>, records: &[u8], count: u32) -> Vec<u8> {
    let sizes = Sizes::of(&kinds).unwrap();
    let json = header().with_kinds(kinds);
    let head = Head { file: crc32fast::hash(&json).into(), ..Head::default() };
    let block = Packer::new().unwrap().block(records, count, head, &sizes).unwrap();
    [header_block(&json), header_block(&json), block].concat()
}

fn field(name: &str, offset: usize, width: usize, of: FieldType) -> Field {
    Field { name: name.to_owned(), offset, width, of }
}

fn number_of(kinds: &[KindLayout], name: &str) -> usize {
    kinds.iter().position(|kind| kind.name == name).unwrap()
}

#[test]
fn fields_and_kinds_that_are_not_known_are_left_out() {
    let mut kinds = layouts().to_vec();
    let free = number_of(&kinds, "Free");
    kinds[free].size = 40;
    kinds[free].fields.push(field("color", 24, 16, FieldType::Unknown));
    kinds.push(KindLayout { number: 99, name: "Later".to_owned(), size: 32, fields: Vec::new() });
    let (one, two) = (testing::free(1, 10), testing::free(2, 20));
    let mut later = vec![0xee; 32];
    later[0] = 99;
    let records = [one.as_bytes(), &[0xcc; 16], &later, two.as_bytes(), &[0xdd; 16]].concat();
    let mut reader = open(file_of(kinds, &records, 3));
    assert_eq!(reader.kinds().len(), layouts().len() + 1);
    assert_eq!(blocks(&pieces(&mut reader)), [[one.as_bytes(), two.as_bytes()].concat()]);
}

#[test]
fn fields_that_the_file_does_not_have_are_zero() {
    let mut kinds = layouts().to_vec();
    let seen = number_of(&kinds, "Seen");
    kinds[seen].size = 64;
    kinds[seen].fields.retain(|field| field.offset + field.width <= 64);
    let record = testing::seen(1, 10, 3);
    let mut reader = open(file_of(kinds, &record.as_bytes()[..64], 1));
    let mut expected = record.as_bytes().to_vec();
    expected[64..].fill(0);
    assert_eq!(blocks(&pieces(&mut reader)), [expected]);
}

#[test]
fn what_stands_there_under_another_name_or_width_is_not_taken_for_it() {
    let mut kinds = layouts().to_vec();
    let free = number_of(&kinds, "Free");
    let at = |name: &str| kinds[free].fields.iter().position(|field| field.name == name).unwrap();
    let (mark, status) = (at("mark"), at("status"));
    kinds[free].fields[mark].name = "color".to_owned();
    kinds[free].fields[status].width = 1;
    let record = conntrack_common::Free { mark: 7, ..testing::free(1, 10) };
    let expected = conntrack_common::Free { mark: 0, status: 0, ..record };
    let mut reader = open(file_of(kinds, record.as_bytes(), 1));
    assert_eq!(blocks(&pieces(&mut reader)), [expected.as_bytes()]);
}

#[test]
fn a_kind_that_the_file_does_not_tell_of_makes_no_record() {
    let mut kinds = layouts().to_vec();
    let records = testing::free(1, 10);
    let good = file_of(kinds.clone(), records.as_bytes(), 1);
    kinds.retain(|kind| kind.name != "Free");
    let json = header().with_kinds(kinds);
    let block = {
        let old = header_block(&header().with_kinds(layouts().to_vec())).len() * 2;
        let mut block = good[old..].to_vec();
        block[12..16].copy_from_slice(&crc32fast::hash(&json).to_le_bytes());
        let crc = crc32fast::hash(&block[..60]);
        block[60..64].copy_from_slice(&crc.to_le_bytes());
        block
    };
    let pieces = pieces(&mut open([header_block(&json), block].concat()));
    assert!(blocks(&pieces).is_empty());
    assert_eq!(damages(&pieces).len(), 1);
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    for size in [0, 8, 20, 1 << 20] {
        let mut kinds = layouts().to_vec();
        kinds[0].size = size;
        let json = header().with_kinds(kinds);
        let error = Reader::open(Cursor::new(header_block(&json))).unwrap_err();
        assert!(matches!(error, OpenError::HeaderMalformed), "{size}: {error}");
    }
}

#[test]
fn another_byte_order_is_refused() {
    let json = String::from_utf8(header().to_json()).unwrap();
    let json = json.replace("\"byte_order\":\"little\"", "\"byte_order\":\"big\"");
    let error = Reader::open(Cursor::new(header_block(json.as_bytes()))).unwrap_err();
    assert!(matches!(error, OpenError::ByteOrder), "{error}");
}
