//! The few sources that metrics name, and all others together: which they are changes seldom, and what they are said to
//! have done adds up to the totals.

use std::net::IpAddr;

use super::sources::Sums;

/// Sources by name, heaviest first, and the rest of every namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopSources {
    /// Those that are named.
    pub named: Vec<NamedSource>,
    /// Of each namespace what is of no named source, by its inode number; of namespace 0 what is of no namespace.
    pub others: Vec<Others>,
}

/// A source that is named.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedSource {
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Its address.
    pub src: IpAddr,
    /// Entries it holds.
    pub entries: u64,
    /// What happened since it is named: before, it was counted among the others.
    pub sums: Sums,
}

/// All sources of a namespace that are not named. Its sums never go back: what a source did while it was named is added
/// when it no longer is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Others {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Entries they hold.
    pub entries: u64,
    /// What happened so far.
    pub sums: Sums,
}
