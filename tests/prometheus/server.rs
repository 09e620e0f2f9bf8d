//! A server that answers every request with the next scrape of the sample gateway.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use conntrack_user::output::metrics::{Exposition, Options, families, sample};

/// Lives as long as the test: its thread waits for clients and holds nothing.
pub struct Scraped {
    address: SocketAddr,
    formats: Arc<Mutex<BTreeSet<&'static str>>>,
}

impl Scraped {
    /// Answers in one format, or in that which the client wants.
    pub fn serve(always: Option<Exposition>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listen on loopback")?;
        let address = listener.local_addr()?;
        let formats = Arc::<Mutex<BTreeSet<_>>>::default();
        let answered = Arc::clone(&formats);
        thread::spawn(move || {
            let mut gateway = sample::Gateway::new(12);
            for client in listener.incoming().flatten() {
                // A client that goes away has no answer.
                if let Ok(exposition) = answer(client, always, &mut gateway) {
                    lock(&answered).insert(exposition.content_type());
                }
            }
        });
        Ok(Self { address, formats })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Which formats were given out.
    pub fn formats(&self) -> BTreeSet<&'static str> {
        lock(&self.formats).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(
    mut client: TcpStream,
    always: Option<Exposition>,
    gateway: &mut sample::Gateway,
) -> Result<Exposition> {
    client.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut accept = None;
    for line in BufReader::new(&client).lines() {
        let line = line?;
        match line.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("accept") => {
                accept = Some(value.trim().to_owned())
            }
            _ if line.is_empty() => break,
            _ => {}
        }
    }
    let exposition = always.unwrap_or_else(|| Exposition::negotiate(accept.as_deref()));
    let body = exposition.encode(&families(&gateway.scrape(), &Options { node_exporter: true }));
    write!(
        client,
        "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        exposition.content_type(),
        body.len()
    )?;
    Ok(exposition)
}
