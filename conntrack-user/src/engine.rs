//! Pure: bytes and times come in as arguments, state and notices come out. No I/O, no clocks, no kernel.

pub mod account;
pub mod batch;
mod breakdown;
pub mod btf;
pub mod causes;
pub mod ctnetlink;
pub mod decode;
pub mod digest;
pub mod episode;
pub mod filter;
pub mod gauge;
mod grouping;
mod held;
mod history;
pub mod holders;
pub mod lifetimes;
pub mod live;
pub mod minute;
pub mod monitor;
pub mod notice;
mod pass;
pub mod query;
mod recent;
pub mod recorded;
pub mod report;
pub mod saturation;
pub mod snapshot;
pub mod sources;
pub mod state;
pub mod statistics;
pub mod table;
pub mod tally;
pub mod top_sources;
pub mod tuple;

pub use monitor::{Config, Engine};

#[cfg(test)]
pub(crate) mod testing;
