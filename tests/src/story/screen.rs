//! Where the story is shown: plain lines, or on a terminal colours and a gauge that moves.

use std::io::{self, Write as _};

/// Columns of the gauge.
const GAUGE: usize = 40;

/// Standard output.
#[derive(Debug)]
pub struct Screen {
    live: bool,
    columns: usize,
    gauge_shown: bool,
}

/// How a piece of text looks on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// As it is.
    Plain,
    /// Headings.
    Bold,
    /// What is beside the point.
    Faint,
    /// Good.
    Green,
    /// Not yet bad.
    Yellow,
    /// Bad.
    Red,
}

impl Look {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Bold => "1",
            Self::Faint => "2",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Red => "31",
        }
    }
}

impl Screen {
    /// `live` on a terminal.
    pub fn new(live: bool) -> Self {
        let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        Self { live, columns: columns.unwrap_or(100), gauge_shown: false }
    }

    /// Text in some look, where looks are possible.
    pub fn dressed(&self, look: Look, text: &str) -> String {
        if self.live && look != Look::Plain {
            format!("\x1b[{}m{text}\x1b[0m", look.code())
        } else {
            text.to_owned()
        }
    }

    /// The first line.
    pub fn title(&mut self, title: &str) {
        let title = self.dressed(Look::Bold, title);
        self.line(&format!("\n  {title}\n"));
    }

    /// A heading of a part.
    pub fn heading(&mut self, heading: &str) {
        let heading = self.dressed(Look::Bold, heading);
        self.line(&format!("\n  {heading}"));
    }

    /// A sentence under a heading.
    pub fn text(&mut self, text: &str) {
        self.line(&format!("  {text}"));
    }

    /// A line of ctwatch's own output.
    pub fn quote(&mut self, look: Look, text: &str) {
        let room = self.columns.saturating_sub(7);
        let text: String = if self.live && text.chars().count() > room {
            text.chars().take(room.saturating_sub(1)).chain(['…']).collect()
        } else {
            text.to_owned()
        };
        let bar = self.dressed(Look::Faint, "|");
        let text = self.dressed(look, &text);
        self.line(&format!("    {bar} {text}"));
    }

    /// Moves the gauge, which stays below everything else. Nothing happens where lines cannot be rewritten.
    pub fn gauge(&mut self, count: u64, max: u64) {
        if !self.live {
            return;
        }
        let share = count as f64 / max.max(1) as f64;
        let full = ((share * GAUGE as f64).round() as usize).min(GAUGE);
        let look = match share {
            share if share >= 1.0 => Look::Red,
            share if share >= 0.8 => Look::Yellow,
            _ => Look::Green,
        };
        let bar = self.dressed(look, &"#".repeat(full));
        let rest = self.dressed(Look::Faint, &"-".repeat(GAUGE - full));
        let numbers = format!("{} of {} entries", grouped(count), grouped(max));
        self.write(&format!("\r\x1b[2K    [{bar}{rest}] {numbers}"));
        self.gauge_shown = true;
    }

    fn line(&mut self, text: &str) {
        let clear = if std::mem::take(&mut self.gauge_shown) { "\r\x1b[2K" } else { "" };
        self.write(&format!("{clear}{text}\n"));
    }

    /// A reader that has gone away is no reason to leave the machine's limits changed.
    fn write(&self, text: &str) {
        let mut out = io::stdout().lock();
        let _nobody_reads = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// A number with its thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_stand_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (262_144, "262,144")] {
            assert_eq!(grouped(number), text);
        }
    }
}
