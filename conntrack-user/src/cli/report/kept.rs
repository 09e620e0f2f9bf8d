//! Files that are there whole or not at all: written under another name, and renamed when they are complete.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::{
    engine::report::{Report, Told},
    output::report::tables::{self, Begin, Rows},
};

/// A file that is being written.
pub struct Kept {
    out: BufWriter<File>,
    written_as: PathBuf,
    path: PathBuf,
    whole: bool,
}

impl Kept {
    /// Begins beside where it will be.
    pub fn begin(path: &Path) -> anyhow::Result<Self> {
        let name = path.file_name().with_context(|| format!("{} names no file", path.display()))?;
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}", std::process::id()));
        let written_as = path.with_file_name(temporary);
        let file = File::options().write(true).create_new(true).open(&written_as);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { out: BufWriter::new(file), written_as, path: path.to_owned(), whole: false })
    }

    /// It is complete.
    pub fn finish(mut self) -> anyhow::Result<()> {
        let renamed = self.out.flush().and_then(|()| fs::rename(&self.written_as, &self.path));
        renamed.with_context(|| format!("cannot write {}", self.path.display()))?;
        self.whole = true;
        Ok(())
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if !self.whole {
            // What cannot be removed cannot be helped: why it was not completed is told already.
            let _ = fs::remove_file(&self.written_as);
        }
    }
}

/// The tables in a directory, in a format.
pub struct Tables {
    directory: PathBuf,
    extension: &'static str,
    begin: Begin<Kept>,
    seconds: Box<dyn Rows<Kept>>,
    incidents: Box<dyn Rows<Kept>>,
}

impl Tables {
    /// Begins those that grow; makes the directory if there is none.
    pub fn begin(directory: &Path, extension: &'static str, begin: Begin<Kept>) -> anyhow::Result<Self> {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let [seconds, incidents] = [&tables::SECONDS, &tables::INCIDENTS].map(|table| -> anyhow::Result<_> {
            let path = directory.join(table.name).with_extension(extension);
            Ok(begin(Kept::begin(&path)?, table)?)
        });
        let directory = directory.to_owned();
        Ok(Self { directory, extension, begin, seconds: seconds?, incidents: incidents? })
    }

    /// Takes a row of those that grow.
    pub fn row(&mut self, it: Told<'_>) -> anyhow::Result<()> {
        let written = match it {
            Told::Second { at, row, sums } => self.seconds.row(&tables::second(at, row, sums)),
            Told::Incident(it) => self.incidents.row(&tables::incident(it)),
        };
        written.with_context(|| format!("cannot write into {}", self.directory.display()))
    }

    /// Writes the others, and names all as they are called.
    pub fn finish(self, report: &Report) -> anyhow::Result<()> {
        for (table, give) in &tables::OF_REPORT {
            let path = self.directory.join(table.name).with_extension(self.extension);
            let mut rows = (self.begin)(Kept::begin(&path)?, table)?;
            let written = give(report, &mut |cells| rows.row(cells)).and_then(|()| rows.end());
            written.with_context(|| format!("cannot write {}", path.display()))?.finish()?;
        }
        for rows in [self.seconds, self.incidents] {
            let whole = rows.end();
            whole.with_context(|| format!("cannot write into {}", self.directory.display()))?.finish()?;
        }
        Ok(())
    }
}
