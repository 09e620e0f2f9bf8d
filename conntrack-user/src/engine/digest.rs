//! What a recording has beside the records of the rings, made of what the engine knows, and read back.

use std::net::IpAddr;

use conntrack_common::{ABSENT, AuditTrigger};
use ipnet::IpNet;

use super::account::{AuditReport, Repaired};
use super::gauge::Level;
use super::holders::Holders;
use super::notice::Audited;
use super::recorded::{AuditDone, Crossed, Dimension, Holder, Holding, RecordedKind};
use super::saturation::{Edge, State};
use super::tally::Ranking;
use super::tuple::{Proto, address};

/// `AF_INET` and `AF_INET6` (include/linux/socket.h).
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// The family and bytes of an address as in a [`Tuple`](conntrack_common::Tuple).
pub fn address_bytes(address: IpAddr) -> (u16, [u8; 16]) {
    match address {
        IpAddr::V4(v4) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&v4.octets());
            (AF_INET, bytes)
        }
        IpAddr::V6(v6) => (AF_INET6, v6.octets()),
    }
}

impl Crossed {
    /// The record of an edge.
    pub fn new(netns: u32, edge: &Edge) -> Self {
        let Edge { was, state, ktime_ns, level } = *edge;
        Self {
            kind: RecordedKind::Crossed as u8,
            was: was as u8,
            state: state as u8,
            reserved: 0,
            netns,
            ktime_ns,
            count: level.count.unwrap_or(ABSENT),
            max: level.max.unwrap_or(ABSENT),
        }
    }

    /// The edge; none if a state has no such number.
    pub fn edge(&self) -> Option<Edge> {
        Some(Edge {
            was: State::from_byte(self.was)?,
            state: State::from_byte(self.state)?,
            ktime_ns: self.ktime_ns,
            level: Level::new(self.count, self.max),
        })
    }
}

impl AuditDone {
    /// The record of an audit that is over.
    pub fn new(audited: &Audited) -> Self {
        let Audited { report, abandoned } = audited;
        Self {
            kind: RecordedKind::AuditDone as u8,
            trigger: report.trigger as u8,
            abandoned: (*abandoned).into(),
            reserved: 0,
            number: report.number,
            ktime_ns: report.ended_ktime_ns,
            began_ktime_ns: report.began_ktime_ns,
            entries: report.entries,
            added: report.repaired.added,
            removed: report.repaired.removed,
            replaced: report.repaired.replaced,
            buckets: report.buckets,
            restarts: report.restarts,
            cut_short: report.cut_short,
        }
    }

    /// What was told of it; none if no trigger has such a number.
    pub fn audited(&self) -> Option<Audited> {
        let report = AuditReport {
            number: self.number,
            trigger: AuditTrigger::from_byte(self.trigger)?,
            began_ktime_ns: self.began_ktime_ns,
            ended_ktime_ns: self.ktime_ns,
            entries: self.entries,
            repaired: Repaired { added: self.added, removed: self.removed, replaced: self.replaced },
            buckets: self.buckets,
            restarts: self.restarts,
            cut_short: self.cut_short,
        };
        Some(Audited { report, abandoned: self.abandoned != 0 })
    }
}

/// The rows of a picture: [`Dimension::Total`] first, [`Dimension::ArrivalsWindow`] last.
pub fn holdings(netns: u32, holders: &Holders) -> Vec<Holding> {
    let blank = Holding {
        kind: RecordedKind::Holding as u8,
        dimension: 0,
        rank: 0,
        netns,
        ktime_ns: holders.ktime_ns,
        address: [0; 16],
        l3num: 0,
        port: 0,
        protonum: 0,
        prefix_len: 0,
        reserved: 0,
        value: 0,
    };
    let mut rows = Rows { blank, rows: Vec::new() };
    rows.one(Dimension::Total, 0, holders.entries);
    rows.ranking(Dimension::Source, &holders.sources, |row, src| row.set_address(*src));
    rows.ranking(Dimension::Prefix, &holders.prefixes, |row, network| {
        row.set_address(network.addr());
        row.prefix_len = network.prefix_len();
    });
    rows.ranking(Dimension::Destination, &holders.destinations, |row, dst| row.set_address(*dst));
    rows.ranking(Dimension::Port, &holders.ports, |row, (proto, port)| {
        (row.protonum, row.port) = (proto.0, *port);
    });
    rows.ranking(Dimension::Protocol, &holders.protocols, |row, proto| row.protonum = proto.0);
    for (bucket, entries) in (0..).zip(holders.ages).filter(|(_, entries)| *entries > 0) {
        rows.one(Dimension::Age, bucket, entries);
    }
    if holders.age_unknown > 0 {
        rows.one(Dimension::AgeUnknown, 0, holders.age_unknown);
    }
    rows.ranking(Dimension::Arrivals, &holders.arrivals, |row, src| row.set_address(*src));
    rows.one(Dimension::ArrivalsWindow, 0, holders.arrivals_window_ns);
    rows.rows
}

struct Rows {
    blank: Holding,
    rows: Vec<Holding>,
}

impl Rows {
    fn one(&mut self, dimension: Dimension, port: u16, value: u64) {
        self.rows.push(Holding { dimension: dimension as u8, port, value, ..self.blank });
    }

    fn ranking<K>(&mut self, of: Dimension, ranking: &Ranking<K>, key: impl Fn(&mut Holding, &K)) {
        for (rank, (of_row, value)) in (0..).zip(&ranking.top) {
            let mut row = Holding { dimension: of as u8, rank, value: *value, ..self.blank };
            key(&mut row, of_row);
            self.rows.push(row);
        }
        if ranking.other > 0 {
            let (dimension, rank, value) = (of as u8, Holder::OTHER, ranking.other);
            self.rows.push(Holding { dimension, rank, value, ..self.blank });
        }
    }
}

impl Holding {
    fn set_address(&mut self, address: IpAddr) {
        (self.l3num, self.address) = address_bytes(address);
    }

    /// The address it names, if it is of a dimension that has one.
    pub fn address(&self) -> IpAddr {
        address(self.l3num.into(), self.address)
    }
}

/// Puts the rows of one picture together again. Rows of no sense are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picture {
    /// As far as its rows have come.
    pub holders: Holders,
}

impl Picture {
    /// Begins with the first row of a picture, and goes on with every other.
    pub fn take(&mut self, row: &Holding) {
        let Some(dimension) = Dimension::from_byte(row.dimension) else { return };
        let holders = &mut self.holders;
        match dimension {
            Dimension::Total => {
                *holders = Holders { ktime_ns: row.ktime_ns, entries: row.value, ..Holders::default() };
            }
            Dimension::Source => push(&mut holders.sources, row, Some(row.address())),
            Dimension::Prefix => {
                let network = IpNet::new(row.address(), row.prefix_len).ok();
                push(&mut holders.prefixes, row, network);
            }
            Dimension::Destination => push(&mut holders.destinations, row, Some(row.address())),
            Dimension::Port => push(&mut holders.ports, row, Some((Proto(row.protonum), row.port))),
            Dimension::Protocol => push(&mut holders.protocols, row, Some(Proto(row.protonum))),
            Dimension::Age => {
                if let Some(bucket) = holders.ages.get_mut(usize::from(row.port)) {
                    *bucket = row.value;
                }
            }
            Dimension::AgeUnknown => holders.age_unknown = row.value,
            Dimension::Arrivals => push(&mut holders.arrivals, row, Some(row.address())),
            Dimension::ArrivalsWindow => holders.arrivals_window_ns = row.value,
        }
    }
}

fn push<K>(ranking: &mut Ranking<K>, row: &Holding, key: Option<K>) {
    match key {
        _ if row.rank == Holder::OTHER => ranking.other = row.value,
        Some(key) => ranking.top.push((key, row.value)),
        None => ranking.other = ranking.other.saturating_add(row.value),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranking<K: std::fmt::Debug>(key: impl Strategy<Value = K>) -> impl Strategy<Value = Ranking<K>> {
        (prop::collection::vec((key, 1u64..1000), 0..11), 0u64..3)
            .prop_map(|(top, other)| Ranking { top, other })
    }

    fn source() -> impl Strategy<Value = IpAddr> {
        prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
    }

    fn network() -> impl Strategy<Value = IpNet> {
        (source(), 0u8..=32).prop_map(|(address, bits)| IpNet::new_assert(address, bits))
    }

    fn port() -> impl Strategy<Value = (Proto, u16)> {
        (any::<u8>().prop_map(Proto), any::<u16>())
    }

    prop_compose! {
        fn holders()(
            (ktime_ns, entries, arrivals_window_ns, age_unknown) in any::<(u64, u64, u64, u64)>(),
            sources in ranking(source()),
            prefixes in ranking(network()),
            destinations in ranking(source()),
            ports in ranking(port()),
            protocols in ranking(any::<u8>().prop_map(Proto)),
            ages in any::<[u64; 7]>(),
            arrivals in ranking(source()),
        ) -> Holders {
            Holders { ktime_ns, entries, sources, prefixes, destinations, ports, protocols, ages, age_unknown, arrivals, arrivals_window_ns }
        }
    }

    proptest! {
        #[test]
        fn a_picture_comes_back_as_it_was(holders in holders(), before in holders()) {
            let mut picture = Picture { holders: before };
            let rows = holdings(7, &holders);
            prop_assert_eq!(Dimension::from_byte(rows[0].dimension), Some(Dimension::Total));
            prop_assert_eq!(rows.last().map(|it| it.dimension), Some(Dimension::ArrivalsWindow as u8));
            rows.iter().for_each(|row| picture.take(row));
            prop_assert_eq!(picture.holders, holders);
        }
    }

    #[test]
    fn edges_and_audits_come_back_as_they_were() {
        use State::{Evicting, Ok, Pressure, Recovered, Refusing};
        for (was, state) in
            [(Ok, Pressure), (Pressure, Evicting), (Evicting, Refusing), (Refusing, Recovered)]
        {
            for level in [Level::default(), Level::new(3, 4), Level::new(0, 0)] {
                let edge = Edge { was, state, ktime_ns: 77, level };
                assert_eq!(Crossed::new(5, &edge).edge(), Some(edge));
            }
        }
        assert_eq!(Crossed { state: 5, ..Crossed::new(5, &EDGE) }.edge(), None);
        let report = AuditReport {
            number: 3,
            trigger: AuditTrigger::Missed,
            began_ktime_ns: 1,
            ended_ktime_ns: 2,
            entries: 4,
            repaired: Repaired { added: 5, removed: 6, replaced: 7 },
            buckets: 8,
            restarts: 9,
            cut_short: 10,
        };
        for abandoned in [false, true] {
            let audited = Audited { report, abandoned };
            assert_eq!(AuditDone::new(&audited).audited(), Some(audited));
        }
        let audited = Audited { report, abandoned: false };
        assert_eq!(AuditDone { trigger: 0, ..AuditDone::new(&audited) }.audited(), None);
    }

    const EDGE: Edge =
        Edge { was: State::Ok, state: State::Ok, ktime_ns: 0, level: Level { count: None, max: None } };
}
