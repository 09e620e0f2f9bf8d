//! What `ctwatch daemon` is beside the monitor: its configuration, the program it runs on saturation, and what it tells
//! systemd.

pub mod config;
pub mod events;
pub mod hook;
pub mod log;
pub mod notify;
