//! The lab: a gateway in network namespaces, traffic for it, the kernel's own counters, and ctwatch watching.

pub mod btf;
mod built;
pub mod datagrams;
pub mod flood;
pub mod frame;
pub mod gateway;
pub mod hog;
pub mod kernel;
pub mod modules;
pub mod netns;
pub mod nobody;
pub mod pair;
pub mod player;
pub mod scenario;
pub mod story;
pub mod terminal;
pub mod tool;
pub mod twins;
pub mod watcher;
pub mod web;
