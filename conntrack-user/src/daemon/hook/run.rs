//! One run of the program, from its start to the end of all it has started.

use std::{
    fmt,
    io::{self, ErrorKind, Read, Write},
    os::fd::{AsFd, OwnedFd},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
};

use super::Occasion;
use crate::{
    daemon::config::{OnEdge, OnSaturation},
    kernel::child,
    quantity::write_duration,
};

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// Longest time until somebody who wants it to stop is heard.
const LOOK: Duration = Duration::from_millis(200);
/// Of each of standard output and standard error, what is logged.
const LOGGED_BYTES: usize = 4096;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How a run ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// By itself.
    Ended(ExitStatus),
    /// It took too long.
    TimedOut,
    /// The daemon ends.
    Stopped,
    /// The system could not start it.
    NotStarted(io::Error),
}

/// Runs it; whatever it leaves behind in its process group is killed.
pub(super) fn run(settings: &OnSaturation, occasion: &Occasion, is_stopping: impl Fn() -> bool) -> Outcome {
    let mut running = match Running::start(settings, occasion) {
        Ok(running) => running,
        Err(error) => return Outcome::NotStarted(error),
    };
    let mut end = Instant::now() + settings.time_limit;
    let mut ended_by = None;
    while !running.is_over() {
        let now = Instant::now();
        if ended_by.is_none() && (now >= end || is_stopping()) {
            ended_by = Some(if now >= end { Outcome::TimedOut } else { Outcome::Stopped });
            running.signal(Signal::TERM);
            end = now + GRACE;
        } else if now >= end {
            break;
        }
        running.attend((end - now.min(end)).min(LOOK));
    }
    match (running.finish(), ended_by) {
        (_, Some(ended_by)) => ended_by,
        (Ok(status), None) => Outcome::Ended(status),
        (Err(error), None) => Outcome::NotStarted(error),
    }
}

/// The program, and what goes in and out.
struct Running<'a> {
    child: Child,
    group: Pid,
    /// Readable once the program has ended; it is not waited for before its group is dead, which so keeps its number.
    ends: OwnedFd,
    has_ended: bool,
    stdin: Option<ChildStdin>,
    unwritten: &'a [u8],
    stdout: Output<ChildStdout>,
    stderr: Output<ChildStderr>,
}

/// What a stream said, as far as it is kept.
struct Output<R> {
    name: &'static str,
    stream: Option<R>,
    kept: Vec<u8>,
    bytes: u64,
}

impl<'a> Running<'a> {
    fn start(settings: &OnSaturation, occasion: &'a Occasion) -> io::Result<Self> {
        let Some((program, arguments)) = settings.command.split_first() else {
            return Err(io::Error::new(ErrorKind::InvalidInput, "there is no command"));
        };
        let mut command = Command::new(program);
        child::confine(&mut command, settings.time_limit);
        command
            .args(arguments)
            .env("PATH", PATH)
            .env("CTWATCH_EDGE", occasion.edge.as_str())
            .env("CTWATCH_NETNS", occasion.netns.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(name) = &occasion.netns_name {
            command.env("CTWATCH_NETNS_NAME", name.replace('\0', ""));
        }
        let mut child = command.spawn()?;
        let group = Pid::from_child(&child);
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let prepared = (|| {
            stdin.as_ref().map(do_not_block).transpose()?;
            stdout.as_ref().map(do_not_block).transpose()?;
            stderr.as_ref().map(do_not_block).transpose()?;
            pidfd_open(group, PidfdFlags::empty())
        })();
        let ends = match prepared {
            Ok(ends) => ends,
            Err(error) => {
                child.kill()?;
                child.wait()?;
                return Err(error.into());
            }
        };
        Ok(Self {
            child,
            group,
            ends,
            has_ended: false,
            stdin,
            unwritten: &occasion.json,
            stdout: Output::new("stdout", stdout),
            stderr: Output::new("stderr", stderr),
        })
    }

    /// Whether it has ended and nobody is left who could write.
    fn is_over(&self) -> bool {
        self.has_ended && self.stdout.stream.is_none() && self.stderr.stream.is_none()
    }

    fn signal(&self, signal: Signal) {
        match kill_process_group(self.group, signal) {
            // Nobody is left.
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => tracing::warn!("cannot signal the program run on saturation: {error}"),
        }
    }

    /// Waits for something to happen, and sees to it.
    fn attend(&mut self, most: Duration) {
        let mut fds = Vec::with_capacity(4);
        if !self.has_ended {
            fds.push(PollFd::new(&self.ends, PollFlags::IN));
        }
        fds.extend(self.stdin.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::OUT)));
        fds.extend(self.stdout.stream.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        fds.extend(self.stderr.stream.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        let timeout = Timespec { tv_sec: most.as_secs() as i64, tv_nsec: most.subsec_nanos().into() };
        // An error leaves nothing ready: it is tried again until the time is up.
        let _ready = poll(&mut fds, Some(&timeout));
        self.has_ended |= is_ready(&self.ends);
        self.write();
        self.stdout.read();
        self.stderr.read();
    }

    fn write(&mut self) {
        let Some(stdin) = &mut self.stdin else { return };
        while !self.unwritten.is_empty() {
            match stdin.write(self.unwritten) {
                Ok(written) => self.unwritten = &self.unwritten[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // It does not want to read: that is its business.
                Err(_) => break,
            }
        }
        self.stdin = None;
    }

    fn finish(mut self) -> io::Result<ExitStatus> {
        // Its own end is not waited for yet: until then no other group can have this number.
        self.signal(Signal::KILL);
        self.stdout.log();
        self.stderr.log();
        self.child.wait()
    }
}

impl<R: Read> Output<R> {
    fn new(name: &'static str, stream: Option<R>) -> Self {
        Self { name, stream, kept: Vec::new(), bytes: 0 }
    }

    fn read(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        let mut bytes = [0; 8192];
        // A program that prints without end is not to keep us here.
        for _ in 0..64 {
            match stream.read(&mut bytes) {
                Ok(0) => return self.stream = None,
                Ok(read) => {
                    self.bytes += read as u64;
                    let room = LOGGED_BYTES - self.kept.len();
                    self.kept.extend_from_slice(&bytes[..read.min(room)]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.stream = None,
            }
        }
    }

    /// Line by line, without what could move a terminal's cursor.
    fn log(&self) {
        let text = String::from_utf8_lossy(&self.kept);
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            tracing::info!(stream = self.name, "the program run on saturation: {line}");
        }
        let more = self.bytes - self.kept.len() as u64;
        if more > 0 {
            tracing::info!(stream = self.name, "the program run on saturation printed {more} bytes more");
        }
    }
}

impl Outcome {
    pub(super) fn log(&self, settings: &OnSaturation, edge: OnEdge) {
        let program = settings.command.first().map_or("", String::as_str);
        let edge = edge.as_str();
        match self {
            Self::Ended(status) if status.success() => {
                tracing::info!(program, edge, "on saturation {program} was run");
            }
            Self::Ended(_) | Self::Stopped => tracing::warn!(program, edge, "on saturation {program} {self}"),
            Self::TimedOut => {
                let limit = write_duration(settings.time_limit);
                tracing::warn!(program, edge, "on saturation {program} {self} than {limit}, and was ended");
            }
            Self::NotStarted(_) => tracing::error!(program, edge, "on saturation {program} {self}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(status) => write!(f, "ended with {status}"),
            Self::TimedOut => f.write_str("took longer"),
            Self::Stopped => f.write_str("was ended with the daemon"),
            Self::NotStarted(error) => write!(f, "could not be started: {error}"),
        }
    }
}

fn do_not_block(fd: &impl AsFd) -> Result<(), Errno> {
    fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)
}

fn is_ready(fd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}
