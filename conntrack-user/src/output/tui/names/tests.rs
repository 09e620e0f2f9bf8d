//! Against a DNS server of our own on the loopback.

use std::net::UdpSocket;
use std::sync::mpsc;
use std::time::Instant;

use simple_dns::rdata::{PTR, RData};
use simple_dns::{CLASS, Name, Packet, ResourceRecord};

use super::*;

fn host(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

/// Knows 192.0.2.17 only; answers to 192.0.2.99 come under a wrong number, and none to 192.0.2.66.
fn serve(socket: &UdpSocket) {
    let mut bytes = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut bytes) {
        let question = Packet::parse(&bytes[..length]).expect("a question");
        let asked = question.questions[0].qname.to_string();
        if asked.starts_with("66.") {
            continue;
        }
        let id = if asked.starts_with("99.") { question.id().wrapping_add(1) } else { question.id() };
        let mut reply = Packet::new_reply(id);
        reply.questions = question.questions.clone();
        if asked == "17.2.0.192.in-addr.arpa" || asked.starts_with("99.") {
            let name = question.questions[0].qname.clone();
            let ptr = RData::PTR(PTR(Name::new_unchecked("printer.example")));
            reply.answers.push(ResourceRecord::new(name, CLASS::IN, 60, ptr));
        }
        socket.send_to(&reply.build_bytes_vec().expect("a reply"), from).expect("the loopback");
    }
}

fn server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket on the loopback");
    let address = socket.local_addr().expect("its address");
    thread::spawn(move || serve(&socket));
    address
}

/// Asks for these until all have been answered, one way or the other.
fn ask(book: &Arc<Book>, sources: Sources, addresses: &[IpAddr]) {
    let (sender, receiver) = mpsc::channel();
    start(book.clone(), sources, sender).expect("a thread");
    addresses.iter().for_each(|address| book.want(*address));
    let answered = || addresses.iter().all(|address| book.pages().names.contains_key(address));
    let until = Instant::now() + Duration::from_secs(20);
    while !answered() {
        assert!(Instant::now() < until, "nobody answers");
        let told = receiver.recv_timeout(Duration::from_secs(20));
        assert!(matches!(told, Ok(Happening::Redraw)));
    }
}

fn sources(servers: Vec<SocketAddr>) -> Sources {
    Sources { servers, hosts: Vec::new(), patience: Duration::from_millis(300) }
}

#[test]
fn names_come_from_the_server() {
    let book = Arc::new(Book::default());
    ask(&book, sources(vec![server()]), &[host(17), host(18), host(66), host(99)]);
    assert_eq!(book.known(host(17)).as_deref(), Some("printer.example"));
    assert_eq!(book.known(host(18)), None, "it has none");
    assert_eq!(book.known(host(66)), None, "nobody answered");
    assert_eq!(book.known(host(99)), None, "the answer was to no question of ours");
}

#[test]
fn the_next_server_is_asked_where_one_is_silent() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket on the loopback");
    let silent_address = silent.local_addr().expect("its address");
    let book = Arc::new(Book::default());
    ask(&book, sources(vec![silent_address, server()]), &[host(17)]);
    assert_eq!(book.known(host(17)).as_deref(), Some("printer.example"));
}

#[test]
fn more_questions_than_may_be_on_their_way() {
    let book = Arc::new(Book::default());
    let all: Vec<_> = (100..200).chain([17]).map(host).collect();
    ask(&book, sources(vec![server()]), &all);
    assert_eq!(book.known(host(17)).as_deref(), Some("printer.example"));
}

#[test]
fn hosts_need_no_server() {
    let book = Arc::new(Book::default());
    let hosts = vec![(host(1), "gateway".into()), (host(1), "second".into())];
    ask(&book, Sources { hosts, ..sources(Vec::new()) }, &[host(1), host(2)]);
    assert_eq!(book.known(host(1)).as_deref(), Some("gateway"), "the first line counts");
    assert_eq!(book.known(host(2)), None, "there is nobody to ask");
}

#[test]
fn the_book_is_bounded() {
    let book = Book::default();
    let address = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
    (0..1000).for_each(|n| book.want(address(n)));
    assert_eq!(book.take(usize::MAX, false).len(), WAITING);
    (0..10_000).for_each(|n| book.enter(address(n), Some("name")));
    let pages = book.pages();
    assert_eq!((pages.names.len(), pages.order.len()), (KEPT, KEPT));
    assert!(pages.names.contains_key(&address(9_999)) && !pages.names.contains_key(&address(0)));
}

#[test]
fn a_question_is_asked_once_and_failures_again_when_told_to() {
    let book = Book::default();
    book.want(host(1));
    book.want(host(1));
    assert_eq!(book.take(9, false), [host(1)]);
    book.want(host(1));
    assert_eq!(book.take(9, false).len(), 0, "it is on its way");
    book.enter(host(1), None);
    book.want(host(1));
    assert_eq!(book.take(9, false).len(), 0, "it has none");
    book.forget_failures();
    book.want(host(1));
    assert_eq!(book.take(9, false), [host(1)]);
}

#[test]
fn names_cannot_write_on_the_terminal() {
    assert_eq!(&*readable("a-b_c.example"), "a-b_c.example");
    assert_eq!(&*readable("x\u{1b}[31mä"), "x??31m?");
    assert_eq!(readable(&"a".repeat(900)).len(), 253);
}

#[test]
fn this_machine_is_read_from_its_files() {
    let resolv = "# none\nsearch example\nnameserver 192.0.2.53 # first\nnameserver fe80::1%eth0\n nameserver 2001:db8::53\n";
    let hosts = "127.0.0.1 localhost\n192.0.2.1\tgateway.example gateway # ours\nnonsense\n";
    let sources = Sources::parse(resolv, hosts);
    let servers: Vec<_> = sources.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["192.0.2.53:53", "[2001:db8::53]:53"]);
    let names: Vec<_> = sources.hosts.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["localhost", "gateway.example"]);
    assert_eq!(Sources::parse("", "").servers, [SocketAddr::from(([127, 0, 0, 1], 53))]);
}
