//! ctwatch's rooms. Data flows one way: `kernel` -> `engine` -> snapshot and notices -> `output`; `cli` wires them.
//! `advise` makes plans of what was recorded.

pub mod advise;
pub mod cli;
pub mod daemon;
pub mod engine;
pub mod kernel;
pub mod output;
pub mod quantity;
pub mod record;
pub mod serve;
