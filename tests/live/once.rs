//! One table of a full machine, from starting the program to its last byte: beside the pipeline of the runbook, and
//! beside the least program that could do it, a bare dump of ctnetlink that counts sources and nothing else.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use conntrack_tests::flood::Flood;
use conntrack_tests::kernel;
use conntrack_tests::watcher::{command, number};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, netlink, recv, send, socket};
use serde_json::Value;

use crate::lab::{self, LARGE, Lab};

/// As many as the hash table has buckets: the default limit of a machine with more than 4 GiB.
const ENTRIES: u64 = LARGE as u64;
/// Each of two floods, which run at the same time.
const SOURCES: u32 = 2_000;
/// The machine is shared: of each the best counts.
const TURNS: usize = 5;
/// Of the runbook, with the addresses of `conntrack -L` found by their name: not every line has the same fields.
const PIPELINE: &str = "conntrack -L 2>/dev/null \
    | awk '{ for (i = 1; i <= NF; i++) if ($i ~ /^src=/) { print substr($i, 5); break } }' \
    | sort | uniq -c | sort -rn | head";

/// Who holds the most, and how much; how long it took to know.
#[derive(Debug)]
struct Answer {
    source: Ipv4Addr,
    entries: u64,
    total: Option<u64>,
    took: Duration,
    /// Until the process was gone.
    ended: Duration,
}

#[test]
fn one_table_of_262144_entries_is_printed_sooner_than_a_dump_could() -> Result<()> {
    // Once, on one kernel: filling takes a while, and the pipeline half a minute.
    if !lab::ready() || !lab::is("6.12") {
        return Ok(());
    }
    let lab = Lab::new(2 * LARGE, LARGE)?;
    let router = &lab.gateway.router;
    fill(&lab)?;
    let mut best: [Option<Answer>; 2] = [None, None];
    for turn in 1..=TURNS {
        for (name, answer) in ["ctwatch", "dump"].iter().zip(&mut best) {
            let now = if *name == "dump" { router.run(dump)? } else { router.run(top)? };
            println!("{turn}. {name:8} {:?}, ended after {:?}", now.took, now.ended);
            if answer.as_ref().is_none_or(|best| now.took < best.took) {
                *answer = Some(now);
            }
        }
    }
    let pipeline = router.run(pipeline)?;
    println!("   pipeline {:?}", pipeline.took);
    let [Some(ours), Some(dump)] = best else { bail!("no turn") };
    println!(
        "{ENTRIES} entries: ctwatch {:?}, a dump {:?}, pipeline {:?}",
        ours.took, dump.took, pipeline.took
    );
    assert_eq!(lab.count()?, ENTRIES, "the table changed while it was compared");
    let expected = (pipeline.source, pipeline.entries);
    assert_eq!((ours.source, ours.entries, ours.total), (expected.0, expected.1, Some(ENTRIES)));
    assert_eq!((dump.source, dump.entries, dump.total), (expected.0, expected.1, Some(ENTRIES)));
    assert!(ours.took < pipeline.took, "slower than the pipeline");
    assert!(ours.took < dump.took, "slower than a dump");
    Ok(())
}

fn fill(lab: &Lab) -> Result<()> {
    lab::keep_entries(&lab.gateway.router)?;
    // Two processors that look for NAT ports at the same time sometimes find the same one.
    lab.gateway.translate(&["accept"])?;
    let flood = |n: u32| Flood {
        packets: ENTRIES / 2,
        sources: SOURCES,
        first_source: n * SOURCES,
        heavy_percent: 5 * n,
        ..Flood::default()
    };
    lab::at_once(&[flood(0), flood(1)], &lab.gateway)?;
    let filled = kernel::until(lab::LONG, || Ok(lab.count()? == ENTRIES))?;
    ensure!(filled, "{} entries instead of {ENTRIES}", lab.count()?);
    Ok(())
}

/// ctwatch, from before it is started to its last byte, and to its end.
fn top() -> Result<Answer> {
    let begun = Instant::now();
    let mut child = command(&["top", "--once", "-o", "json"])?
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("start ctwatch")?;
    let mut stdout = BufReader::new(child.stdout.take().context("no standard output")?);
    let mut text = String::new();
    stdout.read_line(&mut text)?;
    let took = begun.elapsed();
    stdout.read_to_string(&mut text)?;
    let status = child.wait()?;
    let ended = begun.elapsed();
    ensure!(status.success(), "ctwatch ended with {status}");
    let document: Value = serde_json::from_str(&text).with_context(|| format!("it printed {text:?}"))?;
    let first = &document["sources"][0];
    Ok(Answer {
        source: first["src"].as_str().unwrap_or_default().parse().context("the first source")?,
        entries: number(first, "entries")?,
        total: Some(number(&document["totals"], "entries")?),
        took,
        ended,
    })
}

fn pipeline() -> Result<Answer> {
    let begun = Instant::now();
    let output = Command::new("sh").args(["-c", PIPELINE]).output().context("run the pipeline")?;
    let took = begun.elapsed();
    let text = String::from_utf8(output.stdout)?;
    let mut words = text.split_whitespace();
    let (Some(entries), Some(source)) = (words.next(), words.next()) else {
        bail!("the pipeline printed nothing: {}", String::from_utf8_lossy(&output.stderr))
    };
    Ok(Answer { source: source.parse()?, entries: entries.parse()?, total: None, took, ended: took })
}

/// Sizes and numbers of include/uapi/linux/netlink.h, netfilter/nfnetlink.h and nfnetlink_conntrack.h.
const HEADER: usize = 16;
const GENERIC: usize = 4;
/// `NLMSG_DONE`
const DONE: u16 = 3;
/// What a dump costs when hardly anything is done with it: IPv4, one buffer, original source addresses at the one
/// place where the kernel puts them. Even starting a program is spared.
fn dump() -> Result<Answer> {
    let begun = Instant::now();
    let socket = socket(AddressFamily::NETLINK, SocketType::RAW, Some(netlink::NETFILTER))?;
    // `nlmsghdr`: length, `IPCTNL_MSG_CT_GET` of `NFNL_SUBSYS_CTNETLINK`, `NLM_F_REQUEST | NLM_F_DUMP`, sequence, port;
    // `nfgenmsg`: `AF_INET`, version, resource.
    let mut request = [0_u8; HEADER + GENERIC];
    request[0] = (HEADER + GENERIC) as u8;
    request[4..8].copy_from_slice(&[1, 1, 1, 3]);
    request[HEADER] = 2;
    send(&socket, &request, SendFlags::empty())?;
    let mut buffer = vec![0_u8; 1 << 20];
    let mut sources: HashMap<u32, u64> = HashMap::new();
    let mut total = 0;
    'dump: loop {
        let (size, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = &buffer[..size];
        while let Some((header, _)) = rest.split_at_checked(HEADER) {
            if u16::from_ne_bytes([header[4], header[5]]) == DONE {
                break 'dump;
            }
            let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
            ensure!((HEADER..=rest.len()).contains(&length), "a message of {length} bytes");
            // `CTA_TUPLE_ORIG`, in it `CTA_TUPLE_IP`, in it `CTA_IP_V4_SRC`.
            let source = &rest[HEADER + GENERIC + 12..][..4];
            *sources.entry(u32::from_be_bytes([source[0], source[1], source[2], source[3]])).or_default() +=
                1;
            total += 1;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
    let (source, entries) = sources.into_iter().max_by_key(|(_, entries)| *entries).context("no entries")?;
    let took = begun.elapsed();
    Ok(Answer { source: source.into(), entries, total: Some(total), took, ended: took })
}
