//! Writes the archive format the kernel unpacks as its first file system: cpio, "newc" variant.
//!
//! Fifty lines of our own instead of the `cpio` program: no staging tree has to be laid out, owners and modes are
//! what we say whoever runs the task, and equal input gives equal bytes.
//!
//! An archive is a sequence of entries and a trailer entry called `TRAILER!!!`. An entry is a header of 110 ASCII
//! bytes (a magic and thirteen numbers of eight hexadecimal digits), the name with a final NUL, and the content;
//! name and content are each padded so that what follows starts at a multiple of four.

use std::collections::BTreeSet;
use std::io::{self, Write};

const DIRECTORY: u32 = 0o040_755;
const SYMLINK: u32 = 0o120_777;
const FILE: u32 = 0o100_000;
const TRAILER: &str = "TRAILER!!!";

/// An archive being written.
#[derive(Debug)]
pub struct Archive<W> {
    output: W,
    inode: u32,
    /// What is in it, so that parents are made once and the first of two entries of a name wins.
    names: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    /// Begins an archive.
    pub fn new(output: W) -> Self {
        Self { output, inode: 0, names: BTreeSet::new() }
    }

    /// Adds a directory and the directories above it.
    pub fn directory(&mut self, name: &str) -> io::Result<()> {
        self.parents(name)?;
        self.entry(name, DIRECTORY, &[])
    }

    /// Adds a file with these permissions.
    pub fn file(&mut self, name: &str, permissions: u32, content: &[u8]) -> io::Result<()> {
        self.parents(name)?;
        self.entry(name, FILE | permissions, content)
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, name: &str, target: &str) -> io::Result<()> {
        self.parents(name)?;
        self.entry(name, SYMLINK, target.as_bytes())
    }

    /// Ends the archive and gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        self.raw(TRAILER, 0, &[])?;
        self.output.flush()?;
        Ok(self.output)
    }

    fn parents(&mut self, name: &str) -> io::Result<()> {
        let name = name.trim_start_matches('/');
        for (end, _) in name.match_indices('/') {
            self.entry(&name[..end], DIRECTORY, &[])?;
        }
        Ok(())
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let name = name.trim_start_matches('/');
        if self.names.insert(name.to_owned()) {
            self.raw(name, mode, content)?;
        }
        Ok(())
    }

    fn raw(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let too_large = |_| io::Error::new(io::ErrorKind::FileTooLarge, format!("{name} is 4 GiB or more"));
        let size = u32::try_from(content.len()).map_err(too_large)?;
        let name_size = u32::try_from(name.len() + 1).map_err(too_large)?;
        self.inode += 1;
        // inode, mode, uid, gid, links, mtime, size, device major and minor, ditto of the node, name size, check.
        let fields = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        write!(self.output, "070701")?;
        for field in fields {
            write!(self.output, "{field:08X}")?;
        }
        self.output.write_all(name.as_bytes())?;
        self.output.write_all(&[0])?;
        self.pad(110 + name.len() + 1)?;
        self.output.write_all(content)?;
        self.pad(content.len())
    }

    fn pad(&mut self, written: usize) -> io::Result<()> {
        self.output.write_all(&[0; 3][..written.next_multiple_of(4) - written])
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    fn archive(fill: impl FnOnce(&mut Archive<Vec<u8>>)) -> Vec<u8> {
        let mut archive = Archive::new(Vec::new());
        fill(&mut archive);
        archive.finish().expect("writing to memory")
    }

    #[test]
    fn an_empty_archive_is_its_trailer() {
        let bytes = archive(|_| {});
        assert_eq!(bytes.len(), 124);
        assert!(bytes.starts_with(b"070701"));
        assert_eq!(&bytes[110..121], b"TRAILER!!!\0");
    }

    #[test]
    fn parents_are_made_once_and_first() {
        let bytes = archive(|archive| {
            archive.file("/a/b/c", 0o644, b"hello").expect("memory");
            archive.file("a/b/d", 0o644, b"").expect("memory");
        });
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let place = |needle: &str| text.find(needle).expect("present");
        assert!(place("a\0") < place("a/b\0") && place("a/b\0") < place("a/b/c\0"));
        assert_eq!(text.matches("a/b\0").count(), 1);
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn cpio_lists_what_was_written() {
        use std::io::Write as _;
        use std::process::{Command, Stdio};

        let bytes = archive(|archive| {
            archive.directory("etc").expect("memory");
            archive.file("etc/name", 0o644, b"guest\n").expect("memory");
            archive.symlink("bin", "usr/bin").expect("memory");
        });
        let listing =
            Command::new("cpio").args(["-t", "--quiet"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = listing else {
            eprintln!("skipped: this machine has no cpio to compare with");
            return;
        };
        child.stdin.take().expect("piped").write_all(&bytes).expect("cpio reads");
        let output = child.wait_with_output().expect("cpio ends");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "etc\netc/name\nbin\n");
    }
}
