//! ctnetlink on the running kernel, in network namespaces made for it: nothing outside them is touched.
//!
//! Needs root. Where namespaces may not be made, or conntrack does not work in them, it says so and passes, unless
//! `CTWATCH_REQUIRE_NETLINK=1`.

mod lab;
mod statistics;
