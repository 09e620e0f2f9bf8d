//! What each metric's values are at one time.

mod netns;
mod node_exporter;
mod own;
mod sources;
mod trust;

use std::borrow::Cow;

use hashbrown::HashMap;

use super::family::Family;
use super::{Options, Scrape};

/// Every metric with its values, in the order they are declared: those without values too, but not those that were not
/// asked for.
pub fn families<'a>(scrape: &'a Scrape, options: &Options) -> Vec<Family<'a>> {
    let names = Names::of(scrape);
    let mut families = netns::families(scrape, &names);
    families.extend(sources::families(&scrape.sources, &names));
    families.extend(netns::kernel(&scrape.snapshot));
    families.extend(trust::families(&scrape.snapshot));
    families.extend(own::families(&scrape.own));
    if options.node_exporter {
        families.extend(node_exporter::families(&scrape.snapshot));
    }
    families
}

/// Names of namespaces, as far as they have any.
struct Names<'a>(HashMap<u32, &'a str>);

impl<'a> Names<'a> {
    fn of(scrape: &'a Scrape) -> Self {
        let named = scrape.snapshot.netns.iter().filter_map(|row| Some((row.netns, row.name.as_deref()?)));
        Self(named.collect())
    }

    /// The labels of a namespace.
    fn labels(&self, netns: u32) -> [Cow<'a, str>; 2] {
        labels(netns, self.0.get(&netns).copied())
    }
}

/// The labels of all namespaces together that are gone.
fn gone<'a>() -> [Cow<'a, str>; 2] {
    ["gone".into(), "".into()]
}

/// The labels of a namespace of that name.
fn labels(netns: u32, name: Option<&str>) -> [Cow<'_, str>; 2] {
    [netns.to_string().into(), name.unwrap_or_default().into()]
}

/// The labels of a namespace and another.
fn and<'a>([netns, name]: [Cow<'a, str>; 2], other: impl Into<Cow<'a, str>>) -> [Cow<'a, str>; 3] {
    [netns, name, other.into()]
}

/// Nanoseconds as seconds.
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
