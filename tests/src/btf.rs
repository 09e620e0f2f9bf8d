//! Type information as `bpftool btf dump` prints it, which reads it with libbpf: an answer of others to the
//! questions ctwatch asks its own reader.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

/// Typedefs and qualifiers that are followed: more is no real kernel.
const MAX_DEPTH: u32 = 32;

/// The types of vmlinux, and of one module after them.
#[derive(Debug, Default)]
pub struct Dump {
    /// In id order, from 1.
    types: Vec<Type>,
    /// The first struct of a name that has members.
    structs: BTreeMap<String, usize>,
    /// The last function of a name.
    functions: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Type {
    kind: String,
    name: String,
    size: u32,
    /// What it is another name for, or consists of; of a function its prototype.
    inner: usize,
    /// Of a struct or union; of a prototype its arguments.
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    name: String,
    inner: usize,
    bits: u32,
}

impl Dump {
    /// Takes in what bpftool printed; ids go on from those there are, as a module's do.
    pub fn read(&mut self, text: &str) -> Result<()> {
        for line in text.lines() {
            // What comes after the name is NAME=VALUE, apart from blanks.
            let (before, fields) = line.rsplit_once('\'').unwrap_or((line, ""));
            let name = before.split_once('\'').map_or("", |(_, name)| name);
            let name = if name == "(anon)" { "" } else { name }.to_owned();
            if line.starts_with('[') {
                let (number, rest) = line.split_once("] ").with_context(|| format!("no type: {line}"))?;
                let id = self.types.len() + 1;
                ensure!(number == format!("[{id}"), "type {id} is expected: {line}");
                let kind = rest.split(' ').next().unwrap_or_default().to_owned();
                let (size, inner) = (field(fields, "size"), field(fields, "type_id") as usize);
                self.types.push(Type { kind, name, size, inner, members: Vec::new() });
            } else if fields.contains("type_id=") {
                let member = Member {
                    name,
                    inner: field(fields, "type_id") as usize,
                    bits: field(fields, "bits_offset"),
                };
                self.types
                    .last_mut()
                    .with_context(|| format!("a member of nothing: {line}"))?
                    .members
                    .push(member);
            }
        }
        self.index();
        Ok(())
    }

    fn index(&mut self) {
        for (found, id) in self.types.iter().zip(1..) {
            match found.kind.as_str() {
                "STRUCT" if !found.members.is_empty() && !found.name.is_empty() => {
                    self.structs.entry(found.name.clone()).or_insert(id);
                }
                "FUNC" => {
                    self.functions.insert(found.name.clone(), id);
                }
                _ => {}
            }
        }
    }

    /// How many types there are.
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// Names of all structs with members.
    pub fn structs(&self) -> impl ExactSizeIterator<Item = &str> {
        self.structs.keys().map(String::as_str)
    }

    /// Names of all functions.
    pub fn functions(&self) -> impl ExactSizeIterator<Item = &str> {
        self.functions.keys().map(String::as_str)
    }

    /// Size of a struct in bytes.
    pub fn size_of(&self, name: &str) -> Option<u32> {
        Some(self.get(*self.structs.get(name)?)?.size)
    }

    /// Names and offsets in bytes of a struct's own members that have a name.
    pub fn members_of(&self, name: &str) -> Vec<(&str, u32)> {
        let found = self.structs.get(name).and_then(|id| self.get(*id));
        let members = found.map(|found| found.members.as_slice()).unwrap_or_default().iter();
        members
            .filter(|member| !member.name.is_empty())
            .map(|member| (member.name.as_str(), member.bits / 8))
            .collect()
    }

    /// Offset in bytes at the end of a dotted path, through anonymous members; a number is an element of an array.
    pub fn offset_of(&self, name: &str, path: &str) -> Option<u32> {
        let mut at = *self.structs.get(name)?;
        let mut bits = 0;
        for step in path.split('.') {
            let here = self.get(self.named(at)?)?;
            let (offset, inner) = if here.kind == "ARRAY" {
                let element = self.get(self.named(here.inner)?)?;
                (step.parse::<u32>().ok()? * element.size * 8, here.inner)
            } else {
                self.member(here, step)?
            };
            bits += offset;
            at = inner;
        }
        Some(bits / 8)
    }

    /// Id and number of arguments of a function.
    pub fn function(&self, name: &str) -> Option<(usize, usize)> {
        let id = *self.functions.get(name)?;
        let prototype = self.get(self.get(id)?.inner)?;
        Some((id, prototype.members.len()))
    }

    fn member(&self, of: &Type, name: &str) -> Option<(u32, usize)> {
        of.members.iter().find_map(|member| {
            if member.name == name {
                return Some((member.bits, member.inner));
            }
            if !member.name.is_empty() {
                return None;
            }
            let inner = self.get(self.named(member.inner)?)?;
            let (bits, found) = self.member(inner, name)?;
            Some((member.bits + bits, found))
        })
    }

    /// The type behind typedefs and qualifiers.
    fn named(&self, mut id: usize) -> Option<usize> {
        for _ in 0..MAX_DEPTH {
            let found = self.get(id)?;
            match found.kind.as_str() {
                "TYPEDEF" | "CONST" | "VOLATILE" | "RESTRICT" | "TYPE_TAG" => id = found.inner,
                _ => return Some(id),
            }
        }
        None
    }

    fn get(&self, id: usize) -> Option<&Type> {
        self.types.get(id.checked_sub(1)?)
    }
}

/// A number among blank-separated NAME=VALUE; 0 if it is not there, as of a type that is `void`.
fn field(fields: &str, name: &str) -> u32 {
    let value = fields.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VMLINUX: &str = "\
[1] INT 'unsigned int' size=4 bits_offset=0 nr_bits=32 encoding=(none)
[2] STRUCT 'pair' size=8 vlen=2
\t'a' type_id=1 bits_offset=0
\t'b' type_id=1 bits_offset=32
[3] TYPEDEF 'pair_t' type_id=2
[4] ARRAY '(anon)' type_id=3 index_type_id=1 nr_elems=2
[5] UNION '(anon)' size=16 vlen=1
\t'pairs' type_id=4 bits_offset=0
[6] STRUCT 'outer' size=24 vlen=2
\t'first' type_id=1 bits_offset=0 bitfield_size=3
\t'(anon)' type_id=5 bits_offset=64
[7] FUNC_PROTO '(anon)' ret_type_id=0 vlen=2
\t'x' type_id=1
\t'(anon)' type_id=0
[8] FUNC 'work' type_id=7 linkage=static
[9] ENUM 'colour' encoding=UNSIGNED size=4 vlen=1
\t'RED' val=0
";

    #[test]
    fn paths_lead_through_typedefs_arrays_and_anonymous_members() -> Result<()> {
        let mut dump = Dump::default();
        dump.read(VMLINUX)?;
        assert_eq!(dump.len(), 9);
        assert_eq!(dump.offset_of("outer", "pairs.1.b"), Some(8 + 8 + 4));
        assert_eq!(dump.offset_of("outer", "nothing"), None);
        assert_eq!(dump.members_of("outer"), [("first", 0)]);
        assert_eq!(dump.size_of("pair"), Some(8));
        assert_eq!(dump.function("work"), Some((8, 2)));
        Ok(())
    }

    #[test]
    fn a_module_goes_on_where_vmlinux_ends() -> Result<()> {
        let mut dump = Dump::default();
        dump.read(VMLINUX)?;
        dump.read("[10] FUNC 'work' type_id=7 linkage=static\n")?;
        assert_eq!(dump.function("work"), Some((10, 2)));
        assert!(dump.read("[12] FWD 'x' fwd_kind=struct\n").is_err());
        Ok(())
    }
}
