use serde_json::Value;

use super::client::ask;
use super::*;
use crate::engine::gauge::Level;
use crate::engine::notice::{Notice, Refusal};
use crate::engine::testing::{S, WALL, connection};
use conntrack_common::Cause;

const ALL: [&str; 8] = [
    "/",
    "/metrics",
    "/healthz",
    "/readyz",
    "/api/v1/snapshot",
    "/api/v1/episodes",
    "/api/v1/refused",
    "/api/v1/events",
];

#[test]
fn before_anything_is_known_it_says_so() {
    let server = start(anywhere(), Board::new()).expect("it starts");
    let address = server.addresses()[0];
    for path in ["/metrics", "/healthz", "/api/v1/snapshot", "/api/v1/episodes"] {
        let reply = get(address, path);
        assert_eq!(reply.status, 503, "{path}");
        assert!(reply.body.contains("the monitor is still attaching"), "{path}: {}", reply.body);
    }
    let ready = get(address, "/readyz");
    assert_eq!((ready.status, &ready.json()["ready"]), (503, &Value::Bool(false)));
    assert_eq!(ready.json()["backend"], Value::Null);
    let page = get(address, "/");
    assert!(page.status == 200 && page.body.contains("Nothing is known yet"));
    assert_eq!(get(address, "/api/v1/refused").json()["refused"], Value::Array(vec![]));
}

#[test]
fn every_route_answers() {
    let (_server, address, board) = serving(anywhere());
    let metrics = get(address, "/metrics");
    assert_eq!(metrics.status, 200);
    assert!(metrics.header("content-type").starts_with("text/plain"), "{metrics:?}");
    assert!(metrics.body.contains("ctwatch_"));
    assert_eq!(board.served().scrapes.number, 1);
    assert_eq!((get(address, "/healthz").status, &*get(address, "/healthz").body), (200, "ok\n"));
    let ready = get(address, "/readyz");
    assert_eq!(ready.status, 200, "{ready:?}");
    assert_eq!(ready.json()["backend"], "kprobe");
    assert_eq!(ready.json()["degradations"][0], "fexit: no module BTF");
    assert_eq!(ready.json()["bootstrapped"], true);
    let snapshot = get(address, "/api/v1/snapshot").json();
    assert_eq!(snapshot["by"], "sources");
    assert!(snapshot["sources"].as_array().is_some_and(|rows| rows.len() > 2), "{snapshot}");
    let episodes = get(address, "/api/v1/episodes").json();
    assert_eq!(episodes.as_array().map(Vec::len), Some(1));
    assert_eq!(episodes, snapshot["episodes"]);
    let refused = get(address, "/api/v1/refused").json();
    assert_eq!(refused["refused"].as_array().map(Vec::len), Some(2), "{refused}");
    assert_eq!((&refused["more_before"], &refused["more_after"]), (&Value::Bool(false), &Value::Bool(false)));
    let page = get(address, "/");
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"), "{page:?}");
    assert!(page.body.contains("10.1.0.5") && page.body.contains("but: fexit: no module BTF"));
}

#[test]
fn what_is_not_there_or_cannot_be_done() {
    let (_server, address, _board) = serving(anywhere());
    for path in ["/nothing", "/api", "/api/v1/snapshot/", "//", "/../etc/passwd", "/metrics%00"] {
        let reply = get(address, path);
        assert_eq!((reply.status, reply.header("content-type")), (404, "application/json"), "{path}");
        assert!(reply.json()["error"].is_string());
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
        let reply = ask(address, method, "/metrics", "Content-Length: 0\r\n");
        assert_eq!((reply.status, reply.header("allow")), (405, "GET, HEAD"), "{method}");
    }
    assert_eq!(ask(address, "POST", "/nothing", "").status, 404);
}

#[test]
fn head_is_get_without_the_body() {
    let (_server, address, board) = serving(anywhere());
    for path in ALL {
        let head = ask(address, "HEAD", path, "");
        assert_eq!((head.status, &*head.body), (200, ""), "{path}");
        if path != "/api/v1/events" && path != "/readyz" {
            let get = get(address, path);
            assert_eq!(get.header("content-type"), head.header("content-type"), "{path}");
            assert_eq!(head.header("content-length"), get.body.len().to_string(), "{path}");
        }
    }
    assert_eq!(board.served().scrapes.number, 1, "HEAD is no scrape");
}

#[test]
fn several_requests_share_a_connection() {
    use std::io::{Read, Write};
    let (_server, address, board) = serving(anywhere());
    let mut stream = client::connect(address);
    for _ in 0..3 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: it\r\n\r\n").expect("it is open");
        let mut answer = Vec::new();
        while !answer.ends_with(b"ok\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("an answer");
            answer.push(byte[0]);
        }
    }
    assert_eq!(board.served().connections, 1);
}

/// As `printf 'GET ...' | nc -N` does.
#[test]
fn who_has_said_all_still_gets_an_answer() {
    use std::io::Write;
    let (_server, address, _board) = serving(anywhere());
    for _ in 0..20 {
        let mut stream = client::connect(address);
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").expect("it is open");
        stream.shutdown(std::net::Shutdown::Write).expect("it is open");
        assert_eq!(Reply::parse(&client::rest(stream)).status, 200);
    }
}

#[test]
fn old_numbers_are_not_given_as_new_ones() {
    let options = Options { stale_after: Duration::from_millis(300), ..anywhere() };
    let (_server, address, board) = serving(options);
    assert_eq!(get(address, "/healthz").status, 200);
    until("it becomes old", || get(address, "/healthz").status == 503);
    assert!(get(address, "/healthz").body.contains("has put up nothing for"));
    assert_eq!(get(address, "/metrics").status, 503);
    assert_eq!(get(address, "/readyz").status, 503);
    assert!(get(address, "/").body.contains("s old: the monitor tells nothing"));
    board.put_up(scene::scrape(scene::story().0));
    assert_eq!(get(address, "/healthz").status, 200);
}

pub fn refusal(ktime_ns: u64) -> Notice {
    let connection = Some(connection(5));
    let level = Level::new(512, 512);
    Notice::Refused(Refusal { ktime_ns, netns: 1, cause: Cause::TableFull, connection, level })
}

#[test]
fn refusals_since_then() {
    let (_server, address, board) = serving(anywhere());
    let times = |path: &str| -> Vec<u64> {
        let reply = get(address, path);
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        let array = reply.json()["refused"].as_array().cloned().unwrap_or_default();
        array.iter().filter_map(|it| it["ktime_ns"].as_u64()).collect()
    };
    let (first, second) = (2 * S + 250_123_456, 2 * S + 300_000_000);
    assert_eq!(times("/api/v1/refused"), [first, second]);
    assert_eq!(times(&format!("/api/v1/refused?since={second}")), [second]);
    assert_eq!(times(&format!("/api/v1/refused?since={}", first + 1)), [second]);
    assert_eq!(times("/api/v1/refused?since=2026-11-20T10:15:02.3Z"), [second]);
    assert_eq!(times("/api/v1/refused?since=2026-11-20T11%3A15%3A02.3%2B01:00"), [second]);
    assert_eq!(times("/api/v1/refused?since=@1795169702.250123457"), [second]);
    assert_eq!(times("/api/v1/refused?limit=1"), [first]);
    assert_eq!(get(address, "/api/v1/refused?limit=1").json()["more_after"], true);
    for at in 0..10_000 {
        board.tell(&refusal(10 * S + at), WALL);
    }
    let all = get(address, "/api/v1/refused?limit=10000").json();
    assert_eq!(all["refused"].as_array().map(Vec::len), Some(10_000));
    assert_eq!(all["more_before"], true, "two are gone");
    let since = |from: u64| {
        get(address, &format!("/api/v1/refused?limit=1&since={from}")).json()["more_before"].clone()
    };
    assert_eq!((since(second), since(second + 1)), (Value::Bool(true), Value::Bool(false)));
}

#[test]
fn what_is_asked_wrongly_is_said_in_a_sentence() {
    let (_server, address, board) = serving(anywhere());
    let before = board.served().requests_refused;
    let wrong = ["refused?since=yesterday", "refused?limit=0", "refused?until=1", "snapshot?x=1", "events?x"];
    for path in wrong {
        let reply = get(address, &format!("/api/v1/{path}"));
        assert_eq!((reply.status, reply.header("content-type")), (400, "application/json"), "{path}");
        assert!(reply.json()["error"].as_str().is_some_and(|error| error.len() > 20), "{}", reply.body);
    }
    assert_eq!(board.served().requests_refused - before, wrong.len() as u64);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let (server, address, _board) = serving(anywhere());
    let error = start(Options::at(address), Board::new()).expect_err("it is taken").to_string();
    assert!(error.contains(&address.to_string()) && error.contains("ss -ltnp"), "{error}");
    assert!(matches!(
        start(Options { listen: vec![], ..anywhere() }, Board::new()),
        Err(ServeError::Nowhere)
    ));
    server.stop();
    let again = start(Options::at(address), Board::new()).expect("it is free");
    drop(again);
}
