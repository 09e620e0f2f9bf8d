//! The BTF reader, on a base alone and on a base with a module's split.
#![no_main]

use conntrack_user::engine::btf::Btf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| {
    let (split_at, bytes) = input;
    let (base, split) = bytes.split_at(usize::from(split_at).min(bytes.len()));
    for btf in [Btf::parse(bytes, None), Btf::parse(base, Some(split))].into_iter().flatten() {
        // Names a seed may have, and paths that descend into what they find.
        for name in ["nf_conn", "nf_conntrack_tuple", "net", "a", ""] {
            let _ = btf.func(name);
            let _ = btf.size_of(name);
            for path in ["status", "tuplehash", "src.u3", "a.b.c", ""] {
                let _ = btf.offset_of(name, path);
            }
        }
    }
});
