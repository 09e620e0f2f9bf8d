//! Both streams of a batch, alone and merged.
#![no_main]

use conntrack_user::engine::decode::{Merged, Records};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|streams: (&[u8], &[u8])| {
    let (entries, incidents) = streams;
    let stamps = |bytes| Records::new(bytes).filter_map(Result::ok).map(|record| record.ktime_ns()).count();
    let decoded = stamps(entries) + stamps(incidents);
    let merged = Merged::new(entries, incidents).filter(Result::is_ok).count();
    assert_eq!(merged, decoded, "merging loses nothing and adds nothing");
});
