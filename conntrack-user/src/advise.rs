//! What to do about a full table: facts of a recording in, plans out. Pure like the engine.

pub mod changes;
pub mod collector;
pub mod timeouts;
pub mod what_if;
