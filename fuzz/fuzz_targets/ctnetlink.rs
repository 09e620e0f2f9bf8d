//! Datagrams of ctnetlink.
#![no_main]

use std::hash::{BuildHasherDefault, DefaultHasher};

use conntrack_user::engine::ctnetlink::{Content, Messages};
use conntrack_user::engine::tuple::Connection;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    for message in Messages::new(datagram) {
        if let Ok(Content::Entry(entry) | Content::Destroyed(entry)) = message.content() {
            let _ = entry.key(&BuildHasherDefault::<DefaultHasher>::default());
            let connection = Connection::new(1, entry.zone, &entry.tuple);
            let _ = (connection.src.to_string(), connection.icmp(), entry.is_dying(), entry.is_clash());
        }
    }
});
