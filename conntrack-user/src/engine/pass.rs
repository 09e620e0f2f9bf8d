//! What only a pass over the live table can tell: made at most once per interval, and only if it is asked for.

use hashbrown::HashMap;

use super::grouping::Grouping;
use super::holders::Profile;
use super::lifetimes::Oldest;
use super::live::{Entry, Live};
use super::query::Focus;
use super::sources::Sources;
use super::state::EntryState;
use super::table::{Key, Row};
use super::tally::Tally;

/// Tables kept: going back and forth between views costs nothing.
const TABLES: usize = 4;

/// Protocols times states that entries may be in are fewer.
const STATES: usize = 4096;

/// Entries that belong together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// How many.
    pub entries: u64,
    /// How many of them the kernel may evict: not assured when an audit saw them last.
    pub evictable: u64,
    /// How many of them no audit has seen yet.
    pub unseen: u64,
    /// The oldest.
    pub oldest: Oldest,
}

impl Held {
    #[inline]
    fn see(&mut self, entry: &Entry) {
        self.entries += 1;
        self.evictable += u64::from(entry.sight.is_known() && !entry.sight.assured());
        self.unseen += u64::from(!entry.sight.is_known());
        self.oldest.see(entry.born_ktime_ns);
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        let Self { entries, evictable, unseen, oldest } = other;
        self.entries += entries;
        self.evictable += evictable;
        self.unseen += unseen;
        self.oldest.add(oldest);
    }
}

/// Entries by group.
pub type Groups = HashMap<Key, Held>;

/// The entries of one source.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Destinations, ports and ages.
    pub profile: Profile,
    /// Protocols and states.
    pub states: Tally<EntryState>,
}

/// A table by group as it was at the end of a pass, so that to sort it otherwise costs no more than that.
#[derive(Debug)]
pub struct Grouped {
    /// When.
    pub ktime_ns: u64,
    /// In no order; ages are those then.
    pub rows: Vec<Row>,
}

/// What the passes of this interval found.
#[derive(Debug, Default)]
pub struct Passes {
    /// By network namespace, once sources know theirs.
    netns: Option<HashMap<u32, Held>>,
    tables: Vec<(Grouping, Grouped)>,
    picture: Option<(Focus, Picture)>,
}

/// What is needed now.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The oldest entry of each source, and all of each namespace.
    pub sources: bool,
    /// Of each group.
    pub grouping: Option<&'a Grouping>,
    /// What one source holds.
    pub focus: Option<Focus>,
}

impl Passes {
    /// All is to be found anew.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Finds out what is wanted and not known yet: one pass or none. The groups that were found are the caller's to
    /// make a table of.
    pub fn find(
        &mut self,
        wanted: Wanted<'_>,
        ktime_ns: u64,
        live: &Live,
        sources: &mut Sources,
    ) -> Option<Groups> {
        let every_source = wanted.sources && self.netns.is_none();
        let grouping = wanted.grouping.filter(|it| self.grouped(it).is_none());
        let focus = wanted.focus.filter(|it| self.picture(it).is_none());
        if !every_source && grouping.is_none() && focus.is_none() {
            return None;
        }
        let mut by_source = vec![Held::default(); if every_source { sources.slots() } else { 0 }];
        let mut groups = Groups::new();
        let all_pass = grouping.is_some_and(|it| it.filter.is_empty());
        let whose = focus.and_then(|focus| sources.find(focus.netns, focus.src));
        let mut picture = Picture { profile: Profile::new(ktime_ns), states: Tally::new(STATES) };
        for entry in live.iter() {
            if let Some(held) = by_source.get_mut(entry.source.index()) {
                held.see(entry);
            }
            if let Some(grouping) = grouping
                && let Some(key) = grouping.key_of(entry, sources, all_pass)
            {
                groups.entry(key).or_default().see(entry);
            }
            if Some(entry.source) == whose {
                picture.see(entry);
            }
        }
        if every_source {
            self.netns = Some(by_netns(&by_source, sources));
        }
        if let Some(focus) = focus {
            self.picture = Some((focus, picture));
        }
        grouping.map(|_| groups)
    }

    /// Keeps a table.
    pub fn keep(&mut self, grouping: &Grouping, table: Grouped) {
        self.drop_table(grouping);
        self.tables.truncate(TABLES - 1);
        self.tables.insert(0, (grouping.clone(), table));
    }

    /// Does not keep a table any more.
    pub fn drop_table(&mut self, grouping: &Grouping) {
        self.tables.retain(|(of, _)| of != grouping);
    }

    /// A table that is kept.
    pub fn grouped(&self, grouping: &Grouping) -> Option<&Grouped> {
        self.tables.iter().find(|(of, _)| of == grouping).map(|(_, table)| table)
    }

    /// What a source holds.
    pub fn picture(&self, focus: &Focus) -> Option<&Picture> {
        self.picture.as_ref().filter(|(of, _)| of == focus).map(|(_, picture)| picture)
    }

    /// What a network namespace holds.
    pub fn netns(&self, inum: u32) -> Held {
        self.netns.as_ref().and_then(|all| all.get(&inum)).copied().unwrap_or_default()
    }
}

impl Picture {
    fn see(&mut self, entry: &Entry) {
        self.profile.see(entry);
        self.states.add(EntryState { proto: entry.proto, sight: entry.sight.as_group() }, 1);
    }
}

/// Tells each source of its oldest entry, and sums by namespace.
fn by_netns(by_source: &[Held], sources: &mut Sources) -> HashMap<u32, Held> {
    let mut all: HashMap<u32, Held> = HashMap::new();
    sources.each_aside(|id, source, aside| {
        let held = by_source.get(id.index()).copied().unwrap_or_default();
        aside.oldest = held.oldest;
        if held.entries > 0 {
            all.entry(source.netns).or_default().add(&held);
        }
    });
    all
}
