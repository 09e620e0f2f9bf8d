//! Every metric, declared here and nowhere else.

use super::family::{Kind, Metric};

use Kind::{Counter, Gauge, Histogram, Info, Summary};

/// Metrics that belong together.
#[derive(Debug)]
pub struct Section {
    /// A heading.
    pub title: &'static str,
    /// In the order they are written.
    pub metrics: &'static [&'static Metric],
}

/// Declares metrics as statics, and all of them in sections.
macro_rules! declare {
    ($($title:literal { $($metric:ident = $declared:expr;)* })*) => {
        $($(#[doc = stringify!($metric)] pub static $metric: Metric = $declared;)*)*

        /// All of them.
        pub static SECTIONS: &[Section] = &[$(Section { title: $title, metrics: &[$(&$metric),*] }),*];
    };
}

/// Labels of what belongs to a network namespace: its inode number, and its name or nothing.
const NETNS: &[&str] = &["netns", "netns_name"];
const CAUSE: &[&str] = &["netns", "netns_name", "cause"];
const SOURCE: &[&str] = &["netns", "netns_name", "src"];

const NO_COUNT: &str = "the kernel's count cannot be read";
const NOTHING_READ: &str = "the kernel's statistics were not read, or are all that is known";
const NO_HOOK: &str = "no `on_saturation` is configured";
const NO_AUDIT: &str = "no audit has ended yet";
const NO_INIT: &str =
    "not asked for, or the first process's network namespace is not known or has never tracked anything";

declare! {
    "Network namespaces" {
        ENTRIES = Metric::new(Gauge, "ctwatch_entries", "Entries of the namespace by the kernel's own count")
            .by(NETNS).absent(NO_COUNT);
        ENTRIES_LIMIT = Metric::new(
            Gauge,
            "ctwatch_entries_limit",
            "Entries the namespace may have (nf_conntrack_max)",
        ).by(NETNS).absent("there is no limit, or it cannot be read");
        LIVE_ENTRIES = Metric::new(
            Gauge,
            "ctwatch_live_entries",
            "Entries of the namespace that ctwatch knows one by one",
        ).by(NETNS);
        UNACCOUNTED_ENTRIES = Metric::new(
            Gauge,
            "ctwatch_unaccounted_entries",
            "Entries the kernel counts and ctwatch does not know; below 0 where it knows too many",
        ).by(NETNS).absent(NO_COUNT);
        EVICTABLE_ENTRIES = Metric::new(
            Gauge,
            "ctwatch_evictable_entries",
            "Entries the kernel may evict to make room: not assured when the last audit saw them",
        ).by(NETNS);
        UNAUDITED_ENTRIES = Metric::new(
            Gauge,
            "ctwatch_unaudited_entries",
            "Entries that came since the last audit, of which it is not known whether they are evictable",
        ).by(NETNS);
        TIME_TO_FULL = Metric::new(
            Gauge,
            "ctwatch_time_to_full_seconds",
            "Time until the limit is reached if entries grow on as they do now",
        ).by(NETNS).absent("entries do not grow, or there is no limit");
        STATE = Metric::new(
            Gauge,
            "ctwatch_state",
            "1 for the state the namespace is in, 0 for others: ok, recovered, pressure, evicting, refusing",
        ).by(&["netns", "netns_name", "state"]);
        EPISODES = Metric::new(
            Counter,
            "ctwatch_episodes",
            "Episodes of saturation that have begun",
        ).by(NETNS);
        EPISODE_OPEN = Metric::new(
            Gauge,
            "ctwatch_episode_open",
            "Whether an episode of saturation lasts",
        ).by(NETNS);
        LAST_EPISODE = Metric::new(
            Gauge,
            "ctwatch_last_episode_timestamp_seconds",
            "When the last episode of saturation began, since 1970",
        ).by(NETNS).absent("there was none");
        NEW = Metric::new(
            Counter,
            "ctwatch_new",
            "Entries allocated; of netns 0 those of no known namespace, of netns gone those of all that are",
        ).by(NETNS);
        FREED = Metric::new(
            Counter,
            "ctwatch_freed",
            "Entries freed; of netns 0 those of no known namespace, of netns gone those of all that are",
        ).by(NETNS);
        REFUSED = Metric::new(
            Counter,
            "ctwatch_refused",
            "Connections refused by cause: table_full, no_memory, ctnetlink",
        ).by(CAUSE);
        EVICTED = Metric::new(
            Counter,
            "ctwatch_evicted",
            "Entries cut off to make room for new ones",
        ).by(NETNS);
        INSERT_FAILED = Metric::new(
            Counter,
            "ctwatch_insert_failed",
            "Entries not inserted by cause: clash, chain_too_long, nat_ports, dying, failed (not known)",
        ).by(CAUSE);
        UNCONFIRMED = Metric::new(
            Counter,
            "ctwatch_unconfirmed",
            "Entries freed before they were confirmed though nothing failed: a rule dropped their packet",
        ).by(NETNS);
        LIFETIME = Metric::new(
            Histogram,
            "ctwatch_lifetime_seconds",
            "How long entries lived that were freed and whose birth was seen",
        ).by(NETNS);
    }
    "Sources" {
        SOURCE_ENTRIES = Metric::new(
            Gauge,
            "ctwatch_source_entries",
            "Entries that a source holds",
        ).by(SOURCE);
        SOURCE_NEW = Metric::new(Counter, "ctwatch_source_new", "Entries allocated for a source").by(SOURCE);
        SOURCE_REFUSED = Metric::new(
            Counter,
            "ctwatch_source_refused",
            "Connections of a source refused",
        ).by(SOURCE);
    }
    "The kernel's statistics" {
        KERNEL_STATISTIC = Metric::new(
            Counter,
            "ctwatch_kernel_statistic",
            "What the kernel itself counted since ctwatch was attached, by the names of conntrack -S",
        ).by(&["netns", "netns_name", "statistic"]).absent(NOTHING_READ);
        COUNTED_STATISTIC = Metric::new(
            Counter,
            "ctwatch_counted_statistic",
            "What ctwatch counted of the same until the kernel's were read last: the difference was not seen",
        ).by(&["netns", "netns_name", "statistic"]).absent(NOTHING_READ);
        CLASHES_RESOLVED = Metric::new(
            Counter,
            "ctwatch_clashes_resolved",
            "Clashes of all namespaces in which no packet was lost",
        );
        CONNTRACK_ABSENT = Metric::new(
            Gauge,
            "ctwatch_conntrack_absent",
            "Whether conntrack is not there: its module is not loaded",
        );
        CONNTRACK_ABSENCES = Metric::new(Counter, "ctwatch_conntrack_absences", "Times conntrack went away");
        CONNTRACK_ABSENT_SECONDS = Metric::new(
            Counter,
            "ctwatch_conntrack_absent_seconds",
            "How long conntrack was away, all absences that are over together",
        );
    }
    "What the numbers are worth" {
        BUILD = Metric::new(Info, "ctwatch_build", "The version that runs").by(&["version"]);
        BACKEND = Metric::new(Info, "ctwatch_backend", "How events are come by").by(&["backend"]);
        DEGRADATIONS = Metric::new(
            Gauge,
            "ctwatch_degradations",
            "What the backend lacks, or why there is no better one",
        );
        DEGRADATION = Metric::new(Info, "ctwatch_degradation", "One for each degradation, in words")
            .by(&["degradation"]).absent("there is none");
        ATTACHED = Metric::new(
            Gauge,
            "ctwatch_attached_timestamp_seconds",
            "When counting began, since 1970",
        );
        EVENTS = Metric::new(
            Counter,
            "ctwatch_events",
            "Events seen: new, freed, refused, evicted, not inserted",
        );
        LOST = Metric::new(
            Counter,
            "ctwatch_lost",
            "Events the rings had no room for, by ring: entries, incidents",
        ).by(&["ring"]);
        UNMATCHED = Metric::new(
            Counter,
            "ctwatch_unmatched",
            "Returns of kernel functions whose call was not caught: of a refusal among them nobody knows whose",
        );
        MISSED = Metric::new(
            Counter,
            "ctwatch_missed",
            "Events missed, as the kernel tells and as the table shows; one may be in both",
        );
        PROGRAM_MISSED = Metric::new(
            Counter,
            "ctwatch_program_missed",
            "Times the kernel did not run a program, by program",
        ).by(&["program"]).absent("the kernel has not told of any");
        DECODE_ERRORS = Metric::new(Counter, "ctwatch_decode_errors", "Records that made no sense");
        REPAIRED = Metric::new(
            Gauge,
            "ctwatch_repaired_entries",
            "Entries that audits have put right so far, by how: added, removed, replaced",
        ).by(&["repair"]);
        BOOTSTRAPPED = Metric::new(
            Gauge,
            "ctwatch_bootstrapped",
            "Whether the entries are known that were there before ctwatch",
        );
        AUDITS = Metric::new(Counter, "ctwatch_audits", "Number of the last audit that ended")
            .absent(NO_AUDIT);
        AUDIT_ABANDONED = Metric::new(
            Gauge,
            "ctwatch_audit_abandoned",
            "Whether an audit was given up after the last that ended",
        );
        LAST_AUDIT = Metric::new(
            Gauge,
            "ctwatch_last_audit_timestamp_seconds",
            "When the last audit ended, since 1970",
        ).absent(NO_AUDIT);
        LAST_AUDIT_DURATION = Metric::new(
            Gauge,
            "ctwatch_last_audit_duration_seconds",
            "How long the last audit took",
        ).absent(NO_AUDIT);
        AUDIT_AGE = Metric::new(
            Gauge,
            "ctwatch_audit_age_seconds",
            "Time since the last audit ended, or since counting began",
        );
    }
    "The daemon" {
        WORK = Metric::new(
            Summary,
            "ctwatch_work_seconds",
            "Time taken by drains of the rings, snapshots and scrapes",
        ).by(&["work"]);
        WORK_LONGEST = Metric::new(
            Gauge,
            "ctwatch_work_longest_seconds",
            "The longest of each so far",
        ).by(&["work"]);
        MEMORY = Metric::new(Gauge, "ctwatch_resident_memory_bytes", "Resident memory");
        CPU = Metric::new(Counter, "ctwatch_cpu_seconds", "Processor time used, in user and kernel mode");
        OPEN_FILES = Metric::new(Gauge, "ctwatch_open_files", "Open file descriptors");
        START_TIME = Metric::new(
            Gauge,
            "ctwatch_start_time_seconds",
            "When the daemon was started, since 1970",
        );
        REQUESTS_REFUSED = Metric::new(
            Counter,
            "ctwatch_http_requests_refused",
            "HTTP requests refused: malformed, too large, too slow, too many, or not let in",
        );
        CONNECTIONS = Metric::new(Gauge, "ctwatch_http_connections", "HTTP connections that are open");
        RELOADS = Metric::new(
            Counter,
            "ctwatch_reloads",
            "Reloads of the configuration by result: taken, refused",
        ).by(&["result"]);
        RECORDING_BYTES = Metric::new(
            Counter,
            "ctwatch_recording_written_bytes",
            "Bytes written to a recording",
        ).by(&["recording"]).absent("nothing is recorded");
        RECORDING_WRITING = Metric::new(
            Gauge,
            "ctwatch_recording_writing",
            "Whether a recording is being written; if not, an error has ended it and is tried again",
        ).by(&["recording"]).absent("nothing is recorded");
        RECORDING_SKIPPED = Metric::new(
            Counter,
            "ctwatch_recording_skipped_drains",
            "Drains of the rings that a recording does not have because its writer was behind",
        ).by(&["recording"]).absent("nothing is recorded");
        RECORDING_FAILED = Metric::new(
            Counter,
            "ctwatch_recording_failed_blocks",
            "Blocks of a recording that could not be written",
        ).by(&["recording"]).absent("nothing is recorded");
        HOOK_RUNS = Metric::new(Counter, "ctwatch_hook_runs", "Times the program for saturation was started")
            .absent(NO_HOOK);
        HOOK_FAILED = Metric::new(
            Counter,
            "ctwatch_hook_failed",
            "Runs of it that ended with another code than 0, or could not be started",
        ).absent(NO_HOOK);
        HOOK_TIMED_OUT = Metric::new(
            Counter,
            "ctwatch_hook_timed_out",
            "Runs of it that were ended because they took too long",
        ).absent(NO_HOOK);
        HOOK_SUPPRESSED = Metric::new(
            Counter,
            "ctwatch_hook_suppressed",
            "Times it was not started because it had been a moment before, or was still running",
        ).absent(NO_HOOK);
    }
    "By node_exporter's names" {
        NODE_ENTRIES = Metric::new(
            Gauge,
            "node_nf_conntrack_entries",
            "Entries of the initial network namespace",
        ).absent(NO_INIT);
        NODE_ENTRIES_LIMIT = Metric::new(
            Gauge,
            "node_nf_conntrack_entries_limit",
            "Entries it may have",
        ).absent(NO_INIT);
        NODE_DROP = Metric::new(
            Gauge,
            "node_nf_conntrack_stat_drop",
            "Packets dropped because conntrack failed, since ctwatch was attached",
        ).absent(NO_INIT);
        NODE_EARLY_DROP = Metric::new(
            Gauge,
            "node_nf_conntrack_stat_early_drop",
            "Entries evicted, since ctwatch was attached",
        ).absent(NO_INIT);
        NODE_INSERT_FAILED = Metric::new(
            Gauge,
            "node_nf_conntrack_stat_insert_failed",
            "Entries not inserted, since ctwatch was attached",
        ).absent(NO_INIT);
        NODE_INVALID = Metric::new(
            Gauge,
            "node_nf_conntrack_stat_invalid",
            "Packets that belong to no connection, since ctwatch was attached",
        ).absent(NO_INIT);
    }
}

/// Every metric.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    SECTIONS.iter().flat_map(|section| section.metrics.iter().copied())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_as_prometheus_wants_them() {
        let mut names = BTreeSet::new();
        for Metric { name, kind, help, labels, absent } in all().copied() {
            assert!(names.insert(name), "{name} is declared twice");
            assert!(name.starts_with("ctwatch_") || name.starts_with("node_nf_conntrack_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            for ending in ["_total", "_info", "_count", "_sum", "_bucket", "_created"] {
                assert!(!name.ends_with(ending), "{name}: a format adds that");
            }
            assert!(!help.is_empty() && !help.ends_with('.') && !absent.ends_with('.'), "{name}");
            assert!(kind != Info || !labels.is_empty(), "{name}");
        }
    }
}
