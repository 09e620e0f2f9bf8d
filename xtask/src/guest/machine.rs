//! One run of one command in one guest.

use std::fs;
use std::io::{self, IsTerminal as _, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::console::Console;
use super::initramfs;
use super::kernel::Kernel;
use super::qemu::{Qemu, Start};
use crate::host::cache::Cache;

/// A guest says its first word after 2 to 5 s; a crowded host may need many times that.
const BOOT_LIMIT: Duration = Duration::from_secs(180);
const RUN_LIMIT: Duration = Duration::from_secs(600);
/// How long a broken kernel may go on printing why.
const LAST_WORDS: Duration = Duration::from_secs(5);

const BOOTED: &str = "ctwatch-guest: booted";
const EXIT: &str = "ctwatch-guest: exit ";

/// A guest to be started: a kernel, and what is put beside the command.
#[derive(Clone, Debug)]
pub struct Guest {
    cache: Cache,
    kernel: Kernel,
    smp: u32,
    icount: bool,
    terminal: Option<(u16, u16)>,
    limit: Duration,
    disk: Option<PathBuf>,
    files: Vec<(PathBuf, String)>,
    env: Vec<(String, String)>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Its exit code.
    pub code: u8,
    /// From starting QEMU to QEMU's end.
    pub took: Duration,
}

/// How one start of QEMU ended.
enum End {
    Exit(u8),
    /// Its command was running for longer than it may.
    TimedOut {
        /// What the console showed until then.
        said: Vec<u8>,
    },
    Died {
        booted: bool,
        reason: String,
    },
}

impl Guest {
    /// A guest with two processors and ten minutes to live.
    pub fn new(cache: &Cache, kernel: Kernel) -> Self {
        Self {
            cache: cache.clone(),
            kernel,
            smp: 2,
            icount: false,
            terminal: None,
            limit: RUN_LIMIT,
            disk: None,
            files: Vec::new(),
            env: Vec::new(),
        }
    }

    /// Sets the number of processors.
    pub fn smp(mut self, count: u32) -> Self {
        self.smp = count;
        self
    }

    /// Makes the guest's clock count instructions, on one processor.
    pub fn icount(mut self, on: bool) -> Self {
        self.icount = on;
        self
    }

    /// Sets how long the command may take.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Gives the guest a disk, /dev/vda: a file, which outlives it.
    pub fn disk(mut self, file: impl Into<PathBuf>) -> Self {
        self.disk = Some(file.into());
        self
    }

    /// Gives the command a terminal of this many columns and rows, instead of a pipe, as its stdout.
    pub fn terminal(mut self, columns: u16, rows: u16) -> Self {
        self.terminal = Some((columns, rows));
        self
    }

    /// Puts a file into the guest; a relative path is below `/test`, which is the working folder and on `PATH`.
    pub fn file(mut self, here: impl Into<PathBuf>, there: &str) -> Self {
        self.files.push((here.into(), Path::new("/test").join(there).to_string_lossy().into_owned()));
        self
    }

    /// Sets a variable for the command.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Boots, runs `command`, and cuts the power when it has run as long as its limit; what its console showed until
    /// then. A command that ends before is an error.
    pub fn run_until_power_cut(&self, command: &[String]) -> Result<String> {
        match self.start(command)? {
            End::TimedOut { said } => Ok(String::from_utf8_lossy(&said).into_owned()),
            End::Exit(code) => bail!("the command ended with {code} before the power was cut"),
            End::Died { reason, .. } => bail!("the guest died before the power was cut: {reason}"),
        }
    }

    /// Boots, runs `command`, and shows its output as it comes.
    ///
    /// A guest that dies before its first word was let down by the emulator or the host: that is reported, and
    /// tried once more. After that word, dying is a result like any other.
    pub fn run(&self, command: &[String]) -> Result<Outcome> {
        let begun = Instant::now();
        let reason = match self.start(command)? {
            End::Exit(code) => return Ok(Outcome { code, took: begun.elapsed() }),
            End::TimedOut { .. } => format!("it was not done within its limit of {} s", self.limit.as_secs()),
            End::Died { reason, .. } => reason,
        };
        bail!("the guest with {} did not end well: {reason}", self.kernel.release)
    }

    fn start(&self, command: &[String]) -> Result<End> {
        let qemu = Qemu::find(&self.cache).context("there is no QEMU: run `cargo xtask setup`")?;
        let scratch = self.cache.scratch()?;
        let initramfs = self.initramfs(scratch.path(), command)?;
        let mut end = self.boot(&qemu, &initramfs, scratch.path())?;
        if let End::Died { booted: false, reason } = &end {
            eprintln!("{} died before its first word ({reason}): starting it once more", self.kernel.release);
            end = self.boot(&qemu, &initramfs, scratch.path())?;
        }
        Ok(end)
    }

    fn initramfs(&self, folder: &Path, command: &[String]) -> Result<PathBuf> {
        let base = initramfs::base_layer(&self.cache)?;
        let modules = initramfs::module_layer(&self.cache, &self.kernel)?;
        let test = folder.join("test.gz");
        initramfs::test_layer(&test, &run_script(&self.env, command), &self.files)?;
        let joined = folder.join("initramfs");
        initramfs::join(&joined, &[&base, &modules, &test])?;
        Ok(joined)
    }

    fn boot(&self, qemu: &Qemu, initramfs: &Path, folder: &Path) -> Result<End> {
        let status = folder.join("status");
        let append = self.terminal.map_or_else(String::new, |(columns, rows)| {
            // The kernel hands what it does not know to /init as its environment.
            format!("ctwatch_terminal=1 ctwatch_columns={columns} ctwatch_rows={rows}")
        });
        let mut command = qemu.command(&Start {
            image: &self.kernel.image,
            initramfs,
            status: &status,
            append: &append,
            smp: self.smp,
            icount: self.icount,
            disk: self.disk.as_deref(),
        });
        let (mut output, input) = io::pipe().context("cannot make a pipe")?;
        command.stdin(Stdio::null()).stdout(input.try_clone().context("cannot share a pipe")?).stderr(input);
        let child = command.spawn().context("cannot run QEMU")?;
        // The command holds the writing end; only without it does the pipe end with QEMU.
        drop(command);
        let (sender, chunks) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = vec![0; 16 << 10];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        self.watch(child, &chunks, &status)
    }

    /// Passes the console on until QEMU ends or has to be ended.
    fn watch(&self, mut child: Child, chunks: &Receiver<Vec<u8>>, status: &Path) -> Result<End> {
        let keep_returns = self.terminal.is_some() && io::stdout().is_terminal();
        let mut console = Console::new(Kept { shown: io::stdout(), kept: Vec::new() }, keep_returns);
        let mut deadline = Instant::now() + BOOT_LIMIT;
        let mut booted = false;
        let mut broken: Option<String> = None;
        let mut timed_out = false;
        loop {
            match chunks.recv_timeout(Duration::from_millis(50)) {
                Ok(bytes) => console.feed(&bytes).context("cannot show the guest's console")?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if !booted && says(status, BOOTED).is_some() {
                booted = true;
                deadline = Instant::now() + self.limit;
            }
            if broken.is_none()
                && let Some(line) = console.broken()
            {
                broken = Some(line.to_owned());
                deadline = Instant::now() + LAST_WORDS;
            }
            if Instant::now() > deadline {
                timed_out = broken.is_none();
                child.kill().context("cannot end QEMU")?;
                break;
            }
        }
        let ended = child.wait().context("cannot wait for QEMU")?;
        booted |= says(status, BOOTED).is_some();
        Ok(match (broken, says(status, EXIT)) {
            (Some(line), _) => End::Died { booted, reason: format!("its kernel broke: {line}") },
            (None, Some(code)) => {
                End::Exit(code.trim().parse().context("the guest's verdict has no number")?)
            }
            (None, None) if timed_out && booted => End::TimedOut { said: console.into_output().kept },
            (None, None) if timed_out => End::Died { booted, reason: "it did not boot in time".to_owned() },
            (None, None) => End::Died { booted, reason: format!("QEMU ended with {ended} and no verdict") },
        })
    }
}

/// Standard output, and what went there.
struct Kept<W> {
    shown: W,
    kept: Vec<u8>,
}

impl<W: Write> Write for Kept<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.shown.write(bytes)?;
        self.kept.extend_from_slice(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.shown.flush()
    }
}

/// What follows `prefix` in the guest's report, once it has said that whole line.
fn says(status: &Path, prefix: &str) -> Option<String> {
    let report = fs::read_to_string(status).ok()?;
    let (_, rest) = report.split_once(prefix)?;
    let (line, _) = rest.split_once('\n')?;
    Some(line.trim_end().to_owned())
}

/// The shell script that sets the variables and becomes the command.
fn run_script(env: &[(String, String)], command: &[String]) -> String {
    let mut script = String::from("#!/bin/sh\ncd /test\n");
    for (name, value) in env {
        script.push_str(&format!("export {name}={}\n", quote(value)));
    }
    let words: Vec<String> = command.iter().map(|word| quote(word)).collect();
    script.push_str(&format!("exec {}\n", words.join(" ")));
    script
}

/// A word as the shell reads it back unchanged.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::run_script;

    #[test]
    fn script_quotes_what_it_is_given() {
        let env = [("NAME".to_owned(), "it's".to_owned())];
        let command = ["sh".to_owned(), "-c".to_owned(), "echo $NAME".to_owned()];
        assert_eq!(
            run_script(&env, &command),
            "#!/bin/sh\ncd /test\nexport NAME='it'\\''s'\nexec 'sh' '-c' 'echo $NAME'\n"
        );
    }
}
