use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use super::*;
use crate::kernel::privilege;

const SOON: Duration = Duration::from_secs(20);

/// A folder in which whoever runs the program may write.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("open it");
    folder
}

fn settings(script: &str, folder: &Path) -> OnSaturation {
    let command = ["/bin/sh", "-c", script, "sh", &folder.display().to_string()].map(str::to_owned).to_vec();
    OnSaturation { command, ..OnSaturation::default() }
}

fn occasion(edge: OnEdge, json: &[u8]) -> Occasion {
    Occasion { edge, netns: 4_026_531_840, netns_name: Some("init".to_owned()), json: json.to_vec() }
}

/// Waits until the counters say so.
fn until(hook: &Hook, reached: impl Fn(metrics::Hook) -> bool) -> metrics::Hook {
    let deadline = Instant::now() + SOON;
    loop {
        let counters = hook.counters().expect("configured");
        if reached(counters) {
            return counters;
        }
        assert!(Instant::now() < deadline, "{counters:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for what a program writes last.
fn text(path: PathBuf) -> String {
    let deadline = Instant::now() + SOON;
    while !path.exists() {
        assert!(Instant::now() < deadline, "no {}", path.display());
        thread::sleep(Duration::from_millis(5));
    }
    fs::read_to_string(path).expect("read it")
}

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or_default().starts_with('Z'))
}

/// Waits until a process is gone: what is killed is so a moment later.
fn expect_dead(pid: &str) {
    let deadline = Instant::now() + SOON;
    while is_alive(pid) {
        assert!(Instant::now() < deadline, "{pid} is still alive");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Runs once; how it ended, and in what time.
fn run_once(settings: &OnSaturation, json: &[u8]) -> (Outcome, Duration) {
    let begun = Instant::now();
    let outcome = run::run(settings, &occasion(OnEdge::Refusing, json), || false);
    (outcome, begun.elapsed())
}

#[test]
fn the_program_reads_all_of_the_episode() {
    let folder = folder();
    let json = vec![b'x'; 1 << 20];
    let hook = Hook::start(&settings("cat > $1/part; mv $1/part $1/all", folder.path())).expect("start");
    hook.offer(occasion(OnEdge::Refusing, &json));
    assert_eq!(text(folder.path().join("all")).as_bytes(), json);
    drop(hook);
}

#[test]
fn it_has_no_privileges_and_nothing_of_ours() {
    let folder = folder();
    // What is open here without CLOEXEC, as sockets from systemd are.
    let inherited = fs::File::open("/proc/self/comm").expect("open");
    rustix::io::fcntl_setfd(&inherited, rustix::io::FdFlags::empty()).expect("no CLOEXEC");
    let script = "{ cat /proc/self/status; echo limit $(ulimit -c) $(ulimit -n); echo in $(pwd); env; ls /proc/$$/fd; } \
                  > $1/part; mv $1/part $1/status";
    let hook = Hook::start(&settings(script, folder.path())).expect("start");
    hook.offer(occasion(OnEdge::Evicting, b"{}"));
    let status = text(folder.path().join("status"));
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
    };
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    if privilege::is_root() {
        assert_eq!(field("CapBnd:"), "0000000000000000");
        let nobody = privilege::user("nobody").expect("everywhere");
        assert_eq!(field("Uid:"), [nobody.uid; 4].map(|uid| uid.to_string()).join("\t"));
        assert_eq!(field("Gid:"), [nobody.gid; 4].map(|gid| gid.to_string()).join("\t"));
        assert_eq!(field("Groups:"), "");
    }
    assert_eq!((field("limit"), field("in")), ("0 256".to_owned(), "/".to_owned()));
    let variables = status.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name);
    let mut variables: Vec<_> =
        variables.filter(|name| !["PWD", "OLDPWD", "_", "SHLVL"].contains(name)).collect();
    variables.sort_unstable();
    assert_eq!(variables, ["CTWATCH_EDGE", "CTWATCH_NETNS", "CTWATCH_NETNS_NAME", "PATH"]);
    assert!(status.contains("CTWATCH_EDGE=evicting") && status.contains("CTWATCH_NETNS=4026531840"));
    let open: Vec<u32> = status.lines().filter_map(|line| line.parse().ok()).collect();
    // The shell keeps its own copy of standard output at 10 or above.
    assert!(open.iter().all(|fd| *fd < 3 || *fd >= 10) && open.len() <= 4, "{open:?}");
}

#[test]
fn a_program_that_never_reads_does_not_hold_it_up() {
    let folder = folder();
    let (outcome, took) = run_once(&settings("exec true", folder.path()), &vec![b' '; 1 << 20]);
    assert!(matches!(outcome, Outcome::Ended(status) if status.success()), "{outcome:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let slow =
        OnSaturation { time_limit: Duration::from_millis(300), ..settings("exec sleep 60", folder.path()) };
    let (outcome, took) = run_once(&slow, &vec![b' '; 1 << 20]);
    assert!(matches!(outcome, Outcome::TimedOut), "{outcome:?}");
    assert!(
        (Duration::from_millis(300)..Duration::from_secs(2)).contains(&took),
        "SIGTERM is enough: {took:?}"
    );
}

#[test]
fn a_program_that_ignores_sigterm_is_killed_with_all_it_started() {
    let folder = folder();
    let script = "trap '' TERM; (trap '' TERM; while :; do sleep 1; done) & echo $! > $1/grandchild; \
                  echo $$ > $1/child; while :; do sleep 1; done";
    let settings = OnSaturation { time_limit: Duration::from_secs(1), ..settings(script, folder.path()) };
    let hook = Hook::start(&settings).expect("start");
    hook.offer(occasion(OnEdge::Refusing, b"{}"));
    let counters = until(&hook, |counters| counters.timed_out == 1);
    assert_eq!(counters, metrics::Hook { runs: 1, failed: 0, timed_out: 1, suppressed: 0 });
    for process in ["child", "grandchild"] {
        expect_dead(&text(folder.path().join(process)));
    }
}

#[test]
fn what_it_leaves_behind_is_killed() {
    let folder = folder();
    let script = "sleep 600 > /dev/null 2>&1 & echo $! > $1/left";
    let (outcome, _) = run_once(&settings(script, folder.path()), b"{}");
    assert!(matches!(outcome, Outcome::Ended(status) if status.success()), "{outcome:?}");
    expect_dead(&text(folder.path().join("left")));
    // One that may still print is waited for, within the time limit.
    let script = "{ sleep 0.3; touch $1/late; } & exit 3";
    let (outcome, _) = run_once(&settings(script, folder.path()), b"{}");
    assert!(matches!(outcome, Outcome::Ended(status) if status.code() == Some(3)), "{outcome:?}");
    assert!(folder.path().join("late").exists());
}

#[test]
fn megabytes_of_output_are_read_and_dropped() {
    let folder = folder();
    let script =
        "head -c 8000000 /dev/zero | tr '\\0' x; head -c 8000000 /dev/zero >&2; cat > /dev/null; exit 4";
    let (outcome, _) = run_once(&settings(script, folder.path()), &vec![b' '; 1 << 20]);
    assert!(matches!(outcome, Outcome::Ended(status) if status.code() == Some(4)), "{outcome:?}");
}

#[test]
fn what_cannot_be_started_counts_as_failed() {
    let folder = folder();
    let plain = folder.path().join("plain");
    fs::write(&plain, "#!/bin/sh\n").expect("write it");
    for program in [PathBuf::from("/nonexistent/alert"), plain] {
        let command = vec![program.display().to_string()];
        let hook = Hook::start(&OnSaturation { command, ..OnSaturation::default() }).expect("start");
        hook.offer(occasion(OnEdge::Refusing, b"{}"));
        let counters = until(&hook, |counters| counters.failed == 1);
        assert_eq!(
            counters,
            metrics::Hook { runs: 1, failed: 1, timed_out: 0, suppressed: 0 },
            "{program:?}"
        );
    }
}

#[test]
fn one_edge_is_not_told_again_too_soon_and_the_newest_waits() {
    let folder = folder();
    let script = "echo $CTWATCH_EDGE $(cat) >> $1/told";
    let settings = OnSaturation { min_interval: Duration::from_secs(2), ..settings(script, folder.path()) };
    let hook = Hook::start(&settings).expect("start");
    let told = || fs::read_to_string(folder.path().join("told")).unwrap_or_default();
    let begun = Instant::now();
    for (runs, edge) in [(1, OnEdge::Evicting), (2, OnEdge::Refusing)] {
        hook.offer(occasion(edge, b"1"));
        until(&hook, |counters| counters.runs == runs);
        let deadline = Instant::now() + SOON;
        while told().lines().count() < runs as usize {
            assert!(Instant::now() < deadline, "{}", told());
            thread::sleep(Duration::from_millis(5));
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "another edge is told at once: {:?}", begun.elapsed());
    for json in [b"2", b"3", b"4"] {
        hook.offer(occasion(OnEdge::Refusing, json));
    }
    let counters = until(&hook, |counters| counters.runs == 3);
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(counters.suppressed, 2);
    drop(hook);
    assert!(told().starts_with("evicting 1\nrefusing 1\n"), "{}", told());
}

#[test]
fn offering_never_waits_and_the_end_comes_while_it_runs() {
    let folder = folder();
    let hook = Hook::start(&settings("sleep 600", folder.path())).expect("start");
    hook.offer(occasion(OnEdge::Refusing, b"{}"));
    until(&hook, |counters| counters.runs == 1);
    let begun = Instant::now();
    for _ in 0..1_000 {
        hook.offer(occasion(OnEdge::Recovered, &[b' '; 1024]));
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(hook.counters().expect("configured").suppressed, 999);
    let begun = Instant::now();
    drop(hook);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn settings_change_while_it_waits() {
    let folder = folder();
    let hook = Hook::start(&OnSaturation::default()).expect("start");
    assert_eq!(hook.counters(), None);
    hook.offer(occasion(OnEdge::Refusing, b"nobody is told"));
    let only = OnSaturation {
        on: vec![OnEdge::Recovered],
        ..settings("cat > $1/part; mv $1/part $1/told", folder.path())
    };
    hook.set(&only);
    hook.offer(occasion(OnEdge::Refusing, b"not wanted"));
    hook.offer(occasion(OnEdge::Recovered, b"wanted"));
    assert_eq!(text(folder.path().join("told")), "wanted");
    assert_eq!(until(&hook, |counters| counters.runs == 1).suppressed, 0);
}
