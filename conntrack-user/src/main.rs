//! ctwatch: who holds the conntrack table, who was refused, when and why.

fn main() {}
