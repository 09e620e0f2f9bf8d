//! Which entries a table puts together, and which it leaves out.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::filter::Filter;
use super::live::Entry;
use super::query::{PrefixLengths, Query, View};
use super::sources::Sources;
use super::state::{EntryState, Sight};
use super::table::Key;
use super::tuple::Connection;

/// By what entries are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct By {
    view: View,
    prefix: PrefixLengths,
}

impl By {
    /// The groups of a view.
    pub fn new(view: View, prefix: PrefixLengths) -> Self {
        // What a prefix is makes no difference to the others.
        let prefix = if view == View::Prefixes { prefix } else { PrefixLengths::default() };
        Self { view, prefix }
    }

    /// The group of a connection.
    fn key(self, connection: &Connection, sight: Sight) -> Key {
        let Connection { netns, proto, src, dst, dport, .. } = *connection;
        match self.view {
            View::Prefixes => Key::Prefix(prefix(src, self.prefix)),
            View::Destinations => Key::Destination(dst),
            View::Ports => Key::Port(proto, if proto.has_ports() { dport } else { 0 }),
            View::States => Key::State(EntryState { proto, sight: sight.as_group() }),
            View::Netns => Key::Netns(netns),
            View::Sources | View::Causes | View::Episodes => Key::Source(src, netns),
        }
    }

    /// The group of a connection that something happened to.
    pub fn key_of_event(self, connection: &Connection) -> Key {
        self.key(connection, Sight::default())
    }

    /// Whether they are groups of one kind, if not of one length.
    pub fn is_same_view(self, other: &Self) -> bool {
        self.view == other.view
    }

    /// Whether what happens to connections has a group too: the state of an entry is only known when an audit sees it.
    pub fn has_sums(self) -> bool {
        self.view != View::States
    }
}

/// A table that the sums of sources and of namespaces cannot answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Grouping {
    /// By what.
    pub by: By,
    /// Of which entries and events. Marks are taken for 0: entries that live are not asked for theirs.
    pub filter: Filter,
}

impl Grouping {
    /// Of a query that asks for such a table.
    pub fn of(query: &Query) -> Option<Self> {
        let Query { view, ref filter, prefix, .. } = *query;
        let needed = match view {
            View::Destinations | View::Ports | View::States => true,
            View::Sources | View::Prefixes | View::Netns => filter.beyond_sources().is_some(),
            View::Causes | View::Episodes => false,
        };
        needed.then(|| Self { by: By::new(view, prefix), filter: filter.clone() })
    }

    /// The group of an entry that the filter lets through.
    #[inline]
    pub fn key_of(&self, entry: &Entry, sources: &Sources, all_pass: bool) -> Option<Key> {
        match self.by.view {
            // Without a look at the source, which is likely not in the caches.
            View::Destinations if all_pass => return Some(Key::Destination(entry.dst)),
            View::Ports | View::States if all_pass => {
                let nobody = entry.connection(0, entry.dst);
                return Some(self.by.key(&nobody, entry.sight));
            }
            _ => {}
        }
        let source = sources.get(entry.source);
        let connection = entry.connection(source.netns, source.src);
        self.filter.matches(&connection, 0).then(|| self.by.key(&connection, entry.sight))
    }
}

/// The network of an address; lengths beyond the address's are its own.
pub fn prefix(address: IpAddr, lengths: PrefixLengths) -> IpNet {
    match address {
        IpAddr::V4(v4) => IpNet::V4(Ipv4Net::new_assert(v4, lengths.v4.min(32)).trunc()),
        IpAddr::V6(v6) => IpNet::V6(Ipv6Net::new_assert(v6, lengths.v6.min(128)).trunc()),
    }
}
