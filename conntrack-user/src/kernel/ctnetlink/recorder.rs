//! Turns what ctnetlink tells of entries into records: the same that the hooks write, with a hash of zone and
//! original tuple where the address of an entry would be.

use std::hash::RandomState;

use bytes::BytesMut;
use conntrack_common::{End, Free, Kind, New, Seen};
use hashbrown::HashMap;
use zerocopy::IntoBytes as _;

use super::pace::Events;
use crate::engine::ctnetlink::{Content, Entry, Message};

/// Writes records and keeps what an audit needs to know of the events that come beside it.
pub struct Recorder {
    netns: u32,
    hasher: RandomState,
    /// Records of events, in order.
    pub events: BytesMut,
    /// Records of a dump, in order. Until it is complete they come before those of events: what a dump shows may
    /// be older than an event, never newer.
    pub walk: BytesMut,
    /// Events of entries confirmed and destroyed.
    pub new: u64,
    pub freed: u64,
    /// Entries confirmed since the audit under way began, and those it found dying: alive, though the dump may
    /// not have shown them.
    beside: Option<HashMap<u64, Entry>>,
    /// Entries that may end without an event, and the number of the last audit that saw them.
    silent: HashMap<u64, u32>,
}

impl Recorder {
    pub fn new(netns: u32) -> Self {
        Self {
            netns,
            hasher: RandomState::new(),
            events: BytesMut::new(),
            walk: BytesMut::new(),
            new: 0,
            freed: 0,
            beside: None,
            silent: HashMap::new(),
        }
    }

    /// Records an event.
    pub fn event(&mut self, message: Message<'_>, ktime_ns: u64) {
        match message.content() {
            Ok(Content::Entry(entry)) if !entry.is_clash() => self.confirmed(&entry, ktime_ns),
            Ok(Content::Destroyed(entry)) if !entry.is_clash() => self.destroyed(&entry, ktime_ns),
            Ok(_) => {}
            Err(error) => tracing::debug!("an event is not understood: {error}"),
        }
    }

    fn confirmed(&mut self, entry: &Entry, ktime_ns: u64) {
        let ct = entry.key(&self.hasher);
        self.new += 1;
        self.silent.remove(&ct);
        if let Some(beside) = &mut self.beside {
            beside.insert(ct, *entry);
        }
        let record = New {
            kind: Kind::New as u8,
            may_be_seen: 1,
            zone: entry.zone,
            netns: self.netns,
            ktime_ns,
            ct,
            tuple: entry.tuple,
        };
        self.events.extend_from_slice(record.as_bytes());
    }

    fn destroyed(&mut self, entry: &Entry, ktime_ns: u64) {
        let ct = entry.key(&self.hasher);
        self.freed += 1;
        self.silent.remove(&ct);
        if let Some(beside) = &mut self.beside {
            beside.remove(&ct);
        }
        let record = Free {
            kind: Kind::Free as u8,
            end: End::Other as u8,
            // Fifteen bits exist.
            status: entry.status as u16,
            mark: entry.mark,
            ktime_ns,
            ct,
        };
        self.events.extend_from_slice(record.as_bytes());
    }

    /// An audit begins.
    pub fn begin(&mut self) {
        self.beside = Some(HashMap::new());
    }

    /// Records an entry of the dump of audit `number`. `learn`: it may be one that ends without an event.
    pub fn dumped(&mut self, entry: &Entry, ktime_ns: u64, number: u32, learn: bool) {
        let ct = entry.key(&self.hasher);
        if learn {
            self.silent.insert(ct, number);
        } else if let Some(seen) = self.silent.get_mut(&ct) {
            *seen = number;
        }
        if entry.is_dying() {
            // Its destroy event was sent before, or is about to be; after the event it would come back to life.
            if let Some(beside) = &mut self.beside {
                beside.insert(ct, *entry);
            }
            return;
        }
        let record = seen(self.netns, ct, ktime_ns, Some(entry));
        self.walk.extend_from_slice(record.as_bytes());
    }

    /// The dump of audit `number` is complete.
    pub fn dump_complete(&mut self, number: u32, events: Events) {
        if events == Events::On {
            self.silent.clear();
        }
        self.silent.retain(|_, seen| *seen == number);
    }

    /// Records what is known of an entry that the dump did not show.
    pub fn suspected(&mut self, ct: u64, ktime_ns: u64) {
        let entry = self.beside.as_ref().and_then(|beside| beside.get(&ct));
        let record = seen(self.netns, ct, ktime_ns, entry);
        self.events.extend_from_slice(record.as_bytes());
    }

    /// The audit is over.
    pub fn end(&mut self) {
        self.beside = None;
    }

    /// Whether there are entries that may end without an event.
    pub fn has_silent_entries(&self) -> bool {
        !self.silent.is_empty()
    }
}

/// What is known of an entry; nothing if it is gone.
pub(super) fn seen(netns: u32, ct: u64, ktime_ns: u64, entry: Option<&Entry>) -> Seen {
    let nothing = Seen {
        kind: Kind::Seen as u8,
        alive: 0,
        zone: 0,
        netns: 0,
        ktime_ns,
        ct,
        tuple: conntrack_common::Tuple::ZERO,
        confirmed_unix_ns: 0,
        status: 0,
        listed: 0,
        tcp_state: u8::MAX,
        reserved: 0,
    };
    match entry {
        None => nothing,
        Some(entry) => Seen {
            alive: 1,
            zone: entry.zone,
            netns,
            tuple: entry.tuple,
            confirmed_unix_ns: entry.confirmed_unix_ns,
            status: entry.status,
            tcp_state: entry.tcp_state,
            ..nothing
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{
        ctnetlink::{DELETE, Messages, NEW, tests::entry_message},
        decode::{Record, Records},
        testing,
    };

    const DYING: u32 = 1 << 9;
    const CLASH: u32 = 1 << 12;

    fn entry(host: u8) -> Entry {
        Entry {
            tuple: testing::tuple(host),
            zone: 3,
            status: 8,
            mark: 5,
            timeout_s: 30,
            id: 1,
            tcp_state: 3,
            confirmed_unix_ns: 77,
        }
    }

    fn hear(recorder: &mut Recorder, kind: u16, entry: &Entry) {
        for message in Messages::new(&entry_message(kind, entry)) {
            recorder.event(message, 40);
        }
    }

    /// `New`, `Free` or `Seen`, whether alive, and zone and mark as far as it has them.
    fn read(bytes: &BytesMut) -> Vec<(&'static str, bool, u16, u32)> {
        let read = |record| match record {
            Ok(Record::New(new)) => ("New", new.get().may_be_seen == 1, new.get().zone, 0),
            Ok(Record::Free(free)) => ("Free", false, 0, free.get().mark),
            Ok(Record::Seen(seen)) => ("Seen", seen.get().alive == 1, seen.get().zone, 0),
            _ => ("?", false, 0, 0),
        };
        Records::new(bytes).map(read).collect()
    }

    fn audited(entries: &[Entry], events: &[(u16, Entry)], suspects: &[Entry]) -> Recorder {
        let mut recorder = Recorder::new(1);
        recorder.begin();
        for entry in entries {
            recorder.dumped(entry, 30, 1, true);
        }
        for (kind, entry) in events {
            hear(&mut recorder, *kind, entry);
        }
        recorder.dump_complete(1, Events::Auto);
        recorder.events.clear();
        for suspect in suspects {
            recorder.suspected(suspect.key(&recorder.hasher), 50);
        }
        recorder.end();
        recorder
    }

    #[test]
    fn events_are_records_of_the_same_key() {
        let mut recorder = Recorder::new(1);
        hear(&mut recorder, NEW, &entry(1));
        hear(&mut recorder, DELETE, &entry(1));
        assert_eq!(read(&recorder.events), [("New", true, 3, 0), ("Free", false, 0, 5)]);
        assert_eq!((recorder.new, recorder.freed), (1, 1));
    }

    #[test]
    fn the_loser_of_a_clash_does_not_end_the_winner() {
        let mut recorder = Recorder::new(1);
        hear(&mut recorder, NEW, &entry(1));
        let loser = Entry { status: 8 | CLASH, ..entry(1) };
        hear(&mut recorder, NEW, &loser);
        hear(&mut recorder, DELETE, &loser);
        assert_eq!(read(&recorder.events), [("New", true, 3, 0)]);
    }

    #[test]
    fn a_dying_entry_is_not_seen_and_not_gone_before_its_event() {
        let dying = Entry { status: 8 | DYING, ..entry(1) };
        let recorder = audited(&[dying, entry(2)], &[], &[entry(1), entry(9)]);
        assert_eq!(read(&recorder.walk), [("Seen", true, 3, 0)], "after its event it would live again");
        assert_eq!(read(&recorder.events), [("Seen", true, 3, 0), ("Seen", false, 0, 0)]);
        let recorder = audited(&[dying], &[(DELETE, dying)], &[entry(1)]);
        assert_eq!(read(&recorder.events), [("Seen", false, 0, 0)]);
    }

    #[test]
    fn what_came_during_the_dump_is_alive() {
        let recorder =
            audited(&[], &[(NEW, entry(1)), (NEW, entry(2)), (DELETE, entry(2))], &[entry(1), entry(2)]);
        assert_eq!(read(&recorder.events), [("Seen", true, 3, 0), ("Seen", false, 0, 0)]);
    }

    #[test]
    fn silent_entries_are_those_of_before_until_they_end_or_are_missing() {
        let mut recorder = audited(&[entry(1), entry(2), entry(3)], &[(DELETE, entry(1))], &[]);
        assert!(recorder.has_silent_entries());
        // The second is gone, the third has begun anew, with events.
        recorder.dumped(&entry(3), 60, 2, false);
        recorder.dumped(&entry(4), 60, 2, false);
        recorder.dump_complete(2, Events::Auto);
        assert!(recorder.has_silent_entries());
        hear(&mut recorder, NEW, &entry(3));
        assert!(!recorder.has_silent_entries());
        assert!(!audited(&[], &[], &[]).has_silent_entries());
    }
}
