//! `ctwatch daemon`: what it is told on the command line.

pub mod flags;
