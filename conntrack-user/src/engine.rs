//! Pure: bytes and times come in as arguments, state and notices come out. No I/O, no clocks, no kernel.

pub mod batch;
pub mod btf;
