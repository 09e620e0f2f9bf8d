//! The sources that are named, and all others.

use std::borrow::Cow;

use super::super::declared as d;
use super::super::family::{Family, Metric};
use super::{Names, and, gone};
use crate::engine::sources::Sums;
use crate::engine::top_sources::TopSources;

/// What the others are called together.
const OTHER: &str = "other";

pub(super) fn families<'a>(sources: &'a TopSources, names: &Names<'a>) -> [Family<'a>; 3] {
    let family = |metric: &'static Metric, value: fn(u64, &Sums) -> u64| {
        let mut family = Family::of(metric);
        for it in &sources.named {
            let src: Cow<'_, str> = it.src.to_string().into();
            family.push(and(names.labels(it.netns), src), value(it.entries, &it.sums));
        }
        for it in &sources.others {
            family.push(and(names.labels(it.netns), OTHER), value(it.entries, &it.sums));
        }
        family.push(and(gone(), OTHER), value(sources.gone.entries, &sources.gone.sums()));
        family
    };
    [
        family(&d::SOURCE_ENTRIES, |entries, _| entries),
        family(&d::SOURCE_NEW, |_, sums| sums.new),
        family(&d::SOURCE_REFUSED, |_, sums| sums.refused),
    ]
}
