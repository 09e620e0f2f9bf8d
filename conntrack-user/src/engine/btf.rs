//! Reads BTF, the kernel's own type information: where members lie, which id a function has.
//!
//! A module's BTF is *split*: its type ids and string offsets go on where those of vmlinux end, and its types
//! name types of vmlinux by id. Format: Documentation/bpf/btf.rst.

use thiserror::Error;

/// Why BTF could not be read or did not answer.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BtfError {
    /// Not BTF, or of another byte order.
    #[error("not BTF: bad magic or header")]
    Header,
    /// A type record runs over the end.
    #[error("BTF is cut short at type {id}")]
    Truncated {
        /// Type id.
        id: u32,
    },
    /// A kind newer than this reader; sizes after it are unknown.
    #[error("BTF kind {kind} of type {id} is unknown")]
    UnknownKind {
        /// Type id.
        id: u32,
        /// `BTF_KIND_*`
        kind: u8,
    },
    /// No such struct.
    #[error("BTF has no struct {0}")]
    NoStruct(String),
    /// No such member.
    #[error("BTF has no member {path} in struct {of}")]
    NoMember {
        /// Struct name.
        of: String,
        /// Dotted path.
        path: String,
    },
}

const MAGIC: u16 = 0xeb9f;

const KIND_INT: u8 = 1;
const KIND_ARRAY: u8 = 3;
const KIND_STRUCT: u8 = 4;
const KIND_UNION: u8 = 5;
const KIND_ENUM: u8 = 6;
const KIND_TYPEDEF: u8 = 8;
const KIND_VOLATILE: u8 = 9;
const KIND_CONST: u8 = 10;
const KIND_RESTRICT: u8 = 11;
const KIND_FUNC: u8 = 12;
const KIND_FUNC_PROTO: u8 = 13;
const KIND_VAR: u8 = 14;
const KIND_DATASEC: u8 = 15;
const KIND_DECL_TAG: u8 = 17;
const KIND_TYPE_TAG: u8 = 18;
const KIND_ENUM64: u8 = 19;

/// Depth of nested anonymous structs and of chained typedefs that is followed: more is no real kernel.
const MAX_DEPTH: u32 = 32;

/// Members that are looked at to find one. Anonymous structs that contain themselves, which no compiler writes,
/// would otherwise be searched for ages.
const MAX_MEMBERS: u32 = 100_000;

/// BTF of vmlinux, or of vmlinux and one module.
pub struct Btf<'a> {
    strings: Strings<'a>,
    /// Every type in id order, from 1.
    types: Vec<Type<'a>>,
    /// Ids from here on are the module's.
    first_split: u32,
}

/// A function's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Func {
    /// Its BTF id, as `attach_btf_id` wants it.
    pub id: u32,
    /// Whether it is the module's rather than vmlinux's.
    pub in_module: bool,
    /// Number of its arguments.
    pub arguments: usize,
}

struct Strings<'a> {
    base: &'a [u8],
    split: &'a [u8],
}

#[derive(Clone, Copy)]
struct Type<'a> {
    name: u32,
    info: u32,
    size_or_type: u32,
    data: &'a [u8],
}

struct Member {
    name: u32,
    type_id: u32,
    bit_offset: u32,
}

impl<'a> Btf<'a> {
    /// Reads `/sys/kernel/btf/vmlinux` and, if given, `/sys/kernel/btf/<module>`.
    pub fn parse(base: &'a [u8], split: Option<&'a [u8]>) -> Result<Self, BtfError> {
        let (types_section, base_strings) = sections(base)?;
        let mut types = Vec::with_capacity(types_section.len() / 20);
        read_types(types_section, &mut types)?;
        let first_split = types.len() as u32 + 1;
        let mut split_strings: &[u8] = &[];
        if let Some(split) = split {
            let (types_section, strings) = sections(split)?;
            read_types(types_section, &mut types)?;
            split_strings = strings;
        }
        Ok(Self { strings: Strings { base: base_strings, split: split_strings }, types, first_split })
    }

    /// Whether a module's types are there too.
    pub fn has_split(&self) -> bool {
        self.types.len() as u32 >= self.first_split
    }

    /// The function of this name; one of the module's before one of vmlinux.
    pub fn func(&self, name: &str) -> Option<Func> {
        let (index, func) = self
            .types
            .iter()
            .enumerate()
            .rev()
            .find(|(_, t)| t.kind() == KIND_FUNC && self.strings.is(t.name, name))?;
        let id = index as u32 + 1;
        let arguments = self.get(func.size_or_type).map_or(0, |proto| proto.vlen());
        Some(Func { id, in_module: id >= self.first_split, arguments })
    }

    /// Offset in bytes of a member, e.g. `("net", "ns.inum")`; members of anonymous structs are found by their
    /// own name, a number steps into an array.
    pub fn offset_of(&self, of: &str, path: &str) -> Result<u32, BtfError> {
        let mut at = self.struct_named(of)?;
        let missing = || BtfError::NoMember { of: of.to_owned(), path: path.to_owned() };
        let mut bits = 0;
        for step in path.split('.') {
            let (offset, member) = self.step(at, step).ok_or_else(missing)?;
            bits = offset.checked_add(bits).ok_or_else(missing)?;
            at = self.resolve(member).ok_or_else(missing)?;
        }
        Ok(bits / 8)
    }

    /// Size in bytes of a struct.
    pub fn size_of(&self, name: &str) -> Result<u32, BtfError> {
        self.struct_named(name).map(|found| found.size_or_type)
    }

    /// Value of an enumerator, whatever enum it belongs to.
    pub fn enumerator(&self, name: &str) -> Option<u32> {
        let enums = self.types.iter().filter(|t| t.kind() == KIND_ENUM);
        let mut values = enums.flat_map(|t| t.data.chunks_exact(8));
        let found = values.find(|value| u32_at(value, 0).is_some_and(|at| self.strings.is(at, name)))?;
        u32_at(found, 4)
    }

    /// A struct with members: split BTF of some kernels repeats types, and forward declarations have none.
    fn struct_named(&self, name: &str) -> Result<Type<'a>, BtfError> {
        self.types
            .iter()
            .find(|t| t.kind() == KIND_STRUCT && t.vlen() > 0 && self.strings.is(t.name, name))
            .copied()
            .ok_or_else(|| BtfError::NoStruct(name.to_owned()))
    }

    /// One step of a path: its bit offset and type id.
    fn step(&self, at: Type<'a>, step: &str) -> Option<(u32, u32)> {
        if at.kind() == KIND_ARRAY {
            let index: u32 = step.parse().ok()?;
            let element = u32_at(at.data, 0)?;
            let size = self.size_of_type(element)?;
            return Some((index.checked_mul(size)?.checked_mul(8)?, element));
        }
        self.member(at, step, 0, &mut { MAX_MEMBERS })
    }

    /// `left`: how many members may still be looked at.
    fn member(&self, at: Type<'a>, name: &str, depth: u32, left: &mut u32) -> Option<(u32, u32)> {
        if depth > MAX_DEPTH {
            return None;
        }
        at.members().find_map(|member| {
            *left = left.checked_sub(1)?;
            if member.name != 0 {
                return self.strings.is(member.name, name).then_some((member.bit_offset, member.type_id));
            }
            let inner = self.resolve(member.type_id)?;
            let (offset, found) = self.member(inner, name, depth + 1, left)?;
            Some((offset.checked_add(member.bit_offset)?, found))
        })
    }

    fn size_of_type(&self, id: u32) -> Option<u32> {
        let found = self.resolve(id)?;
        match found.kind() {
            KIND_INT | KIND_STRUCT | KIND_UNION | KIND_ENUM | KIND_ENUM64 => Some(found.size_or_type),
            _ => None,
        }
    }

    /// A type behind typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<Type<'a>> {
        for _ in 0..MAX_DEPTH {
            let found = self.get(id)?;
            match found.kind() {
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                    id = found.size_or_type;
                }
                _ => return Some(found),
            }
        }
        None
    }

    fn get(&self, id: u32) -> Option<Type<'a>> {
        self.types.get(id.checked_sub(1)? as usize).copied()
    }
}

impl<'a> Strings<'a> {
    /// Whether the string at `offset` is `name`, without looking for its end first.
    fn is(&self, offset: u32, name: &str) -> bool {
        let offset = offset as usize;
        let tail = match offset.checked_sub(self.base.len()) {
            None => self.base.get(offset..),
            Some(offset) => self.split.get(offset..),
        };
        tail.is_some_and(|tail| tail.get(name.len()) == Some(&0) && tail.starts_with(name.as_bytes()))
    }
}

impl<'a> Type<'a> {
    fn kind(&self) -> u8 {
        (self.info >> 24 & 0x1f) as u8
    }

    fn vlen(&self) -> usize {
        (self.info & 0xffff) as usize
    }

    /// Members of a struct or union; of any other kind none.
    fn members(&self) -> impl Iterator<Item = Member> + use<'a> {
        let records = if matches!(self.kind(), KIND_STRUCT | KIND_UNION) { self.data } else { &[] };
        // With the kind flag the upper byte of the offset is the size of a bit field.
        let mask = if self.info >> 31 == 1 { 0x00ff_ffff } else { u32::MAX };
        records.chunks_exact(12).filter_map(move |record| {
            Some(Member {
                name: u32_at(record, 0)?,
                type_id: u32_at(record, 4)?,
                bit_offset: u32_at(record, 8)? & mask,
            })
        })
    }
}

/// The type and string sections of one BTF blob.
fn sections(blob: &[u8]) -> Result<(&[u8], &[u8]), BtfError> {
    let field = |offset| u32_at(blob, offset).ok_or(BtfError::Header).map(|value| value as usize);
    if blob.get(..2) != Some(&MAGIC.to_ne_bytes()) {
        return Err(BtfError::Header);
    }
    let header = field(4)?;
    let section = |offset: usize, len: usize| {
        let start = header.checked_add(offset).ok_or(BtfError::Header)?;
        let end = start.checked_add(len).ok_or(BtfError::Header)?;
        blob.get(start..end).ok_or(BtfError::Header)
    };
    Ok((section(field(8)?, field(12)?)?, section(field(16)?, field(20)?)?))
}

fn read_types<'a>(mut section: &'a [u8], types: &mut Vec<Type<'a>>) -> Result<(), BtfError> {
    while !section.is_empty() {
        let id = types.len() as u32 + 1;
        let truncated = || BtfError::Truncated { id };
        let field = |offset| u32_at(section, offset).ok_or_else(truncated);
        let mut found = Type { name: field(0)?, info: field(4)?, size_or_type: field(8)?, data: &[] };
        let len =
            data_len(found.kind(), found.vlen()).ok_or(BtfError::UnknownKind { id, kind: found.kind() })?;
        let rest = section.get(12..).ok_or_else(truncated)?;
        found.data = rest.get(..len).ok_or_else(truncated)?;
        section = &rest[len..];
        types.push(found);
    }
    Ok(())
}

/// Bytes that follow a type's header.
fn data_len(kind: u8, vlen: usize) -> Option<usize> {
    Some(match kind {
        KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
        KIND_ARRAY => 12,
        KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => vlen * 12,
        KIND_ENUM | KIND_FUNC_PROTO => vlen * 8,
        2 | 7 | KIND_TYPEDEF..=KIND_FUNC | 16 | KIND_TYPE_TAG => 0,
        _ => return None,
    })
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let field = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_ne_bytes(field.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes BTF the way the kernel lays it out; ids and strings may go on from a base.
    #[derive(Default)]
    struct Writer {
        types: Vec<u8>,
        strings: Vec<u8>,
        string_base: u32,
    }

    impl Writer {
        fn base() -> Self {
            Self { strings: vec![0], ..Self::default() }
        }

        fn name(&mut self, name: &str) -> u32 {
            if name.is_empty() {
                return 0;
            }
            let at = self.string_base + self.strings.len() as u32;
            self.strings.extend_from_slice(name.as_bytes());
            self.strings.push(0);
            at
        }

        fn record(&mut self, name: &str, kind: u8, vlen: usize, size_or_type: u32, data: &[u32]) {
            let name = self.name(name);
            let info = u32::from(kind) << 24 | vlen as u32;
            for word in [name, info, size_or_type].iter().chain(data) {
                self.types.extend_from_slice(&word.to_ne_bytes());
            }
        }

        fn composite(&mut self, name: &str, kind: u8, size: u32, members: &[(&str, u32, u32)]) {
            let data: Vec<u32> =
                members.iter().flat_map(|&(name, id, bits)| [self.name(name), id, bits]).collect();
            self.record(name, kind, members.len(), size, &data);
        }

        fn finish(&self) -> Vec<u8> {
            let mut blob = Vec::new();
            blob.extend_from_slice(&MAGIC.to_ne_bytes());
            blob.extend_from_slice(&[1, 0]);
            let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
            for word in [24, 0, types, types, strings] {
                blob.extend_from_slice(&word.to_ne_bytes());
            }
            blob.extend_from_slice(&self.types);
            blob.extend_from_slice(&self.strings);
            blob
        }
    }

    /// struct net { int a; struct { u32 pad; struct ns ns; }; } in vmlinux; nf_conn and a function in a module.
    fn kernel() -> (Vec<u8>, Vec<u8>) {
        let mut base = Writer::base();
        base.record("int", KIND_INT, 0, 4, &[32]); // 1
        base.composite("ns_common", KIND_STRUCT, 8, &[("ops", 1, 0), ("inum", 1, 32)]); // 2
        base.record("ns_t", KIND_TYPEDEF, 0, 2, &[]); // 3
        base.composite("", KIND_STRUCT, 12, &[("pad", 1, 0), ("ns", 3, 32)]); // 4
        base.composite("net", KIND_STRUCT, 16, &[("a", 1, 0), ("", 4, 32)]); // 5
        base.record("", KIND_ARRAY, 0, 0, &[2, 1, 2]); // 6: struct ns_common[2]
        base.record("", KIND_FUNC_PROTO, 2, 1, &[0, 1, 0, 1]); // 7
        base.record("in_vmlinux", KIND_FUNC, 0, 7, &[]); // 8
        let base_strings = base.strings.len() as u32;
        let mut split = Writer { string_base: base_strings, ..Writer::default() };
        split.composite("nf_conn", KIND_STRUCT, 24, &[("status", 1, 0), ("tuplehash", 6, 64)]); // 9
        split.record("__nf_conntrack_alloc", KIND_FUNC, 0, 7, &[]); // 10
        (base.finish(), split.finish())
    }

    #[test]
    fn finds_members_through_anonymous_structs_typedefs_and_arrays() {
        let (base, split) = kernel();
        let btf = Btf::parse(&base, Some(&split)).expect("well-formed");
        assert_eq!(btf.offset_of("net", "ns.inum"), Ok(12));
        assert_eq!(btf.offset_of("nf_conn", "tuplehash.0.inum"), Ok(12));
        assert_eq!(btf.offset_of("nf_conn", "tuplehash.1.inum"), Ok(20));
        assert_eq!(btf.size_of("nf_conn"), Ok(24));
        assert_eq!(
            btf.offset_of("net", "gen"),
            Err(BtfError::NoMember { of: "net".into(), path: "gen".into() })
        );
        assert_eq!(btf.size_of("nowhere"), Err(BtfError::NoStruct("nowhere".into())));
    }

    #[test]
    fn function_ids_go_on_from_vmlinux_into_the_module() {
        let (base, split) = kernel();
        let btf = Btf::parse(&base, Some(&split)).expect("well-formed");
        assert_eq!(btf.func("in_vmlinux"), Some(Func { id: 8, in_module: false, arguments: 2 }));
        assert_eq!(btf.func("__nf_conntrack_alloc"), Some(Func { id: 10, in_module: true, arguments: 2 }));
        let vmlinux = Btf::parse(&base, None).expect("well-formed");
        assert_eq!(vmlinux.func("__nf_conntrack_alloc"), None);
    }

    #[test]
    fn refuses_what_is_no_btf() {
        assert_eq!(Btf::parse(b"", None).err(), Some(BtfError::Header));
        assert_eq!(Btf::parse(b"\x7fELF", None).err(), Some(BtfError::Header));
        let (mut base, _) = kernel();
        let end = base.len();
        base.truncate(end - 1);
        assert_eq!(Btf::parse(&base, None).err(), Some(BtfError::Header));
    }

    #[test]
    fn structs_within_themselves_are_not_searched_for_ever() {
        let mut base = Writer::base();
        base.composite("net", KIND_STRUCT, 16, &[("", 1, 0), ("", 1, 32), ("far", 2, u32::MAX)]); // 1
        base.composite("ns", KIND_STRUCT, 8, &[("inum", 2, 1)]); // 2
        let blob = base.finish();
        let btf = Btf::parse(&blob, None).expect("well-formed");
        let missing = |path: &str| Err(BtfError::NoMember { of: "net".into(), path: path.into() });
        assert_eq!(btf.offset_of("net", "nowhere"), missing("nowhere"));
        assert_eq!(btf.offset_of("net", "far.inum"), missing("far.inum"), "it would be beyond 32 bits");
    }

    proptest! {
        /// Arbitrary damage never panics, whatever is then asked.
        #[test]
        fn damage_is_an_error_or_an_answer(
            at in proptest::collection::vec((0_usize..400, any::<u8>()), 0..8),
            cut in 0_usize..400,
        ) {
            let (mut base, mut split) = kernel();
            for (at, byte) in at {
                let len = base.len();
                base[at % len] = byte;
                let len = split.len();
                split[at % len] ^= byte;
            }
            base.truncate(base.len().saturating_sub(cut % 64));
            if let Ok(btf) = Btf::parse(&base, Some(&split)) {
                for path in ["ns.inum", "a", "tuplehash.1.inum", "7.7.7"] {
                    let _ = btf.offset_of("net", path);
                    let _ = btf.offset_of("nf_conn", path);
                }
                let _ = btf.func("__nf_conntrack_alloc");
            }
        }
    }
}
