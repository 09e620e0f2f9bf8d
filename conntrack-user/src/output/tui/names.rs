//! Names of addresses: what is known, what is asked for, and a thread that asks without anybody waiting for it.

mod question;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, io, thread};

use super::Happening;
use question::Asking;

/// Names kept at most; the oldest go first.
const KEPT: usize = 4096;

/// Addresses waiting to be asked at most; those beyond are asked when they are drawn again.
const WAITING: usize = 256;

/// What is known. Looking something up never waits for an answer.
#[derive(Debug, Default)]
pub struct Book {
    pages: Mutex<Pages>,
    wanted: Condvar,
}

#[derive(Debug, Default)]
struct Pages {
    /// None: asked, and there is no name, or no answer.
    names: HashMap<IpAddr, Option<Arc<str>>>,
    order: VecDeque<IpAddr>,
    waiting: VecDeque<IpAddr>,
    /// Waiting, or asked and not yet answered.
    pending: HashSet<IpAddr>,
}

impl Book {
    /// Has an address asked for, unless it was.
    pub fn want(&self, address: IpAddr) {
        let mut pages = self.pages();
        let full = pages.waiting.len() >= WAITING;
        if !full && !pages.names.contains_key(&address) && pages.pending.insert(address) {
            pages.waiting.push_back(address);
            self.wanted.notify_one();
        }
    }

    /// The name of an address if it is known.
    pub fn known(&self, address: IpAddr) -> Option<Arc<str>> {
        self.pages().names.get(&address).cloned().flatten()
    }

    /// Enters a name, or that there is none.
    pub fn enter(&self, address: IpAddr, name: Option<&str>) {
        let mut pages = self.pages();
        pages.pending.remove(&address);
        if pages.names.insert(address, name.map(readable)).is_none() {
            pages.order.push_back(address);
        }
        while pages.order.len() > KEPT {
            let oldest = pages.order.pop_front();
            oldest.and_then(|oldest| pages.names.remove(&oldest));
        }
    }

    /// Those without a name will be asked for again.
    pub fn forget_failures(&self) {
        let mut pages = self.pages();
        pages.names.retain(|_, name| name.is_some());
        let Pages { names, order, .. } = &mut *pages;
        order.retain(|address| names.contains_key(address));
    }

    /// Takes out up to so many addresses to be asked; waits for one if told to.
    fn take(&self, most: usize, wait: bool) -> Vec<IpAddr> {
        let mut pages = self.pages();
        while wait && pages.waiting.is_empty() {
            pages = self.wanted.wait(pages).unwrap_or_else(PoisonError::into_inner);
        }
        let most = most.min(pages.waiting.len());
        let Pages { names, waiting, pending, .. } = &mut *pages;
        // Some may have become known while they waited.
        let (known, unknown): (Vec<_>, Vec<_>) =
            waiting.drain(..most).partition(|address| names.contains_key(address));
        pending.retain(|address| !known.contains(address));
        unknown
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        // Each change is complete in itself.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name comes from whoever owns the address: no more of it than a terminal may show.
fn readable(name: &str) -> Arc<str> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_');
    name.chars().take(253).map(|letter| if plain(letter) { letter } else { '?' }).collect::<String>().into()
}

/// Where names are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// DNS servers, asked one after the other.
    pub servers: Vec<SocketAddr>,
    /// Names that need no server.
    pub hosts: Vec<(IpAddr, String)>,
    /// How long an answer is waited for.
    pub patience: Duration,
}

impl Sources {
    /// As this machine is configured: `/etc/resolv.conf` and `/etc/hosts`.
    pub fn of_this_machine() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self::parse(&read("/etc/resolv.conf"), &read("/etc/hosts"))
    }

    /// From the text of both files: resolv.conf(5) takes up to three servers, the local one where there is none.
    pub fn parse(resolv_conf: &str, hosts: &str) -> Self {
        let words = |line: &str| {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let server = |line: &str| match words(line).as_slice() {
            [option, address, ..] if option == "nameserver" => address.parse::<IpAddr>().ok(),
            _ => None,
        };
        let mut servers: Vec<_> =
            resolv_conf.lines().filter_map(server).take(3).map(|ip| SocketAddr::new(ip, 53)).collect();
        if servers.is_empty() {
            servers.push(SocketAddr::from(([127, 0, 0, 1], 53)));
        }
        let host = |line: &str| match words(line).as_slice() {
            [address, name, ..] => Some((address.parse().ok()?, name.clone())),
            _ => None,
        };
        let hosts = hosts.lines().filter_map(host).collect();
        Self { servers, hosts, patience: Duration::from_secs(2) }
    }
}

/// Starts the thread that asks; it lives as long as the program. Each answer asks for another picture.
pub fn start(book: Arc<Book>, sources: Sources, sender: Sender<Happening>) -> io::Result<()> {
    thread::Builder::new().name("names".into()).spawn(move || ask(&book, &sources, &sender))?;
    Ok(())
}

fn ask(book: &Book, sources: &Sources, sender: &Sender<Happening>) {
    for (address, name) in sources.hosts.iter().rev() {
        book.enter(*address, Some(name));
    }
    let mut asking = Asking::new(sources);
    loop {
        for address in book.take(asking.room(), asking.is_idle()) {
            asking.ask(address);
        }
        let answers = asking.answers();
        if answers.is_empty() {
            continue;
        }
        for (address, name) in answers {
            book.enter(address, name.as_deref());
        }
        if sender.send(Happening::Redraw).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
