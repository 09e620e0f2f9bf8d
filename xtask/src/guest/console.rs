//! The guest's console: passed on as it comes, and watched for a kernel that breaks.

use std::io::{self, Write};

/// What a kernel says when it cannot go on. Warnings and stalls are not among them: emulation on a busy host
/// provokes those in a healthy kernel.
const BROKEN: [&str; 7] = [
    "Kernel panic - not syncing",
    "Oops: ",
    "kernel BUG at ",
    "general protection fault",
    "BUG: kernel NULL pointer dereference",
    "BUG: unable to handle ",
    "traps: PANIC: double fault",
];
/// Longest line kept for inspection; the kernel's are shorter.
const LONGEST: usize = 400;

/// Passes console output on to a writer.
#[derive(Debug)]
pub struct Console<W> {
    output: W,
    keep_returns: bool,
    line: Vec<u8>,
    broken: Option<String>,
}

impl<W: Write> Console<W> {
    /// A console shown on `output`. Carriage returns are dropped unless a terminal is to act on them.
    pub fn new(output: W, keep_returns: bool) -> Self {
        Self { output, keep_returns, line: Vec::new(), broken: None }
    }

    /// Takes bytes as they come from the guest.
    pub fn feed(&mut self, bytes: &[u8]) -> io::Result<()> {
        for &byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                b'\r' => {}
                _ if self.line.len() < LONGEST => self.line.push(byte),
                _ => {}
            }
        }
        if self.keep_returns {
            self.output.write_all(bytes)?;
        } else {
            for part in bytes.split(|byte| *byte == b'\r') {
                self.output.write_all(part)?;
            }
        }
        self.output.flush()
    }

    /// What it was shown on.
    pub fn into_output(self) -> W {
        self.output
    }

    /// The line in which the kernel said that it is broken, if it did.
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    fn end_line(&mut self) {
        if self.broken.is_none() {
            self.broken = kernel_breaks(&String::from_utf8_lossy(&self.line)).map(str::to_owned);
        }
        self.line.clear();
    }
}

/// The message of a line, if the kernel wrote it (it begins with a time in brackets) and it says that it breaks.
fn kernel_breaks(line: &str) -> Option<&str> {
    let (time, message) = line.strip_prefix('[')?.split_once("] ")?;
    time.trim().parse::<f64>().ok()?;
    BROKEN.iter().any(|sign| message.starts_with(sign)).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::Console;

    fn feed(parts: &[&str], keep_returns: bool) -> (String, Option<String>) {
        let mut output = Vec::new();
        let mut console = Console::new(&mut output, keep_returns);
        for part in parts {
            console.feed(part.as_bytes()).expect("memory");
        }
        let broken = console.broken().map(str::to_owned);
        (String::from_utf8(output).expect("text"), broken)
    }

    #[test]
    fn returns_are_dropped_or_kept() {
        assert_eq!(feed(&["a\r", "\nb\r\n"], false).0, "a\nb\n");
        assert_eq!(feed(&["50%\r100%\r\n"], true).0, "50%\r100%\r\n");
    }

    #[test]
    fn a_panic_is_seen_across_chunks() {
        let (_, broken) = feed(&["[    1.25", "0000] Kernel panic - not ", "syncing: x\r\n"], false);
        assert_eq!(broken.as_deref(), Some("Kernel panic - not syncing: x"));
    }

    #[test]
    fn words_of_a_program_are_not_a_panic() {
        let lines =
            ["Kernel panic - not syncing\n", "[ok] Oops: \n", "[    2.0] watchdog: BUG: soft lockup\n"];
        assert_eq!(feed(&lines, false).1, None);
    }
}
