//! Sockets that were open before the process began, as a service manager hands them over.

use std::io::Read;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use super::client::rest;
use super::*;
use crate::kernel::inherited::{self, Inherited, Listener};

/// What the child writes when it serves.
const READY: &str = "ctwatch serves";

/// The other process: it takes what it gets, and serves until its input ends.
#[test]
#[ignore = "run by the test below, in a process of its own"]
fn child_that_was_handed_a_socket() {
    let taken = inherited::listeners().expect("what was handed over is right");
    let names: Vec<&str> = taken.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["web"]);
    assert!(inherited::listeners().expect("nothing is wrong").is_empty(), "they are taken once");
    let listen = taken.into_iter().map(Listen::Inherited).collect();
    let (server, address, _board) = serving(Options { listen, ..anywhere() });
    println!("{READY} at {address}");
    let _ = std::io::stdin().read(&mut [0]);
    server.stop();
}

#[test]
fn a_socket_that_was_handed_over_is_served() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address");
    let test = std::env::current_exe().expect("this test");
    // The socket comes as the input, becomes number 3, and the pipe takes its place.
    let script = "exec 3<&0 0<\"$PIPE\"; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web; exec \"$@\"";
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
    assert!(made.success());
    let mut child = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(test)
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("serve::tests::activation::child_that_was_handed_a_socket")
        .env("PIPE", &pipe)
        .stdin(OwnedFd::from(listener))
        .stdout(Stdio::piped())
        .spawn()
        .expect("sh runs");
    // Opens when the child has opened its side.
    let end = std::fs::OpenOptions::new().write(true).open(&pipe).expect("a pipe");
    // The kernel has the connection waiting from the moment the socket listens, whoever accepts it.
    let mut reply = get(address, "/readyz");
    until("it knows something", || {
        reply = get(address, "/readyz");
        reply.status == 200
    });
    drop(end);
    let status = child.wait().expect("it ends");
    let mut said = String::new();
    let out = child.stdout.as_mut().map(|out| out.read_to_string(&mut said));
    assert!(status.success() && said.contains(READY), "{said} {out:?}");
    assert_eq!(reply.json()["backend"], "kprobe");
}

#[test]
fn a_local_socket_is_served() {
    use std::io::Write;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("web.sock");
    let listener = Listener::Unix(UnixListener::bind(&path).expect("a socket"));
    let listen = vec![Listen::Inherited(Inherited { name: "web".into(), listener })];
    let board = Board::new();
    let server = start(Options { listen, ..anywhere() }, board.clone()).expect("it starts");
    scene::tell(&board);
    assert!(server.addresses().is_empty());
    let mut stream = UnixStream::connect(&path).expect("it listens");
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n").expect("it is open");
    assert_eq!(Reply::parse(&rest(stream)).status, 200);
}
