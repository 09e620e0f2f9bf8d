use proptest::prelude::*;

use super::*;

fn mistake(text: &str) -> (Option<u64>, String) {
    let Mistake { line, what } = Description::parse(text).expect_err(text);
    (line, what)
}

const HASH: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

#[test]
fn the_example_of_prometheus_is_read() {
    let text = format!(
        "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  client_auth_type: NoClientCert\n  \
         min_version: TLS12\n  max_version: TLS13\n  prefer_server_cipher_suites: true\n\
         http_server_config:\n  http2: true\n  headers:\n    X-Frame-Options: DENY\n    Strict-Transport-Security: max-age=1\n\
         basic_auth_users:\n  alice: {HASH}\n  bob: {HASH}\n"
    );
    let description = Description::parse(&text).expect("it is right");
    assert!(description.tls.is_some());
    assert_eq!(description.headers.len(), 2);
    assert_eq!(description.users.keys().collect::<Vec<_>>(), ["alice", "bob"]);
    for empty in ["", "# nothing\n\n", "{}", "basic_auth_users:\n", "tls_server_config: {}\n"] {
        let description = Description::parse(empty).expect(empty);
        assert!(description.tls.is_none() && description.users.is_empty(), "{empty}");
    }
}

#[test]
fn mistakes_are_told_with_their_line() {
    for (text, line, words) in [
        ("basic_auth_user:\n  a: b\n", 1, "unknown field `basic_auth_user`"),
        (
            "tls_server_config:\n  cert_file: a\n  key_file: b\n  client_allowed_sans: [a]\n",
            4,
            "client_allowed_sans",
        ),
        ("http_server_config:\n  headers:\n    Server: mine\n", 3, "Server"),
        ("http_server_config:\n  http3: true\n", 2, "http3"),
        ("basic_auth_users:\n  a: b\n", 2, "not a bcrypt hash"),
        (
            "basic_auth_users:\n  a: $2y$31$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi\n",
            2,
            "cost 31",
        ),
        ("tls_server_config:\n  cert_file: a\n  min_version: TLS10\n", 3, "not spoken"),
        ("tls_server_config:\n  client_auth_type: RequireAnyClientCert\n", 2, "RequireAndVerifyClientCert"),
        ("tls_server_config:\n  client_auth_type: Yes\n", 2, "is none of"),
        ("tls_server_config:\n  cert_file: [\n", 2, ""),
        ("basic_auth_users:\n  a: \"x\n", 3, ""),
        ("tls_server_config:\n  cert_file: a\n  cert_file: b\n", 3, "cert_file"),
    ] {
        let (at, what) = mistake(text);
        assert_eq!(at, Some(line), "{text}: {what}");
        assert!(what.contains(words) && !what.contains(" at line "), "{text}: {what}");
    }
}

#[test]
fn what_does_not_fit_together_is_said() {
    for (text, words) in [
        ("cert_file: a", "add key_file"),
        ("key_file: a", "add cert_file"),
        ("client_auth_type: RequireAndVerifyClientCert", "has none itself"),
        ("cert_file: a\n  key_file: b\n  client_auth_type: RequireAndVerifyClientCert", "add client_ca_file"),
        ("cert_file: a\n  key_file: b\n  client_ca_file: c", "has no effect"),
        ("cert_file: a\n  cert: b\n  key_file: c", "leave one out"),
        ("cert_file: a\n  key_file: b\n  min_version: TLS13\n  max_version: TLS12", "above max_version"),
    ] {
        let (_, what) = mistake(&format!("tls_server_config:\n  {text}\n"));
        assert!(what.contains(words), "{text}: {what}");
    }
}

#[test]
fn files_that_are_not_what_they_should_be_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("web.yml");
    let error = |text: &[u8]| {
        fs::write(&path, text).expect("it is written");
        WebConfig::read(&path).expect_err("it is wrong").to_string()
    };
    let tls = b"tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n";
    assert!(error(tls).contains("cannot read") && error(tls).contains("cert.pem"), "{}", error(tls));
    fs::write(folder.path().join("cert.pem"), "no certificate").expect("it is written");
    assert!(error(tls).contains("cert_file: no certificate in it"), "{}", error(tls));
    let suites = b"tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]\n";
    assert!(error(suites).contains("not to be had here"), "{}", error(suites));
    assert!(error(b"\xff\xfe").contains("not UTF-8"));
    assert!(error(&vec![b'#'; (1 << 20) + 1]).contains("larger than 1 MiB"));
    assert!(WebConfig::read(&folder.path().join("none")).is_err());
    // Hashes are of nobody's business.
    let hidden = error(format!("basic_auth_users:\n  a: {HASH}\n  b: secret\n").as_bytes());
    assert!(!hidden.contains("secret") && !hidden.contains("QOauh"), "{hidden}");
}

proptest! {
    #[test]
    fn whatever_is_in_the_file_it_is_read_or_refused(text in "[a-z_:\\- \\n{}\\[\\]&*!|>'\"%@`,#?0-9A-Z$]{0,300}", noise in ".*") {
        let _ = Description::parse(&text);
        let _ = Description::parse(&noise);
        let _ = Description::parse(&format!("tls_server_config:\n  {text}"));
    }
}
