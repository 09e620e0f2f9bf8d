//! A real terminal (tmux) with a program in it: keys go in, the screen comes out.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

/// Time between two looks at the screen.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A terminal of its own, with a shell in it. Dropping it ends all that runs in it.
#[derive(Debug)]
pub struct Terminal {
    /// Name of the tmux server's socket, so that no other tmux is touched.
    socket: String,
}

impl Terminal {
    /// Opens one of so many columns and rows, with a shell whose prompt is `$ `.
    pub fn open(columns: u16, rows: u16) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let terminal = Self { socket: format!("ctwatch-{}-{number}", std::process::id()) };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-s",
            "it",
            "-x",
            &columns,
            "-y",
            &rows,
            "env PS1='$ ' sh",
        ])?;
        terminal.wait_for(Duration::from_secs(20), "the shell's prompt", |screen| screen.contains('$'))?;
        Ok(terminal)
    }

    /// Types keys by tmux's names (`Enter`, `C-c`, `Down`), or text that is none of them.
    pub fn keys(&self, keys: &[&str]) -> Result<()> {
        self.tmux(&[&["send-keys", "-t", "it"], keys].concat()).map(drop)
    }

    /// Types text as it is.
    pub fn text(&self, text: &str) -> Result<()> {
        self.tmux(&["send-keys", "-t", "it", "-l", text]).map(drop)
    }

    /// Types a line for the shell.
    pub fn line(&self, line: &str) -> Result<()> {
        self.text(line)?;
        self.keys(&["Enter"])
    }

    /// Gives it another size.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.tmux(&["resize-window", "-t", "it", "-x", &columns, "-y", &rows]).map(drop)
    }

    /// What is on the screen, a line per row.
    pub fn screen(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-t", "it", "-p"])
    }

    /// The same with the escape sequences of its colours.
    pub fn colored_screen(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-t", "it", "-p", "-e"])
    }

    /// The first screen that is as `wanted`.
    pub fn wait_for(&self, limit: Duration, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            let screen = self.screen()?;
            if wanted(&screen) {
                return Ok(screen);
            }
            ensure!(Instant::now() < deadline, "no {what} within {limit:?}; the screen:\n{screen}");
            thread::sleep(LOOK_EVERY);
        }
    }

    fn tmux(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new("tmux")
            .args(["-u", "-L", &self.socket])
            .args(arguments)
            .env_remove("TMUX")
            .env("LC_ALL", "C.UTF-8")
            .output()
            .context("cannot run `tmux`: is it installed?")?;
        if !output.status.success() {
            bail!("tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        String::from_utf8(output.stdout).context("the screen is no UTF-8")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Err(error) = self.tmux(&["kill-server"]) {
            eprintln!("cannot close the terminal: {error:#}");
        }
    }
}
