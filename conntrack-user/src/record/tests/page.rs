//! docs/format.md says what the code does.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::super::block::{HEAD, Head, MAGIC};
use super::*;

const PAGE: &str = include_str!("../../../../docs/format.md");

/// The cells of the rows of the table whose header begins with a word.
fn table(first: &str) -> Vec<Vec<&'static str>> {
    let rows = PAGE.lines().skip_while(|line| !line.starts_with(first)).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[test]
fn the_table_of_a_blocks_head_is_the_struct() {
    macro_rules! places {
        ($($field:ident)+) => { vec![$(std::mem::offset_of!(Head, $field)),+, HEAD] }
    }
    let expected = places!(magic version what packed file stored_bytes plain_bytes records sequence
        first_ktime_ns last_ktime_ns wall_offset_ns payload_crc head_crc);
    let rows = table("| at | bytes |");
    let number = |row: &[&str], cell: usize| row[cell].parse::<usize>().unwrap();
    let places: Vec<_> = rows.iter().map(|row| number(row, 0)).collect();
    assert_eq!(places, expected[..expected.len() - 1]);
    for (row, pair) in rows.iter().zip(expected.windows(2)) {
        assert_eq!(number(row, 1), pair[1] - pair[0], "{row:?}");
    }
    let magic: Vec<_> = MAGIC.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(rows[0][2].contains(&magic.join(" ")));
    assert!(rows[1][2].ends_with(&VERSION.to_string()));
}

#[test]
fn every_field_of_the_header_is_on_the_page() {
    let json: Value = serde_json::from_slice(&header().to_json()).unwrap();
    let mut named: Vec<_> = table("| field | what |")
        .iter()
        .flat_map(|row| row[0].split(", ").map(|name| name.trim_matches('`').to_owned()))
        .collect();
    named.sort();
    let fields: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
    assert_eq!(named, fields);
}

/// Where there is Python and zstd.
#[test]
fn the_script_reads_what_ctwatch_wrote() {
    let there = |name: &str| Command::new(name).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !there("python3") || !there("zstd") {
        return println!("skipped: there is no python3 or no zstd");
    }
    let refusals = [testing::refused(500, 7, 512, 512), testing::refused(400, 8, 513, 512)];
    let records = [refusals[0].as_bytes(), testing::free(1, 450).as_bytes(), refusals[1].as_bytes()].concat();
    let mut damaged = file(&[records.clone(), records, drain(1_000, 5)]);
    *damaged.last_mut().unwrap() ^= 1;
    let mut recording = tempfile::NamedTempFile::new().unwrap();
    recording.write_all(&damaged).unwrap();
    let script = PAGE.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let output = Command::new("python3").args(["-c", script]).arg(recording.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Vec<Value> = output
        .stdout
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 4);
    for (row, refused) in rows.iter().zip(refusals.iter().cycle()) {
        assert_eq!([&row["ktime_ns"], &row["count"]], [refused.ktime_ns, u64::from(refused.count)]);
        assert_eq!(row["tuple.src"], format!("0a01000{}{}", refused.tuple.src[3], "0".repeat(24)));
    }
}
