//! How long a key waits for its answer while the engine takes 100,000 new entries a second, and frees as many.
//!
//! A measurement, for an optimised build on a quiet machine:
//! `cargo test --release -p conntrack-user --lib latency -- --ignored --nocapture`.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};

use super::options;
use crate::engine::batch::{Batch, WallClock};
use crate::engine::query::Query;
use crate::engine::snapshot::Trust;
use crate::engine::testing::{self, Record};
use crate::engine::{Config, Engine};
use crate::output::tui::app::{App, Effect};
use crate::output::tui::{Action, Happening};

/// Entries in the table.
const ENTRIES: u64 = 262_144;
/// New entries in a second, and freed ones.
const RATE: u64 = 100_000;
/// What the drain hands over at a time.
const BATCH: Duration = Duration::from_millis(10);
/// What a key may wait.
const LIMIT: Duration = Duration::from_millis(50);

/// Makes the traffic: the oldest entry ends when a new one comes, of 10,000 sources and as many destinations.
struct Traffic {
    born: u64,
    ktime_ns: u64,
}

impl Traffic {
    fn births(&mut self, births: u64, deaths: bool) -> Batch {
        let mut records = Vec::new();
        for _ in 0..births {
            self.born += 1;
            self.ktime_ns += 1_000_000_000 / RATE;
            let mut new = testing::new(self.born, self.ktime_ns, 0);
            let number = (self.born % 10_000) as u32;
            new.tuple.src[..4].copy_from_slice(&(0x0a00_0000 + number).to_be_bytes());
            new.tuple.dst[..4].copy_from_slice(&(0xc633_0000 + number).to_be_bytes());
            records.push(Record::New(new));
            if deaths {
                records.push(Record::Free(testing::free(self.born - ENTRIES, self.ktime_ns)));
            }
        }
        Batch {
            ktime_ns: self.ktime_ns,
            wall: WallClock::default(),
            entries: testing::bytes(&records).into(),
            incidents: Bytes::new(),
            totals: None,
            trust: None,
        }
    }
}

/// The engine as `ctwatch top` drives it: batches as they come, questions between them.
fn engine(questions: &Receiver<Action>, view: &Sender<Happening>) {
    let mut traffic = Traffic { born: 0, ktime_ns: 1 };
    let mut engine =
        Engine::new(Config { live_view: true, ..Config::new(0, WallClock::default(), Trust::default()) });
    engine.apply(&traffic.births(ENTRIES, false), |_| ());
    let mut interval = Instant::now();
    for turn in 1_u32.. {
        let begun = Instant::now();
        engine.apply(&traffic.births(RATE / 100, true), |_| ());
        let over = interval.elapsed() >= Duration::from_secs(1);
        if over || turn == 1 {
            engine.end_interval();
            interval = Instant::now();
        }
        let mut asked = over || turn == 1;
        while let Some(left) = BATCH.checked_sub(begun.elapsed()) {
            match questions.recv_timeout(left) {
                Ok(Action::Ask(query)) => engine.ask(query),
                Ok(Action::Quit) => return,
                _ if asked => {}
                _ => break,
            }
            asked = false;
            if view.send(Happening::Snapshot(Arc::new(engine.snapshot()))).is_err() {
                return;
            }
        }
    }
}

/// Presses keys and draws, and says how long each took until its answer was drawn.
fn press(keys: &[KeyCode]) -> Vec<(KeyCode, Duration)> {
    let (to_engine, questions) = channel();
    let (sender, happenings) = channel();
    let running = thread::spawn(move || engine(&questions, &sender));
    let mut app = App::new(options(Query::default()));
    let mut terminal = Terminal::new(TestBackend::new(120, 40)).expect("a terminal in memory");
    let mut took = Vec::new();
    for key in [KeyCode::Null].iter().chain(keys).cycle().take(8 * keys.len()) {
        let pressed = Instant::now();
        let mut effects = app.handle(Happening::Input(Event::Key(KeyEvent::new(*key, KeyModifiers::NONE))));
        loop {
            for effect in effects.drain(..) {
                if let Effect::Act(action) = effect {
                    to_engine.send(action).expect("the engine runs");
                }
            }
            terminal.draw(|frame| app.draw(frame)).expect("drawing in memory");
            if !app.waiting {
                break;
            }
            effects = app.handle(happenings.recv().expect("the engine runs"));
        }
        took.push((*key, pressed.elapsed()));
        thread::sleep(Duration::from_millis(37));
        while let Ok(happening) = happenings.try_recv() {
            app.handle(happening);
        }
    }
    to_engine.send(Action::Quit).expect("the engine runs");
    running.join().expect("the engine ends");
    // The first waits for the table to be filled.
    took.split_off(1)
}

#[test]
#[ignore = "a measurement: optimised, on a quiet machine"]
fn a_key_is_answered_within_50_ms() {
    let keys = "13244b1rb6Br".chars().map(KeyCode::Char).collect::<Vec<_>>();
    let mut took = press(&keys);
    took.sort_by_key(|(_, took)| *took);
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!(
        "{} keys: median {:?}, 95 of 100 below {:?}, slowest {:?}",
        took.len(),
        at(0.5),
        at(0.95),
        at(1.0)
    );
    assert!(at(0.95).1 < LIMIT, "{took:?}");
}
