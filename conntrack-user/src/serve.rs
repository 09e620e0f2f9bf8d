//! The HTTP side of the daemon: metrics, health, the JSON of views, and a page for people. It has threads and a runtime of
//! its own, so that no client ever delays the monitor.

mod board;

pub use board::Board;
