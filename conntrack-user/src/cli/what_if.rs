//! Plays recordings under other settings, for `ctwatch report --what-if`.

use std::io::Write;

use anyhow::{Context as _, Result, ensure};

use crate::{
    advise::{
        changes::Changes,
        what_if::{Prediction, Simulation},
    },
    engine::batch::WallClock,
    output::Format,
    record::{Files, Piece, Recording},
};

/// Writes one prediction for each session of the recordings: times of different boots do not compare.
///
/// # Errors
///
/// If a session was recorded without `--entries`, cannot be read, or the output cannot be written.
pub fn run(files: &Files, changes: &Changes, format: Format, out: &mut impl Write) -> Result<()> {
    for session in files.sessions() {
        let Some(first) = session.first() else { continue };
        let wall = WallClock { offset_ns: first.header.wall_offset_ns };
        format.what_if(out, &predict(session, changes)?, wall)?;
    }
    Ok(out.flush()?)
}

/// What a session comes to under other settings.
///
/// # Errors
///
/// If it was recorded without `--entries` or cannot be read.
pub fn predict(session: &[Recording], changes: &Changes) -> Result<Prediction> {
    let kernel = session.first().map_or("", |first| first.header.kernel.as_str());
    let mut simulation = Simulation::new(changes.clone(), kernel);
    for recording in session {
        let path = recording.path.display();
        ensure!(
            recording.header.entries,
            "{path}: it has no new and freed entries, without which other settings cannot be tried; record with \
             --entries"
        );
        if recording.missing_before > 0 {
            simulation.missing();
        }
        let mut reader = recording.open()?;
        while let Some(piece) = reader.next().with_context(|| format!("read {path}"))? {
            match piece {
                Piece::Block(block) => {
                    simulation.play(&block.records).with_context(|| format!("{path}"))?;
                }
                Piece::Damage(_) => simulation.missing(),
            }
        }
    }
    Ok(simulation.finish())
}
