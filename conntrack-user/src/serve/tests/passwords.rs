use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::client::ask;
use super::*;

fn with_users(users: &[(&str, &str)]) -> (tempfile::TempDir, Options) {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options { web_config: Some(write(folder.path(), users)), ..anywhere() };
    (folder, options)
}

fn write(folder: &std::path::Path, users: &[(&str, &str)]) -> PathBuf {
    let path = folder.join("web.yml");
    let line = |(user, password): &(&str, &str)| {
        format!("  {user}: {}\n", bcrypt::hash(password, 4).expect("a hash"))
    };
    let lines: String = users.iter().map(line).collect();
    std::fs::write(&path, format!("basic_auth_users:\n{lines}")).expect("it is written");
    path
}

fn basic(user: &str, password: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{user}:{password}")))
}

#[test]
fn only_who_knows_the_password_is_let_in() {
    let (_folder, options) = with_users(&[("prometheus", "right"), ("other", "also:right")]);
    let (_server, address, board) = serving(options);
    let status = |headers: &str| ask(address, "GET", "/metrics", headers).status;
    for (user, password) in [("prometheus", "right"), ("other", "also:right")] {
        // The second time it is known already.
        assert_eq!((status(&basic(user, password)), status(&basic(user, password))), (200, 200), "{user}");
    }
    let wrong = [
        basic("prometheus", "wrong"),
        basic("prometheus", "also:right"),
        basic("nobody", "right"),
        basic("nobody", "also:right"),
        basic("", ""),
        "Authorization: Basic !!!\r\n".into(),
        "Authorization: Bearer right\r\n".into(),
        "Authorization: Basic\r\n".into(),
        String::new(),
    ];
    for headers in &wrong {
        assert_eq!(status(headers), 401, "{headers}");
    }
    assert_eq!(board.served().requests_refused, wrong.len() as u64);
    let reply = get(address, "/nothing");
    assert_eq!(
        (reply.status, reply.header("www-authenticate")),
        (401, "Basic realm=\"ctwatch\", charset=\"UTF-8\"")
    );
}

#[test]
fn users_change_with_the_file_and_connections_stay() {
    use std::io::{Read, Write};
    let (folder, options) = with_users(&[("one", "right")]);
    let (server, address, _board) = serving(options);
    let mut stream = client::connect(address);
    let mut status = |user: &str| {
        write!(stream, "HEAD /healthz HTTP/1.1\r\nHost: it\r\n{}\r\n", basic(user, "right"))
            .expect("it is open");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("an answer");
            answer.push(byte[0]);
        }
        Reply::parse(&answer).status
    };
    assert_eq!((status("one"), status("two")), (200, 401));
    write(folder.path(), &[("two", "right")]);
    server.reload(Some(&folder.path().join("web.yml"))).expect("it is right");
    assert_eq!((status("one"), status("two")), (401, 200), "what was known is forgotten");
    std::fs::write(folder.path().join("web.yml"), "basic_auth_users:\n  three: no hash\n").expect("written");
    let error = server.reload(Some(&folder.path().join("web.yml"))).expect_err("it is wrong").to_string();
    assert!(error.contains("web.yml:2: ") && error.contains("not a bcrypt hash"), "{error}");
    assert_eq!((status("two"), status("three")), (200, 401), "the old one is in force");
}

#[test]
fn guessing_keeps_nobody_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("web.yml");
    let hash = bcrypt::hash("right", 9).expect("a hash");
    std::fs::write(&path, format!("basic_auth_users:\n  prometheus: {hash}\n")).expect("it is written");
    let (_server, address, _board) = serving(Options { web_config: Some(path), ..anywhere() });
    let right = basic("prometheus", "right");
    assert_eq!(ask(address, "GET", "/metrics", &right).status, 200);
    let guesses: Vec<_> = (0..40)
        .map(|at| {
            let wrong = basic("prometheus", &at.to_string());
            std::thread::spawn(move || ask(address, "GET", "/metrics", &wrong).status)
        })
        .collect();
    let began = Instant::now();
    assert_eq!(ask(address, "GET", "/metrics", &right).status, 200);
    let took = began.elapsed();
    let answers: Vec<u16> = guesses.into_iter().map(|guess| guess.join().expect("an answer")).collect();
    assert!(answers.iter().all(|status| [401, 503].contains(status)), "{answers:?}");
    assert!(answers.contains(&503), "40 do not wait at once: {answers:?}");
    println!("a scrape beside 40 guesses: {took:?}, all guesses {:?}", began.elapsed());
    assert!(took < Duration::from_millis(500), "{took:?}");
}
