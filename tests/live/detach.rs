//! However ctwatch ends, nothing of it stays in the kernel and the traffic does not notice.

use std::time::Duration;

use anyhow::{Result, ensure};
use conntrack_tests::flood::Flood;
use conntrack_tests::kernel;
use conntrack_tests::player::Background;
use conntrack_tests::watcher::{Signal, Watcher};

use crate::lab::{self, LARGE, Lab};

#[test]
fn nothing_stays_after_a_signal_in_the_middle_of_a_flood() -> Result<()> {
    for backend in lab::ready().then(lab::backends).unwrap_or_default() {
        for signal in [Signal::KILL, Signal::INT, Signal::TERM] {
            end_in_a_flood(backend, signal)?;
        }
    }
    Ok(())
}

fn end_in_a_flood(backend: &str, signal: Signal) -> Result<()> {
    let lab = Lab::new(LARGE, LARGE)?;
    let watcher = Watcher::watch(&["--backend", backend])?;
    let loaded = kernel::loaded()?;
    let flood = Flood { rate: Some(5_000), packets: 15_000, ..lab::crowd(false, 0) };
    let flood = Background::start(&lab.gateway, flood)?;
    ensure!(kernel::until(lab::SOON, || Ok(lab.count()? > 1_000))?, "the flood did not start");

    let ended = watcher.stop(signal)?;
    let gone = kernel::until(Duration::from_secs(1), || Ok(kernel::loaded()?.is_empty()))?;
    let at_end = lab.count()?;
    let sent = flood.finish_sending()?;
    lab.settle()?;
    println!(
        "{backend} {signal:?}: {} programs and maps before; {at_end} entries at its end, {} of {} at last",
        loaded.len(),
        lab.count()?,
        sent.packets
    );
    assert!(!loaded.is_empty(), "bpftool shows nothing of ours while it runs");
    assert!(gone, "still in the kernel: {:?}", kernel::loaded()?);
    assert!(at_end < sent.packets, "it did not end in the middle of the flood");
    assert_eq!(lab.count()?, sent.packets, "the traffic went on");
    if signal != Signal::KILL {
        assert!(ended.status.success(), "{}: {}", ended.status, ended.stderr);
        ended.summary()?;
    }
    Ok(())
}
