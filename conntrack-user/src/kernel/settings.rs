//! The kernel's conntrack settings, of every network namespace that can be reached: what a recording must know to say
//! later what other settings would have done.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::BytesMut;
use hashbrown::HashMap;
use zerocopy::IntoBytes as _;

use crate::{
    engine::recorded::{RecordedKind, Setting},
    kernel::{
        clock,
        netns::{self, Netns},
    },
};

/// Where the kernel keeps them; each begins with [`PREFIX`].
const ROOT: &str = "/proc/sys/net/netfilter";

/// What all names have in common, and recordings leave out.
const PREFIX: &str = "nf_conntrack_";

/// Names that are no setting: they change all the time.
const READINGS: [&str; 2] = ["count", "expect_count"];

/// Namespaces visited by one reading; the next one goes on with the others. A visit takes about 0.5 ms.
const VISITS: usize = 64;

/// Name under which the bytes of one entry are told beside the sysctls: the size of an object of the slab cache
/// `nf_conntrack` with what alignment adds (/proc/slabinfo, `objsize`), of the first namespace.
pub const OBJECT_BYTES: &str = "object_bytes";

/// Name under which the kernel's ticks in a second are told beside the sysctls, of the first namespace: its collector of
/// expired entries reckons in them.
pub const HZ: &str = "hz";

/// Reads settings and remembers what was told, so that only changes are told again.
pub struct Settings {
    root: PathBuf,
    slabinfo: PathBuf,
    told: HashMap<(u32, Box<str>), u64>,
    /// Where the next reading begins in the list of namespaces.
    next: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}

impl Settings {
    /// Nothing told yet.
    pub fn new() -> Self {
        Self::below(ROOT.into(), "/proc/slabinfo".into())
    }

    /// The same of another folder of sysctls and another slabinfo.
    fn below(root: PathBuf, slabinfo: PathBuf) -> Self {
        Self { root, slabinfo, told: HashMap::new(), next: 0 }
    }

    /// Appends one [`Setting`] for each that was not told before or has changed, and forgets namespaces that are gone.
    ///
    /// Meant to be called at the start and once a minute: it looks for all namespaces (a readlink(2) per process) and
    /// enters up to 64 of them, besides the own one. What cannot be read is left out: a sysctl that this kernel does not
    /// have, a namespace that may not be entered.
    pub fn read(&mut self, ktime_ns: u64, out: &mut BytesMut) {
        let mut all = netns::reachable();
        let own = netns::own();
        self.told.retain(|(netns, _), _| Some(*netns) == own || all.iter().any(|it| it.inum == *netns));
        if let Some(own) = own {
            let mut settings = folder(&self.root);
            settings.extend(object_bytes(&self.slabinfo).map(|bytes| (OBJECT_BYTES.to_owned(), bytes)));
            if !settings.is_empty() {
                settings.push((HZ.to_owned(), clock::hz()));
            }
            self.tell(own, settings, ktime_ns, out);
        }
        all.retain(|it| Some(it.inum) != own);
        for (netns, settings) in self.visit(all) {
            self.tell(netns, settings, ktime_ns, out);
        }
    }

    /// The settings of the namespaces whose turn it is, of those that could be entered.
    fn visit(&mut self, mut all: Vec<Netns>) -> Vec<(u32, Vec<(String, u64)>)> {
        if all.len() > VISITS {
            let count = all.len();
            all.rotate_left(self.next % count);
            self.next = (self.next + VISITS) % count;
            all.truncate(VISITS);
        }
        let root = &self.root;
        // /proc/sys/net shows the namespace of the thread that looks.
        let read = netns::visit(&all, |netns, entered| entered.ok().map(|()| (netns.inum, folder(root))));
        read.into_iter().flatten().collect()
    }

    fn tell(&mut self, netns: u32, settings: Vec<(String, u64)>, ktime_ns: u64, out: &mut BytesMut) {
        for (name, value) in settings {
            let Some(record) = record(netns, ktime_ns, &name, value) else { continue };
            if self.told.insert((netns, name.into_boxed_str()), value) != Some(value) {
                out.extend_from_slice(record.as_bytes());
            }
        }
    }
}

/// None of a name too long for a record, which no kernel has.
fn record(netns: u32, ktime_ns: u64, name: &str, value: u64) -> Option<Setting> {
    let mut padded = [0; 40];
    padded.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    let kind = RecordedKind::Setting as u8;
    Some(Setting { kind, reserved: [0; 3], netns, ktime_ns, value, name: padded })
}

/// Every setting of a folder that is one number, by its name without the prefix, in the order of names.
fn folder(root: &Path) -> Vec<(String, u64)> {
    let setting = |file: fs::DirEntry| {
        let name = file.file_name();
        let name = name.to_str()?.strip_prefix(PREFIX)?;
        if READINGS.contains(&name) {
            return None;
        }
        let value = fs::read_to_string(file.path()).ok()?.trim().parse().ok()?;
        Some((name.to_owned(), value))
    };
    let mut settings: Vec<_> =
        fs::read_dir(root).into_iter().flatten().flatten().filter_map(setting).collect();
    settings.sort_unstable();
    settings
}

/// Bytes of an entry: the fourth column of the line of its slab cache.
fn object_bytes(slabinfo: &Path) -> Option<u64> {
    let text = fs::read_to_string(slabinfo).ok()?;
    let line = text.lines().find(|line| line.split_whitespace().next() == Some("nf_conntrack"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::decode::{Record, Records};
    use crate::engine::recorded::Recorded;

    /// A folder of sysctls that is removed when it is dropped.
    struct Fixture(PathBuf);

    impl Fixture {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("ctwatch-settings-{}-{name}", std::process::id()));
            fs::create_dir_all(&folder).expect("a folder for the test");
            let fixture = Self(folder);
            for (name, value) in [
                ("nf_conntrack_max", "262144\n"),
                ("nf_conntrack_count", "17\n"),
                ("nf_conntrack_tcp_timeout_time_wait", "120\n"),
                ("nf_conntrack_helper", "yes\n"),
                ("nf_hooks_lwtunnel", "0\n"),
                ("nf_conntrack_udp_timeout", "30\n"),
            ] {
                fixture.set(name, value);
            }
            fixture
        }

        fn set(&self, name: &str, value: &str) {
            fs::write(self.0.join(name), value).expect("a file for the test");
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).expect("what was made can be removed");
        }
    }

    fn read(settings: &mut Settings, netns: u32) -> Vec<(String, u64)> {
        let mut out = BytesMut::new();
        settings.read(7, &mut out);
        let told = Records::new(&out).map(|record| match record {
            Ok(Record::Recorded(Recorded::Setting(it))) => {
                let it = it.get();
                assert_eq!(it.ktime_ns, 7);
                let name = String::from_utf8(it.name.into_iter().take_while(|&byte| byte != 0).collect());
                (it.netns, name.expect("a name"), it.value)
            }
            _ => panic!("another record"),
        });
        told.filter(|it| it.0 == netns).map(|(_, name, value)| (name, value)).collect()
    }

    #[test]
    fn tells_numbers_once_and_again_when_they_change() {
        let fixture = Fixture::new("once");
        let slabinfo = "# name <active_objs>\nnf_conntrack_expect 0 0 208\nnf_conntrack 10 16 256 16 1\n";
        fixture.set("slabinfo", slabinfo);
        let mut settings = Settings::below(fixture.0.clone(), fixture.0.join("slabinfo"));
        let own = netns::own().expect("a thread has a network namespace");
        let told = |name: &str, value| (name.to_owned(), value);
        let all = [
            told("max", 262_144),
            told("tcp_timeout_time_wait", 120),
            told("udp_timeout", 30),
            told(OBJECT_BYTES, 256),
            told(HZ, clock::hz()),
        ];
        assert!([100, 250, 300, 1_000].contains(&clock::hz()), "{} ticks a second", clock::hz());
        assert_eq!(read(&mut settings, own), all);
        assert_eq!(read(&mut settings, own), []);
        fixture.set("nf_conntrack_tcp_timeout_time_wait", "30\n");
        assert_eq!(read(&mut settings, own), [told("tcp_timeout_time_wait", 30)]);
        // Another namespace with its number later tells all of them.
        settings.told.clear();
        assert_eq!(read(&mut settings, own).len(), all.len());
    }

    #[test]
    fn where_there_is_no_conntrack_nothing_is_told() {
        let nowhere = PathBuf::from("/nonexistent");
        let mut settings = Settings::below(nowhere.clone(), nowhere);
        let own = netns::own().expect("a thread has a network namespace");
        assert_eq!(read(&mut settings, own), []);
    }

    #[test]
    fn a_name_fills_its_room_and_no_more() {
        assert!(record(1, 2, &"a".repeat(40), 3).is_some());
        assert!(record(1, 2, &"a".repeat(41), 3).is_none());
    }
}
