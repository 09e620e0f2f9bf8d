//! Who and what fills a namespace's table at one instant: one pass over the live table, frozen.

use std::net::IpAddr;

use ipnet::IpNet;

use super::grouping::prefix;
use super::live::{Entry, Live};
use super::minute;
use super::query::PrefixLengths;
use super::sources::{Sources, per_second};
use super::tally::{Ranking, Tally};
use super::tuple::Proto;

/// Rows kept of each ranking.
pub(super) const ROWS: usize = 10;

/// Distinct destinations (ports, prefixes) counted exactly; see [`Tally`] for what happens beyond.
const KEYS: usize = 8192;

/// Upper bounds of the age buckets in seconds; the last bucket has none.
pub const AGE_BOUNDS_S: [u64; 6] = [1, 10, 60, 600, 3600, 86_400];

/// What held a namespace's table at one instant; all counts are entries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Holders {
    /// When.
    pub ktime_ns: u64,
    /// Entries of the namespace in the live table.
    pub entries: u64,
    /// By source address.
    pub sources: Ranking<IpAddr>,
    /// By source network: /24 or /64.
    pub prefixes: Ranking<IpNet>,
    /// By original destination address.
    pub destinations: Ranking<IpAddr>,
    /// By protocol and destination port.
    pub ports: Ranking<(Proto, u16)>,
    /// By protocol.
    pub protocols: Ranking<Proto>,
    /// By age, under each of [`AGE_BOUNDS_S`] and over the last.
    pub ages: [u64; AGE_BOUNDS_S.len() + 1],
    /// Those whose age is not known: they are older than the attachment.
    pub age_unknown: u64,
    /// New entries by source address over the minute before.
    pub arrivals: Ranking<IpAddr>,
    /// How long that minute was: 50 to 60 s, less soon after the attachment.
    pub arrivals_window_ns: u64,
}

impl Holders {
    /// Takes the picture. `since_ktime_ns` is when counting began.
    pub fn freeze(netns: u32, ktime_ns: u64, since_ktime_ns: u64, live: &Live, sources: &Sources) -> Self {
        let mut holders = Self { ktime_ns, ..Self::default() };
        holders.freeze_entries(netns, live, sources);
        holders.freeze_sources(netns, since_ktime_ns, sources);
        holders
    }

    /// What only the entries know.
    fn freeze_entries(&mut self, netns: u32, live: &Live, sources: &Sources) {
        let members = sources.of_netns(netns);
        let mut profile = Profile::new(self.ktime_ns);
        let mut protocols = [0u64; 256];
        for entry in live.iter().filter(|entry| members.contains(entry.source)) {
            self.entries += 1;
            profile.see(entry);
            protocols[usize::from(entry.proto.0)] += 1;
        }
        (self.ages, self.age_unknown) = (profile.ages, profile.age_unknown);
        self.destinations = profile.destinations();
        self.ports = profile.ports();
        let protocols = (0..=255).map(Proto).zip(protocols).filter(|(_, entries)| *entries > 0);
        self.protocols = Ranking::of(protocols.collect(), ROWS);
    }

    /// What is already summed by source.
    fn freeze_sources(&mut self, netns: u32, since_ktime_ns: u64, sources: &Sources) {
        let (mut by_source, mut arrivals, mut prefixes) = (Vec::new(), Vec::new(), Tally::new(KEYS));
        for source in sources.iter().filter(|source| source.netns == netns) {
            let arrived = source.minute.count(self.ktime_ns);
            if arrived > 0 {
                arrivals.push((source.src, arrived));
            }
            if source.entries > 0 {
                by_source.push((source.src, u64::from(source.entries)));
                prefixes.add(prefix(source.src, PrefixLengths::default()), u64::from(source.entries));
            }
        }
        self.sources = Ranking::of(by_source, ROWS);
        self.prefixes = prefixes.ranking(ROWS);
        self.arrivals = Ranking::of(arrivals, ROWS);
        let began = since_ktime_ns.max(minute::window_start(self.ktime_ns));
        self.arrivals_window_ns = self.ktime_ns.saturating_sub(began);
    }

    /// New entries of each source per second of the minute before.
    pub fn arrival_rates(&self) -> impl Iterator<Item = (IpAddr, f64)> {
        self.arrivals.top.iter().map(|(src, new)| (*src, per_second(*new, self.arrivals_window_ns)))
    }
}

/// Where entries go and how old they are.
#[derive(Clone, Debug)]
pub struct Profile {
    ktime_ns: u64,
    destinations: Tally<IpAddr>,
    ports: Tally<(Proto, u16)>,
    /// By age, under each of [`AGE_BOUNDS_S`] and over the last.
    pub ages: [u64; AGE_BOUNDS_S.len() + 1],
    /// Those whose age is not known: they are older than the attachment.
    pub age_unknown: u64,
}

impl Profile {
    /// Of no entries yet. Ages are those at this time.
    pub fn new(ktime_ns: u64) -> Self {
        let (destinations, ports) = (Tally::new(KEYS), Tally::new(KEYS));
        Self { ktime_ns, destinations, ports, ages: Default::default(), age_unknown: 0 }
    }

    /// Counts one.
    pub fn see(&mut self, entry: &Entry) {
        self.destinations.add(entry.dst, 1);
        self.ports.add((entry.proto, entry.dport), 1);
        match entry.age_ns(self.ktime_ns) {
            Some(age_ns) => self.ages[age_bucket(age_ns)] += 1,
            None => self.age_unknown += 1,
        }
    }

    /// The first destinations.
    pub fn destinations(&self) -> Ranking<IpAddr> {
        self.destinations.ranking(ROWS)
    }

    /// The first protocols and destination ports.
    pub fn ports(&self) -> Ranking<(Proto, u16)> {
        self.ports.ranking(ROWS)
    }
}

fn age_bucket(age_ns: u64) -> usize {
    AGE_BOUNDS_S.partition_point(|bound| *bound * 1_000_000_000 <= age_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::live::Entry;
    use crate::engine::testing;
    use crate::engine::tuple::Connection;

    const S: u64 = 1_000_000_000;

    #[test]
    fn counts_one_namespace_in_every_way() {
        let (mut live, mut sources) = (Live::default(), Sources::new(100));
        let mut put = |ct, ktime_ns, connection: Connection| {
            let source = sources.new_entry(connection.netns, connection.src, ktime_ns);
            assert_eq!(live.insert(ct, Entry::new(&connection, source, ktime_ns)), None);
        };
        for ct in 0..30 {
            put(ct, 100 * S, testing::connection(if ct < 20 { 5 } else { 6 }));
        }
        let other = IpAddr::from([10, 1, 7, 1]);
        put(30, S, Connection { src: other, proto: Proto::TCP, dport: 443, ..testing::connection(1) });
        put(31, S, Connection { netns: 2, ..testing::connection(1) });
        put(32, 0, testing::connection(5));

        let holders = Holders::freeze(1, 105 * S, 80 * S, &live, &sources);
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let network = |text: &str| text.parse::<IpNet>().expect("a network");
        assert_eq!(holders.entries, 32);
        assert_eq!(holders.sources.top, [(address("10.1.0.5"), 21), (address("10.1.0.6"), 10), (other, 1)]);
        assert_eq!(holders.prefixes.top, [(network("10.1.0.0/24"), 31), (network("10.1.7.0/24"), 1)]);
        assert_eq!(holders.destinations.top, [(address("10.99.0.1"), 32)]);
        assert_eq!(holders.ports.top, [((Proto::UDP, 5000), 31), ((Proto::TCP, 443), 1)]);
        assert_eq!(holders.protocols.top, [(Proto::UDP, 31), (Proto::TCP, 1)]);
        assert_eq!((holders.ages, holders.age_unknown), ([0, 30, 0, 1, 0, 0, 0], 1));
        assert_eq!(holders.arrivals_window_ns, 25 * S, "since the attachment");
        let rates: Vec<_> = holders.arrival_rates().collect();
        assert_eq!(rates, [(address("10.1.0.5"), 0.84), (address("10.1.0.6"), 0.4)]);
    }

    #[test]
    fn ages_fall_under_their_bound() {
        for (age_ns, bucket) in [(0, 0), (S - 1, 0), (S, 1), (10 * S, 2), (86_400 * S, 6)] {
            assert_eq!(age_bucket(age_ns), bucket);
        }
    }
}
