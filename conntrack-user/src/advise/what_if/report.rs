//! What a simulation comes to.

use super::super::changes::Changes;
use super::super::collector::Pace;
use super::super::timeouts::Timeout;

/// What would have been, beside what was.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// What was set otherwise.
    pub changes: Changes,
    /// The way in which the kernel collects expired entries.
    pub pace: Pace,
    /// Of the first record, CLOCK_MONOTONIC.
    pub began_ktime_ns: u64,
    /// Of the last.
    pub ended_ktime_ns: u64,
    /// Peaks, means and losses are those up to here: what shorter timeouts would have ended later was not freed yet
    /// when the recording ended.
    pub known_until_ktime_ns: u64,
    /// Each network namespace that had entries or refusals, in the order of their numbers.
    pub netns: Vec<NetnsPrediction>,
    /// Bytes of the table.
    pub memory: Memory,
    /// What the recording lacks.
    pub doubts: Doubts,
}

/// Two numbers of the same kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Both<T> {
    /// As it was.
    pub recorded: T,
    /// As it would have been.
    pub predicted: T,
}

/// The most entries at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peak {
    /// How many.
    pub entries: u64,
    /// When it was first so, CLOCK_MONOTONIC; 0 if there never was one.
    pub ktime_ns: u64,
}

/// What happens for want of room: refusals, or evictions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// As it was.
    pub recorded: u64,
    /// Of those, what would not have happened.
    pub avoided: u64,
    /// What would have happened besides.
    pub caused: u64,
}

impl Losses {
    /// What would have happened.
    pub const fn predicted(self) -> u64 {
        self.recorded - self.avoided + self.caused
    }
}

/// A network namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct NetnsPrediction {
    /// Inode number.
    pub netns: u32,
    /// Its name, if that was recorded.
    pub name: Option<String>,
    /// `nf_conntrack_max`; None if it was neither recorded nor changed.
    pub max: Both<Option<u32>>,
    /// The most entries at once.
    pub peak: Both<Peak>,
    /// Entries in the mean over the recording.
    pub mean: Both<f64>,
    /// Allocations refused.
    pub refused: Losses,
    /// Entries evicted.
    pub evicted: Losses,
    /// By what entries were held, largest part first.
    pub occupancy: Occupancy,
    /// Entries there when the recording ended.
    pub alive: u64,
    /// Of those, the ones that a timeout which would be shorter may have ended: older than it, and of its protocol.
    pub alive_perhaps_gone: u64,
    /// Whether any timeout of this namespace was recorded; else the kernel's defaults are taken.
    pub timeouts_recorded: bool,
}

/// What the entries of a namespace were there for, in entries in the mean over the recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Occupancy {
    /// Waiting for a timeout to run out, by timeout; largest part first.
    pub waiting: Vec<Waiting>,
    /// In use: until the last packet, as far as the end tells; and all the life of those that were killed or evicted.
    pub active: f64,
    /// Their end is not known: alive when the recording ended, or nothing tells what ended them.
    pub unknown: f64,
}

/// Entries that one timeout held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Waiting {
    /// Which.
    pub timeout: Timeout,
    /// Its values in seconds.
    pub seconds: Both<u64>,
    /// Entries that it ended.
    pub ended: u64,
    /// Entries in the mean that did nothing but wait for it, and for the collector after it.
    pub entries: f64,
}

/// What the table takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Of one entry and what belongs to it.
    pub entry_bytes: u64,
    /// Buckets; None if they were neither recorded nor changed.
    pub buckets: Both<Option<u64>>,
    /// All peaks together, and the buckets.
    pub at_peak: Both<u64>,
    /// Entries up to the limit, and the buckets; None without a limit.
    pub at_limit: Both<Option<u64>>,
}

/// What the recording lacks, so that a prediction is worth less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doubts {
    /// Whether there was any entry at all: else it is no recording with `--entries`.
    pub no_entries: bool,
    /// Entries whose beginning is not in the recording.
    pub older: u64,
    /// Freed entries of TCP whose state was not recorded.
    pub stateless: u64,
    /// Entries freed before their timeout could have run out.
    pub killed: u64,
    /// Frees of entries that are not known.
    pub unknown_free: u64,
    /// Records that the rings lost, drains that the recorder could not take, and places where a file is damaged.
    pub lost: u64,
    /// Refusals that are known by their sum only.
    pub summed: u64,
    /// Deaths that came too late in the recording to be moved as far back as they should be.
    pub cut_short: u64,
}

impl Prediction {
    /// Why it is worth less than it could be, a sentence each; none if nothing is missing.
    pub fn caveats(&self) -> Vec<String> {
        let Doubts { no_entries, older, stateless, killed, unknown_free, lost, summed, cut_short } =
            self.doubts;
        let counted = [
            (older, "entries were there before the recording: when they began is not known"),
            (killed, "entries ended before their timeout had run out and are left as they are"),
            (stateless, "freed TCP entries told no state that has a timeout, and are left as they are"),
            (unknown_free, "freed entries were not known"),
            (lost, "records, drains or pieces of a file are missing"),
            (summed, "refusals are known by their sums only, and each is taken for a connection of its own"),
            (cut_short, "ends could not be moved as far back as they should: the peak is too high"),
        ];
        let counted = counted.into_iter().filter(|(count, _)| *count > 0);
        let mut all: Vec<_> = counted.map(|(count, what)| format!("{count} {what}")).collect();
        if no_entries {
            all.push("the recording has no entries: record with --entries to try other settings".to_owned());
        }
        let span_s = self.ended_ktime_ns.saturating_sub(self.began_ktime_ns) / 1_000_000_000;
        for (timeout, seconds) in self.changes.timeouts.iter().filter(|(_, seconds)| *seconds > span_s) {
            all.push(format!(
                "the recording is shorter than {}={seconds}: what would be left from before it is not known",
                timeout.short_name()
            ));
        }
        for (netns, it) in
            self.netns.iter().flat_map(|of| of.occupancy.waiting.iter().map(|it| (of.netns, it)))
        {
            if it.seconds.recorded.saturating_sub(it.seconds.predicted) > span_s / 2 {
                all.push(format!(
                    "the recording is too short for {}={} in netns {netns}: most of what that would have ended was \
                     there to its end and is counted",
                    it.timeout.short_name(),
                    it.seconds.predicted
                ));
            }
        }
        let unknown_ns = self.ended_ktime_ns.saturating_sub(self.known_until_ktime_ns);
        if unknown_ns > 0 {
            all.push(format!(
                "the last {:.0} s of the recording are left out: what would have ended in them was not freed yet",
                unknown_ns as f64 / 1e9
            ));
        }
        for it in self.netns.iter().filter(|it| !it.timeouts_recorded && !self.changes.timeouts.is_empty()) {
            all.push(format!(
                "the timeouts of netns {} were not recorded: the kernel's defaults are taken",
                it.netns
            ));
        }
        all
    }

    /// What it rests on, a sentence each.
    pub fn assumptions(&self) -> Vec<String> {
        let mut all = vec![
            "packets come as they came: nobody opens more or fewer connections because of the settings".to_owned(),
            "an entry that ended when its timeout had run out began to wait one timeout and the collector's delay \
             before; with another timeout it ends that much earlier or later"
                .to_owned(),
            "nothing is known of pauses inside a connection: one that a shorter timeout would have cut off lives on"
                .to_owned(),
            "an entry freed before its timeout had run out was killed or replaced, and ends when it did".to_owned(),
            match self.pace {
                Pace::Adaptive => "expired entries are counted until the kernel collects them: every 1 to 60 s by the \
                                   mean time entries have left, or when a packet comes across them as often as in the \
                                   recording"
                    .to_owned(),
                Pace::Fixed => "expired entries are counted until the kernel collects them: every 120 s, or when a \
                                packet comes across them as often as in the recording"
                    .to_owned(),
            },
            "an admitted connection lives as long as others of its source, protocol and destination port did in the \
             mean, else as others of its protocol; repeated attempts of one tuple are one connection"
                .to_owned(),
            "an entry spared from eviction lives until its timeout".to_owned(),
        ];
        if self.changes.max.is_some() || self.netns.iter().any(|it| it.refused.caused > 0) {
            let over = "over the limit each new connection is refused; the kernel may evict one that is not assured \
                        instead, so part of the refusals caused may be evictions";
            all.push(over.to_owned());
        }
        if !self.changes.timeouts.is_empty() {
            all.push(
                "a timeout counts from an entry's next packet on, so after a change old entries go first"
                    .to_owned(),
            );
        }
        all.push(format!(
            "an entry takes {} bytes: its slab object and 128 of extensions; a bucket 8",
            self.memory.entry_bytes
        ));
        all
    }
}
