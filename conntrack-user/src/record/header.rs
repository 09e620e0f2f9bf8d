//! What a file says of itself before its first record.

use serde::{Deserialize, Serialize};

use super::block::VERSION;
use super::layouts::layouts;
use super::schema::KindLayout;
use crate::engine::saturation::Thresholds;
use crate::engine::snapshot::Trust;

const FORMAT: &str = "ctwatch recording";
const BYTE_ORDER: &str = if cfg!(target_endian = "little") { "little" } else { "big" };

/// Where a file comes from and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Of the format; a writer always writes [`VERSION`].
    pub version: u16,
    /// One attachment of one recorder; equal in all its files.
    pub session: String,
    /// Which file of the session: 1 for the first.
    pub sequence: u32,
    /// Name of the machine.
    pub host: String,
    /// Its kernel.
    pub kernel: String,
    /// Of what boot its times are.
    pub boot_id: String,
    /// Version of ctwatch.
    pub program: String,
    /// When counting began.
    pub since_ktime_ns: u64,
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC then.
    pub wall_offset_ns: i64,
    /// When this file began.
    pub began_ktime_ns: u64,
    /// Backend and degradations when this file began.
    pub trust: Trust,
    /// Whether every record that moves an entry is there.
    pub entries: bool,
    /// When a table counts as full.
    pub thresholds: Thresholds,
}

/// The JSON, see docs/format.md.
#[derive(Serialize, Deserialize)]
struct Json {
    format: String,
    #[serde(default)]
    minor: u16,
    byte_order: String,
    session: String,
    sequence: u32,
    host: String,
    kernel: String,
    boot_id: String,
    program: String,
    since_ktime_ns: u64,
    wall_offset_ns: i64,
    began_ktime_ns: u64,
    backend: String,
    degradations: Vec<String>,
    entries: bool,
    warn_percent: u8,
    clear_percent: u8,
    calm_ns: u64,
    settle_ns: u64,
    kinds: Vec<KindLayout>,
}

/// Why a header cannot be used, though it is undamaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// It is not as docs/format.md says.
    Malformed,
    /// Its records have integers in another byte order.
    ByteOrder,
}

impl Header {
    /// The nanoseconds since the Unix epoch at which counting began.
    pub fn since_unix_ns(&self) -> i128 {
        i128::from(self.since_ktime_ns) + i128::from(self.wall_offset_ns)
    }

    /// The header of a file with this version's records.
    pub(super) fn to_json(&self) -> Vec<u8> {
        self.with_kinds(layouts().to_vec())
    }

    /// The same of a program that has other records.
    pub(super) fn with_kinds(&self, kinds: Vec<KindLayout>) -> Vec<u8> {
        let Self { version: _, trust: Trust { backend, degradations }, thresholds, .. } = self.clone();
        let json = Json {
            format: FORMAT.to_owned(),
            minor: 0,
            byte_order: BYTE_ORDER.to_owned(),
            session: self.session.clone(),
            sequence: self.sequence,
            host: self.host.clone(),
            kernel: self.kernel.clone(),
            boot_id: self.boot_id.clone(),
            program: self.program.clone(),
            since_ktime_ns: self.since_ktime_ns,
            wall_offset_ns: self.wall_offset_ns,
            began_ktime_ns: self.began_ktime_ns,
            backend,
            degradations,
            entries: self.entries,
            warn_percent: thresholds.warn_percent,
            clear_percent: thresholds.clear_percent,
            calm_ns: thresholds.calm_ns,
            settle_ns: thresholds.settle_ns,
            kinds,
        };
        let mut line = serde_json::to_vec(&json).expect("strings and numbers are JSON");
        line.push(b'\n');
        line
    }

    /// Reads it back, with the layout of the file's records.
    pub(super) fn from_json(line: &[u8]) -> Result<(Self, Vec<KindLayout>), HeaderError> {
        let json: Json = serde_json::from_slice(line).map_err(|_| HeaderError::Malformed)?;
        if json.format != FORMAT {
            return Err(HeaderError::Malformed);
        }
        if json.byte_order != BYTE_ORDER {
            return Err(HeaderError::ByteOrder);
        }
        let header = Self {
            version: VERSION,
            session: json.session,
            sequence: json.sequence,
            host: json.host,
            kernel: json.kernel,
            boot_id: json.boot_id,
            program: json.program,
            since_ktime_ns: json.since_ktime_ns,
            wall_offset_ns: json.wall_offset_ns,
            began_ktime_ns: json.began_ktime_ns,
            trust: Trust { backend: json.backend, degradations: json.degradations },
            entries: json.entries,
            thresholds: Thresholds {
                warn_percent: json.warn_percent,
                clear_percent: json.clear_percent,
                calm_ns: json.calm_ns,
                settle_ns: json.settle_ns,
            },
        };
        Ok((header, json.kinds))
    }
}
