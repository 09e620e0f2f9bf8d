//! The file as it is written, and what is wrong with it, by line.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use hyper::header::{HeaderName, HeaderValue};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_saphyr::DuplicateKeyPolicy;

/// A hash of a higher cost takes minutes to check.
const HIGHEST_COST: u32 = 16;

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line, from 1 on, if it is of one.
    pub line: Option<u64>,
    /// A sentence.
    pub what: String,
}

/// What the file says, read and found right; the files it names are not read yet.
#[derive(Debug, Default)]
pub struct Description {
    /// `tls_server_config`
    pub tls: Option<Tls>,
    /// `http_server_config`: `headers`
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// `basic_auth_users`: bcrypt hashes by name
    pub users: BTreeMap<String, String>,
}

impl Description {
    /// Reads it.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        let options = serde_saphyr::options! {
            duplicate_keys: DuplicateKeyPolicy::Error,
            strict_booleans: true,
            with_snippet: false,
        };
        let file: File = serde_saphyr::from_str_with_options(text, options).map_err(|error| Mistake {
            line: error.location().map(|at| at.line()).filter(|line| *line > 0),
            what: sentence(&error),
        })?;
        let mistake = |what: &str| Mistake { line: None, what: what.to_owned() };
        if let Some(tls) = &file.tls_server_config {
            tls.check().map_err(mistake)?;
        }
        let users = file.basic_auth_users.unwrap_or_default();
        Ok(Self {
            tls: file.tls_server_config.filter(Tls::is_wanted),
            headers: file.http_server_config.unwrap_or_default().headers,
            users: users.into_iter().map(|(user, Hash(hash))| (user, hash)).collect(),
        })
    }
}

/// The parser's words without the place, which is told beside them.
fn sentence(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let place = text.find(" at line ").unwrap_or(text.len());
    text[..place].trim_end_matches(':').to_owned()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    tls_server_config: Option<Tls>,
    http_server_config: Option<Http>,
    basic_auth_users: Option<BTreeMap<String, Hash>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Http {
    /// Taken and without effect: only HTTP/1.1 is spoken, which every client falls back to.
    http2: Option<bool>,
    #[serde(deserialize_with = "headers")]
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// `tls_server_config`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The certificate and those it depends on, as PEM.
    pub cert: Option<String>,
    /// The file that has them.
    pub cert_file: Option<String>,
    /// The key, as PEM.
    pub key: Option<String>,
    /// The file that has it.
    pub key_file: Option<String>,
    /// Whether clients show a certificate.
    pub client_auth_type: ClientAuth,
    /// Who signs certificates of clients, as PEM.
    pub client_ca: Option<String>,
    /// The file that has it.
    pub client_ca_file: Option<String>,
    /// The lowest version.
    pub min_version: Option<Version>,
    /// The highest version.
    pub max_version: Option<Version>,
    /// Of TLS 1.2, by their names; empty: all there are.
    pub cipher_suites: Vec<String>,
    /// Key exchange groups; empty: all there are.
    pub curve_preferences: Vec<String>,
    /// Whether the server's order of cipher suites counts.
    pub prefer_server_cipher_suites: Option<bool>,
}

impl Tls {
    fn is_wanted(&self) -> bool {
        self.cert.is_some() || self.cert_file.is_some()
    }

    fn check(&self) -> Result<(), &'static str> {
        let cert = self.cert.is_some() || self.cert_file.is_some();
        let key = self.key.is_some() || self.key_file.is_some();
        let ca = self.client_ca.is_some() || self.client_ca_file.is_some();
        let asks = self.client_auth_type != ClientAuth::None;
        match () {
            () if self.cert.is_some() && self.cert_file.is_some() => {
                Err("tls_server_config has cert and cert_file: leave one out")
            }
            () if self.key.is_some() && self.key_file.is_some() => {
                Err("tls_server_config has key and key_file: leave one out")
            }
            () if self.client_ca.is_some() && self.client_ca_file.is_some() => {
                Err("tls_server_config has client_ca and client_ca_file: leave one out")
            }
            () if cert && !key => Err("tls_server_config has a certificate and no key: add key_file"),
            () if !cert && key => Err("tls_server_config has a key and no certificate: add cert_file"),
            () if !cert && (asks || ca) => Err(
                "tls_server_config asks clients for a certificate and has none itself: add cert_file and key_file",
            ),
            () if asks && !ca => {
                Err("client_auth_type asks for certificates: add client_ca_file, which says whose")
            }
            () if !asks && ca => {
                Err("client_ca_file has no effect without client_auth_type: RequireAndVerifyClientCert")
            }
            () if self.min_version > self.max_version && self.max_version.is_some() => {
                Err("min_version is above max_version")
            }
            () => Ok(()),
        }
    }
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They need none.
    #[default]
    None,
    /// If they show one, it is checked.
    IfGiven,
    /// They must.
    Required,
}

impl FromStr for ClientAuth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" | "NoClientCert" => Ok(Self::None),
            "VerifyClientCertIfGiven" => Ok(Self::IfGiven),
            "RequireAndVerifyClientCert" => Ok(Self::Required),
            "RequestClientCert" | "RequireAnyClientCert" => Err(format!(
                "client_auth_type {text} lets in whoever shows any certificate, which is not done here: write \
                 RequireAndVerifyClientCert"
            )),
            _ => Err(format!(
                "client_auth_type {text:?} is none of NoClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert"
            )),
        }
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 1.2
    Tls12,
    /// 1.3
    Tls13,
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "TLS12" => Ok(Self::Tls12),
            "TLS13" => Ok(Self::Tls13),
            "TLS10" | "TLS11" => Err(format!("{text} is broken and not spoken here: write TLS12 or TLS13")),
            _ => Err(format!("{text:?} is no version of TLS: write TLS12 or TLS13")),
        }
    }
}

macro_rules! read_from_text {
    ($($kind:ty),*) => {$(
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

read_from_text!(ClientAuth, Version, Hash);

/// A bcrypt hash. It is never shown.
struct Hash(String);

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(..)")
    }
}

impl FromStr for Hash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Ok(parts) = bcrypt::HashParts::from_str(text) else {
            return Err("not a bcrypt hash: make one with `htpasswd -nBC 10 \"\"`".to_owned());
        };
        if parts.get_cost() > HIGHEST_COST {
            return Err(format!(
                "a bcrypt hash of cost {} takes minutes to check: make one of cost 10, at most {HIGHEST_COST}",
                parts.get_cost()
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Headers that may be set: those of Prometheus's own list.
const HEADERS: [&str; 5] = [
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
];

fn headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(HeaderName, HeaderValue)>, D::Error> {
    let written = BTreeMap::<String, String>::deserialize(deserializer)?;
    let header = |(name, value): (String, String)| {
        let known = HEADERS.iter().any(|known| known.eq_ignore_ascii_case(&name));
        let known = known.then(|| HeaderName::from_str(&name).ok()).flatten();
        let name = known.ok_or_else(|| {
            D::Error::custom(format!("the header {name:?} cannot be set, only: {}", HEADERS.join(", ")))
        })?;
        let value = HeaderValue::from_str(&value)
            .map_err(|_| D::Error::custom(format!("the value of {name} is none a header can have")))?;
        Ok((name, value))
    };
    written.into_iter().map(header).collect()
}
