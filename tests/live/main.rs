//! ctwatch on a real kernel, checked against what the kernel and the sender counted themselves.
//!
//! These tests change the connection limit of the whole machine, so they run only where `CTWATCH_REQUIRE_LIVE=1`
//! says that it may be done, one at a time (`--test-threads=1`): `cargo xtask test` does so in virtual machines.

mod bootstrap;
mod btf;
mod causes;
mod daemon;
mod detach;
mod edges;
mod entries;
mod exact;
mod hidden;
mod lab;
mod namespaces;
mod nesting;
mod netlink;
mod netns;
mod once;
mod overflow;
mod privileges;
mod record;
mod refusals;
mod reload;
mod resize;
mod rings;
mod soak;
mod states;
mod surroundings;
mod top;
mod verifier;
mod what_if;
