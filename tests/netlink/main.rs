//! ctnetlink on the running kernel, in network namespaces made for it: nothing outside them is touched.
//!
//! Needs root. Where namespaces may not be made it says so and passes, unless `CTWATCH_REQUIRE_NETLINK` is set.

mod events;
mod lab;
mod ledger;
mod statistics;
mod table;
