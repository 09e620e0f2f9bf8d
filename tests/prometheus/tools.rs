//! Prometheus and promtool, where they are installed.

use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

/// If this is set, a tool that is not there is a failure.
const REQUIRED: &str = "CTWATCH_REQUIRE_TOOLS";

/// Far more than any of it takes.
const LIMIT: Duration = Duration::from_secs(60);

/// A program in PATH.
pub fn find(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The same; if there is none it says that nothing is tried, or fails.
pub fn tool(name: &str) -> Result<Option<PathBuf>> {
    let found = find(name);
    if found.is_none() {
        ensure!(env::var_os(REQUIRED).is_none(), "{name} is not in PATH: apt-get install prometheus");
        eprintln!(
            "skipped: {name} is not in PATH (apt-get install prometheus; with {REQUIRED} set this is a failure)"
        );
    }
    Ok(found)
}

/// What a command says, given some input; it must succeed.
pub fn said(command: &mut Command, input: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {command:?}"))?;
    child.stdin.take().context("it has an input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(said)
}

/// A Prometheus of its own, on loopback, that ends with the test.
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Prometheus {
    /// Scrapes each target every second as a job of that name, and evaluates the rules as often.
    pub fn start(program: &Path, targets: &[(&str, SocketAddr)], rules: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let job = |(name, address): &(&str, SocketAddr)| {
            format!("  - job_name: {name}\n    static_configs:\n      - targets: ['{address}']\n")
        };
        let config = format!(
            "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  evaluation_interval: 1s\n\
             rule_files:\n  - {}\nscrape_configs:\n{}",
            fs::canonicalize(rules)?.display(),
            targets.iter().map(job).collect::<String>()
        );
        fs::write(folder.path().join("prometheus.yml"), config)?;
        // Free a moment ago: should another have taken it, Prometheus ends and says so.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let log = fs::File::create(folder.path().join("log"))?;
        let child = Command::new(program)
            .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("run {}", program.display()))?;
        let prometheus = Self { child, address, folder };
        prometheus.wait_until("ready", || Ok(prometheus.answer("/-/ready").is_ok()))?;
        Ok(prometheus)
    }

    /// Waits for a condition, but not for ever.
    pub fn wait_until(&self, what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        while !holds()? {
            if Instant::now() > deadline {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                bail!("waited in vain for: {what}\n{log}");
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// The rows that answer a query now.
    pub fn query(&self, query: &str) -> Result<Vec<Value>> {
        let data = self.get(&format!("/api/v1/query?query={query}")).with_context(|| query.to_owned())?;
        Ok(data["result"].as_array().context("rows")?.clone())
    }

    /// What the interface says, if it is no error.
    pub fn get(&self, path: &str) -> Result<Value> {
        let answer: Value = serde_json::from_str(&self.answer(path)?)?;
        ensure!(answer["status"] == "success", "{path}: {answer}");
        Ok(answer["data"].clone())
    }

    fn answer(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(LIMIT))?;
        // HTTP 1.0: an answer in one piece.
        write!(stream, "GET {} HTTP/1.0\r\nHost: {}\r\n\r\n", escaped(path), self.address)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer has a head")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        ensure!(status == "200", "{path}: {head}\n{body}");
        Ok(body.to_owned())
    }
}

/// What a path and its query may not have, percent-encoded.
fn escaped(path: &str) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let (key, value) = query.split_once('=').unwrap_or((query, ""));
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    let value: String = value.bytes().map(byte).collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{key}={value}") }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It is ended whether the test has passed or not; what cannot be ended has ended.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}
