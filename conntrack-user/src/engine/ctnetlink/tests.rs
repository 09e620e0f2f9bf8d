//! Messages made by hand, and bytes made by chance.

use std::hash::RandomState;

use conntrack_common::Tuple;
use proptest::prelude::*;

use super::*;
use crate::engine::testing;

/// An attribute with its padding.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::from((4 + value.len() as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// As the kernel marks it: `NLA_F_NESTED`.
fn nest(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | 0x8000, &parts.concat())
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::from(((HEADER + body.len()) as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(7u32.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The attribute that describes `tuple`, as `ctnetlink_dump_tuples` writes it.
fn tuple_attribute(kind: u16, tuple: &Tuple) -> Vec<u8> {
    let (first, length) = if tuple.l3num == 2 { (1, 4) } else { (3, 16) };
    let addresses =
        nest(1, &[attribute(first, &tuple.src[..length]), attribute(first + 1, &tuple.dst[..length])]);
    let mut protocol = vec![attribute(1, &[tuple.protonum])];
    match tuple.protonum {
        1 | 58 => {
            let first = if tuple.protonum == 1 { 4 } else { 7 };
            protocol.push(attribute(first, &tuple.sport));
            protocol.push(attribute(first + 1, &tuple.dport[..1]));
            protocol.push(attribute(first + 2, &tuple.dport[1..]));
        }
        _ => {
            protocol.push(attribute(2, &tuple.sport));
            protocol.push(attribute(3, &tuple.dport));
        }
    }
    nest(kind, &[addresses, nest(2, &protocol)])
}

/// A message about `entry`, as `ctnetlink_fill_info` writes it.
pub(crate) fn entry_message(kind: u16, entry: &Entry) -> Vec<u8> {
    let reply = Tuple { src: entry.tuple.dst, dst: entry.tuple.src, dir: 1, ..entry.tuple };
    // `tcp_to_nlattr`: the state comes first, in network order like all, then window scales and flags.
    let tcp = [attribute(1, &[entry.tcp_state]), attribute(2, &[7]), attribute(4, &[0x23, 0])];
    let protoinfo = if entry.tcp_state == u8::MAX { Vec::new() } else { nest(4, &[nest(1, &tcp)]) };
    let body = [
        vec![entry.tuple.l3num as u8, 0, 0, 0],
        tuple_attribute(1, &entry.tuple),
        tuple_attribute(2, &reply),
        attribute(18, &entry.zone.to_be_bytes()),
        attribute(3, &entry.status.to_be_bytes()),
        attribute(7, &entry.timeout_s.to_be_bytes()),
        protoinfo,
        attribute(8, &entry.mark.to_be_bytes()),
        nest(20, &[attribute(1, &entry.confirmed_unix_ns.to_be_bytes())]),
        attribute(12, &entry.id.to_be_bytes()),
    ];
    message(kind, 2, &body.concat())
}

fn entry(tuple: Tuple) -> Entry {
    Entry {
        tuple,
        zone: 3,
        status: 0x18e,
        mark: 42,
        timeout_s: 119,
        id: 0xdead_beef,
        confirmed_unix_ns: 1_700_000_000_123_456_789,
        tcp_state: u8::MAX,
    }
}

fn contents(datagram: &[u8]) -> Vec<Result<Content, Malformed>> {
    Messages::new(datagram).map(Message::content).collect()
}

#[test]
fn entries_of_a_datagram_are_read_back() {
    let v4 = entry(testing::tuple(5));
    let mut src = [0; 16];
    src[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    let v6 = Entry { tcp_state: 7, ..entry(Tuple { l3num: 10, src, protonum: 6, ..v4.tuple }) };
    let datagram = [entry_message(NEW, &v4), entry_message(DELETE, &v6), message(DONE, 2, &[0; 4])].concat();
    assert_eq!(
        contents(&datagram),
        [Ok(Content::Entry(v4)), Ok(Content::Destroyed(v6)), Ok(Content::End { errno: 0 })]
    );
    assert!(Messages::new(&datagram).all(|message| message.sequence() == 7 && !message.interrupted()));
}

#[test]
fn icmp_lies_where_the_kernel_has_it() {
    for (protonum, l3num, kind) in [(1, 2, 8), (58, 10, 128)] {
        let tuple = Tuple { protonum, l3num, sport: [0x12, 0x34], dport: [kind, 1], ..testing::tuple(5) };
        let [Ok(Content::Entry(read))] = contents(&entry_message(NEW, &entry(tuple)))[..] else {
            panic!("no entry")
        };
        let icmp = crate::engine::tuple::Connection::new(1, 0, &read.tuple).icmp();
        assert_eq!(icmp, Some(crate::engine::tuple::Icmp { kind, code: 1, id: 0x1234 }));
    }
}

#[test]
fn a_zone_for_one_direction_is_found_in_its_tuple() {
    for direction in [1, 2] {
        let zone = |kind| if kind == direction { attribute(3, &[0, 9]) } else { Vec::new() };
        let tuples = [1, 2].map(|kind| {
            let plain = tuple_attribute(kind, &testing::tuple(5));
            nest(kind, &[plain[4..].to_vec(), zone(kind)])
        });
        let datagram = message(NEW, 0, &[&[2, 0, 0, 0][..], &tuples.concat()].concat());
        let [Ok(Content::Entry(read))] = contents(&datagram)[..] else { panic!("no entry") };
        assert_eq!((read.zone, read.tuple), (9, testing::tuple(5)), "direction {direction}");
    }
}

#[test]
fn counters_are_read_by_number_and_cpu() {
    let attributes: Vec<_> =
        (1u16..=20).map(|kind| attribute(kind, &(u32::from(kind) * 100).to_be_bytes())).collect();
    let body = [&[0, 0, 0, 3][..], &attributes.concat()].concat();
    let counters = Counters {
        found: 200,
        invalid: 400,
        insert: 800,
        insert_failed: 900,
        drop: 1000,
        early_drop: 1100,
        error: 1200,
        search_restart: 1300,
        clash_resolve: 1400,
        chain_toolong: 1500,
    };
    assert_eq!(contents(&message(GET_STATS_CPU, 2, &body)), [Ok(Content::CpuCounters { cpu: 3, counters })]);
}

#[test]
fn counters_may_wrap() {
    let before = Counters { drop: u32::MAX - 1, invalid: 7, ..Counters::default() };
    let now = Counters { drop: 3, invalid: 9, ..Counters::default() };
    let mut sums = Sums::default();
    sums.add(&before, &now);
    assert_eq!(sums, Sums { drop: 5, invalid: 2, ..Sums::default() });
}

#[test]
fn totals_errors_and_interruptions_are_read() {
    let totals = |max: &[Vec<u8>]| {
        let count = attribute(1, &17u32.to_be_bytes());
        message(GET_STATS, 0, &[vec![0; 4], count, max.concat()].concat())
    };
    let with_max = totals(&[attribute(2, &512u32.to_be_bytes())]);
    assert_eq!(contents(&with_max), [Ok(Content::Totals { count: 17, max: Some(512) })]);
    assert_eq!(contents(&totals(&[])), [Ok(Content::Totals { count: 17, max: None })]);

    let refused = [&(-1i32).to_ne_bytes()[..], &[0; 16]].concat();
    assert_eq!(contents(&message(ERROR, 0, &refused)), [Ok(Content::End { errno: 1 })]);
    assert_eq!(contents(&message(DONE, 0, &(-4i32).to_ne_bytes())), [Ok(Content::End { errno: 4 })]);
    let interrupted = message(DONE, DUMP_INTERRUPTED, &[]);
    assert!(Messages::new(&interrupted).all(Message::interrupted));
}

#[test]
fn what_is_cut_off_is_an_error_or_the_end() {
    let whole = entry_message(NEW, &entry(testing::tuple(5)));
    for length in 0..whole.len() {
        assert_eq!(contents(&whole[..length]), [], "{length} of {} bytes", whole.len());
    }
    assert_eq!(contents(&message(NEW, 0, &[2, 0])), [Err(Malformed::Short { kind: NEW, length: 2 })]);
    assert_eq!(contents(&message(NEW, 0, &[2, 0, 0, 0])), [Err(Malformed::NoTuple { kind: NEW })]);
    assert_eq!(contents(&message(0x0301, 0, &[])), [Ok(Content::Other)]);
}

#[test]
fn requests_are_the_kernels() {
    let request = Request::Entries.to_bytes(9);
    assert_eq!(request[..4], 20u32.to_ne_bytes());
    assert_eq!(request[4..8], [0x0101u16.to_ne_bytes(), 0x0301u16.to_ne_bytes()].concat()[..]);
    assert_eq!(request[8..12], 9u32.to_ne_bytes());
    assert_eq!(request[12..], [0; 8]);
}

#[test]
fn zone_and_tuple_make_the_key_and_nothing_else_does() {
    let hasher = RandomState::new();
    let base = entry(testing::tuple(5));
    let key = |entry: Entry| entry.key(&hasher);
    let other = Entry { status: 0, mark: 0, timeout_s: 0, id: 0, confirmed_unix_ns: 0, tcp_state: 1, ..base };
    assert_eq!(key(base), key(other));
    assert_ne!(key(base), key(Entry { zone: 4, ..base }));
    assert_ne!(key(base), key(entry(testing::tuple(6))));
    assert_ne!(key(base), base.key(&RandomState::new()), "keys are of one process only");
}

prop_compose! {
    fn any_entry()(
        (src, dst, sport, dport) in any::<([u8; 16], [u8; 16], [u8; 2], [u8; 2])>(),
        (v4, protonum) in any::<(bool, u8)>(),
        (zone, status, mark, timeout_s, id, confirmed_unix_ns) in any::<(u16, u32, u32, u32, u32, u64)>(),
        tcp_state in any::<u8>(),
    ) -> Entry {
        let cut = |address: [u8; 16]| std::array::from_fn(|i| if v4 && i >= 4 { 0 } else { address[i] });
        let l3num = if v4 { 2 } else { 10 };
        let tuple = Tuple { src: cut(src), sport, l3num, dst: cut(dst), dport, protonum, dir: 0 };
        Entry { tuple, zone, status, mark, timeout_s, id, confirmed_unix_ns, tcp_state }
    }
}

proptest! {
    #[test]
    fn any_entry_is_read_back(entry in any_entry()) {
        prop_assert_eq!(contents(&entry_message(NEW, &entry)), [Ok(Content::Entry(entry))]);
    }

    #[test]
    fn arbitrary_bytes_never_panic(datagram: Vec<u8>) {
        contents(&datagram);
    }

    /// Real messages with some bytes changed get further in than noise does.
    #[test]
    fn damaged_messages_never_panic(
        entry in any_entry(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut datagram = [entry_message(NEW, &entry), entry_message(DELETE, &entry)].concat();
        for (at, byte) in damage {
            let at = at.index(datagram.len());
            datagram[at] = byte;
        }
        contents(&datagram);
    }
}
