use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::client::connect;
use super::*;
use crate::engine::gauge::Level;
use crate::engine::notice::Notice;
use crate::engine::saturation::{Edge, State};
use crate::engine::testing::{S, WALL};

/// Somebody who listens.
struct Listener {
    reader: BufReader<TcpStream>,
}

#[derive(Debug)]
struct Event {
    id: String,
    kind: String,
    data: Value,
}

impl Listener {
    fn new(address: SocketAddr, path: &str, headers: &str) -> Self {
        let mut stream = connect(address);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: it\r\n{headers}\r\n").expect("it is open");
        Self { reader: BufReader::new(stream) }
    }

    fn next(&mut self) -> Event {
        let mut event = Event { id: String::new(), kind: String::new(), data: Value::Null };
        loop {
            let mut line = String::new();
            assert!(self.reader.read_line(&mut line).expect("an event") > 0, "it ended");
            let line = line.trim_end();
            match line.split_once(": ") {
                Some(("id", id)) => event.id = id.to_owned(),
                Some(("event", kind)) => event.kind = kind.to_owned(),
                Some(("data", data)) => event.data = serde_json::from_str(data).expect("JSON"),
                _ if line.is_empty() && !event.kind.is_empty() => return event,
                _ => {}
            }
        }
    }
}

fn edge(ktime_ns: u64) -> Notice {
    let (was, state, level) = (State::Ok, State::Refusing, Level::new(512, 512));
    Notice::Edge { netns: 1, edge: Edge { was, state, ktime_ns, level } }
}

#[test]
fn snapshots_and_edges_come_as_they_are() {
    let (_server, address, board) = serving(anywhere());
    let mut listener = Listener::new(address, "/api/v1/events", "");
    let first = listener.next();
    assert_eq!((&*first.kind, &first.data["by"]), ("snapshot", &Value::from("sources")));
    board.tell(&edge(9 * S), WALL);
    let told = listener.next();
    assert_eq!((&*told.kind, &told.data["kind"]), ("edge", &Value::from("edge")));
    assert_eq!(told.data["ktime_ns"], 9 * S);
    assert_ne!(told.id, first.id);
    board.put_up(scene::scrape(scene::trouble()));
    let second = listener.next();
    assert_eq!((&*second.kind, &second.data["ktime_ns"]), ("snapshot", &Value::from(400 * S)));
    assert_eq!(second.id, told.id, "no line came between");
}

#[test]
fn who_comes_back_gets_what_was_missed() {
    let (_server, address, board) = serving(anywhere());
    let mut listener = Listener::new(address, "/api/v1/events", "");
    let id = listener.next().id;
    drop(listener);
    for at in 0..3 {
        board.tell(&edge((20 + at) * S), WALL);
    }
    let mut back = Listener::new(address, "/api/v1/events", &format!("Last-Event-ID: {id}\r\n"));
    let missed: Vec<u64> = (0..3).filter_map(|_| back.next().data["ktime_ns"].as_u64()).collect();
    assert_eq!(missed, [20 * S, 21 * S, 22 * S]);
    for strange in ["x", "0-0", "-1", &format!("{}0", "9".repeat(40))] {
        let headers = format!("Last-Event-ID: {strange}\r\n");
        assert_eq!(Listener::new(address, "/api/v1/events", &headers).next().kind, "snapshot", "{strange}");
    }
}

#[test]
fn the_page_gets_what_has_changed() {
    let (_server, address, board) = serving(anywhere());
    let mut listener = Listener::new(address, "/live", "");
    let first = listener.next();
    assert_eq!(first.kind, "parts");
    assert!(first.data["sources"].as_str().is_some_and(|html| html.contains("10.1.0.5")), "{first:?}");
    let (mut snapshot, _) = scene::story();
    snapshot.trust.backend = "fexit-module".into();
    board.put_up(scene::scrape(snapshot));
    let second = listener.next();
    let changed: Vec<&String> = second.data.as_object().expect("an object").keys().collect();
    assert_eq!(changed, ["where"], "{second:?}");
}

#[test]
fn the_end_is_told_to_all() {
    let (server, address, _board) = serving(anywhere());
    let mut listener = Listener::new(address, "/api/v1/events", "");
    listener.next();
    let began = Instant::now();
    server.stop();
    let rest: Vec<_> = listener.reader.lines().map_while(Result::ok).collect();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(rest.iter().any(|line| line == "0"), "the last chunk came: {rest:?}");
}
