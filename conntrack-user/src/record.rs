//! Recordings: the record stream in files that survive what happens to files. docs/format.md describes them.
//!
//! Pure but for [`files`], [`store`] and [`recorder`]: what reads and writes is passed in.

mod block;
mod columns;
pub mod files;
mod header;
mod index;
mod layouts;
mod reader;
pub mod recorder;
mod replay;
mod schema;
pub mod shards;
pub mod store;
pub mod thinning;
mod writer;

#[cfg(test)]
mod tests;

pub use block::VERSION;
pub use files::{FileError, Files, Recording};
pub use header::Header;
pub use layouts::layouts;
pub use reader::{Block, Damage, DamageKind, OpenError, Piece, Reader};
pub use replay::Batches;
pub use schema::{Field, FieldType, KindLayout};
pub use shards::Retention;
pub use store::{Store, StoreError};
pub use writer::Writer;
