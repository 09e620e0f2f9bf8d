//! ctwatch as a child process, and its JSON lines as they come.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustix::process::{Pid, kill_process};
use serde_json::Value;

pub use crate::built::binary;
pub use rustix::process::Signal;

/// Long enough to attach on an emulated machine that is busy.
pub const ATTACH_LIMIT: Duration = Duration::from_secs(30);
/// Name of ctwatch's thread that drains the rings; it starts once everything is attached.
const DRAINING: &str = "ctwatch-drain";
/// Long enough to end.
pub const EXIT_LIMIT: Duration = Duration::from_secs(15);

/// A running ctwatch. Dropping it kills the process.
#[derive(Debug)]
pub struct Watcher {
    command: String,
    child: Child,
    arriving: Receiver<String>,
    /// Every JSON line so far.
    pub lines: Vec<Value>,
    text: Vec<String>,
    told: usize,
    stderr: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

/// What a ctwatch left when it ended.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// All JSON lines of standard output.
    pub lines: Vec<Value>,
    /// All of standard output.
    pub stdout: String,
    /// All of standard error.
    pub stderr: String,
}

impl Watcher {
    /// Starts `ctwatch watch -o json` with more arguments and waits until it is attached.
    pub fn watch(arguments: &[&str]) -> Result<Self> {
        let mut watcher = Self::start(&[&["watch", "-o", "json"], arguments].concat())?;
        watcher
            .wait_for(ATTACH_LIMIT, |line| line["kind"] == "attached")
            .context("ctwatch did not attach")?;
        Ok(watcher)
    }

    /// Starts `ctwatch top --once -o json` over an interval and waits until it is attached.
    pub fn top(interval: Duration, arguments: &[&str]) -> Result<Self> {
        let interval = format!("{}ms", interval.as_millis());
        let fixed = ["top", "--once", "-o", "json", "--interval", &interval];
        let mut watcher = Self::start(&[&fixed, arguments].concat())?;
        watcher.wait_until_draining()?;
        Ok(watcher)
    }

    /// Starts ctwatch.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        Self::start_with(arguments, &[])
    }

    /// Starts ctwatch with variables in its environment.
    pub fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Self> {
        Self::spawn(command(arguments)?.envs(environment.iter().copied()))
    }

    fn spawn(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        let stdout = child.stdout.take().context("the child has no standard output")?;
        let stderr = child.stderr.take().context("the child has no standard error")?;
        let (sender, arriving) = channel();
        let reader = thread::spawn(move || {
            // An error of either side ends it: what was printed until then is what there is.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let said = Arc::new(Mutex::new(String::new()));
        let readers = vec![reader, collect(stderr, Arc::clone(&said))];
        Ok(Self {
            command: format!("{command:?}"),
            child,
            arriving,
            lines: Vec::new(),
            text: Vec::new(),
            told: 0,
            stderr: said,
            readers,
        })
    }

    /// Process number.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// What it said on standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it drains its rings, for which it is attached: the one sign that does not depend on what
    /// the command prints, and when.
    pub fn wait_until_draining(&mut self) -> Result<()> {
        let deadline = Instant::now() + ATTACH_LIMIT;
        let tasks = format!("/proc/{}/task", self.child.id());
        while !has_task(&tasks, DRAINING) {
            let ended = self.child.try_wait()?;
            ensure!(ended.is_none(), "it ended instead of attaching: {}", self.describe());
            ensure!(Instant::now() < deadline, "it did not attach: {}", self.describe());
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The first line, of those that came and those to come, that `wanted` accepts.
    pub fn wait_for(&mut self, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + limit;
        let mut looked_at = 0;
        loop {
            if let Some(found) = self.lines[looked_at..].iter().find(|line| wanted(line)) {
                return Ok(found.clone());
            }
            looked_at = self.lines.len();
            match self.arriving.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.take(line),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("no such line within {limit:?} among {looked_at} of {}", self.describe())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("output ended without such a line: {}", self.describe())
                }
            }
        }
    }

    /// Waits for the first line of text.
    pub fn wait_for_text(&mut self) -> Result<()> {
        if self.text.is_empty() {
            let line = self.arriving.recv_timeout(ATTACH_LIMIT);
            let line = line.map_err(|_| anyhow!("it printed nothing: {}", self.describe()))?;
            self.take(line);
        }
        Ok(())
    }

    /// The lines of text that have come since this was last asked.
    pub fn new_text(&mut self) -> Vec<String> {
        self.catch_up();
        let told = std::mem::replace(&mut self.told, self.text.len());
        self.text[told..].to_vec()
    }

    /// How many lines of text [`Watcher::new_text`] has handed out.
    pub fn told(&self) -> usize {
        self.told
    }

    /// Takes in the lines that have come.
    pub fn catch_up(&mut self) {
        while let Ok(line) = self.arriving.try_recv() {
            self.take(line);
        }
    }

    fn take(&mut self, line: String) {
        self.lines.extend(serde_json::from_str(&line).ok().filter(Value::is_object));
        self.text.push(line);
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid(), signal).with_context(|| format!("signal {}", self.command))
    }

    /// Sends it a signal and waits for its end.
    pub fn stop(self, signal: Signal) -> Result<Ended> {
        self.signal(signal)?;
        self.finish(EXIT_LIMIT)
    }

    /// Waits until it ends by itself.
    pub fn finish(mut self, limit: Duration) -> Result<Ended> {
        let deadline = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(Instant::now() < deadline, "it did not end within {limit:?}: {}", self.describe());
            thread::sleep(Duration::from_millis(10));
        };
        for reader in self.readers.drain(..) {
            reader.join().map_err(|_| anyhow!("a reader of ctwatch's output panicked"))?;
        }
        self.catch_up();
        let lines = std::mem::take(&mut self.lines);
        Ok(Ended { status, lines, stdout: self.text.join("\n"), stderr: self.stderr() })
    }

    fn describe(&self) -> String {
        let last = self.lines.last().map(Value::to_string).unwrap_or_default();
        format!("{}\n  last line: {last}\n  standard error: {}", self.command, self.stderr().trim())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Harmless if it has ended: the child was not waited for, or this does nothing.
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Ended {
    /// The lines of one kind.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.lines.iter().filter(move |line| line["kind"] == kind)
    }

    /// The last line, which must be the summary.
    pub fn summary(&self) -> Result<&Value> {
        let last = self.lines.last().context("ctwatch printed nothing")?;
        ensure!(last["kind"] == "summary", "the last line is no summary: {last}");
        Ok(last)
    }

    /// The one document that `top --once -o json` prints.
    pub fn document(&self) -> Result<Value> {
        ensure!(self.status.success(), "top ended with {}: {}", self.status, self.stderr);
        serde_json::from_str(&self.stdout).with_context(|| format!("top printed {:?}", self.stdout))
    }
}

/// A number of a JSON object; an error that shows the object if there is none.
pub fn number(object: &Value, name: &str) -> Result<u64> {
    object[name].as_u64().with_context(|| format!("no number {name:?} in {object}"))
}

/// ctwatch with arguments, ready to start.
pub fn command(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command.args(arguments.iter().map(OsString::from));
    Ok(command)
}

fn has_task(tasks: &str, name: &str) -> bool {
    let comm = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("comm")).ok();
    fs::read_dir(tasks).into_iter().flatten().flatten().filter_map(comm).any(|comm| comm.trim() == name)
}

fn collect(mut stream: impl Read + Send + 'static, into: Arc<Mutex<String>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(size @ 1..) = stream.read(&mut chunk) {
            let text = String::from_utf8_lossy(&chunk[..size]);
            into.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
        }
    })
}
