//! What this process takes of the machine, from /proc/self.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};

/// What it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Resident memory, as `statm` has it.
    pub rss_bytes: u64,
    /// Processor time used so far, in user and kernel mode.
    pub cpu_ns: u64,
    /// Open file descriptors.
    pub open_files: u64,
}

/// Reads them; 0 for what cannot be read, as where /proc is not mounted.
pub fn vitals() -> Vitals {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    Vitals {
        rss_bytes: field(&statm, 1).saturating_mul(page_size() as u64),
        cpu_ns: cpu_ticks(&stat).saturating_mul(1_000_000_000 / clock_ticks_per_second().max(1)),
        // The one that lists them is among them.
        open_files: fs::read_dir("/proc/self/fd").map_or(0, |files| files.count().saturating_sub(1) as u64),
    }
}

fn field(line: &str, at: usize) -> u64 {
    line.split_ascii_whitespace().nth(at).and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Fields 14 and 15, `utime` and `stime`. The second is a name in parentheses, which may have spaces in it.
fn cpu_ticks(stat: &str) -> u64 {
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    field(behind_name, 11).saturating_add(field(behind_name, 12))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        assert_eq!(cpu_ticks("7 (a) b) c) S 1 7 7 0 -1 4194304 1 2 3 4 15 27 0 0 20 0"), 42);
        assert_eq!(cpu_ticks(""), 0);
    }

    #[test]
    fn this_process_takes_something() {
        let vitals = vitals();
        assert!(vitals.rss_bytes > 1 << 20 && vitals.open_files >= 3, "{vitals:?}");
    }
}
