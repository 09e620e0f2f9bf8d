//! Puts the picture of who held a table together again from its rows.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::engine::holders::Holders;
use crate::engine::recorded::{Dimension, Holder, Holding};
use crate::engine::tally::Ranking;
use crate::engine::tuple::{Proto, address};

/// Pictures being put together, by namespace.
#[derive(Debug, Default)]
pub(super) struct Pictures(BTreeMap<u32, Holders>);

impl Pictures {
    /// Takes a row; the last of a picture gives it out.
    pub fn add(&mut self, row: &Holding) -> Option<(u32, Holders)> {
        let dimension = Dimension::from_byte(row.dimension)?;
        if dimension == Dimension::Total {
            let begun = Holders { ktime_ns: row.ktime_ns, entries: row.value, ..Holders::default() };
            self.0.insert(row.netns, begun);
            return None;
        }
        let it = self.0.get_mut(&row.netns)?;
        let src = || address(row.l3num.into(), row.address);
        match dimension {
            Dimension::Source => push(&mut it.sources, row, src),
            Dimension::Prefix => push(&mut it.prefixes, row, || network(src(), row.prefix_len)),
            Dimension::Destination => push(&mut it.destinations, row, src),
            Dimension::Port => push(&mut it.ports, row, || (Proto(row.protonum), row.port)),
            Dimension::Protocol => push(&mut it.protocols, row, || Proto(row.protonum)),
            Dimension::Arrivals => push(&mut it.arrivals, row, src),
            Dimension::Age => *it.ages.get_mut(usize::from(row.port))? = row.value,
            Dimension::AgeUnknown => it.age_unknown = row.value,
            Dimension::ArrivalsWindow => {
                it.arrivals_window_ns = row.value;
                return self.0.remove(&row.netns).map(|picture| (row.netns, picture));
            }
            Dimension::Total => {}
        }
        None
    }
}

fn push<K>(ranking: &mut Ranking<K>, row: &Holding, key: impl FnOnce() -> K) {
    if row.rank == Holder::OTHER {
        ranking.other = row.value;
    } else {
        ranking.top.push((key(), row.value));
    }
}

fn network(address: IpAddr, bits: u8) -> IpNet {
    IpNet::new(address, bits).unwrap_or_else(|_| address.into())
}
