//! The live view on a real terminal (tmux): attached in the middle of a flood, driven by keys, read off the screen.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use conntrack_tests::flood::Flood;
use conntrack_tests::gateway::Gateway;
use conntrack_tests::hog::{Held, Hog};
use conntrack_tests::player::{Background, Player};
use conntrack_tests::scenario::Scenario;
use conntrack_tests::terminal::Terminal;
use conntrack_tests::watcher::binary;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::lab::{self, BUCKETS, Lab, SMALL, SOON};

/// The hog's number among the sources: not one of the crowd.
const HOG: u32 = 99;
/// Packets of the crowd per second.
const RATE: u64 = 200;

/// A gateway whose table one source holds whole, and a crowd that is refused for as long as this lives.
struct Refusing<'a> {
    _held: Held,
    _crowd: Background,
    _hog: Hog<'a>,
}

impl<'a> Refusing<'a> {
    fn start(lab: &'a Lab) -> Result<Self> {
        let hog = Hog::new(&lab.gateway, false)?;
        let held = hog.hold(SMALL as usize, Gateway::source(false, HOG), SOON)?;
        let crowd = Flood { rate: Some(RATE), batch: 1, packets: u64::MAX, ..lab::crowd(false, 0) };
        Ok(Self { _held: held, _crowd: Background::start(&lab.gateway, crowd)?, _hog: hog })
    }
}

/// `ctwatch top` in a terminal, running.
fn top(terminal: &Terminal, arguments: &str) -> Result<()> {
    terminal.line(&format!("{} top {arguments}", binary()?.display()))?;
    terminal.wait_for(lab::LONG, "live view", |screen| screen.contains("REFUSING"))?;
    Ok(())
}

/// The screen after a key, once it is as `wanted`.
fn after(terminal: &Terminal, keys: &[&str], what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
    terminal.keys(keys)?;
    terminal.wait_for(SOON, what, wanted).with_context(|| format!("after {keys:?}"))
}

/// The line that begins, but for marks, with this.
fn line_of<'a>(screen: &'a str, begins: &str) -> Option<&'a str> {
    screen.lines().find(|line| line.trim_start_matches([' ', '>', '▶', '•', '│', '*']).starts_with(begins))
}

#[test]
fn on_a_terminal_in_the_middle_of_a_flood() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    let lab = Lab::new(SMALL, BUCKETS)?;
    let _refusing = Refusing::start(&lab)?;
    let terminal = Terminal::open(120, 40)?;
    terminal.line("cd /tmp; stty -a > before")?;
    top(&terminal, "")?;

    let (hog, heavy) = (Gateway::source(false, HOG).to_string(), Gateway::source(false, 0).to_string());
    let figure = |screen: &str, source: &str, column: usize| -> Option<u64> {
        line_of(screen, &format!("{source} "))?.split_whitespace().nth(column)?.parse().ok()
    };
    let screen = terminal.wait_for(SOON, "holder and victims", |screen| {
        figure(screen, &hog, 1) == Some(SMALL.into())
            && figure(screen, &heavy, 4).is_some_and(|refused| refused > 0)
    })?;
    println!("{screen}");
    let row =
        |source: &str| screen.lines().position(|line| Some(line) == line_of(&screen, &format!("{source} ")));
    ensure!(row(&hog) < row(&heavy), "the holder is not first:\n{screen}");
    println!("{}", terminal.colored_screen()?);

    let listens = Gateway::listener(false).to_string();
    after(&terminal, &["2"], "prefixes", |screen| line_of(screen, "10.1.0.0/24").is_some())?;
    after(&terminal, &["3"], "destinations", |screen| line_of(screen, &listens).is_some())?;
    after(&terminal, &["4"], "ports", |screen| line_of(screen, "tcp 80").is_some())?;
    after(&terminal, &["5"], "states", |screen| line_of(screen, "tcp ESTABLISHED").is_some())?;
    let own = lab.gateway.router.inum().to_string();
    after(&terminal, &["6"], "namespaces", |screen| screen.matches(&own).count() > 1)?;
    after(&terminal, &["7"], "causes", |screen| line_of(screen, "table_full").is_some())?;
    after(&terminal, &["8"], "episodes", |screen| screen.contains("goes on"))?;

    // A filter while typing, then a close look at the only source left.
    after(&terminal, &["1"], "sources", |screen| line_of(screen, &format!("{heavy} ")).is_some())?;
    terminal.keys(&["s"])?;
    terminal.text(&hog)?;
    after(&terminal, &["Enter"], "the hog alone", |screen| {
        line_of(screen, &hog).is_some() && line_of(screen, &format!("{heavy} ")).is_none()
    })?;
    let close = after(&terminal, &["Enter"], "a close look", |screen| {
        screen.contains("ESTABLISHED") && screen.contains(&listens)
    })?;
    println!("{close}");
    after(&terminal, &["Escape"], "sources again", |screen| line_of(screen, "other").is_some())?;
    after(&terminal, &["?"], "the keys", |screen| screen.contains("freeze"))?;
    after(&terminal, &["Escape"], "sources again", |screen| line_of(screen, "other").is_some())?;

    terminal.resize(80, 24)?;
    let small = terminal.wait_for(SOON, "a small screen", |screen| {
        screen.lines().count() <= 24 && screen.contains("REFUSING") && line_of(screen, &hog).is_some()
    })?;
    ensure!(small.lines().all(|line| line.chars().count() <= 80), "wider than the terminal:\n{small}");
    terminal.resize(120, 40)?;

    after(&terminal, &["w"], "what was written", |screen| screen.contains("ctwatch-top-"))?;
    expect_written(&hog)?;
    expect_left(&terminal, |terminal| terminal.keys(&["q"]))
}

/// The files of `w`: the screen, and the snapshot.
fn expect_written(hog: &str) -> Result<()> {
    let written = |extension: &str| -> Result<String> {
        let found = fs::read_dir("/tmp")?.flatten().map(|entry| entry.path()).find(|path| {
            path.extension().is_some_and(|it| it == extension)
                && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ctwatch-top-"))
        });
        let path = found.with_context(|| format!("no file of .{extension}"))?;
        let text = fs::read_to_string(&path)?;
        fs::remove_file(path)?;
        Ok(text)
    };
    let (text, json) = (written("txt")?, written("json")?);
    ensure!(line_of(&text, hog).is_some(), "the text lacks the source:\n{text}");
    let json: Value = serde_json::from_str(&json).context("the JSON is none")?;
    ensure!(json["sources"][0]["src"] == hog, "{json}");
    Ok(())
}

/// That the program ends well, and the terminal is what it was: the shell's lines are echoed again.
fn expect_left(terminal: &Terminal, leave: impl Fn(&Terminal) -> Result<()>) -> Result<()> {
    leave(terminal)?;
    terminal.wait_for(SOON, "the shell", |screen| screen.trim_end().ends_with('$'))?;
    terminal.line("echo code=$?; stty -a > after; cmp before after && echo unchanged")?;
    let screen = terminal.wait_for(SOON, "an answer", |screen| line_of(screen, "code=").is_some())?;
    ensure!(line_of(&screen, "code=0").is_some(), "it did not end well:\n{screen}");
    terminal.wait_for(SOON, "the terminal as before", |screen| line_of(screen, "unchanged").is_some())?;
    Ok(())
}

#[test]
fn stopped_continued_and_terminated() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    let lab = Lab::new(SMALL, BUCKETS)?;
    let _refusing = Refusing::start(&lab)?;
    let terminal = Terminal::open(100, 30)?;
    terminal.line("set -m; cd /tmp; stty -a > before")?;
    top(&terminal, "--ascii")?;
    ensure!(terminal.screen()?.is_ascii(), "not all is ASCII:\n{}", terminal.screen()?);

    for stop in [|terminal: &Terminal| terminal.keys(&["C-z"]), |_: &Terminal| kill(Signal::TSTP)] {
        stop(&terminal)?;
        terminal.wait_for(SOON, "the shell", |screen| {
            screen.contains("Stopped") && !screen.contains("REFUSING")
        })?;
        terminal.line("clear; stty -a | grep -c -w -e icanon; echo back")?;
        let screen = terminal.wait_for(SOON, "an echo", |screen| line_of(screen, "back").is_some())?;
        ensure!(line_of(&screen, "1").is_some(), "the terminal is still raw:\n{screen}");
        terminal.line("fg")?;
        terminal.wait_for(SOON, "the view again", |screen| screen.contains("REFUSING"))?;
    }
    expect_left(&terminal, |_| kill(Signal::TERM))
}

/// Sends a signal to the one ctwatch that runs.
fn kill(signal: Signal) -> Result<()> {
    let is_ctwatch = |pid: &str| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "ctwatch")
    };
    let processes =
        fs::read_dir("/proc")?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let pid = processes.into_iter().find(|pid| is_ctwatch(pid)).context("no ctwatch runs")?;
    let pid = Pid::from_raw(pid.parse()?).context("no process number")?;
    Ok(kill_process(pid, signal)?)
}

/// States come from audits, one an interval while they are asked for.
#[test]
fn batches_end_after_their_count() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    let lab = Lab::new(SMALL, BUCKETS)?;
    let _refusing = Refusing::start(&lab)?;
    let output = std::process::Command::new(binary()?)
        .args(["top", "-o", "json", "-n", "3", "-i", "500ms", "--by", "states"])
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let tables: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(tables.len() == 3, "{} tables", tables.len());
    let established = |table: &Value| {
        let states = table["states"].as_array().cloned().unwrap_or_default();
        states.iter().find(|row| row["tcp_state"] == "ESTABLISHED").map(|row| row["entries"].clone())
    };
    ensure!(established(&tables[2]) == Some(SMALL.into()), "{}", tables[2]);
    Ok(())
}

/// Rows and what they leave are the totals, by whatever is asked.
#[test]
fn refusals_are_in_every_table() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    let lab = Lab::new(SMALL, BUCKETS)?;
    let _refusing = Refusing::start(&lab)?;
    for by in ["sources", "prefixes", "destinations", "ports"] {
        let arguments = ["top", "--once", "-i", "2s", "-o", "json", "--by", by];
        let output = std::process::Command::new(binary()?).args(arguments).output()?;
        let table: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        let rows = table[by].as_array().with_context(|| format!("no {by}"))?;
        let refused = |row: &Value| row["refused"].as_u64().unwrap_or(0);
        let listed: u64 = rows.iter().map(refused).sum();
        let other = refused(&table["other"]);
        let total = refused(&table["totals"]);
        println!("{by}: {listed} refused in {} rows, {other} besides, {total} in total", rows.len());
        ensure!(listed + other == total && listed > 0, "{table}");
    }
    Ok(())
}

/// The picture in the README: what this prints, drawn by `portrait`. The scenario of the demo, as its table is full.
#[test]
#[ignore = "draws a picture"]
fn portrait() -> Result<()> {
    let scenario = Scenario::hog()?;
    let lab = Lab::new(scenario.max, scenario.buckets)?;
    let terminal = Terminal::open(120, 36)?;
    terminal.line(&format!("{} top", binary()?.display()))?;
    let mut player = Player::start(&lab.gateway, &scenario)?;
    for phase in &scenario.phases {
        player.play(phase, || Ok(()))?;
        if phase.reaches.iter().any(|state| state == "refusing") {
            println!("{}", terminal.colored_screen()?);
        }
    }
    player.finish()?;
    terminal.keys(&["q"])
}
