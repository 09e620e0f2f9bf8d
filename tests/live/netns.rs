//! Two gateways on one machine: the limit is one number, the tables are two.

use std::time::Duration;

use anyhow::Result;
use conntrack_tests::gateway::{Gateway, Router};
use conntrack_tests::hog::Hog;
use conntrack_tests::kernel;
use conntrack_tests::watcher::{Signal, Watcher, number};

use crate::lab::{self, BUCKETS, Lab, SMALL, SOON};

const INTERVAL: Duration = Duration::from_secs(600);

#[test]
fn two_gateways_are_told_apart() -> Result<()> {
    for backend in lab::ready().then(lab::backends).unwrap_or_default() {
        let full = Lab::new(SMALL, BUCKETS)?;
        // One in a namespace of its own, one in the first namespace, as on a real gateway.
        let calm = Gateway::new(Router::Here)?;
        let watcher = Watcher::watch(&["--backend", backend])?;
        let top = Watcher::top(INTERVAL, &["--backend", backend, "--rows", "1000"])?;
        let hog = Hog::new(&full.gateway, false)?;
        let _held = hog.hold(SMALL as usize, Gateway::source(false, 99), SOON)?;
        // The same tuples in both: only the namespace differs.
        let flood = lab::crowd(false, 200);
        flood.send(&calm)?;
        flood.send(&full.gateway)?;
        full.settle()?;
        let (calm_count, full_count) = (kernel::count(&calm.router)?, full.count()?);
        let document = top.stop(Signal::INT)?.document()?;
        let ended = watcher.stop(Signal::INT)?;

        let calm_inum = calm.router.inum().into();
        let calm_row = lab::netns_row(&document, &calm_inum)?;
        let full_row = lab::netns_row(&document, &full.inum())?;
        println!("{backend}: {calm_row} {full_row}");
        assert_eq!((calm_count, full_count), (200, u64::from(SMALL)));
        assert_eq!((&calm_row["count"], &full_row["count"]), (&calm_count.into(), &full_count.into()));
        for n in 0..flood.sources {
            let source = Gateway::source(false, n).to_string();
            let row = &lab::sources(&document, &calm_inum)?[&source];
            assert_eq!(number(row, "entries")?, flood.packets_of(n), "{row}");
            assert_eq!(number(row, "refused")?, 0, "{row}");
            let row = &lab::sources(&document, &full.inum())?[&source];
            assert_eq!(number(row, "entries")?, 0, "{row}");
            assert_eq!(number(row, "refused")?, flood.packets_of(n), "{row}");
        }
        assert_eq!(ended.of_kind("refused").count(), 200);
        for line in ended.of_kind("refused").chain(ended.of_kind("edge")) {
            assert_eq!(line["netns"], full.inum(), "{line}");
        }
        lab::expect_lossless(&ended)?;
    }
    Ok(())
}
