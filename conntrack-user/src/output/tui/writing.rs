//! What is on the screen, as files: its text, and the whole snapshot as JSON.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use ratatui::buffer::Buffer;

use crate::engine::snapshot::Snapshot;
use crate::output::Format;
use crate::output::time::Rfc3339;

/// Files of one second at most.
const TRIES: u32 = 100;

/// The lines of a screen without what hangs over at their ends.
pub fn lines(buffer: &Buffer) -> String {
    let area = buffer.area;
    let row = |y| {
        let cells = (area.left()..area.right()).map(|x| buffer[(x, y)].symbol());
        format!("{}\n", cells.collect::<String>().trim_end())
    };
    (area.top()..area.bottom()).map(row).collect()
}

/// Writes both files into a directory, over none that is there. The time in their names is that of the snapshot.
pub fn write(directory: &Path, text: &str, snapshot: &Snapshot) -> io::Result<String> {
    let mut json = Vec::new();
    Format::Json.top(&mut json, snapshot)?;
    let time = format!("{:.0}", Rfc3339::at(snapshot.wall, snapshot.ktime_ns)).replace(['-', ':'], "");
    for number in 1..=TRIES {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let name = format!("ctwatch-top-{time}{suffix}");
        let (of_text, of_json) =
            (directory.join(format!("{name}.txt")), directory.join(format!("{name}.json")));
        if of_json.exists() {
            continue;
        }
        match create(&of_text, text.as_bytes()).and_then(|()| create(&of_json, &json)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            outcome => return outcome.map(|()| format!("wrote {name}.txt and {name}.json")),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(bytes)
}
