//! The server as clients find it: real sockets on the loopback, good requests and bad ones.

mod activation;
mod browser;
mod client;
mod devtools;
mod hostile;
mod passwords;
mod routes;
pub mod scene;
mod streams;
mod tls;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::*;
use client::{Reply, get};

/// Any free port of the loopback.
fn anywhere() -> Options {
    Options::at(SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// A server that knows the story.
fn serving(options: Options) -> (Server, SocketAddr, Board) {
    let board = Board::new();
    let server = start(options, board.clone()).expect("it starts");
    scene::tell(&board);
    let address = server.addresses()[0];
    (server, address, board)
}

/// Waits for a condition, for ten seconds at most.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
