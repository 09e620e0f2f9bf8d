use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use super::client::{connect, rest};
use super::*;

/// Somebody who signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Certificate and key.
    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        (params.signed_by(&key, &self.issuer).expect("a certificate").pem(), key.serialize_pem())
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("PEM")).expect("a root");
        roots
    }
}

fn write(folder: &Path, authority: &Authority, name: &str) {
    let (certificate, key) = authority.sign(name);
    fs::write(folder.join("cert.pem"), certificate).expect("it is written");
    fs::write(folder.join("key.pem"), key).expect("it is written");
}

fn configured(folder: &Path, more: &str) -> Options {
    let text = format!("tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n{more}");
    fs::write(folder.join("web.yml"), text).expect("it is written");
    Options { web_config: Some(folder.join("web.yml")), ..anywhere() }
}

fn client(
    authority: &Authority,
    own: Option<(String, String)>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(authority.roots());
    match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM"),
            )
            .expect("they fit"),
    }
}

fn open(address: SocketAddr, name: &str, config: ClientConfig) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
    StreamOwned::new(connection, connect(address))
}

fn get_over(mut stream: StreamOwned<ClientConnection, TcpStream>) -> Reply {
    let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n");
    asked.map(|()| Reply::parse(&rest(stream))).unwrap_or_default()
}

#[test]
fn tls_is_spoken_and_nothing_else() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    write(folder.path(), &authority, "gateway.example");
    let (_server, address, board) = serving(configured(folder.path(), "  min_version: TLS13\n"));
    let ask = |version: &'static SupportedProtocolVersion| {
        get_over(open(address, "gateway.example", client(&authority, None, &[version]))).status
    };
    assert_eq!(ask(&TLS13), 200);
    assert_eq!(ask(&TLS12), 0, "too old");
    assert_ne!(get(address, "/healthz").status, 200, "not TLS");
    until("both are counted", || board.served().requests_refused == 2);
}

#[test]
fn older_suites_can_be_chosen() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    write(folder.path(), &authority, "gateway.example");
    let more = "  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]\n  \
                curve_preferences: [CurveP384]\n";
    let (_server, address, _board) = serving(configured(folder.path(), more));
    let mut stream = open(address, "gateway.example", client(&authority, None, &[&TLS12, &TLS13]));
    stream.write_all(b"GET / HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n").expect("it is let in");
    let suite = stream.conn.negotiated_cipher_suite().expect("one").suite();
    assert_eq!(format!("{suite:?}"), "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256");
    assert_eq!(Reply::parse(&rest(stream)).status, 200);
}

#[test]
fn a_new_certificate_is_taken_and_connections_stay() {
    use std::io::Read;
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    write(folder.path(), &authority, "old.example");
    let (server, address, _board) = serving(configured(folder.path(), ""));
    let config = || client(&authority, None, &[&TLS13]);
    let mut before = open(address, "old.example", config());
    let mut keep = || {
        before.write_all(b"GET /healthz HTTP/1.1\r\nHost: it\r\n\r\n").expect("it is open");
        let mut answer = Vec::new();
        while !answer.ends_with(b"ok\n") {
            let mut byte = [0];
            before.read_exact(&mut byte).expect("an answer");
            answer.push(byte[0]);
        }
    };
    keep();
    write(folder.path(), &authority, "new.example");
    assert_eq!(get_over(open(address, "old.example", config())).status, 200, "not before it is told");
    server.reload(Some(&folder.path().join("web.yml"))).expect("it is right");
    assert_eq!(get_over(open(address, "new.example", config())).status, 200);
    assert_eq!(get_over(open(address, "old.example", config())).status, 0);
    keep();
    fs::write(folder.path().join("key.pem"), authority.sign("other.example").1).expect("it is written");
    let error = server.reload(Some(&folder.path().join("web.yml"))).expect_err("they do not fit").to_string();
    assert!(error.contains("web.yml") && error.contains("cert_file"), "{error}");
    fs::remove_file(folder.path().join("cert.pem")).expect("it goes");
    let error = server.reload(Some(&folder.path().join("web.yml"))).expect_err("it is gone").to_string();
    assert!(error.contains("cert.pem"), "{error}");
    assert_eq!(get_over(open(address, "new.example", config())).status, 200, "the old one is in force");
    keep();
}

#[test]
fn clients_show_their_certificate() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    let stranger = Authority::new();
    write(folder.path(), &authority, "gateway.example");
    fs::write(folder.path().join("ca.pem"), &authority.pem).expect("it is written");
    let asks = "  client_ca_file: ca.pem\n  client_auth_type: RequireAndVerifyClientCert\n";
    let (server, address, _board) = serving(configured(folder.path(), asks));
    let ask = |own| get_over(open(address, "gateway.example", client(&authority, own, &[&TLS13]))).status;
    let statuses =
        || (ask(Some(authority.sign("prometheus"))), ask(None), ask(Some(stranger.sign("prometheus"))));
    assert_eq!(statuses(), (200, 0, 0));
    configured(folder.path(), "  client_ca_file: ca.pem\n  client_auth_type: VerifyClientCertIfGiven\n");
    server.reload(Some(&folder.path().join("web.yml"))).expect("it is right");
    assert_eq!(statuses(), (200, 200, 0));
}

#[test]
fn who_does_not_shake_hands_is_not_waited_for() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    write(folder.path(), &authority, "gateway.example");
    let mut options = configured(folder.path(), "");
    options.limits.head = Duration::from_millis(300);
    let (_server, address, board) = serving(options);
    let silent = connect(address);
    assert!(rest(silent).is_empty());
    until("it is counted", || board.served().requests_refused == 1 && board.served().connections == 0);
}
