//! What a recording is, how its events were come by, and which times it knows nothing of.

use std::collections::BTreeMap;

use conntrack_common::{Gap, Missed, NetnsName};

use super::Moment;
use crate::engine::batch::WallClock;
use crate::engine::recorded::{AuditDone, Setting, Text, Unrecorded};
use crate::engine::saturation::Thresholds;
use crate::engine::snapshot::Trust;

/// Rows kept of each list here; what is beyond is counted.
const ROWS: usize = 1000;

/// The clock was set if it moved by more than this; less is NTP's slewing.
const STEP_NS: u64 = 10_000_000;

/// What the header of a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileHead {
    /// Names one attachment of one recorder.
    pub session: String,
    /// Its place among the files of the session: 1 for the first.
    pub sequence: u32,
    /// Host name.
    pub host: String,
    /// Kernel release.
    pub kernel: String,
    /// Names one boot.
    pub boot_id: String,
    /// Version of ctwatch.
    pub program: String,
    /// When counting began.
    pub since_ktime_ns: u64,
    /// How to tell the wall clock then.
    pub wall: WallClock,
    /// When the file began.
    pub began_ktime_ns: u64,
    /// Backend and degradations.
    pub trust: Trust,
    /// Whether every entry is recorded.
    pub entries: bool,
    /// When a table counts as full.
    pub thresholds: Thresholds,
}

/// One attachment of one recorder, as far as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// The header of the first file read.
    pub head: FileHead,
    /// Files read.
    pub files: u64,
    /// First time known.
    pub first: Moment,
    /// Last time known.
    pub last: Moment,
    /// Backend and degradations as last said.
    pub trust: Trust,
    /// Whether it ended as it should; else it was cut off, or goes on.
    pub ended: bool,
}

/// Why nothing is known of a time, or not all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MissingKind {
    /// The file is damaged there.
    Damage,
    /// The recorder fell behind.
    Behind,
    /// The recorder could not write.
    Unwritten,
    /// conntrack was not there.
    Gap,
    /// Nobody recorded.
    NotRecording,
    /// Files of the recording were not given, or were removed.
    NoFile,
}

impl MissingKind {
    /// As it is written in every format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Damage => "damage",
            Self::Behind => "behind",
            Self::Unwritten => "unwritten",
            Self::Gap => "gap",
            Self::NotRecording => "not_recording",
            Self::NoFile => "no_file",
        }
    }
}

/// A time of which nothing is known, or not all; what was counted in it is known all the same, if counting went on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Missing {
    /// Why.
    pub kind: MissingKind,
    /// Known until then; None if it is open.
    pub from: Option<Moment>,
    /// Known again from then on; None if it is open.
    pub until: Option<Moment>,
    /// Bytes that cannot be read, or were not written.
    pub bytes: u64,
    /// Refused meanwhile, by the sums.
    pub refused: u64,
    /// Evicted meanwhile, by the sums.
    pub evicted: u64,
    /// Not inserted meanwhile, by the sums.
    pub failed: u64,
}

/// The wall clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStep {
    /// When, by the clock after.
    pub at: Moment,
    /// By how much.
    pub by_ns: i64,
}

/// Audits made meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audits {
    /// Those that came to their end.
    pub ended: u64,
    /// Those that were given up.
    pub abandoned: u64,
    /// Entries put right.
    pub repaired: u64,
    /// The end of the last that came to its end.
    pub last: Option<Moment>,
}

/// A kernel setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedSetting {
    /// Network namespace it was read in.
    pub netns: u32,
    /// Its name below `/proc/sys/net/netfilter/nf_conntrack_`.
    pub name: String,
    /// Its last value.
    pub value: u64,
    /// When it was read.
    pub at: Moment,
    /// How often it was another than before.
    pub changes: u64,
}

/// What is known, and how well.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Attachments, in the order they were read.
    pub sessions: Vec<Session>,
    /// Attachments beyond those.
    pub sessions_left_out: u64,
    /// Times of which nothing is known, or not all.
    pub missing: Vec<Missing>,
    /// Such times beyond those.
    pub missing_left_out: u64,
    /// When the wall clock was set.
    pub steps: Vec<ClockStep>,
    /// Such steps beyond those.
    pub steps_left_out: u64,
    /// Calls the kernel told no program of.
    pub missed: u64,
    /// Audits made.
    pub audits: Audits,
    /// Kernel settings.
    pub settings: Vec<NamedSetting>,
    /// Names of network namespaces.
    pub names: BTreeMap<u32, String>,
    /// Records that could not be read.
    pub unreadable: u64,
    missed_by_program: BTreeMap<[u8; 16], u64>,
    text: Vec<u8>,
    wall: Option<WallClock>,
    sequence: Option<u32>,
}

impl Known {
    /// A file begins. True if it is of another session than the one before.
    pub(super) fn file(&mut self, head: &FileHead) -> bool {
        let began = Moment::at(head.wall, head.began_ktime_ns);
        let follows = self.sequence.is_some_and(|before| head.sequence == before.saturating_add(1));
        self.sequence = Some(head.sequence);
        if let Some(session) = self.sessions.last_mut()
            && session.head.session == head.session
        {
            session.files += 1;
            let last = session.last;
            if !follows {
                self.missing(MissingKind::NoFile, Some(last), Some(began), 0);
            }
            return false;
        }
        if let Some(before) = self.sessions.last().map(|session| session.last) {
            self.missing(MissingKind::NotRecording, Some(before), Some(began), 0);
        }
        self.wall = None;
        self.missed_by_program.clear();
        if self.sessions.len() == ROWS {
            self.sessions.remove(0);
            self.sessions_left_out += 1;
        }
        let (head, trust) = (head.clone(), head.trust.clone());
        self.sessions.push(Session { head, files: 1, first: began, last: began, trust, ended: false });
        true
    }

    /// A time that is known.
    pub(super) fn seen(&mut self, at: Moment) {
        if let Some(session) = self.sessions.last_mut() {
            session.last = session.last.max(at);
        }
    }

    /// The wall clock is this now. A step is one of the same boot.
    pub(super) fn wall(&mut self, wall: WallClock, ktime_ns: u64) {
        let before = self.wall.replace(wall).unwrap_or(wall);
        let by_ns = wall.offset_ns.saturating_sub(before.offset_ns);
        if by_ns.unsigned_abs() < STEP_NS {
            return;
        }
        if self.steps.len() < ROWS {
            self.steps.push(ClockStep { at: Moment::at(wall, ktime_ns), by_ns });
        } else {
            self.steps_left_out += 1;
        }
    }

    pub(super) fn missing(
        &mut self,
        kind: MissingKind,
        from: Option<Moment>,
        until: Option<Moment>,
        bytes: u64,
    ) {
        if self.missing.len() == ROWS {
            self.missing_left_out += 1;
            return;
        }
        self.missing.push(Missing { kind, from, until, bytes, refused: 0, evicted: 0, failed: 0 });
    }

    pub(super) fn unrecorded(&mut self, record: &Unrecorded, wall: WallClock) {
        let kind = if record.reason == Unrecorded::NOT_WRITTEN {
            MissingKind::Unwritten
        } else {
            MissingKind::Behind
        };
        let at = |ktime_ns| Some(Moment::at(wall, ktime_ns));
        self.missing(kind, at(record.from_ktime_ns), at(record.ktime_ns), record.bytes);
    }

    pub(super) fn gap(&mut self, record: &Gap, wall: WallClock) {
        let from = Some(Moment::at(wall, record.from_ktime_ns));
        let until = Moment::at(wall, record.ktime_ns);
        if record.over == 0 {
            return self.missing(MissingKind::Gap, from, None, 0);
        }
        let open = |it: &&mut Missing| it.kind == MissingKind::Gap && it.until.is_none();
        match self.missing.iter_mut().rev().find(open) {
            Some(begun) => begun.until = Some(until),
            None => self.missing(MissingKind::Gap, from, Some(until), 0),
        }
    }

    pub(super) fn audit(&mut self, record: &AuditDone, wall: WallClock) {
        let audits = &mut self.audits;
        if record.abandoned != 0 {
            audits.abandoned += 1;
            return;
        }
        audits.ended += 1;
        let repaired = record.added.saturating_add(record.removed).saturating_add(record.replaced);
        audits.repaired = audits.repaired.saturating_add(repaired);
        audits.last = audits.last.max(Some(Moment::at(wall, record.ktime_ns)));
    }

    pub(super) fn missed(&mut self, record: &Missed) {
        if self.missed_by_program.len() >= ROWS && !self.missed_by_program.contains_key(&record.program) {
            return;
        }
        let known = self.missed_by_program.entry(record.program).or_insert(0);
        let more = if record.missed >= *known { record.missed - *known } else { record.missed };
        self.missed = self.missed.saturating_add(more);
        *known = record.missed;
    }

    pub(super) fn name(&mut self, record: &NetnsName) {
        if self.names.len() < ROWS {
            self.names.insert(record.netns, text(&record.name));
        }
    }

    pub(super) fn setting(&mut self, record: &Setting, wall: WallClock) {
        let (name, at) = (text(&record.name), Moment::at(wall, record.ktime_ns));
        let room = self.settings.len() < ROWS;
        match self.settings.iter_mut().find(|it| it.netns == record.netns && it.name == name) {
            Some(known) => {
                known.changes += u64::from(known.value != record.value);
                (known.value, known.at) = (record.value, at);
            }
            None if room => {
                let (netns, value) = (record.netns, record.value);
                self.settings.push(NamedSetting { netns, name, value, at, changes: 0 });
            }
            None => {}
        }
    }

    /// A piece of a text; backend and degradations are JSON.
    pub(super) fn text(&mut self, record: &Text) {
        /// More than any such text has.
        const MOST: usize = 1 << 20;
        if record.subject != Text::TRUST {
            return;
        }
        if record.piece == 0 {
            self.text.clear();
        }
        if self.text.len() < MOST {
            let piece = record.text.split(|byte| *byte == 0).next().unwrap_or_default();
            self.text.extend_from_slice(piece);
        }
        // All but the last piece fail to parse, which is how the last is known even if it is full.
        if let Some(session) = self.sessions.last_mut()
            && let Some(trust) = trust(&self.text)
        {
            session.trust = trust;
        }
    }
}

fn trust(json: &[u8]) -> Option<Trust> {
    let value: serde_json::Value = serde_json::from_slice(json).ok()?;
    let backend = value.get("backend")?.as_str()?.to_owned();
    let degradations = value.get("degradations")?.as_array()?;
    let degradations = degradations.iter().filter_map(|it| Some(it.as_str()?.to_owned())).collect();
    Some(Trust { backend, degradations })
}

/// A zero-terminated name.
fn text(bytes: &[u8]) -> String {
    let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}
