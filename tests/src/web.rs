//! What a daemon answers over HTTP, asked as simply as can be.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Longer than any answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: String,
}

/// Asks for a path, which may have parameters.
pub fn get(address: SocketAddr, path: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).context("connect to the daemon")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: ctwatch\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text).with_context(|| format!("read the answer to {path}"))?;
    let (head, body) = text.split_once("\r\n\r\n").context("an answer has a head")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    ensure!(!head.to_lowercase().contains("transfer-encoding"), "not for this reader: {head}");
    Ok(Answer { status: status.with_context(|| format!("no status in {head}"))?, body: body.to_owned() })
}

/// Asks for a JSON document.
pub fn json(address: SocketAddr, path: &str) -> Result<Value> {
    let answer = get(address, path)?;
    ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.body);
    serde_json::from_str(&answer.body).with_context(|| format!("{path} answered {:?}", answer.body))
}

/// Metrics in the classic format.
#[derive(Clone, Debug)]
pub struct Metrics(pub String);

impl Metrics {
    /// Scrapes.
    pub fn scrape(address: SocketAddr) -> Result<Self> {
        let answer = get(address, "/metrics")?;
        ensure!(answer.status == 200, "{} {}", answer.status, answer.body);
        Ok(Self(answer.body))
    }

    /// The sum of all samples of a name that have all these labels, each written as `name="value"`.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let of_sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            let (its_name, its_labels) = series.split_once('{').unwrap_or((series, ""));
            let all = labels.iter().all(|label| its_labels.contains(label));
            (its_name == name && all).then(|| value.parse::<f64>().ok())?
        };
        self.0.lines().filter(|line| !line.starts_with('#')).filter_map(of_sample).sum()
    }

    /// How many samples of a name there are.
    pub fn samples(&self, name: &str) -> usize {
        self.0.lines().filter(|line| line.split(['{', ' ']).next() == Some(name)).count()
    }
}
