//! The states of TCP entries, as the walk and the dumps read them, against those that `conntrack -L` lists.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use conntrack_common::{AuditPhase, Seen};
use conntrack_tests::kernel;
use conntrack_tests::netns::Netns;
use conntrack_user::engine::decode::{Record, Records};
use conntrack_user::engine::state::{Sight, tcp_name};
use conntrack_user::engine::tuple::Status;
use conntrack_user::kernel::attach::Options;
use conntrack_user::kernel::backend::BackendChoice;
use conntrack_user::kernel::source::Source;

use crate::lab::{self, BUCKETS, Lab};

/// Of `enum tcp_conntrack`, all that an entry can be made in.
const STATES: [&str; 8] =
    ["SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE"];
const FIRST_PORT: u16 = 1_000;

#[test]
fn tcp_states_are_those_that_conntrack_lists() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    let lab = Lab::new(100_000, BUCKETS)?;
    let router = &lab.gateway.router;
    let listed = fill(router)?;
    for backend in lab::backends().into_iter().chain(["netlink"]) {
        // In the router: the netlink backend knows its own namespace only.
        let seen = router.run(|| seen(backend, router.inum())).context(backend)?;
        println!("{backend}: {seen:?}");
        assert_eq!(seen, listed, "{backend}");
    }
    Ok(())
}

#[test]
fn a_freed_entry_tells_its_last_state_if_asked() -> Result<()> {
    if !lab::ready() {
        return Ok(());
    }
    let lab = Lab::new(100_000, BUCKETS)?;
    let router = &lab.gateway.router;
    for backend in lab::backends() {
        let listed = fill(router)?;
        let told = freed(backend, true, router).context(backend)?;
        println!("{backend}: {told:?}");
        assert_eq!(told, listed, "{backend}");
        fill(router)?;
        let told = freed(backend, false, router).context(backend)?;
        assert_eq!(told.len(), listed.len(), "{backend}");
        assert!(told.values().all(Option::is_none), "{backend}, not asked: {told:?}");
    }
    Ok(())
}

/// Makes a TCP entry in every state and one of UDP; returns what `conntrack -L` has to say of them.
fn fill(router: &Netns) -> Result<States> {
    let entry = |proto: &str, port: u16, more: &str| {
        let addresses = "-s 10.1.0.1 -d 198.18.0.1";
        router.tool(&format!(
            "conntrack -I -p {proto} {addresses} --sport {port} --dport 80 --timeout 600 {more}"
        ))
    };
    for (state, port) in STATES.iter().zip(FIRST_PORT..) {
        entry("tcp", port, &format!("--state {state}"))?;
    }
    entry("udp", 1, "")?;
    let listed = listed(router)?;
    assert_eq!(listed.len(), STATES.len() + 1, "{listed:?}");
    Ok(listed)
}

/// Source port to state of each entry; of one that has none, nothing.
type States = BTreeMap<u16, Option<String>>;

fn listed(netns: &Netns) -> Result<States> {
    let text = netns.tool("conntrack -L")?;
    let entry = |line: &str| -> Result<(u16, Option<String>)> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let port = words.iter().find_map(|word| word.strip_prefix("sport=")).context("no port")?;
        let state = (words[0] == "tcp").then(|| words[3].to_owned());
        Ok((port.parse()?, state))
    };
    text.lines().map(|line| entry(line).with_context(|| format!("conntrack -L printed {line:?}"))).collect()
}

fn options(backend: &str, read_tcp_state: bool) -> Options {
    let backend = match backend {
        "fexit-vmlinux" => BackendChoice::FexitVmlinux,
        "fexit-module" => BackendChoice::FexitModule,
        "kprobe" => BackendChoice::Kprobe,
        _ => BackendChoice::Netlink,
    };
    Options {
        backend,
        entries_ring_bytes: 1 << 20,
        incidents_ring_bytes: 1 << 20,
        read_mark: false,
        read_tcp_state,
        audit_ns: u64::MAX,
    }
}

/// What is told of the entries of a namespace when they are flushed, after the first audit has seen them.
fn freed(backend: &str, read_tcp_state: bool, netns: &Netns) -> Result<States> {
    let mut source = Source::start(&options(backend, read_tcp_state))?;
    let (mut ports, mut states) = (BTreeMap::new(), States::new());
    while ports.is_empty() || states.len() < ports.len() {
        let batch = source.batches.blocking_recv().context("it ended before all were freed")?;
        for record in Records::new(&batch.entries) {
            match record? {
                Record::Seen(seen) if seen.get().alive == 1 && seen.get().netns == netns.inum() => {
                    let seen = seen.get();
                    ports.insert(seen.ct, u16::from_be_bytes(seen.tuple.sport));
                }
                Record::Audit(audit) if audit.get().phase == AuditPhase::Walked as u8 => {
                    kernel::flush(netns)?;
                }
                Record::Free(free) => {
                    let free = free.get();
                    let state = free.tcp_state().and_then(tcp_name).map(str::to_owned);
                    states.extend(ports.get(&free.ct).map(|port| (*port, state)));
                }
                _ => {}
            }
        }
    }
    source.control.stop();
    source.finish()?;
    Ok(states)
}

/// What the first audit sees of the entries of a namespace.
fn seen(backend: &str, netns: u32) -> Result<States> {
    let mut source = Source::start(&options(backend, false))?;
    let mut states = States::new();
    let mut walked = false;
    while !walked {
        let batch = source.batches.blocking_recv().context("it ended before the walk")?;
        for record in Records::new(&batch.entries) {
            match record? {
                Record::Seen(seen) if seen.get().alive == 1 && seen.get().netns == netns => {
                    let seen = seen.get();
                    states.insert(u16::from_be_bytes(seen.tuple.sport), state(&seen));
                }
                Record::Audit(audit) => walked |= audit.get().phase == AuditPhase::Walked as u8,
                _ => {}
            }
        }
    }
    source.control.stop();
    source.finish()?;
    Ok(states)
}

fn state(seen: &Seen) -> Option<String> {
    Sight::new(Status(seen.status), seen.tcp_state).tcp_state().map(str::to_owned)
}
