//! Whether the numbers are worth anything: there are some, they are new, and all entries are known.

use super::site::Site;
use crate::output::json;

/// Why nothing can be said now; None if all is well.
pub fn ill(site: &Site) -> Option<String> {
    match site.board.posted() {
        None => Some("nothing is known yet: the monitor is still attaching".to_owned()),
        Some(posted) if posted.age() > site.stale_after => Some(format!(
            "the monitor has put up nothing for {:.1} s, though it does so every second",
            posted.age().as_secs_f64()
        )),
        Some(_) => None,
    }
}

/// The object of `/readyz`, and whether it says yes.
pub fn ready(site: &Site) -> (Vec<u8>, bool) {
    let posted = site.board.posted();
    let mut reasons: Vec<String> = ill(site).into_iter().collect();
    if posted.as_ref().is_some_and(|posted| !posted.scrape.snapshot.events.bootstrapped) {
        reasons.push(
            "the first audit has not ended: entries from before the attachment are not all known".into(),
        );
    }
    let ready = reasons.is_empty();
    let latest = posted.as_ref().map(|posted| (&posted.scrape.snapshot, posted.age().as_secs_f64()));
    let mut out = Vec::new();
    if let Err(error) = json::ready(&mut out, reasons, latest) {
        tracing::error!("readiness is not written as JSON: {error}");
    }
    (out, ready)
}
