//! Files and directories: what is kept, who may write, and in what order it is read.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use tempfile::tempdir;

use super::super::shards::Name;
use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).unwrap()
}

fn session(name: &str, since_ktime_ns: u64) -> Header {
    Header { session: name.to_owned(), since_ktime_ns, ..header() }
}

/// Records that do not compress, the first of them at a time.
fn noise(ktime_ns: u64, records: u64) -> Vec<u8> {
    let mut state = ktime_ns | 1;
    let mut record = |i: u64| {
        let mut new = testing::new(0, ktime_ns + i, 1);
        for byte in new.tuple.src.iter_mut().chain(&mut new.tuple.dst) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 56) as u8;
        }
        new.as_bytes().to_vec()
    };
    (0..records).flat_map(&mut record).collect()
}

fn everything(files: &Files) -> Vec<u8> {
    let read = |recording: &Recording| {
        let pieces = pieces(&mut recording.open().unwrap());
        assert!(damages(&pieces).is_empty(), "{}", recording.path.display());
        blocks(&pieces).concat()
    };
    files.recordings().iter().flat_map(read).collect()
}

fn names_in(directory: &Path) -> Vec<String> {
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn a_directory_keeps_the_last_and_what_is_not_its_own() {
    let directory = tempdir().unwrap();
    let strangers = ["notes.txt", "ctwatch-1.ctw", "ctwatch-20200101T000000Z-0001.ctw.gz"];
    for stranger in strangers {
        fs::write(directory.path().join(stranger), "mine").unwrap();
    }
    let retention = Retention { max_bytes: 4 << 20, max_age: None };
    let mut store = Store::create_in(directory.path(), retention, header(), at(0)).unwrap();
    let mut written = Vec::new();
    for second in 1..=10 {
        while !store.is_full(0) {
            let records = noise(written.len() as u64, 4_096);
            store.push(&records).unwrap();
            written.extend(records);
        }
        store.next_file(second * 1_000, Trust::default(), at(second as i64)).unwrap();
        let sizes = names_in(directory.path()).into_iter().filter(|name| Name::parse(name).is_some());
        let sizes = sizes.map(|name| fs::metadata(directory.path().join(name)).unwrap().len());
        assert!(sizes.sum::<u64>() + retention.shard_bytes() <= retention.max_bytes);
    }
    let last = store.header().clone();
    assert_eq!((last.sequence, last.began_ktime_ns), (11, 10_000));
    store.finish().unwrap();
    let ours = Files::find(&shards_of(directory.path())).unwrap();
    let sequences: Vec<_> = ours.recordings().iter().map(|recording| recording.header.sequence).collect();
    assert_eq!(sequences, [9, 10, 11]);
    assert!(written.ends_with(&everything(&ours)) && !everything(&ours).is_empty());
    for stranger in strangers {
        assert_eq!(fs::read(directory.path().join(stranger)).unwrap(), b"mine");
    }
}

fn shards_of(directory: &Path) -> Vec<PathBuf> {
    let ours = names_in(directory).into_iter().filter(|name| Name::parse(name).is_some());
    ours.map(|name| directory.join(name)).collect()
}

#[test]
fn a_file_is_full_by_age_too() {
    let directory = tempdir().unwrap();
    let day = 86_400;
    let retention = Retention { max_bytes: 1 << 40, max_age: Some(Duration::from_secs(16 * day)) };
    let mut store = Store::create_in(directory.path(), retention, header(), at(0)).unwrap();
    let began = header().began_ktime_ns;
    assert_eq!([86_399, day].map(|s| store.is_full(began + s * 1_000_000_000)), [false, true]);
    for days in 1..=30 {
        store.next_file(began, Trust::default(), at(86_400 * days)).unwrap();
    }
    // What ended 16 days ago or later, and the one being written.
    assert_eq!(shards_of(directory.path()).len(), 17 + 1);
}

#[test]
fn only_one_recorder_writes_to_a_place() {
    let directory = tempdir().unwrap();
    let retention = Retention { max_bytes: 1 << 30, max_age: None };
    let first = Store::create_in(directory.path(), retention, header(), at(0)).unwrap();
    let second = || Store::create_in(directory.path(), retention, session("second", 5), at(0));
    let error = second().err().unwrap();
    assert!(matches!(error, StoreError::Taken(_)), "{error}");
    drop(first);
    // Though it begins within the same second.
    second().unwrap();
    assert_eq!(shards_of(directory.path()).len(), 2);

    let file = directory.path().join("one.ctw");
    let mut first = Store::create(&file, false, header()).unwrap();
    first.push(testing::free(1, 1).as_bytes()).unwrap();
    let error = |force| Store::create(&file, force, header()).err().unwrap();
    assert!(matches!(error(false), StoreError::Exists(_)));
    assert!(matches!(error(true), StoreError::Taken(_)));
    first.finish().unwrap();
    assert_eq!(everything(&Files::find(&[&file]).unwrap()), testing::free(1, 1).as_bytes());
    assert!(matches!(error(false), StoreError::Exists(_)));
    Store::create(&file, true, header()).unwrap().finish().unwrap();
    assert!(everything(&Files::find(&[&file]).unwrap()).is_empty());
}

/// A file with one record, whose time is the sequence.
fn write(path: PathBuf, header: Header) {
    let mut store = Store::create(&path, false, header.clone()).unwrap();
    store.push(testing::free(1, u64::from(header.sequence)).as_bytes()).unwrap();
    store.finish().unwrap();
}

#[test]
fn files_are_read_by_session_and_sequence_each_once() {
    let directory = tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let later = session("a later one", 9_000);
    for (name, header) in [
        ("z.ctw", Header { sequence: 2, ..session("first", 7) }),
        ("b.ctw", Header { sequence: 3, ..session("first", 7) }),
        ("y.ctw", Header { sequence: 9, ..session("first", 7) }),
        ("a.ctw", Header { sequence: 1, ..later.clone() }),
        ("c.ctw", Header { sequence: 2, ..later }),
    ] {
        write(path(name), header);
    }
    fs::copy(path("b.ctw"), path("copy.ctw")).unwrap();
    fs::write(path("empty.ctw"), "").unwrap();
    fs::write(path("notes.txt"), "no recording").unwrap();
    let files = Files::find(&[path("c.ctw"), directory.path().to_owned()]).unwrap();
    let found: Vec<_> = files
        .recordings()
        .iter()
        .map(|found| (found.header.session.as_str(), found.header.sequence, found.missing_before))
        .collect();
    assert_eq!(
        found,
        [("first", 2, 0), ("first", 3, 0), ("first", 9, 5), ("a later one", 1, 0), ("a later one", 2, 0)]
    );
    assert_eq!(files.sessions().map(<[_]>::len).collect::<Vec<_>>(), [3, 2]);
    let skipped: Vec<_> = files.skipped().iter().map(ToString::to_string).collect();
    assert_eq!(skipped, [format!("{}: it is empty; leave it out", path("empty.ctw").display())]);
}

#[test]
fn what_is_named_and_cannot_be_read_is_an_error_with_a_remedy() {
    let directory = tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let error = |name: &str| Files::find(&[path(name)]).unwrap_err().to_string();
    assert!(error("").contains("no recordings in this directory"));
    assert!(error("nowhere.ctw").contains("No such file"));
    fs::write(path("pcap"), [0xd4; 400]).unwrap();
    assert!(error("pcap").ends_with("give a file that `ctwatch record` wrote, or the directory of --dir"));
    write(path("whole.ctw"), header());
    let mut bytes = fs::read(path("whole.ctw")).unwrap();
    fs::write(path("torn.ctw"), &bytes[..500]).unwrap();
    assert!(error("torn.ctw").contains("ends within its header"));
    let copy = file(&[]).len() / 2;
    (bytes[8], bytes[copy + 8]) = (7, 7);
    fs::write(path("newer.ctw"), &bytes).unwrap();
    assert!(
        error("newer.ctw").contains("version 7")
            && error("newer.ctw").contains("with the ctwatch that wrote it")
    );
}

#[test]
fn a_directory_that_was_removed_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("recordings");
    let retention = Retention { max_bytes: 64 << 20, max_age: None };
    let mut store = Store::create_in(&place, retention, header(), Timestamp::UNIX_EPOCH).unwrap();
    store.sync().unwrap();
    assert!(!store.is_full(0));
    fs::remove_dir_all(&place).unwrap();
    store.sync().unwrap();
    assert!(store.is_full(0), "what is written goes nowhere");
    store.next_file(0, Trust::default(), Timestamp::UNIX_EPOCH).unwrap();
    assert!(store.file().is_file() && !store.is_full(0));
    let second = Store::create_in(&place, retention, header(), Timestamp::UNIX_EPOCH);
    assert!(matches!(second, Err(StoreError::Taken(_))), "it is locked again");
}
