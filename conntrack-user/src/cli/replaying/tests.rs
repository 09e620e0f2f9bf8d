//! What was written to files is played to an engine, file by file and session by session.

use std::path::Path;

use tokio::runtime;
use zerocopy::IntoBytes as _;

use super::*;
use crate::{
    engine::{
        Engine,
        notice::Notice,
        recorded::{Drain, RecordedKind},
        saturation::Thresholds,
        snapshot::Trust,
        testing::{self, Record, S},
    },
    record::{VERSION, Writer},
};

fn header(session: &str, sequence: u32, since_ktime_ns: u64) -> Header {
    Header {
        version: VERSION,
        session: session.to_owned(),
        sequence,
        host: "gw".to_owned(),
        kernel: "6.12".to_owned(),
        boot_id: "boot".to_owned(),
        program: "0".to_owned(),
        since_ktime_ns,
        wall_offset_ns: testing::WALL.offset_ns,
        began_ktime_ns: since_ktime_ns + u64::from(sequence) * 10 * S,
        trust: Trust { backend: "kprobe".to_owned(), degradations: Vec::new() },
        entries: true,
        thresholds: Thresholds::warn_at(60),
    }
}

/// A file with a drain at each of these times, in each of which one was refused.
fn write(directory: &Path, name: &str, header: &Header, drains: &[u64]) -> PathBuf {
    let mut writer = Writer::new(Vec::new(), header).expect("memory");
    for ktime_ns in drains.iter().copied() {
        let drain = Drain {
            kind: RecordedKind::Drain as u8,
            reserved: [0; 7],
            ktime_ns,
            wall_offset_ns: header.wall_offset_ns,
        };
        let refused = testing::bytes(&[Record::Refused(testing::refused(ktime_ns - 1, 5, 10, 10))]);
        writer.push(&[drain.as_bytes(), &refused].concat()).expect("memory");
    }
    let path = directory.join(name);
    std::fs::write(&path, writer.finish().expect("memory")).expect("a file");
    path
}

fn args(replay: &[&Path]) -> ReplayArgs {
    ReplayArgs { replay: replay.iter().map(|path| path.to_path_buf()).collect(), speed: None }
}

/// Plays it; when each refusal was, and how long it took.
fn play(mut player: Player) -> (Vec<u64>, Engine, Duration) {
    let mut engine = Engine::new(player.config());
    let runtime = runtime::Builder::new_current_thread().enable_time().build();
    let (mut refused, mut took) = (Vec::new(), Duration::ZERO);
    runtime.expect("a runtime").block_on(async {
        let began = Instant::now();
        while let Some(batch) = player.next().await {
            engine.apply(&batch, |notice| {
                if let Notice::Refused(refusal) = notice {
                    refused.push(refusal.ktime_ns + 1);
                }
            });
        }
        took = began.elapsed();
    });
    assert!(player.has_ended() && player.finish().is_ok());
    (refused, engine, took)
}

#[test]
fn files_of_a_session_are_played_one_after_the_other_and_what_is_between_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    write(directory.path(), "b.ctw", &header("one", 3, 0), &[31 * S, 32 * S]);
    write(directory.path(), "a.ctw", &header("one", 1, 0), &[11 * S, 12 * S]);
    let player = args(&[directory.path()]).session(None).expect("they can be read").expect("one session");
    assert!(player.has_entries());
    let (refused, engine, took) = play(player);
    assert_eq!(refused, [11 * S, 12 * S, 31 * S, 32 * S]);
    let summary = engine.summary();
    let missing = (summary.events.unrecorded.count, summary.events.unrecorded.duration_ns);
    assert_eq!(missing, (1, 18 * S + 1), "from the last record of the first to the beginning of the third");
    assert_eq!((summary.totals.refused(), summary.since_ktime_ns), (4, 0));
    assert!(took < Duration::from_secs(10), "as fast as it can be read: {took:?}");
    assert_eq!(summary.trust.backend, "kprobe");
}

#[test]
fn a_speed_is_kept_and_silence_is_left_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let times = [11 * S, 12 * S, 31 * S, 1000 * S, 1010 * S];
    let path = write(directory.path(), "a", &header("one", 1, 0), &times);
    let mut player = args(&[&path]).session(Some(100.0)).expect("it can be read").expect("one session");
    let (refused, _, took) = play(args(&[&path]).session(Some(100.0)).expect("read").expect("one session"));
    assert_eq!(refused, times);
    assert!((300..3000).contains(&took.as_millis()), "20 s and 10 s a hundred times as fast: {took:?}");
    player.end_after(Duration::from_secs(10));
    assert_eq!(play(player).0, times[..2], "which ends 20 s after counting began");
}

#[test]
fn several_sessions_are_played_in_turn_but_not_as_one() {
    let directory = tempfile::tempdir().expect("a directory");
    write(directory.path(), "a.ctw", &header("later", 1, 500 * S), &[511 * S]);
    write(directory.path(), "b.ctw", &header("first", 1, 0), &[11 * S]);
    let args = args(&[directory.path()]);
    let players = args.sessions(None).expect("they can be read").expect("some");
    assert_eq!(players.into_iter().map(|player| play(player).0).collect::<Vec<_>>(), [[11 * S], [511 * S]]);
    let Err(Failure::Usage(mistake)) = args.session(None) else { panic!("two sessions") };
    assert!(mistake.contains("2 runs") && mistake.contains("b.ctw"), "{mistake}");
}

#[test]
fn what_is_no_recording_is_a_mistake() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("x");
    for content in ["", "hello"] {
        std::fs::write(&path, content).expect("a file");
        assert!(
            matches!(args(&[&path]).sessions(None), Err(Failure::Usage(mistake)) if mistake.contains("x: "))
        );
    }
    assert!(matches!(args(&[&directory.path().join("y")]).sessions(None), Err(Failure::Usage(_))));
    assert!(matches!(args(&[]).sessions(None), Ok(None)));
}
