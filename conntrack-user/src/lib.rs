//! ctwatch's rooms. Data flows one way: `kernel` -> `engine` -> snapshot and notices -> `output`; `cli` wires them.

pub mod cli;
pub mod engine;
pub mod kernel;
pub mod output;
