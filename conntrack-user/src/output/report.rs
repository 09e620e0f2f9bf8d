//! A report as a page and as tables; text and JSON are with the other text and JSON.

pub mod csv;
pub mod html;
#[cfg(feature = "parquet")]
pub mod parquet;
pub mod tables;
