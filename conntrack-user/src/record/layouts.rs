//! The records this version has. Names are written here; offsets and widths are the structs' own.

use std::mem::offset_of;
use std::sync::LazyLock;

use conntrack_common::{
    Audit, Census, Count, Evicted, Free, Gap, InsertFailed, Kind, Ledger, Missed, NetnsName, New, Refused,
    RoomMade, Seen, Stats,
};

use super::schema::{Field, FieldType, KindLayout, Sizes};
use crate::engine::recorded::{
    AuditDone, Counters, Crossed, Drain, Ended, Holder, Holding, NetnsSecond, RecordedKind, Setting, Summed,
    Text, Unrecorded,
};

/// A record's fields by type, in whatever order.
macro_rules! layout {
    ($kind:ident::$record:ident { $($of:ident: $($($part:ident).+),+;)+ }) => {
        KindLayout {
            number: $kind::$record as u8,
            name: stringify!($record).to_owned(),
            size: size_of::<$record>(),
            fields: in_order(vec![$($(Field {
                name: [$(stringify!($part)),+].join("."),
                offset: offset_of!($record, $($part).+),
                width: width(|record: &$record| &record.$($part).+),
                of: FieldType::$of,
            }),+),+]),
        }
    };
}

fn width<R, F>(_: fn(&R) -> &F) -> usize {
    size_of::<F>()
}

fn in_order(mut fields: Vec<Field>) -> Vec<Field> {
    fields.sort_by_key(|field| field.offset);
    fields
}

/// Every kind, by number.
pub fn layouts() -> &'static [KindLayout] {
    static LAYOUTS: LazyLock<Vec<KindLayout>> =
        LazyLock::new(|| [of_hooks(), of_surveys(), of_state(), of_recorder()].concat());
    &LAYOUTS
}

/// Their sizes.
pub(super) fn sizes() -> &'static Sizes {
    static SIZES: LazyLock<Sizes> =
        LazyLock::new(|| Sizes::of(layouts()).expect("records are what they are"));
    &SIZES
}

fn of_hooks() -> Vec<KindLayout> {
    vec![
        layout!(Kind::New {
            U8: kind, may_be_seen, tuple.protonum, tuple.dir;
            U16: zone, tuple.l3num;
            U32: netns;
            U64: ktime_ns, ct;
            Address: tuple.src, tuple.dst;
            Port: tuple.sport, tuple.dport;
        }),
        layout!(Kind::Free {
            U8: kind, end;
            U16: status;
            U32: mark;
            U64: ktime_ns, ct;
        }),
        layout!(Kind::Refused {
            U8: kind, cause, tuple.protonum, tuple.dir;
            U16: zone, tuple.l3num;
            U32: netns, count, max;
            U64: ktime_ns;
            Address: tuple.src, tuple.dst;
            Port: tuple.sport, tuple.dport;
        }),
        layout!(Kind::Evicted {
            U8: kind, tuple.protonum, tuple.dir;
            U16: zone, tuple.l3num;
            U32: netns, count, max, status, mark, hash;
            U64: ktime_ns, ct;
            Address: tuple.src, tuple.dst;
            Port: tuple.sport, tuple.dport;
            Zero: reserved, reserved2;
        }),
        layout!(Kind::RoomMade {
            U8: kind, tuple.protonum, tuple.dir;
            U16: zone, tuple.l3num;
            U32: netns, hash, victims;
            U64: ktime_ns;
            Address: tuple.src, tuple.dst;
            Port: tuple.sport, tuple.dport;
            Zero: reserved;
        }),
        layout!(Kind::InsertFailed {
            U8: kind, cause, original.protonum, original.dir, reply.protonum, reply.dir;
            U16: zone, original.l3num, reply.l3num;
            U32: netns, status;
            U64: ktime_ns, ct;
            Address: original.src, original.dst, reply.src, reply.dst;
            Port: original.sport, original.dport, reply.sport, reply.dport;
            Zero: reserved;
        }),
    ]
}

fn of_surveys() -> Vec<KindLayout> {
    vec![
        layout!(Kind::Count {
            U8: kind;
            U32: netns, count, max;
            U64: ktime_ns, cookie;
            Zero: reserved;
        }),
        layout!(Kind::Ledger {
            U8: kind;
            U32: key.netns, key.l3num;
            U64: ktime_ns, refusals.count, refusals.first_ktime_ns, refusals.last_ktime_ns;
            Address: key.src;
            Zero: reserved, reserved2;
        }),
        layout!(Kind::Seen {
            U8: kind, alive, listed, tcp_state, tuple.protonum, tuple.dir;
            U16: zone, tuple.l3num;
            U32: netns, status;
            U64: ktime_ns, ct, confirmed_unix_ns;
            Address: tuple.src, tuple.dst;
            Port: tuple.sport, tuple.dport;
            Zero: reserved;
        }),
        layout!(Kind::Audit {
            U8: kind, phase, trigger;
            U32: number, restarts, cut_short;
            U64: ktime_ns, began_ktime_ns, buckets;
            Zero: reserved;
        }),
        layout!(Kind::Census {
            U8: kind;
            U32: counts;
            U64: ktime_ns, began_ktime_ns;
            Zero: reserved;
        }),
        layout!(Kind::Stats {
            U8: kind, alone;
            U32: netns;
            U64: ktime_ns, drop, early_drop, insert_failed, chaintoolong, clash_resolve, invalid;
            Zero: reserved;
        }),
        layout!(Kind::Missed {
            U8: kind;
            U64: ktime_ns, missed;
            Text: program;
            Zero: reserved;
        }),
        layout!(Kind::NetnsName {
            U8: kind;
            U32: netns;
            U64: ktime_ns;
            Text: name;
            Zero: reserved;
        }),
        layout!(Kind::Gap {
            U8: kind, over;
            U64: ktime_ns, from_ktime_ns;
            Zero: reserved;
        }),
    ]
}

fn of_state() -> Vec<KindLayout> {
    vec![
        layout!(RecordedKind::Drain {
            U8: kind;
            U64: ktime_ns;
            I64: wall_offset_ns;
            Zero: reserved;
        }),
        layout!(RecordedKind::Counters {
            U8: kind;
            U64: ktime_ns, totals.new, totals.freed, totals.refused_table_full, totals.refused_no_memory,
                totals.refused_ctnetlink, totals.evicted, totals.failed_clash, totals.failed_chain_too_long,
                totals.failed_nat_ports, totals.failed_dying, totals.clash_resolved, totals.unconfirmed,
                totals.lost_entries, totals.lost_incidents, totals.unmatched;
            Zero: reserved;
        }),
        layout!(RecordedKind::NetnsSecond {
            U8: kind, state;
            U32: netns, count, max, peak, entries;
            U64: ktime_ns, new, freed, refused, evicted, failed, unconfirmed, lifetimes, mean_lifetime_ns;
            Zero: reserved;
        }),
        layout!(RecordedKind::Holder {
            U8: kind;
            U16: rank;
            U32: netns, l3num, entries;
            U64: ktime_ns, new, freed, refused, evicted, failed, unconfirmed, lifetimes, mean_lifetime_ns;
            Address: src;
            Zero: reserved;
        }),
        layout!(RecordedKind::Holding {
            U8: kind, dimension, protonum, prefix_len;
            U16: rank, l3num, port;
            U32: netns;
            U64: ktime_ns, value;
            Address: address;
            Zero: reserved;
        }),
        layout!(RecordedKind::Crossed {
            U8: kind, was, state;
            U32: netns, count, max;
            U64: ktime_ns;
            Zero: reserved;
        }),
    ]
}

fn of_recorder() -> Vec<KindLayout> {
    vec![
        layout!(RecordedKind::AuditDone {
            U8: kind, trigger, abandoned;
            U32: number, restarts, cut_short;
            U64: ktime_ns, began_ktime_ns, entries, added, removed, replaced, buckets;
            Zero: reserved;
        }),
        layout!(RecordedKind::Summed {
            U8: kind, of, cause;
            U32: netns, l3num, level_count, level_max;
            U64: ktime_ns, first_ktime_ns, count;
            Address: src;
            Zero: reserved, reserved2;
        }),
        layout!(RecordedKind::Unrecorded {
            U8: kind, reason;
            U64: ktime_ns, from_ktime_ns, drains, bytes;
            Zero: reserved;
        }),
        layout!(RecordedKind::Text {
            U8: kind, subject;
            U16: piece;
            U64: ktime_ns;
            Text: text;
            Zero: reserved;
        }),
        layout!(RecordedKind::Setting {
            U8: kind;
            U32: netns;
            U64: ktime_ns, value;
            Text: name;
            Zero: reserved;
        }),
        layout!(RecordedKind::Ended {
            U8: kind, reason;
            U64: ktime_ns;
            Zero: reserved;
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field that is missing, there twice or of another width leaves a hole or an overlap.
    #[test]
    fn fields_cover_each_record_exactly() {
        for kind in layouts() {
            let mut end = 0;
            for field in &kind.fields {
                assert_eq!(field.offset, end, "{}.{}", kind.name, field.name);
                end += field.width;
            }
            assert_eq!(end, kind.size, "{}", kind.name);
        }
    }

    #[test]
    fn every_kind_is_here_and_widths_fit_types() {
        for number in u8::MIN..=u8::MAX {
            let exists = Kind::from_byte(number).is_some() || RecordedKind::from_byte(number).is_some();
            assert_eq!(sizes().get(number).is_some(), exists, "kind {number}");
        }
        for field in layouts().iter().flat_map(|kind| &kind.fields) {
            let width = match field.of {
                FieldType::U8 => 1,
                FieldType::U16 | FieldType::Port => 2,
                FieldType::U32 => 4,
                FieldType::U64 | FieldType::I64 => 8,
                FieldType::Address => 16,
                FieldType::Text | FieldType::Zero | FieldType::Unknown => field.width,
            };
            assert_eq!(field.width, width, "{}", field.name);
        }
    }
}
