//! Why connections were lost or cut off, as one list of causes.

use conntrack_common::{self as common, InsertCause};

/// A cause by its name in docs/causes.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The table was full.
    TableFull,
    /// There was no memory.
    NoMemory,
    /// ctnetlink or a BPF kfunc asked, not a packet.
    Ctnetlink,
    /// `early_drop` made room.
    Evicted,
    /// Another packet of the same connection was faster.
    Clash,
    /// A hash chain was too long.
    ChainTooLong,
    /// NAT found no free port.
    NatPorts,
    /// The entry was killed before its first packet left.
    Dying,
    /// Not inserted; only the kernel's statistics tell.
    Failed,
    /// A rule dropped the first packet.
    Unconfirmed,
}

/// What kind of loss a cause is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// An allocation failed.
    Refused,
    /// An entry was cut off.
    Evicted,
    /// An entry was not inserted.
    Failed,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Refused, Self::Evicted, Self::Failed];

    /// As it is written in every format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Evicted => "evicted",
            Self::Failed => "failed",
        }
    }
}

impl Cause {
    /// All of them, in the order they are documented.
    pub const ALL: [Self; 10] = [
        Self::TableFull,
        Self::NoMemory,
        Self::Ctnetlink,
        Self::Evicted,
        Self::Clash,
        Self::ChainTooLong,
        Self::NatPorts,
        Self::Dying,
        Self::Failed,
        Self::Unconfirmed,
    ];

    /// Its name in every format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TableFull => "table_full",
            Self::NoMemory => "no_memory",
            Self::Ctnetlink => "ctnetlink",
            Self::Evicted => "evicted",
            Self::Clash => "clash",
            Self::ChainTooLong => "chain_too_long",
            Self::NatPorts => "nat_ports",
            Self::Dying => "dying",
            Self::Failed => "failed",
            Self::Unconfirmed => "unconfirmed",
        }
    }

    /// The kind of loss; none of `unconfirmed`, which is the rules' doing.
    pub const fn class(self) -> Option<Class> {
        match self {
            Self::TableFull | Self::NoMemory | Self::Ctnetlink => Some(Class::Refused),
            Self::Evicted => Some(Class::Evicted),
            Self::Clash | Self::ChainTooLong | Self::NatPorts | Self::Dying | Self::Failed => {
                Some(Class::Failed)
            }
            Self::Unconfirmed => None,
        }
    }

    /// The cause that stands for those of a class that nobody told one by one.
    pub const fn unknown_of(class: Class) -> Self {
        match class {
            Class::Refused => Self::TableFull,
            Class::Evicted => Self::Evicted,
            Class::Failed => Self::Failed,
        }
    }
}

impl From<common::Cause> for Cause {
    fn from(cause: common::Cause) -> Self {
        match cause {
            common::Cause::TableFull => Self::TableFull,
            common::Cause::NoMemory => Self::NoMemory,
            common::Cause::Ctnetlink => Self::Ctnetlink,
        }
    }
}

impl From<InsertCause> for Cause {
    fn from(cause: InsertCause) -> Self {
        match cause {
            InsertCause::Clash => Self::Clash,
            InsertCause::ChainTooLong => Self::ChainTooLong,
            InsertCause::NatPorts => Self::NatPorts,
            InsertCause::Dying => Self::Dying,
        }
    }
}

/// A number for each cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByCause([u64; Cause::ALL.len()]);

impl ByCause {
    /// Of one cause.
    pub fn of(&self, cause: Cause) -> u64 {
        self.0[cause as usize]
    }

    /// Adds to one cause.
    pub fn add(&mut self, cause: Cause, count: u64) {
        let sum = &mut self.0[cause as usize];
        *sum = sum.saturating_add(count);
    }

    /// Adds another's.
    pub fn add_all(&mut self, other: &Self) {
        for cause in Cause::ALL {
            self.add(cause, other.of(cause));
        }
    }

    /// What is left without another's.
    #[must_use]
    pub fn without(mut self, other: &Self) -> Self {
        for (sum, less) in self.0.iter_mut().zip(other.0) {
            *sum = sum.saturating_sub(less);
        }
        self
    }

    /// Of all causes of a class.
    pub fn class(&self, class: Class) -> u64 {
        let of = Cause::ALL.into_iter().filter(|cause| cause.class() == Some(class));
        of.fold(0, |sum: u64, cause| sum.saturating_add(self.of(cause)))
    }

    /// Refused, evicted and failed.
    pub fn total(&self) -> u64 {
        Class::ALL.into_iter().fold(0, |sum: u64, class| sum.saturating_add(self.class(class)))
    }

    /// Each cause that has any.
    pub fn iter(&self) -> impl Iterator<Item = (Cause, u64)> {
        Cause::ALL.into_iter().map(|cause| (cause, self.of(cause))).filter(|(_, count)| *count > 0)
    }
}
