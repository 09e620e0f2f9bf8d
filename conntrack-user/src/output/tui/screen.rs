//! The terminal: taken on entering, given back on leaving, on a panic and before stopping.

use std::io::{self, BufWriter, Stdout, Write};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{cursor, execute, queue};
use ratatui::layout::{Position, Rect};
use rustix::process::{Signal, getpid, kill_process};

use super::app::App;

/// A whole frame in one write, so that no terminal shows half of one.
const FRAME_BYTES: usize = 256 * 1024;

/// Whether the terminal is ours.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal while it is ours.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
    suspended: bool,
}

impl Screen {
    /// Takes the terminal.
    pub fn enter() -> io::Result<Self> {
        leave_on_panic();
        take()?;
        let backend = CrosstermBackend::new(BufWriter::with_capacity(FRAME_BYTES, io::stdout()));
        let terminal = Terminal::new(backend).inspect_err(|_| give_back())?;
        Ok(Self { terminal, suspended: false })
    }

    /// Draws what differs from what is on the screen.
    pub fn draw(&mut self, app: &mut App) -> io::Result<()> {
        if !TAKEN.load(Ordering::SeqCst) {
            return Err(io::Error::other("another thread has panicked and the terminal was given back"));
        }
        queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
        self.terminal.draw(|frame| app.draw(frame))?;
        execute!(self.terminal.backend_mut(), EndSynchronizedUpdate)
    }

    /// What the screen would show.
    pub fn picture(&self, app: &mut App) -> io::Result<Buffer> {
        let area = self.area()?;
        let mut buffer = Buffer::empty(area);
        app.draw_on(&mut buffer, area);
        Ok(buffer)
    }

    /// Forgets what is on the screen, so that all of it is drawn again.
    ///
    /// `Terminal::clear` would ask the terminal where its cursor is, and the answer would go to the thread that reads
    /// keys.
    pub fn clear(&mut self) -> io::Result<()> {
        let area = self.area()?;
        self.terminal.resize(area)
    }

    fn area(&self) -> io::Result<Rect> {
        Ok(Rect::from((Position::ORIGIN, self.terminal.size()?)))
    }

    /// Gives the terminal back and stops this process.
    ///
    /// The kernel may hand the signal to another thread, and stop this one a moment later: what comes after it must wait
    /// for SIGCONT, not for the next line.
    pub fn suspend(&mut self) -> io::Result<()> {
        give_back();
        self.suspended = true;
        Ok(kill_process(getpid(), Signal::STOP)?)
    }

    /// Takes the terminal again, whoever had it meanwhile: after SIGSTOP it was not given back.
    pub fn resume(&mut self) -> io::Result<()> {
        give_back();
        self.suspended = false;
        take()?;
        self.clear()
    }

    /// Whether the terminal is somebody else's for now.
    pub fn is_suspended(&self) -> bool {
        self.suspended
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn take() -> io::Result<()> {
    TAKEN.store(true, Ordering::SeqCst);
    enable_raw_mode()
        .and_then(|()| execute!(io::stdout(), EnterAlternateScreen, cursor::Hide))
        .inspect_err(|_| give_back())
}

/// Once, however often it is called. What fails here has nobody to be told.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let mut out = io::stdout();
        let _ = execute!(out, EndSynchronizedUpdate, LeaveAlternateScreen, cursor::Show);
        let _ = disable_raw_mode();
        let _ = out.flush();
    }
}

/// A message of a panic is of use only on a terminal that is as it was.
fn leave_on_panic() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            give_back();
            before(info);
        }));
    });
}
