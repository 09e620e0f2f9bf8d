//! `cargo xtask test`: every check and every test, and a table of how each step went.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::build::{Executable, build};
use crate::check;
use crate::guest::{Guest, Kernel, KernelName};
use crate::host::cache::Cache;
use crate::host::cargo::cargo;
use crate::host::process::{inherit, which};
use crate::host::progress::seconds;
use crate::power_cut;
use crate::setup::{self, Needs, skippable};

/// Long enough for the heaviest run, the one with a million entries, on a machine that is slow besides.
const LIVE_LIMIT: Duration = Duration::from_secs(1200);

/// The guest in which a Prometheus scrapes the daemon: one is enough, it has 50 MB.
const WITH_PROMETHEUS: KernelName = KernelName::V6_12;

/// Options of the task.
#[derive(clap::Args)]
pub struct Args {
    /// Kernel for the live tests; may be given several times [default: 5.10, 6.1, 6.12, backports, sid].
    #[arg(long, value_name = "KERNEL")]
    kernel: Vec<KernelName>,
    /// Leave out the live tests, and with them virtual machines.
    #[arg(long)]
    no_live: bool,
    /// Run only the live tests whose name contains this.
    filter: Option<String>,
}

/// How a step went.
enum Verdict {
    Passed,
    Failed(String),
    Skipped(String),
}

/// The steps so far.
#[derive(Default)]
struct Report {
    rows: Vec<(String, Duration, Verdict)>,
}

/// Runs all steps, also after one has failed, so that one run tells everything.
pub fn run(args: &Args) -> Result<ExitCode> {
    let cache = Cache::open()?;
    let mut report = Report::default();
    let kernels = match (args.no_live, args.kernel.is_empty()) {
        (true, _) => Vec::new(),
        (false, true) => KernelName::TESTED.to_vec(),
        (false, false) => args.kernel.clone(),
    };
    let mut obtained = Vec::new();
    let ready = report.step("setup", || {
        obtained = setup::ensure(&cache, Needs { build: true, lint: true, tools: true, kernels: &kernels })?;
        Ok(())
    });
    if ready {
        report.step("format", check::format);
        report.step("lints", check::lint_host);
        report.step("lints for BPF", check::lint_bpf);
        report.step("tests", || {
            let mut tests = cargo();
            // What setup has installed is there: a test that would be left out without it fails.
            tests.args(["test", "--workspace", "--no-fail-fast"]).env("CTWATCH_REQUIRE_TOOLS", "1");
            inherit(&mut tests)
        });
        let mut ctwatch = None;
        report.step("build", || {
            ctwatch = Some(build(Executable::Ctwatch)?);
            Ok(())
        });
        let mut live = None;
        if !kernels.is_empty() {
            report.step("build of the live tests", || {
                live = Some(build(Executable::Live)?);
                Ok(())
            });
        }
        if let (Some(ctwatch), Some(live)) = (&ctwatch, &live)
            && let Some((_, Ok(kernel))) = obtained.iter().find(|(name, _)| *name == power_cut::KERNEL)
            && args.filter.as_deref().is_none_or(|filter| power_cut::NAME.contains(filter))
        {
            report.step("power cuts", || power_cut::run(&cache, kernel, ctwatch, live));
        }
        for (name, kernel) in obtained {
            run_live(&mut report, &cache, name, kernel, ctwatch.as_deref(), live.as_deref(), args);
        }
    }
    Ok(report.conclude())
}

/// Runs the live tests on one kernel.
fn run_live(
    report: &mut Report,
    cache: &Cache,
    name: KernelName,
    kernel: Result<Kernel>,
    ctwatch: Option<&Path>,
    live: Option<&Path>,
    args: &Args,
) {
    let step = format!("live tests on {name}");
    let kernel = match kernel {
        Ok(kernel) => kernel,
        Err(error) if skippable(name, &error) => {
            return report.add(step, Verdict::Skipped(format!("{error:#}")));
        }
        Err(error) => return report.add(step, Verdict::Failed(format!("{error:#}"))),
    };
    let (Some(ctwatch), Some(live)) = (ctwatch, live) else {
        return report.add(step, Verdict::Failed("what they need was not built".to_owned()));
    };
    let mut command = vec!["/test/live".to_owned(), "--test-threads=1".to_owned()];
    command.extend(args.filter.clone());
    report.step(&step, || {
        eprintln!("booting Linux {} in QEMU", kernel.release);
        let mut guest = Guest::new(cache, kernel);
        if name == WITH_PROMETHEUS
            && let Some(prometheus) = which("prometheus")
        {
            guest = guest.file(prometheus, "prometheus");
        }
        let outcome = guest
            .limit(LIVE_LIMIT)
            .file(ctwatch, Executable::Ctwatch.name())
            .file(live, Executable::Live.name())
            .env("CTWATCH", "/test/ctwatch")
            .env("CTWATCH_KERNEL", &name.to_string())
            .env("CTWATCH_REQUIRE_LIVE", "1")
            .run(&command)?;
        match outcome.code {
            0 => Ok(()),
            code => bail!("they ended with exit code {code}"),
        }
    });
}

impl Report {
    /// Runs one step and notes how it went; returns whether it passed.
    fn step(&mut self, name: &str, run: impl FnOnce() -> Result<()>) -> bool {
        eprintln!("== {name}");
        let begun = Instant::now();
        let verdict = match run() {
            Ok(()) => Verdict::Passed,
            Err(error) => {
                eprintln!("error: {name}: {error:#}");
                Verdict::Failed(format!("{error:#}"))
            }
        };
        let passed = matches!(verdict, Verdict::Passed);
        self.rows.push((name.to_owned(), begun.elapsed(), verdict));
        passed
    }

    /// Notes a step that did not run.
    fn add(&mut self, name: String, verdict: Verdict) {
        self.rows.push((name, Duration::ZERO, verdict));
    }

    /// Prints the table; the exit code says whether any step failed.
    fn conclude(&self) -> ExitCode {
        print!("\n{}", self.table());
        let failed = self.rows.iter().any(|(_, _, verdict)| matches!(verdict, Verdict::Failed(_)));
        if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    fn table(&self) -> String {
        let width = self.rows.iter().map(|(name, ..)| name.len()).max().unwrap_or_default();
        let mut table = String::new();
        let mut total = Duration::ZERO;
        for (name, took, verdict) in &self.rows {
            let verdict = match verdict {
                Verdict::Passed => "ok".to_owned(),
                Verdict::Failed(reason) => format!("FAILED: {reason}"),
                Verdict::Skipped(reason) => format!("skipped: {reason}"),
            };
            table.push_str(&format!("{name:width$}  {:>8}  {verdict}\n", seconds(*took)));
            total += *took;
        }
        table.push_str(&format!("{:width$}  {:>8}\n", "total", seconds(total)));
        table
    }
}

#[cfg(test)]
mod tests {
    use super::{Report, Verdict};
    use std::time::Duration;

    #[test]
    fn table_lines_up_and_says_why() {
        let mut report = Report::default();
        report.rows.push(("format".into(), Duration::from_millis(1200), Verdict::Passed));
        report.add("live tests on 5.10".into(), Verdict::Skipped("no such suite".into()));
        let expected = "\
format                 1.2 s  ok
live tests on 5.10     0.0 s  skipped: no such suite
total                  1.2 s
";
        assert_eq!(report.table(), expected);
    }
}
