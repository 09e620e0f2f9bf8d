//! The records of a block in another order, that of columns: what is alike then lies together, and compresses.

use super::schema::{KTIME, Sizes, first, ktime_ns};

/// Kind and time are columns of their own; the rest are planes by kind.
const APART: usize = 1 + 8;

/// What is written of some records; as long as they are. Only whole records of known kinds may come.
pub(super) fn to_columns(records: &[u8], sizes: &Sizes, base_ktime_ns: u64) -> Vec<u8> {
    let (kinds, starts) = walk(records, sizes);
    let n = kinds.len();
    let mut columns = Vec::with_capacity(records.len());
    columns.extend_from_slice(&kinds);
    columns.resize(n * APART, 0);
    let mut before = base_ktime_ns;
    for (i, &start) in starts.iter().enumerate() {
        let ktime = ktime_ns(&records[start..]);
        for (plane, byte) in zigzag(ktime.wrapping_sub(before)).to_le_bytes().into_iter().enumerate() {
            columns[n * (1 + plane) + i] = byte;
        }
        before = ktime;
    }
    for (_, size, of_kind) in by_kind(&kinds, &starts, sizes) {
        for byte in own_bytes(size) {
            columns.extend(of_kind.iter().map(|start| records[start + byte]));
        }
    }
    columns
}

/// The records again; none if these are not the columns of `count` records of kinds that exist.
pub(super) fn from_columns(
    columns: &[u8],
    sizes: &Sizes,
    count: usize,
    base_ktime_ns: u64,
) -> Option<Vec<u8>> {
    let (kinds, rest) = columns.split_at_checked(count)?;
    let (times, mut rest) = rest.split_at_checked(count * 8)?;
    let mut starts = Vec::with_capacity(count);
    let mut length = 0;
    for kind in kinds {
        starts.push(length);
        length += sizes.get(*kind)?;
    }
    if length != columns.len() {
        return None;
    }
    let mut records = vec![0; length];
    let mut before = base_ktime_ns;
    for (i, (&start, &kind)) in starts.iter().zip(kinds).enumerate() {
        let delta = u64::from_le_bytes(std::array::from_fn(|plane| times[count * plane + i]));
        before = before.wrapping_add(unzigzag(delta));
        records[start] = kind;
        records[start + KTIME..][..8].copy_from_slice(&before.to_ne_bytes());
    }
    for (_, size, of_kind) in by_kind(kinds, &starts, sizes) {
        for byte in own_bytes(size) {
            let (plane, after) = rest.split_at_checked(of_kind.len())?;
            for (start, value) in of_kind.iter().zip(plane) {
                records[start + byte] = *value;
            }
            rest = after;
        }
    }
    Some(records)
}

fn walk(records: &[u8], sizes: &Sizes) -> (Vec<u8>, Vec<usize>) {
    let (mut kinds, mut starts) = (Vec::new(), Vec::new());
    let mut rest = records;
    while let Some((record, after)) = first(rest, sizes) {
        kinds.push(record[0]);
        starts.push(records.len() - rest.len());
        rest = after;
    }
    (kinds, starts)
}

/// Each kind that occurs by number, its size, and where its records begin.
fn by_kind(kinds: &[u8], starts: &[usize], sizes: &Sizes) -> impl Iterator<Item = (u8, usize, Vec<usize>)> {
    let mut of_kind = vec![Vec::new(); 256];
    for (kind, start) in kinds.iter().zip(starts) {
        of_kind[usize::from(*kind)].push(*start);
    }
    let numbered = (u8::MIN..=u8::MAX).zip(of_kind).filter(|(_, starts)| !starts.is_empty());
    numbered.filter_map(|(kind, starts)| Some((kind, sizes.get(kind)?, starts)))
}

/// What a record has besides kind and time.
fn own_bytes(size: usize) -> impl Iterator<Item = usize> {
    (1..KTIME).chain(KTIME + 8..size)
}

/// Small numbers for small steps in either direction.
fn zigzag(delta: u64) -> u64 {
    (delta << 1) ^ (delta.cast_signed() >> 63).cast_unsigned()
}

fn unzigzag(number: u64) -> u64 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zigzag_goes_there_and_back() {
        for delta in [0, 1, u64::MAX, 1 << 63, (1 << 63) - 1, 12_345, 12_345u64.wrapping_neg()] {
            assert_eq!(unzigzag(zigzag(delta)), delta);
        }
        assert_eq!([zigzag(0), zigzag(u64::MAX), zigzag(1), zigzag(u64::MAX - 1)], [0, 1, 2, 3]);
    }
}
