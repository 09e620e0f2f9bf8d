//! ctwatch's reader of BTF against libbpf's, which bpftool shows: the same offsets, ids and arguments, on the types
//! of the kernel that runs.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use conntrack_tests::btf::Dump;
use conntrack_tests::tool;
use conntrack_user::engine::btf::Btf;

use crate::lab;

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const MODULE: &str = "/sys/kernel/btf/nf_conntrack";
/// The text that names every member ctwatch reads.
const LAYOUT: &str = include_str!("../../conntrack-user/src/kernel/layout.rs");
/// What ctwatch hooks.
const HOOKED: [&str; 5] = [
    "__nf_conntrack_alloc",
    "nf_conntrack_free",
    "early_drop",
    "__nf_conntrack_confirm",
    "nf_ct_resolve_clash",
];
/// Structs and functions of vmlinux that are compared besides, evenly spread.
const SAMPLE: usize = 200;

#[test]
fn the_reader_agrees_with_libbpf() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    let vmlinux = fs::read(VMLINUX)?;
    let module = Path::new(MODULE).exists().then(|| fs::read(MODULE)).transpose()?;
    let ours = Btf::parse(&vmlinux, module.as_deref())?;
    let mut theirs = Dump::default();
    theirs.read(&tool::run(&format!("bpftool btf dump file {VMLINUX}"))?)?;
    let of_vmlinux = theirs.len();
    if module.is_some() {
        let split = tool::run(&format!("bpftool -B {VMLINUX} btf dump file {MODULE}"))?;
        theirs.read(&split)?;
    }
    let members = compare_structs(&ours, &theirs)?;
    let paths = compare_layout(&ours, &theirs)?;
    let functions = compare_functions(&ours, &theirs, of_vmlinux)?;
    println!(
        "{} types, {} of a module; compared {members} members, {paths} paths of ours, {functions} functions",
        theirs.len(),
        theirs.len() - of_vmlinux
    );
    ensure!(members > SAMPLE && paths > 10 && functions > SAMPLE, "hardly anything was compared");
    Ok(())
}

/// First and last named members of many structs, and their sizes.
fn compare_structs(ours: &Btf<'_>, theirs: &Dump) -> Result<usize> {
    let mut compared = 0;
    for name in sample(theirs.structs()) {
        assert_eq!(ours.size_of(name).ok(), theirs.size_of(name), "size of {name}");
        let members = theirs.members_of(name);
        for (member, offset) in members.first().into_iter().chain(members.last()) {
            assert_eq!(ours.offset_of(name, member), Ok(*offset), "{name}.{member}");
            compared += 1;
        }
    }
    Ok(compared)
}

/// Every path that ctwatch asks for; some kernels lack some of them.
fn compare_layout(ours: &Btf<'_>, theirs: &Dump) -> Result<usize> {
    let mut compared = 0;
    for (of, path) in asked_for() {
        let expected = theirs.offset_of(of, path);
        println!("  {of}.{path} at {}", expected.map_or("-".to_owned(), |offset| offset.to_string()));
        assert_eq!(ours.offset_of(of, path).ok(), expected, "{of}.{path}");
        compared += 1;
    }
    Ok(compared)
}

/// Ids and numbers of arguments: of the last one where several have a name, as the reader has it.
fn compare_functions(ours: &Btf<'_>, theirs: &Dump, of_vmlinux: usize) -> Result<usize> {
    let mut compared = 0;
    for name in HOOKED.into_iter().chain(sample(theirs.functions())) {
        let found = theirs.function(name).map(|(id, arguments)| (id, arguments, id > of_vmlinux));
        let said = ours.func(name).map(|func| (func.id as usize, func.arguments, func.in_module));
        assert_eq!(said, found, "{name}");
        ensure!(found.is_some() || lab::is_5_10(), "BTF has no function {name}");
        compared += 1;
    }
    Ok(compared)
}

/// The pairs of strings that `layout.rs` passes to the reader: struct and path.
fn asked_for() -> Vec<(&'static str, &'static str)> {
    let calls = LAYOUT.split("offset_of(").chain(LAYOUT.split("optional(")).skip(1);
    let pairs = calls.filter_map(|call| {
        let (arguments, _) = call.split_once(')')?;
        let (of, path) = arguments.split_once(", ")?;
        let quoted = |text: &'static str| text.strip_prefix('"')?.strip_suffix('"');
        Some((quoted(of)?, quoted(path)?))
    });
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

fn sample<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> impl Iterator<Item = &'a str> {
    let step = (names.len() / SAMPLE).max(1);
    names.step_by(step)
}
