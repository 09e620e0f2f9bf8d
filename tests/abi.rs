//! Rules of the house that no type can express: which room may use what, and how short names must be.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// bpftool shows this many bytes of a name (`BPF_OBJ_NAME_LEN` with its terminator).
const NAME_BYTES: usize = 15;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust file below a folder of the workspace, with its text.
fn sources(folder: &str) -> Result<Vec<(PathBuf, String)>> {
    let (mut files, mut folders) = (Vec::new(), vec![workspace().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
                files.push((path, text));
            }
        }
    }
    ensure!(!files.is_empty(), "no Rust file below {folder}");
    Ok(files)
}

/// Lines of code, without comments, with their numbers.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let code = |line: &str| line.find("//").unwrap_or(line.len());
    text.lines().enumerate().map(move |(number, line)| (number + 1, &line[..code(line)]))
}

/// Whether `word` stands in `line` as a path or name of its own.
fn mentions(line: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        let begins = word.starts_with(|c| !inside(c)) || !before.ends_with(inside);
        let ends = word.ends_with(|c| !inside(c)) || !after.starts_with(inside);
        begins && ends
    })
}

#[test]
fn the_engine_is_pure() -> Result<()> {
    const IMPURE: [&str; 9] =
        ["std::fs", "std::io", "std::env", "TcpStream", "UdpSocket", "tokio", "aya", "libc", "::now("];
    let mut found = Vec::new();
    let mut pure = sources("conntrack-user/src/engine")?;
    pure.extend(sources("conntrack-user/src/advise")?);
    for (path, text) in pure {
        for (number, line) in code(&text) {
            for word in IMPURE.iter().filter(|word| mentions(line, word)) {
                found.push(format!("{}:{number}: {word}", path.display()));
            }
        }
    }
    assert!(found.is_empty(), "engine and advise do no I/O and have no clock:\n{}", found.join("\n"));
    Ok(())
}

/// Recordings go through whatever reads, writes and seeks; only files, store and recorder know of more.
#[test]
fn the_codec_of_recordings_is_pure() -> Result<()> {
    const IMPURE: [&str; 8] =
        ["std::fs", "std::env", "TcpStream", "UdpSocket", "tokio", "aya", "libc", "::now("];
    let room = workspace().join("conntrack-user/src/record");
    let excepted = ["files.rs", "store.rs", "recorder.rs", "recorder", "tests"].map(|name| room.join(name));
    for (path, text) in sources("conntrack-user/src/record")? {
        let pure = !excepted.iter().any(|excepted| path.starts_with(excepted));
        for (number, line) in code(&text).filter(|_| pure) {
            let found: Vec<_> = IMPURE.iter().filter(|word| mentions(line, word)).collect();
            assert!(found.is_empty(), "{}:{number}: {found:?}", path.display());
        }
    }
    Ok(())
}

#[test]
fn unsafe_code_is_in_the_kernel_room_only() -> Result<()> {
    let room = workspace().join("conntrack-user/src/kernel");
    let outside = |path: &Path| !path.starts_with(&room) && path != room.with_extension("rs");
    for (path, text) in sources("conntrack-user/src")? {
        for (number, line) in code(&text) {
            let found = outside(&path) && mentions(line, "unsafe");
            assert!(!found, "{}:{number}: {line}", path.display());
        }
    }
    Ok(())
}

#[test]
fn names_in_the_kernel_are_short_and_ours() -> Result<()> {
    let mut names = Vec::new();
    for (_, text) in sources("conntrack-ebpf/src")? {
        names.extend(programs(&text).chain(named_maps(&text)).map(str::to_owned));
    }
    assert!(names.len() > 8, "found only {names:?}");
    for name in names {
        assert!(name.len() <= NAME_BYTES, "{name}: bpftool would cut it off");
        assert!(name.starts_with("ctw_") || name.starts_with("CTW_"), "{name}: not recognizable as ours");
    }
    Ok(())
}

/// Programs: functions under one of aya's attributes, named by it or by themselves.
fn programs(text: &str) -> impl Iterator<Item = &str> {
    let kinds = ["#[fentry", "#[fexit", "#[kprobe", "#[kretprobe", "#[raw_tracepoint", "#[tracepoint"];
    let attributes = kinds.into_iter().flat_map(|kind| text.match_indices(kind));
    attributes.filter_map(|(at, _)| text[at..].split_once("fn ")?.1.split(['(', '<']).next())
}

/// Maps: `#[map(name = "…")]`.
fn named_maps(text: &str) -> impl Iterator<Item = &str> {
    let attributes = text.match_indices("#[map");
    attributes.filter_map(|(at, _)| text[at..].split_once('"')?.1.split('"').next())
}
