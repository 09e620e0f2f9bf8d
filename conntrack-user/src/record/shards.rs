//! The files of a directory that a recorder keeps: their names, how long they grow, and which of them have to go.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// What a directory of recordings may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// All files together.
    pub max_bytes: u64,
    /// How long what is recorded is kept; without it, as long as there is room.
    pub max_age: Option<Duration>,
}

/// A sixteenth of what is kept goes at a time.
const SHARDS: u32 = 16;
const SMALLEST: u64 = 1 << 20;
const LARGEST: u64 = 64 << 20;

impl Retention {
    /// How long a file gets before the next one begins.
    pub fn shard_bytes(&self) -> u64 {
        (self.max_bytes / u64::from(SHARDS)).clamp(SMALLEST, LARGEST)
    }

    /// After what time the next one begins, however short it is.
    pub fn shard_age(&self) -> Option<Duration> {
        Some(self.max_age? / SHARDS)
    }

    /// How many of the files before the one being written have to go. They come oldest first.
    pub fn outdated(&self, before: &[Shard], being_written: &Name) -> usize {
        // A file ends with a whole block, so it may get somewhat longer.
        let mut left = self.max_bytes.saturating_sub(self.shard_bytes() + self.shard_bytes() / 8);
        let fit = before.iter().rev().take_while(|shard| {
            let fits = shard.bytes <= left;
            left = left.saturating_sub(shard.bytes);
            fits
        });
        let too_many = before.len() - fit.count();
        let ends = before.iter().skip(1).map(|next| &next.name).chain([being_written]);
        let now = being_written.began;
        let old =
            |end: &Name| self.max_age.is_some_and(|age| now.duration_since(end.began).unsigned_abs() > age);
        let too_old = ends.take_while(|end| end.began < now && old(end)).count();
        too_many.max(too_old.min(before.len()))
    }
}

/// A file of the directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard {
    /// What it is called.
    pub name: Name,
    /// How long it is.
    pub bytes: u64,
}

/// What a file of a directory is called; in the order they were made, if the wall clock was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// When it was begun, to the second.
    pub began: Timestamp,
    /// Which of its session.
    pub sequence: u32,
}

impl Name {
    /// As it stands in the directory: `ctwatch-20261120T101503Z-0001.ctw`.
    pub fn to_file_name(self) -> String {
        format!("ctwatch-{}-{:04}.ctw", self.began.strftime("%Y%m%dT%H%M%SZ"), self.sequence)
    }

    /// None of anything that is not named so.
    pub fn parse(file_name: &str) -> Option<Self> {
        let (began, sequence) = file_name.strip_prefix("ctwatch-")?.strip_suffix(".ctw")?.split_once('-')?;
        let began = DateTime::strptime("%Y%m%dT%H%M%SZ", began).ok()?;
        let began = began.to_zoned(TimeZone::UTC).ok()?.timestamp();
        let name = Self { began, sequence: sequence.parse().ok()? };
        (name.to_file_name() == file_name).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn name(hour: i64) -> Name {
        let began = Timestamp::from_second(1_795_000_000 + hour * 3_600).expect("a time within range");
        Name { began, sequence: 1 + hour as u32 }
    }

    fn shards(bytes: &[u64]) -> Vec<Shard> {
        (0..).zip(bytes).map(|(hour, bytes)| Shard { name: name(hour), bytes: *bytes }).collect()
    }

    #[test]
    fn names_go_there_and_back_and_others_are_not_ours() {
        let name = Name { began: "2026-11-20T10:15:03Z".parse().expect("a time"), sequence: 1 };
        assert_eq!(name.to_file_name(), "ctwatch-20261120T101503Z-0001.ctw");
        for sequence in [1, 9_999, 10_000, u32::MAX] {
            let name = Name { sequence, ..name };
            assert_eq!(Name::parse(&name.to_file_name()), Some(name));
        }
        for other in [
            "ctwatch-20261120T101503Z-1.ctw",
            "ctwatch-20261120T101503Z-+001.ctw",
            "ctwatch-20261120T101503Z-0001.ctw.bak",
            "ctwatch-20261120T101503-0001.ctw",
            "ctwatch-20261320T101503Z-0001.ctw",
            "notes.ctw",
            "",
        ] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }

    #[test]
    fn files_are_a_sixteenth_within_bounds() {
        let shard = |max_bytes| Retention { max_bytes, max_age: None }.shard_bytes();
        assert_eq!([shard(2 * MIB), shard(160 * MIB), shard(100 << 30)], [MIB, 10 * MIB, 64 * MIB]);
    }

    #[test]
    fn the_oldest_go_until_the_next_has_room() {
        let retention = Retention { max_bytes: 16 * MIB, max_age: None };
        let outdated = |bytes: &[u64]| retention.outdated(&shards(bytes), &name(99));
        assert_eq!(outdated(&[]), 0);
        assert_eq!(outdated(&[MIB; 14]), 0);
        assert_eq!(outdated(&[MIB; 15]), 1);
        assert_eq!(outdated(&[MIB, 90 * MIB, MIB]), 2);
        assert_eq!(outdated(&[MIB, 1, 90 * MIB]), 3);
    }

    #[test]
    fn what_ended_too_long_ago_goes() {
        let retention = Retention { max_bytes: 1 << 40, max_age: Some(Duration::from_secs(3 * 3_600)) };
        // They end at 1, 2, 3 and, the last, with the one being written.
        let outdated = |now| retention.outdated(&shards(&[MIB; 4]), &name(now));
        assert_eq!([outdated(4), outdated(5), outdated(6), outdated(90)], [0, 1, 2, 3]);
        // The clock was set back.
        assert_eq!(outdated(-50), 0);
    }
}
