//! Lists the entries of a network namespace for an audit of the eBPF backends, where their table cannot be walked.

use std::io;

use bytes::BytesMut;
use conntrack_common::Seen;
use zerocopy::IntoBytes as _;

use super::{
    recorder::seen,
    socket::{Asking, Progress},
};
use crate::{
    engine::{
        ctnetlink::{Content, Entry, Request},
        tuple::Connection,
    },
    kernel::clock,
};

/// Appends the confirmed entries of the calling thread's network namespace, whose inode number is `netns`: one
/// [`Seen`] each, with the key of its connection. An error of the kind `Interrupted` means that some may have been
/// passed by, and once more may succeed.
pub fn dump(netns: u32, out: &mut BytesMut) -> io::Result<()> {
    let mut asking = Asking::open()?;
    asking.begin(Request::Entries)?;
    loop {
        // The kernel makes each piece when the one before is taken (`netlink_recvmsg`): none is younger than this.
        let ktime_ns = clock::ktime_ns();
        let progress = asking.receive(|part| {
            if let Content::Entry(entry) = part
                && !entry.is_dying()
            {
                out.extend_from_slice(listed(netns, &entry, ktime_ns).as_bytes());
            }
        })?;
        if progress == Progress::Complete {
            return Ok(());
        }
    }
}

/// That no dump lists it any more.
pub fn gone(key: u64, ktime_ns: u64) -> Seen {
    Seen { listed: 1, ..seen(0, key, ktime_ns, None) }
}

fn listed(netns: u32, entry: &Entry, ktime_ns: u64) -> Seen {
    let key = Connection::new(netns, entry.zone, &entry.tuple).key();
    Seen { listed: 1, ..seen(netns, key, ktime_ns, Some(entry)) }
}
