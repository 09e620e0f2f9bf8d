//! Addresses and names of kernel symbols: asked for, or from /proc/kallsyms.

mod lookup;

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
};

use hashbrown::HashMap;

/// What kallsyms says of the symbols that were asked for.
#[derive(Debug, Default)]
pub struct Kallsyms {
    /// By exact name. An address is 0 where the kernel hides addresses from us.
    found: HashMap<String, u64>,
    /// Names the compiler rewrote: `base` to `base.isra.0`.
    rewritten: HashMap<String, String>,
}

impl Kallsyms {
    /// Asks for these names. None where the kernel cannot be asked, hides addresses, or lacks one of those that are
    /// `needed`: to tell these apart, all symbols must be read.
    pub fn ask(names: &[&str], needed: &[&str]) -> Option<Self> {
        let addresses = lookup::addresses(names)
            .inspect_err(|error| tracing::debug!("the kernel cannot be asked for symbols: {error}"))
            .ok()?;
        let found = names.iter().zip(addresses).filter(|(_, address)| *address != 0);
        let found: HashMap<_, _> = found.map(|(name, address)| ((*name).to_owned(), address)).collect();
        let enough = needed.iter().all(|name| found.contains_key(*name));
        enough.then(|| Self { found, rewritten: HashMap::new() })
    }

    /// Reads /proc/kallsyms for these names.
    pub fn read(names: &[&str]) -> io::Result<Self> {
        Self::parse(BufReader::with_capacity(1 << 16, File::open("/proc/kallsyms")?), names)
    }

    /// Lines are `address type name [module]`.
    fn parse(mut lines: impl BufRead, names: &[&str]) -> io::Result<Self> {
        let mut symbols = Self::default();
        let mut line = String::new();
        while lines.read_line(&mut line)? != 0 {
            symbols.line(line.trim_end(), names);
            line.clear();
        }
        Ok(symbols)
    }

    fn line(&mut self, line: &str, names: &[&str]) {
        let mut fields = line.split_ascii_whitespace();
        let (Some(address), Some(_), Some(symbol)) = (fields.next(), fields.next(), fields.next()) else {
            return;
        };
        let (base, rewritten) = symbol.split_once('.').map_or((symbol, false), |(base, _)| (base, true));
        if !names.contains(&base) {
            return;
        }
        if rewritten {
            self.rewritten.insert(base.to_owned(), symbol.to_owned());
        } else {
            self.found.insert(base.to_owned(), u64::from_str_radix(address, 16).unwrap_or(0));
        }
    }

    /// Whether a symbol of exactly this name exists.
    pub fn has(&self, name: &str) -> bool {
        self.found.contains_key(name)
    }

    /// Its address; 0 if it is absent or hidden.
    pub fn address(&self, name: &str) -> u64 {
        self.found.get(name).copied().unwrap_or(0)
    }

    /// What the compiler made of it, if it did.
    pub fn rewritten(&self, name: &str) -> Option<&str> {
        self.rewritten.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_exact_and_rewritten_names() {
        let text = "ffffffff81000000 T _stext\n\
                    ffffffffc0a01000 t early_drop\t[nf_conntrack]\n\
                    ffffffffc0a02000 t init_conntrack.isra.0\t[nf_conntrack]\n\
                    0000000000000000 D nf_conntrack_max\t[nf_conntrack]\n\
                    broken\n";
        let names = ["early_drop", "init_conntrack", "nf_conntrack_max"];
        let symbols = Kallsyms::parse(text.as_bytes(), &names).expect("in memory");
        assert!(symbols.has("early_drop") && !symbols.has("init_conntrack") && !symbols.has("_stext"));
        assert_eq!(symbols.address("early_drop"), 0xffff_ffff_c0a0_1000);
        assert_eq!(symbols.address("nf_conntrack_max"), 0);
        assert_eq!(symbols.rewritten("init_conntrack"), Some("init_conntrack.isra.0"));
    }
}
