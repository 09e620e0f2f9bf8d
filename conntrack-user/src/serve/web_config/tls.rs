//! What the file says of TLS, as rustls takes it, with ring's cryptography.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    CipherSuite, NamedGroup, RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
};

use super::file::{ClientAuth, Tls, Version};
use super::{WebConfigError, read};

/// Names of Prometheus's file, which are those of Go. The suites of TLS 1.3 cannot be chosen there either.
const SUITES: [(&str, CipherSuite); 6] = [
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

const GROUPS: [(&str, NamedGroup); 3] = [
    ("CurveP256", NamedGroup::secp256r1),
    ("CurveP384", NamedGroup::secp384r1),
    ("X25519", NamedGroup::X25519),
];

/// Reads certificates and keys and checks that they fit.
pub fn server_config(wanted: &Tls, folder: &Path, path: &Path) -> Result<Arc<ServerConfig>, WebConfigError> {
    let wrong = |key, what: String| WebConfigError::Tls { path: path.to_owned(), key, what };
    let pem = |text: &Option<String>, file: &Option<String>| match (text, file) {
        (Some(text), _) => Ok(text.clone().into_bytes()),
        (None, Some(file)) => read(&folder.join(file)),
        (None, None) => Ok(Vec::new()),
    };
    let provider = Arc::new(provider(wanted).map_err(|(key, what)| wrong(key, what))?);
    let chain =
        certificates(&pem(&wanted.cert, &wanted.cert_file)?).map_err(|what| wrong("cert_file", what))?;
    let key = PrivateKeyDer::from_pem_slice(&pem(&wanted.key, &wanted.key_file)?)
        .map_err(|error| wrong("key_file", format!("no private key in PEM: {error}")))?;
    let versions = versions(wanted);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|error| wrong("cipher_suites", error.to_string()))?;
    let builder = if wanted.client_auth_type == ClientAuth::None {
        builder.with_no_client_auth()
    } else {
        let of_clients = |what| wrong("client_ca_file", what);
        let mut roots = RootCertStore::empty();
        for root in certificates(&pem(&wanted.client_ca, &wanted.client_ca_file)?).map_err(of_clients)? {
            roots.add(root).map_err(|error| of_clients(error.to_string()))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = match wanted.client_auth_type {
            ClientAuth::IfGiven => verifier.allow_unauthenticated(),
            _ => verifier,
        };
        builder.with_client_cert_verifier(verifier.build().map_err(|error| of_clients(error.to_string()))?)
    };
    let mut config =
        builder.with_single_cert(chain, key).map_err(|error| wrong("cert_file", error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ignore_client_order = wanted.prefer_server_cipher_suites.unwrap_or(true);
    Ok(Arc::new(config))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = read.map_err(|error| format!("not PEM: {error}"))?;
    if certificates.is_empty() {
        return Err("no certificate in it; PEM begins with -----BEGIN CERTIFICATE-----".to_owned());
    }
    Ok(certificates)
}

fn versions(wanted: &Tls) -> Vec<&'static SupportedProtocolVersion> {
    let lowest = wanted.min_version.unwrap_or(Version::Tls12);
    let highest = wanted.max_version.unwrap_or(Version::Tls13);
    let all = [(Version::Tls13, &TLS13), (Version::Tls12, &TLS12)];
    all.into_iter().filter(|(it, _)| (lowest..=highest).contains(it)).map(|(_, version)| version).collect()
}

/// Ring's, less what the file leaves out.
fn provider(wanted: &Tls) -> Result<CryptoProvider, (&'static str, String)> {
    let mut provider = ring::default_provider();
    if !wanted.cipher_suites.is_empty() {
        let suites = chosen(&wanted.cipher_suites, &SUITES).map_err(|what| ("cipher_suites", what))?;
        provider
            .cipher_suites
            .retain(|it| matches!(it, SupportedCipherSuite::Tls13(_)) || suites.contains(&it.suite()));
    }
    if !wanted.curve_preferences.is_empty() {
        let groups =
            chosen(&wanted.curve_preferences, &GROUPS).map_err(|what| ("curve_preferences", what))?;
        let of = |group: &NamedGroup| provider.kx_groups.iter().copied().find(|it| it.name() == *group);
        let groups: Vec<&'static dyn SupportedKxGroup> = groups.iter().filter_map(of).collect();
        provider.kx_groups = groups;
    }
    Ok(provider)
}

fn chosen<T: Copy>(names: &[String], known: &[(&str, T)]) -> Result<Vec<T>, String> {
    let one = |name: &String| {
        let found = known.iter().find(|(known, _)| known == name);
        found.map(|(_, it)| *it).ok_or_else(|| {
            let all: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            format!("{name:?} is not to be had here, only: {}", all.join(", "))
        })
    };
    names.iter().map(one).collect()
}
