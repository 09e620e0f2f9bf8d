//! The rings: nothing lost where there is room, every loss told where there is not.

use anyhow::{Result, ensure};
use conntrack_tests::gateway::Gateway;
use conntrack_tests::hog::Hog;
use conntrack_tests::kernel;
use conntrack_tests::watcher::{Signal, Watcher, number};

use crate::lab::{self, BUCKETS, LARGE, Lab, SMALL, SOON};

#[test]
fn nothing_is_lost_at_full_speed() -> Result<()> {
    for backend in lab::ready().then(lab::backends).unwrap_or_default() {
        let lab = Lab::new(LARGE, LARGE)?;
        let watcher = Watcher::watch(&["--backend", backend])?;
        let sent = lab::crowd(false, 60_000).send(&lab.gateway)?;
        lab.settle()?;
        let count = lab.count()?;
        // The worst burst there is: every entry freed in one go.
        kernel::flush(&lab.gateway.router)?;
        let empty = kernel::until(SOON, || Ok(lab.count()? == 0))?;
        let ended = watcher.stop(Signal::INT)?;
        println!(
            "{backend}: {count} entries at {:.0}/s, then flushed: {}",
            sent.rate(),
            lab::totals(ended.summary()?)
        );
        ensure!(empty, "the table was not flushed");
        lab::expect_lossless(&ended)?;
        assert_eq!(ended.of_kind("lost").count(), 0);
        assert_eq!(number(ended.summary()?, "new")?, sent.packets);
        assert_eq!(number(ended.summary()?, "freed")?, count);
        assert_eq!(count, sent.packets);
    }
    Ok(())
}

#[test]
fn a_tiny_ring_reports_its_loss_and_the_totals_stay_exact() -> Result<()> {
    for backend in lab::ready().then(lab::backends).unwrap_or_default() {
        let lab = Lab::new(SMALL, BUCKETS)?;
        let watcher = Watcher::watch(&["--backend", backend, "--entries-ring", "4096"])?;
        let before = lab.stats()?;
        let sent = lab::crowd(false, 30_000).send(&lab.gateway)?;
        lab.settle()?;
        let (kernel, count) = (lab.stats()?.since(&before), lab.count()?);
        let ended = watcher.stop(Signal::INT)?;

        let summary = ended.summary()?;
        println!(
            "{backend}: sent {} at {:.0}/s; {kernel:?}; {}",
            sent.packets,
            sent.rate(),
            lab::totals(summary)
        );
        ensure!(ended.status.success(), "{}: {}", ended.status, ended.stderr);
        let total = |name| number(summary, name);
        assert!(total("lost")? > 0, "a ring of 64 entries lost nothing");
        let told = ended.of_kind("lost").count();
        assert!(told > 0, "no lost line");
        assert_eq!(total("refused")?, kernel.refused());
        assert_eq!(total("new")? + total("refused")?, sent.packets, "every packet is an entry or refused");
        assert_eq!(total("new")? - total("freed")?, count);
        println!("{backend}: {told} lost lines");
        lab::expect_evicted(&kernel, total("evicted")?);
    }
    Ok(())
}

#[test]
fn refusals_that_find_no_room_are_counted() -> Result<()> {
    for backend in lab::ready().then(lab::backends).unwrap_or_default() {
        let lab = Lab::new(SMALL, BUCKETS)?;
        let watcher = Watcher::watch(&["--backend", backend, "--incidents-ring", "4096"])?;
        let hog = Hog::new(&lab.gateway, false)?;
        let _held = hog.hold(SMALL as usize, Gateway::source(false, 99), SOON)?;
        let before = lab.stats()?;
        let sent = lab::crowd(false, 10_000).send(&lab.gateway)?;
        lab.settle()?;
        let kernel = lab.stats()?.since(&before);
        let ended = watcher.stop(Signal::INT)?;

        let summary = ended.summary()?;
        let lines = ended.of_kind("refused").count() as u64;
        let lost = ended.of_kind("lost").map(|line| number(line, "incidents")).sum::<Result<u64>>()?;
        println!("{backend}: {lines} refused lines, {lost} lost; {}", lab::totals(summary));
        ensure!(ended.status.success(), "{}: {}", ended.status, ended.stderr);
        assert_eq!(kernel.refused(), sent.packets);
        assert_eq!(number(summary, "refused")?, kernel.refused());
        assert!(lines < kernel.refused(), "a ring of 64 refusals lost none");
        // What is not told is counted; besides refusals only the counts of the census use that ring.
        assert!(lines + lost >= kernel.refused(), "{} are missing", kernel.refused() - lines - lost);
        assert_eq!(number(summary, "lost")?, lost);
    }
    Ok(())
}
