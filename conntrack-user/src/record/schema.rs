//! How records are laid out, field by field: told in every file's header, so that other versions and other programs can
//! read it.

use serde::{Deserialize, Serialize};

/// Where every record has its time; the kind is at 0.
pub(super) const KTIME: usize = 8;
/// What every record has: kind, seven bytes of its own, time.
const SMALLEST: usize = 16;
/// No record is larger, in whatever version.
const LARGEST: usize = 1024;

/// How one kind of record is laid out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindLayout {
    /// The first byte of each such record.
    pub number: u8,
    /// Name of its struct.
    pub name: String,
    /// Bytes of each.
    pub size: usize,
    /// All of it, in order.
    pub fields: Vec<Field>,
}

/// A field of a record; in JSON a row of four.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(String, usize, usize, FieldType)", into = "(String, usize, usize, FieldType)")]
pub struct Field {
    /// Its name; that of a field within one is `tuple.src`.
    pub name: String,
    /// Bytes before it.
    pub offset: usize,
    /// Its bytes.
    pub width: usize,
    /// How to read them.
    pub of: FieldType,
}

/// How the bytes of a field are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// Unsigned.
    U8,
    /// Unsigned, in the byte order of the machine.
    U16,
    /// Unsigned, in the byte order of the machine.
    U32,
    /// Unsigned, in the byte order of the machine.
    U64,
    /// Signed, in the byte order of the machine.
    I64,
    /// An IPv4 address in the first four bytes, or an IPv6 address.
    Address,
    /// Unsigned, in network order.
    Port,
    /// UTF-8, zero-filled.
    Text,
    /// Nothing yet.
    Zero,
    /// What only a later version knows how to read.
    #[serde(other)]
    Unknown,
}

impl From<(String, usize, usize, FieldType)> for Field {
    fn from((name, offset, width, of): (String, usize, usize, FieldType)) -> Self {
        Self { name, offset, width, of }
    }
}

impl From<Field> for (String, usize, usize, FieldType) {
    fn from(Field { name, offset, width, of }: Field) -> Self {
        (name, offset, width, of)
    }
}

/// The size of each kind's records, by number; 0 where there is no such kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sizes([u16; 256]);

impl Sizes {
    /// None if a size cannot be, or a kind is there twice.
    pub fn of(kinds: &[KindLayout]) -> Option<Self> {
        let mut sizes = [0; 256];
        for kind in kinds {
            let size = &mut sizes[usize::from(kind.number)];
            let possible = (SMALLEST..=LARGEST).contains(&kind.size) && kind.size.is_multiple_of(8);
            if !possible || *size != 0 {
                return None;
            }
            *size = u16::try_from(kind.size).ok()?;
        }
        Some(Self(sizes))
    }

    /// Of one kind, if there is such a kind.
    pub fn get(&self, kind: u8) -> Option<usize> {
        match self.0[usize::from(kind)] {
            0 => None,
            size => Some(usize::from(size)),
        }
    }
}

/// Turns the records of a file into this version's, where the two differ.
#[derive(Debug)]
pub(super) struct Adapter {
    kinds: [Option<Box<Adapted>>; 256],
}

/// One kind that both have.
#[derive(Debug)]
struct Adapted {
    size: usize,
    /// From, to and length of what both have; zero elsewhere.
    copies: Vec<(usize, usize, usize)>,
}

impl Adapter {
    /// None if the file's records are this version's. Of each kind, a file may be larger or smaller, or not have it;
    /// what it has and `ours` does not is left out.
    pub fn between(file_kinds: &[KindLayout], ours: &[KindLayout]) -> Option<Self> {
        let same = |kind: &KindLayout| ours.contains(kind);
        if file_kinds.iter().all(same) {
            return None;
        }
        let kinds = std::array::from_fn(|number| {
            let of = |kinds: &[KindLayout]| kinds.iter().position(|kind| usize::from(kind.number) == number);
            let (theirs, ours) = (&file_kinds[of(file_kinds)?], &ours[of(ours)?]);
            Some(Box::new(Adapted::between(theirs, ours)))
        });
        Some(Self { kinds })
    }

    /// Records laid out as in the file, laid out as this version has them.
    pub fn adapt(&self, mut records: &[u8], file: &Sizes) -> Vec<u8> {
        let mut adapted = Vec::with_capacity(records.len());
        while let Some((record, rest)) = first(records, file) {
            if let Some(kind) = &self.kinds[usize::from(record[0])] {
                let begin = adapted.len();
                adapted.resize(begin + kind.size, 0);
                for &(from, to, length) in &kind.copies {
                    adapted[begin + to..][..length].copy_from_slice(&record[from..from + length]);
                }
            }
            records = rest;
        }
        adapted
    }
}

impl Adapted {
    fn between(theirs: &KindLayout, ours: &KindLayout) -> Self {
        let mut copies = vec![(0, 0, 1), (KTIME, KTIME, 8)];
        for field in ours.fields.iter().filter(|field| field.of != FieldType::Zero) {
            let same = |their: &&Field| their.name == field.name && their.width == field.width;
            let Some(their) = theirs.fields.iter().find(same) else { continue };
            if their.offset.checked_add(their.width).is_some_and(|end| end <= theirs.size) {
                copies.push((their.offset, field.offset, field.width));
            }
        }
        Self { size: ours.size, copies }
    }
}

/// The first record and what follows it; none where there is no whole one of a known kind.
pub(super) fn first<'a>(records: &'a [u8], sizes: &Sizes) -> Option<(&'a [u8], &'a [u8])> {
    records.split_at_checked(sizes.get(*records.first()?)?)
}

/// The time of a whole record.
pub(super) fn ktime_ns(record: &[u8]) -> u64 {
    let bytes = record.get(KTIME..KTIME + 8).and_then(|bytes| bytes.try_into().ok());
    u64::from_ne_bytes(bytes.expect("a record is 16 bytes at least"))
}
