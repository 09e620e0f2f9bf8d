//! The program's own log: lines on stderr, but not across a live view.

use std::{
    io::{self, IsTerminal as _, Write},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

static SILENT: AtomicBool = AtomicBool::new(false);

/// Begins to log what CTWATCH_LOG asks for, else warnings.
pub fn init() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("CTWATCH_LOG");
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| "warn".into()))
        .with_writer(writer)
        .with_ansi(io::stderr().is_terminal())
        .init();
}

/// Nothing more is logged if it would go to a terminal, whose picture it would tear.
pub fn be_silent_on_terminals() {
    SILENT.store(io::stderr().is_terminal(), Relaxed);
}

fn writer() -> Box<dyn Write> {
    if SILENT.load(Relaxed) { Box::new(io::sink()) } else { Box::new(io::stderr()) }
}
