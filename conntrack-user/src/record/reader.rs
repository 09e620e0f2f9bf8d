//! Reads one file, whatever has happened to it: block by block, past what is damaged, up to where it is still being
//! written.

use std::io::{self, Read, Seek, SeekFrom};

use bytes::Bytes;
use thiserror::Error;

use super::block::{HEAD, HEADER, Head, MAGIC, RECORDS, VERSION};
use super::header::{Header, HeaderError};
use super::index::Index;
use super::layouts::layouts;
use super::schema::{Adapter, KindLayout, Sizes};

/// Both copies of the header lie in so many bytes from the beginning.
const HEADER_REACH: u64 = 1 << 20;
/// Bytes looked through at a time for the next block.
const WINDOW: usize = 64 << 10;

/// What comes next in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Records.
    Block(Block),
    /// Some are missing.
    Damage(Damage),
}

/// Records that were written at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The earliest time of a record.
    pub first_ktime_ns: u64,
    /// The latest.
    pub last_ktime_ns: u64,
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC at the drain its first record came with.
    pub wall_offset_ns: i64,
    /// In order, as this version lays them out: for [`Records`](crate::engine::decode::Records).
    pub records: Bytes,
}

/// A place where records are missing, and which times it leaves open: those between the block before and the
/// one after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where in the file.
    pub offset: u64,
    /// Bytes there that are no block.
    pub bytes: u64,
    /// The latest time of the block before; none if there is none.
    pub after_ktime_ns: Option<u64>,
    /// The earliest time of the block after; none if there is none.
    pub before_ktime_ns: Option<u64>,
    /// What is wrong.
    pub what: DamageKind,
}

/// What is wrong at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// These bytes are no block, or one that fails its checks.
    Damaged,
    /// A block is not there: it was not written, or cut out.
    Missing,
    /// The file ends with what is no whole block: it was torn, or is still being written. Once the file has grown,
    /// reading goes on here.
    Tail,
}

/// Why a file cannot be read at all.
#[derive(Debug, Error)]
pub enum OpenError {
    /// It could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It has no bytes.
    #[error("it is empty")]
    Empty,
    /// It is something else.
    #[error("it is not a recording of ctwatch")]
    NotARecording,
    /// It ends before its first record.
    #[error("it ends within its header: nothing was recorded")]
    HeaderTorn,
    /// Neither copy of the header is whole.
    #[error("both copies of its header are damaged")]
    HeaderDamaged,
    /// A header that says what it cannot.
    #[error("its header makes no sense")]
    HeaderMalformed,
    /// A later format.
    #[error("it has version {version} of the format, and this ctwatch reads up to {VERSION}")]
    Newer {
        /// The version it names.
        version: u16,
    },
    /// Its integers are the other way round.
    #[error("it was made on a machine of another byte order")]
    ByteOrder,
}

/// One file, from its beginning or any time on. Where it ends it can be asked again once it has grown.
#[derive(Debug)]
pub struct Reader<R> {
    pub(super) source: Source<R>,
    header: Header,
    kinds: Vec<KindLayout>,
    sizes: Sizes,
    adapter: Option<Adapter>,
    index: Index,
    /// Up to here all is read.
    at: u64,
    /// What the next block's sequence should be.
    sequence: u32,
    after_ktime_ns: Option<u64>,
    /// Found behind damage that was told first.
    held: Option<Block>,
    tail: Option<Tail>,
}

/// The end of a file that is no whole block.
#[derive(Clone, Copy, Debug)]
struct Tail {
    /// No block begins before.
    resume: u64,
    /// How long the file was.
    length: u64,
}

/// What is read from, and how long it was when last looked at.
#[derive(Debug)]
pub(super) struct Source<R> {
    inner: R,
    pub length: u64,
    /// What tells this file's blocks.
    pub file: u32,
}

/// A block with its place, its records in the layout of the file.
struct Found {
    at: u64,
    end: u64,
    head: Head,
    records: Vec<u8>,
}

/// What a place in a file is.
enum Place {
    /// A whole block of records.
    Block(Box<Found>),
    /// A copy of the header, up to here.
    Header(u64),
    /// The beginning of a block that the file does not have the end of.
    Begun,
    /// None of these.
    Nothing,
}

impl<R: Read + Seek> Reader<R> {
    /// Reads the header.
    pub fn open(source: R) -> Result<Self, OpenError> {
        let mut source = Source { inner: source, length: 0, file: 0 };
        source.measure()?;
        let beginning = source.read(0, source.length.min(HEADER_REACH))?;
        let (file, json) = header_in(&beginning)?;
        source.file = file;
        let (header, kinds) = Header::from_json(json).map_err(|error| match error {
            HeaderError::Malformed => OpenError::HeaderMalformed,
            HeaderError::ByteOrder => OpenError::ByteOrder,
        })?;
        let sizes = Sizes::of(&kinds).ok_or(OpenError::HeaderMalformed)?;
        let adapter = Adapter::between(&kinds, layouts());
        Ok(Self {
            source,
            header,
            kinds,
            sizes,
            adapter,
            index: Index::default(),
            at: 0,
            sequence: 0,
            after_ktime_ns: None,
            held: None,
            tail: None,
        })
    }

    /// What the file says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How its records are laid out in it; what [`next`](Self::next) gives is in this version's layout.
    pub fn kinds(&self) -> &[KindLayout] {
        &self.kinds
    }

    /// Up to where it has been read.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Bytes of the file, when last looked at.
    pub fn len(&self) -> u64 {
        self.source.length
    }

    /// Never: there is a header.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next block or damage; none at the end, for now. Fails only if the file cannot be read.
    #[expect(clippy::should_implement_trait, reason = "it may fail, and goes on after None")]
    pub fn next(&mut self) -> io::Result<Option<Piece>> {
        if let Some(block) = self.held.take() {
            return Ok(Some(Piece::Block(block)));
        }
        self.source.measure()?;
        if self.tail.is_some_and(|tail| tail.length == self.source.length) {
            return Ok(None);
        }
        if self.index.is_disordered()
            && let Some(piece) = self.next_by_sequence(Lost { offset: self.at, bytes: 0 })?
        {
            return Ok(Some(piece));
        }
        let from = self.tail.map_or(self.at, |tail| tail.resume.max(self.at));
        let mut lost = Lost { offset: self.at, bytes: from - self.at };
        match self.find(from, &mut lost)? {
            Ok(found) if self.is_misplaced(&found)? => {
                lost.add(found.at, found.end);
                self.next_by_sequence(lost)
            }
            Ok(found) => Ok(Some(self.give(*found, lost))),
            Err(resume) => Ok(self.give_tail(resume, lost)),
        }
    }

    /// Whether those that come before it stand behind it, so that the order of the file is not that of the writer.
    fn is_misplaced(&mut self, found: &Found) -> io::Result<bool> {
        if found.head.sequence.get() <= self.sequence {
            return Ok(false);
        }
        self.index.extend(&mut self.source)?;
        Ok(self.index.is_disordered())
    }

    /// The block that was written next, wherever it stands; none if there is none yet, and then reading goes on behind all
    /// that were found.
    fn next_by_sequence(&mut self, mut lost: Lost) -> io::Result<Option<Piece>> {
        self.index.extend(&mut self.source)?;
        let mut nth = self.index.first_of(self.sequence);
        while let Some((at, end)) = self.index.place(nth) {
            match self.place(at)? {
                Place::Block(found) => return Ok(Some(self.give(*found, lost))),
                _ => lost.add(at, end),
            }
            nth += 1;
        }
        self.at = self.at.max(self.index.end());
        Ok(None)
    }

    /// Goes to a time: [`next`](Self::next) continues with the first block that has records of then or later, or with
    /// the damage right before it.
    pub fn seek(&mut self, ktime_ns: u64) -> io::Result<()> {
        self.source.measure()?;
        self.index.extend(&mut self.source)?;
        let place = self.index.before(ktime_ns);
        (self.at, self.sequence, self.after_ktime_ns) = (place.at, place.sequence, place.after_ktime_ns);
        (self.held, self.tail) = (None, None);
        Ok(())
    }

    /// The first good block from a place on that is ahead in sequence; or where to look again if there is none yet.
    /// Adds up what is no block.
    fn find(&mut self, from: u64, lost: &mut Lost) -> io::Result<Result<Box<Found>, u64>> {
        let (mut at, mut begun) = (from, None);
        loop {
            match self.place(at)? {
                Place::Block(found) => return Ok(Ok(found)),
                Place::Header(end) => {
                    at = end;
                    continue;
                }
                Place::Begun => begun = begun.or(Some(at)),
                Place::Nothing => {}
            }
            let length = self.source.length;
            let next = if at < length { self.source.magic_after(at + 1)? } else { at };
            lost.add(at, next);
            if next >= length {
                let partial = length.saturating_sub(HEAD as u64 - 1).max(from);
                return Ok(Err(begun.unwrap_or(partial).min(partial)));
            }
            at = next;
        }
    }

    fn place(&mut self, at: u64) -> io::Result<Place> {
        let Some(head) = self.source.head(at)? else { return Ok(Place::Nothing) };
        let end = at + head.block_bytes();
        if end > self.source.length {
            return Ok(Place::Begun);
        }
        let payload = self.source.read(at + HEAD as u64, end - at - HEAD as u64)?;
        if !head.fits(&payload) {
            return Ok(Place::Nothing);
        }
        if head.what == HEADER {
            return Ok(Place::Header(end));
        }
        let ahead = head.what == RECORDS && head.sequence.get() >= self.sequence;
        Ok(match head.unpack(&payload, &self.sizes).filter(|_| ahead) {
            Some(records) => Place::Block(Box::new(Found { at, end, head, records })),
            None => Place::Nothing,
        })
    }

    fn give(&mut self, found: Found, lost: Lost) -> Piece {
        let Found { at, end, head, records } = found;
        let (first_ktime_ns, last_ktime_ns) = (head.first_ktime_ns.get(), head.last_ktime_ns.get());
        let records = match &self.adapter {
            Some(adapter) => adapter.adapt(&records, &self.sizes),
            None => records,
        };
        let wall_offset_ns = head.wall_offset_ns.get();
        let block = Block { first_ktime_ns, last_ktime_ns, wall_offset_ns, records: records.into() };
        let what = match lost.bytes {
            0 => (head.sequence.get() > self.sequence).then_some(DamageKind::Missing),
            _ => Some(DamageKind::Damaged),
        };
        let after_ktime_ns = self.after_ktime_ns;
        self.at = end;
        self.sequence = head.sequence.get().saturating_add(1);
        self.after_ktime_ns = after_ktime_ns.max(Some(last_ktime_ns));
        self.tail = None;
        let Some(what) = what else { return Piece::Block(block) };
        let offset = if lost.bytes == 0 { at } else { lost.offset };
        self.held = Some(block);
        let before_ktime_ns = Some(first_ktime_ns);
        Piece::Damage(Damage { offset, bytes: lost.bytes, after_ktime_ns, before_ktime_ns, what })
    }

    /// Told once; then there is nothing more until the file has grown.
    fn give_tail(&mut self, resume: u64, lost: Lost) -> Option<Piece> {
        let told = self.tail.is_some();
        if lost.bytes == 0 {
            self.at = self.at.max(self.source.length);
            return None;
        }
        self.at = lost.offset;
        self.tail = Some(Tail { resume, length: self.source.length });
        (!told).then_some(Piece::Damage(Damage {
            offset: lost.offset,
            bytes: lost.bytes,
            after_ktime_ns: self.after_ktime_ns,
            before_ktime_ns: None,
            what: DamageKind::Tail,
        }))
    }
}

/// Bytes passed over that are no block.
#[derive(Clone, Copy, Debug)]
struct Lost {
    /// The first of them.
    offset: u64,
    bytes: u64,
}

impl Lost {
    fn add(&mut self, from: u64, to: u64) {
        if self.bytes == 0 {
            self.offset = from;
        }
        self.bytes += to - from;
    }
}

impl<R: Read + Seek> Source<R> {
    pub fn measure(&mut self) -> io::Result<()> {
        self.length = self.inner.seek(SeekFrom::End(0))?;
        Ok(())
    }

    /// So many bytes, or fewer if the file has been cut meanwhile. Callers keep `bytes` within limits.
    fn read(&mut self, at: u64, bytes: u64) -> io::Result<Vec<u8>> {
        let mut read = Vec::new();
        self.inner.seek(SeekFrom::Start(at))?;
        self.inner.by_ref().take(bytes).read_to_end(&mut read)?;
        Ok(read)
    }

    /// The head of a block of this file, if one is there.
    pub fn head(&mut self, at: u64) -> io::Result<Option<Head>> {
        let bytes = self.read(at, HEAD as u64)?;
        Ok(Head::read(&bytes).filter(|head| head.file == self.file))
    }

    /// Where the next magic begins, from a place on; the end if there is none.
    pub fn magic_after(&mut self, mut at: u64) -> io::Result<u64> {
        while at < self.length {
            let window = self.read(at, WINDOW as u64)?;
            if let Some(found) = find_magic(&window) {
                return Ok(at + found as u64);
            }
            // A magic may begin in the last bytes of the window.
            at += window.len().saturating_sub(MAGIC.len() - 1).max(1) as u64;
        }
        Ok(self.length)
    }
}

fn find_magic(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == MAGIC[0]) {
        if bytes[from + at..].starts_with(&MAGIC) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// The first good copy of the header in the first bytes of a file, and what tells this file's blocks.
fn header_in(beginning: &[u8]) -> Result<(u32, &[u8]), OpenError> {
    let mut at = 0;
    while let Some(found) = find_magic(&beginning[at..]) {
        at += found;
        let head = Head::read(&beginning[at..]).filter(|head| head.what == HEADER);
        let payload = head.and_then(|head| beginning[at + HEAD..].get(..head.stored_bytes.get() as usize));
        if let (Some(head), Some(payload)) = (head, payload)
            && head.fits(payload)
        {
            return Ok((head.file.get(), payload));
        }
        at += 1;
    }
    Err(why_no_header(beginning))
}

fn why_no_header(beginning: &[u8]) -> OpenError {
    let version = |bytes: &[u8]| u16::from_le_bytes([bytes[0], bytes[1]]);
    match beginning.strip_prefix(&MAGIC) {
        _ if beginning.is_empty() => OpenError::Empty,
        Some(rest) if rest.len() >= 2 && version(rest) > VERSION => {
            OpenError::Newer { version: version(rest) }
        }
        _ if MAGIC.starts_with(beginning) => OpenError::HeaderTorn,
        Some(_) if Head::read(beginning).is_none_or(|head| head.block_bytes() > beginning.len() as u64) => {
            OpenError::HeaderTorn
        }
        Some(_) => OpenError::HeaderDamaged,
        None if find_magic(beginning).is_some() => OpenError::HeaderDamaged,
        None => OpenError::NotARecording,
    }
}
