//! Clients that mean no good, or do not know better.

use std::io::{Read, Write};
use std::net::TcpStream;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::client::{ask, connect, rest, say};
use super::*;

fn limited(change: impl FnOnce(&mut Limits)) -> Options {
    let mut options = anywhere();
    change(&mut options.limits);
    options
}

#[test]
fn a_thousand_idle_clients_do_not_disturb_a_scrape() {
    let (_server, address, board) = serving(anywhere());
    let idle: Vec<TcpStream> = (0..1000).map(|_| connect(address)).collect();
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(get(address, "/metrics").status, 200);
        slowest = slowest.max(began.elapsed());
    }
    println!("the slowest of 20 scrapes beside 1,000 idle clients: {slowest:?}");
    assert!(slowest < Duration::from_millis(100), "{slowest:?}");
    assert!(board.served().connections <= Limits::default().connections as u64, "{:?}", board.served());
    drop(idle);
    until("all are gone", || board.served().connections == 0);
}

#[test]
fn a_head_that_does_not_come_is_not_waited_for() {
    let (_server, address, board) = serving(limited(|limits| limits.head = Duration::from_millis(300)));
    let mut slow = connect(address);
    let began = Instant::now();
    slow.set_read_timeout(Some(Duration::from_millis(10))).expect("a socket");
    // A byte now and then does not help.
    let mut text = b"GET /metrics HTTP/1.1\r\nX: ".iter().copied().chain(std::iter::repeat(b'x'));
    loop {
        let byte = text.next().unwrap_or(b'x');
        let cut = slow.write_all(&[byte]).is_err() || matches!(slow.read(&mut [0; 512]), Ok(0));
        if cut {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(5), "it goes on");
    }
    assert!(began.elapsed() >= Duration::from_millis(290), "{:?}", began.elapsed());
    until("it is counted", || board.served().requests_refused == 1);
    let silent = connect(address);
    assert!(rest(silent).is_empty(), "nothing is said to who says nothing");
    until("it is gone", || board.served().connections == 0);
    assert_eq!(board.served().requests_refused, 1, "silence is no offence");
}

#[test]
fn who_does_not_read_is_cut_off() {
    let options = limited(|limits| limits.write = Duration::from_millis(300));
    let (_server, address, board) = serving(options);
    let mut deaf = connect(address);
    // Asks for more than all buffers on the way can hold, and reads none of it.
    let request = b"GET / HTTP/1.1\r\nHost: it\r\n\r\n".repeat(50);
    let mut asking = deaf.try_clone().expect("a socket");
    let asker = std::thread::spawn(move || while asking.write_all(&request).is_ok() {});
    until("it is cut off", || board.served().requests_refused == 1);
    until("it is gone", || board.served().connections == 0);
    assert_eq!(get(address, "/healthz").status, 200);
    let mut taken = 0;
    let mut piece = vec![0; 1 << 16];
    while let Ok(length @ 1..) = deaf.read(&mut piece) {
        taken += length;
    }
    println!("{taken} bytes were on their way");
    asker.join().expect("it ends");
}

#[test]
fn who_does_not_read_events_is_dropped() {
    let options = limited(|limits| limits.write = Duration::from_millis(300));
    let (_server, address, board) = serving(options);
    let mut deaf = connect(address);
    deaf.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: it\r\n\r\n").expect("it is open");
    until("it is heard", || board.served().connections == 1);
    let snapshot = scene::trouble();
    until("it is dropped", || {
        board.put_up(scene::scrape(snapshot.clone()));
        board.served().connections == 0
    });
    assert_eq!(board.served().requests_refused, 1);
    drop(deaf);
}

#[test]
fn large_heads_and_bodies_are_refused() {
    let (_server, address, board) = serving(anywhere());
    let large = format!("X-Large: {}\r\n", "x".repeat(64 * 1024));
    assert_eq!(ask(address, "GET", "/metrics", &large).status, 431);
    let many: String = (0..200).map(|at| format!("X-{at}: y\r\n")).collect();
    assert_eq!(ask(address, "GET", "/metrics", &many).status, 431);
    let long = "x".repeat(70_000);
    assert!(matches!(get(address, &format!("/{long}")).status, 414 | 431));
    assert_eq!(ask(address, "GET", "/metrics", "Content-Length: 10000000\r\n").status, 413);
    assert_eq!(ask(address, "GET", "/metrics", "Transfer-Encoding: chunked\r\n").status, 413);
    assert_eq!(ask(address, "GET", "/metrics", "Content-Length: 3\r\n\r\nabc").status, 200);
    until("all are counted", || board.served().requests_refused == 5);
}

#[test]
fn who_is_too_many_is_told_so() {
    let options = limited(|limits| (limits.connections, limits.streams) = (3, 2));
    let (_server, address, board) = serving(options);
    let streams: Vec<TcpStream> = (0..2)
        .map(|_| {
            let mut stream = connect(address);
            stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: it\r\n\r\n").expect("it is open");
            // Its answer has begun.
            stream.read_exact(&mut [0; 16]).expect("an answer");
            stream
        })
        .collect();
    let reply = get(address, "/api/v1/events");
    assert_eq!((reply.status, reply.header("retry-after")), (503, "5"), "{reply:?}");
    until("the place is free", || board.served().connections == 2);
    let mut silent = connect(address);
    until("it is in", || board.served().connections == 3);
    // Whoever is silent makes room; whoever is being answered does not.
    assert_eq!(get(address, "/healthz").status, 200);
    assert!(matches!(silent.read(&mut [0]), Ok(0) | Err(_)));
    drop(streams);
    until("all are gone", || board.served().connections == 0);
}

/// Megabytes wait for a few slow readers at most, and the monitor waits for none of them.
#[test]
fn who_asks_for_much_and_reads_nothing_takes_little() {
    let (_server, address, board) = serving(anywhere());
    let refusals = |from: u64| {
        let began = Instant::now();
        for at in from..from + 20_000 {
            board.tell(
                &super::routes::refusal(10 * crate::engine::testing::S + at),
                crate::engine::testing::WALL,
            );
        }
        began.elapsed() / 20_000
    };
    let alone = refusals(0);
    let asking: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = connect(address);
            let asked = b"GET /api/v1/refused?limit=10000 HTTP/1.1\r\nHost: it\r\n\r\n";
            stream.write_all(asked).expect("it is open");
            stream
        })
        .collect();
    let beside = refusals(20_000);
    println!("a refusal is told in {alone:?}, beside 40 who ask for 10,000 in {beside:?}");
    assert!(beside < Duration::from_micros(200), "{beside:?}");
    until("those beyond eight are refused", || board.served().requests_refused == 32);
    assert_eq!(get(address, "/metrics").status, 200);
    drop(asking);
    until("there is leave again", || get(address, "/api/v1/refused?limit=1").status == 200);
}

#[test]
fn whatever_is_said_the_server_goes_on() {
    let (_server, address, _board) = serving(limited(|limits| limits.head = Duration::from_millis(50)));
    let words = prop::sample::select(vec![
        "GET ",
        "/",
        "/metrics",
        " HTTP/1.1",
        "\r\n",
        "\n",
        "\r\n\r\n",
        "Host: it",
        ":",
        "Content-Length: ",
        "-1",
        "99999999999999999999",
        "Transfer-Encoding: chunked",
        "Authorization: Basic ",
        "?since=",
        "%",
        "\0",
        "é",
        " ",
        "HTTP/2.0",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "/api/v1/refused",
        "0\r\n\r\n",
        "Expect: 100-continue",
    ]);
    let spoken = prop::collection::vec(words, 0..30).prop_map(|words| words.concat().into_bytes());
    let noise = prop::collection::vec(any::<u8>(), 0..300);
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&prop_oneof![spoken, noise], |bytes| {
        let mut stream = connect(address);
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let reply = Reply::parse(&rest(stream));
        prop_assert!(reply.status < 500, "{reply:?}");
        Ok(())
    });
    ran.expect("no answer is an error of the server");
    assert_eq!(get(address, "/metrics").status, 200);
    assert_eq!(say(address, b"\x16\x03\x01\x02\x00\x01").status, 400, "TLS where none is spoken");
}
