//! Every table against a plain model: live connections, and what happened in words anybody can follow.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use conntrack_common::{
    AuditPhase, AuditTrigger, End, Evicted, Free, InsertFailed, New, Refused, Seen, Tuple,
};
use proptest::prelude::*;

use crate::engine::filter::{Filter, parse_network};
use crate::engine::monitor::tests::{S, apply, batch, engine};
use crate::engine::monitor::{Config, Engine};
use crate::engine::notice::Notice;
use crate::engine::query::{Column, Focus, PrefixLengths, Query, Sort, View};
use crate::engine::snapshot::{self, Snapshot};
use crate::engine::sources::Sums;
use crate::engine::state::{EntryState, Sight};
use crate::engine::table::{Key, Row, Table};
use crate::engine::testing::{self, Record};
use crate::engine::tuple::{Connection, Proto, Status};

/// `IPS_CONFIRMED` and `IPS_SEEN_REPLY`, and `IPS_ASSURED` besides.
const REPLIED: u32 = 0xa;
const ASSURED: u32 = 0xe;

/// One of a few connections, so that they share everything with others.
#[derive(Clone, Copy, Debug)]
struct Who {
    netns: u32,
    host: u8,
    dst: u8,
    dport: u16,
    proto: u8,
}

impl Who {
    fn tuple(self) -> Tuple {
        let mut tuple = testing::tuple(self.host);
        // Two networks of sources.
        tuple.src[2] = self.host % 2;
        tuple.dst[3] = self.dst;
        tuple.dport = self.dport.to_be_bytes();
        tuple.protonum = self.proto;
        tuple
    }

    fn connection(self) -> Connection {
        Connection::new(self.netns, 0, &self.tuple())
    }
}

fn who() -> impl Strategy<Value = Who> {
    let proto = prop::sample::select(vec![6u8, 17, 1]);
    (1u32..3, 1u8..8, 1u8..5, 80u16..83, proto).prop_map(|(netns, host, dst, dport, proto)| Who {
        netns,
        host,
        dst,
        dport,
        proto,
    })
}

#[derive(Clone, Copy, Debug)]
enum Act {
    New(u64, Who),
    Free { ct: u64, confirmed: bool },
    Refused(Who),
    Evicted(u64),
    Failed(u64),
    Seen { ct: u64, status: u32, tcp_state: u8 },
}

fn acts(most: usize) -> impl Strategy<Value = Vec<Act>> {
    let status = prop::sample::select(vec![8, REPLIED, ASSURED]);
    let act = prop_oneof![
        5 => (0u64..24, who()).prop_map(|(ct, who)| Act::New(ct, who)),
        3 => (0u64..24, prop::bool::weighted(0.8)).prop_map(|(ct, confirmed)| Act::Free { ct, confirmed }),
        1 => who().prop_map(Act::Refused),
        1 => (0u64..24).prop_map(Act::Evicted),
        1 => (0u64..24).prop_map(Act::Failed),
        2 => (0u64..24, status, 0u8..8).prop_map(|(ct, status, tcp_state)| Act::Seen { ct, status, tcp_state }),
    ];
    prop::collection::vec(act, 0..most)
}

fn filters() -> impl Strategy<Value = Filter> {
    let none = Filter::default();
    let some = |filter: Filter| Just(filter);
    prop_oneof![
        3 => some(none.clone()),
        1 => some(Filter { src: parse_network("10.1.1.0/24").ok(), ..none.clone() }),
        1 => some(Filter { dst: parse_network("10.99.0.2").ok(), ..none.clone() }),
        1 => some(Filter { proto: Some(Proto::TCP), ..none.clone() }),
        1 => some(Filter { dport: Some(81), ..none.clone() }),
        1 => some(Filter { netns: Some(vec![2]), ..none.clone() }),
        1 => some(Filter { src: parse_network("10.1.0.0/24").ok(), proto: Some(Proto::UDP), ..none }),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Life {
    who: Who,
    born: u64,
    sight: Sight,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    New,
    Freed { age: Option<u64>, unconfirmed: bool },
    Refused,
    Evicted,
    Failed,
}

/// What must come out, kept the plain way.
#[derive(Default)]
struct Model {
    live: HashMap<u64, Life>,
    /// When, to whom, what.
    events: Vec<(u64, Connection, Event)>,
    /// Frees of unknown entries; which were not confirmed.
    of_nobody: Vec<(u64, bool)>,
}

impl Model {
    /// The record of an act, if it is possible.
    fn act(&mut self, at: u64, act: Act) -> Option<Record> {
        let mut happened = |who: Who, event| self.events.push((at, who.connection(), event));
        Some(match act {
            Act::New(ct, who) => {
                if let Some(old) = self.live.insert(ct, Life { who, born: at, sight: Sight::default() }) {
                    happened(old.who, Event::Freed { age: None, unconfirmed: false });
                }
                happened(who, Event::New);
                Record::New(New { netns: who.netns, tuple: who.tuple(), ..testing::new(ct, at, 1) })
            }
            Act::Free { ct, confirmed } => {
                match self.live.remove(&ct) {
                    Some(life) => {
                        let age = Some(at - life.born);
                        happened(life.who, Event::Freed { age, unconfirmed: !confirmed });
                    }
                    None => self.of_nobody.push((at, !confirmed)),
                }
                let status = if confirmed { 0x0a } else { 0 };
                Record::Free(Free { status, end: End::Other as u8, ..testing::free(ct, at) })
            }
            Act::Refused(who) => {
                happened(who, Event::Refused);
                let (netns, tuple) = (who.netns, who.tuple());
                Record::Refused(Refused { netns, tuple, ..testing::refused(at, 1, 9, 512) })
            }
            Act::Evicted(ct) => {
                let who = self.live.get(&ct)?.who;
                happened(who, Event::Evicted);
                let (netns, tuple) = (who.netns, who.tuple());
                Record::Evicted(Evicted { netns, tuple, ..testing::evicted(ct, at, 1, 7) })
            }
            Act::Failed(ct) => {
                let who = self.live.get(&ct)?.who;
                happened(who, Event::Failed);
                let (netns, original) = (who.netns, who.tuple());
                Record::InsertFailed(InsertFailed { netns, original, ..testing::insert_failed(ct, at, 1) })
            }
            Act::Seen { ct, status, tcp_state } => {
                let life = self.live.get_mut(&ct)?;
                let tcp_state = if life.who.proto == 6 { tcp_state } else { u8::MAX };
                life.sight = Sight::new(Status(status), tcp_state);
                let (netns, tuple) = (life.who.netns, life.who.tuple());
                Record::Seen(Seen { netns, tuple, status, tcp_state, ..testing::seen(ct, at, 1) })
            }
        })
    }

    /// The rows of a query at a time, in no order; rates are over all of it.
    fn rows(&self, query: &Query, since: u64, now: u64) -> BTreeMap<Key, Row> {
        let mut rows: BTreeMap<Key, (Row, Vec<u64>)> = BTreeMap::new();
        let mut row = |connection: &Connection, sight: Sight, change: &dyn Fn(&mut Row, &mut Vec<u64>)| {
            if query.filter.matches(connection, 0) {
                let key = key(query, connection, sight);
                let none = Row {
                    key,
                    entries: 0,
                    new_per_s: 0.0,
                    sums: Sums::default(),
                    mean_lifetime_ns: None,
                    oldest_ns: None,
                };
                let (row, ages) = rows.entry(key).or_insert((none, Vec::new()));
                change(row, ages);
            }
        };
        for life in self.live.values() {
            row(&life.who.connection(), life.sight, &|row, _| {
                row.entries += 1;
                row.oldest_ns = row.oldest_ns.max(Some(now - life.born));
            });
        }
        let events = self.events.iter().filter(|(at, ..)| *at > since && query.view != View::States);
        for (_, connection, event) in events {
            row(connection, Sight::default(), &|row, ages| match event {
                Event::New => {
                    row.sums.new += 1;
                    row.new_per_s += 1e9 / (now - since) as f64;
                }
                Event::Freed { age, unconfirmed } => {
                    row.sums.freed += 1;
                    row.sums.unconfirmed += u64::from(*unconfirmed);
                    ages.extend(age);
                }
                Event::Refused => row.sums.refused += 1,
                Event::Evicted => row.sums.evicted += 1,
                Event::Failed => row.sums.failed += 1,
            });
        }
        let mean = |ages: &[u64]| ages.iter().sum::<u64>().checked_div(ages.len() as u64);
        rows.into_iter()
            .map(|(key, (row, ages))| (key, Row { mean_lifetime_ns: mean(&ages), ..row }))
            .collect()
    }

    /// All that happened since then.
    fn totals(&self, since: u64) -> Sums {
        let (mut all, mut nobody) = (Sums::default(), Sums::default());
        for (_, _, event) in self.events.iter().filter(|(at, ..)| *at > since) {
            match event {
                Event::New => all.new += 1,
                Event::Freed { unconfirmed, .. } => {
                    all.freed += 1;
                    all.unconfirmed += u64::from(*unconfirmed);
                }
                Event::Refused => all.refused += 1,
                Event::Evicted => all.evicted += 1,
                Event::Failed => all.failed += 1,
            }
        }
        for (_, unconfirmed) in self.of_nobody.iter().filter(|(at, _)| *at > since) {
            nobody.freed += 1;
            nobody.unconfirmed += u64::from(*unconfirmed);
        }
        all.add(&nobody);
        all
    }
}

/// The group a connection is in, written out for this test.
fn key(query: &Query, connection: &Connection, sight: Sight) -> Key {
    let Connection { netns, src, dst, dport, proto, .. } = *connection;
    match query.view {
        View::Sources => Key::Source(src, netns),
        View::Prefixes => {
            Key::Prefix(parse_network(&format!("{src}/{}", query.prefix.v4)).expect("a network"))
        }
        View::Destinations => Key::Destination(dst),
        View::Ports => Key::Port(proto, if proto == Proto::ICMP { 0 } else { dport }),
        View::States => Key::State(EntryState { proto, sight: sight.as_group() }),
        View::Netns => Key::Netns(netns),
        View::Causes | View::Episodes => unreachable!("they have no table"),
    }
}

/// Applies acts one nanosecond apart, each in the stream it belongs to.
fn play(engine: &mut Engine, model: &mut Model, from: u64, acts: &[Act]) -> u64 {
    let mut now = from;
    for act in acts {
        now += 1;
        let Some(record) = model.act(now, *act) else { continue };
        let is_entry = matches!(record, Record::New(_) | Record::Free(_) | Record::Seen(_));
        let (entries, incidents) = if is_entry { (vec![record], vec![]) } else { (vec![], vec![record]) };
        apply(engine, &batch(now, &entries, &incidents));
    }
    now += 1;
    apply(engine, &batch(now, &[], &[]));
    now
}

/// That the rows and other are all there is and all that happened.
fn expect_adds_up(table: &Table, entries: u64, totals: &Sums) {
    let (mut held, mut sums) = (table.other.entries, table.other.sums);
    for row in &table.rows {
        held += row.entries;
        sums.add(&row.sums);
    }
    assert_eq!((held, sums), (entries, *totals), "{table:#?}");
}

/// By the documentation of `Sort`.
fn sorted(mut rows: Vec<Row>, Sort { column, reverse }: Sort) -> Vec<Row> {
    let value = |row: &Row| match column {
        Column::Key => Some(0.0),
        Column::Entries => Some(row.entries as f64),
        Column::New => Some(row.new_per_s),
        Column::Refused => Some(row.sums.refused as f64),
        Column::Evicted => Some(row.sums.evicted as f64),
        Column::Failed => Some(row.sums.failed as f64),
        Column::Unconfirmed => Some(row.sums.unconfirmed as f64),
        Column::Lifetime => row.mean_lifetime_ns.map(|it| it as f64),
        Column::Oldest => row.oldest_ns.map(|it| it as f64),
    };
    rows.sort_by_key(|row| row.key);
    match column {
        Column::Key if reverse => rows.reverse(),
        Column::Key => {}
        _ => rows.sort_by_key(|row| Reverse(row.sums.refused + row.sums.evicted)),
    }
    let (mut known, unknown): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| value(row).is_some());
    known.sort_by(|a, b| {
        let order = value(b).partial_cmp(&value(a)).expect("numbers");
        if reverse { order.reverse() } else { order }
    });
    known.into_iter().chain(unknown).collect()
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * a.abs().max(1.0)
}

fn queries() -> impl Strategy<Value = Query> {
    let view = prop::sample::select(View::ALL[..6].to_vec());
    let sort = (prop::sample::select(Column::ALL.to_vec()), any::<bool>());
    let sort = sort.prop_map(|(column, reverse)| Sort { column, reverse });
    let v4 = prop::sample::select(vec![0u8, 16, 24, 30, 32]);
    (view, sort, filters(), v4, 0usize..20).prop_map(|(view, sort, filter, v4, rows)| Query {
        view,
        sort,
        filter,
        prefix: PrefixLengths { v4, v6: 64 },
        rows,
        ..Query::default()
    })
}

/// That a snapshot's table is the model's.
fn expect_agreement(model: &Model, query: &Query, snapshot: &Snapshot, since: u64) {
    let table = &snapshot.table;
    assert_eq!((table.view, table.since_ktime_ns), (query.view, since));
    expect_adds_up(table, model.live.len() as u64, &model.totals(since));
    let expected = model.rows(query, since, snapshot.ktime_ns);
    assert_eq!(table.groups, expected.len(), "{query:?} {expected:#?}");
    assert_eq!(table.entries, expected.values().map(|row| row.entries).sum::<u64>());
    let expected = sorted(expected.into_values().collect(), query.sort);
    assert_eq!(table.rows.len(), query.rows.min(expected.len()));
    for (row, expected) in table.rows.iter().zip(&expected) {
        assert!(near(row.new_per_s, expected.new_per_s), "{row:?} {expected:?}");
        assert_eq!(*row, Row { new_per_s: row.new_per_s, ..*expected }, "{query:?}");
    }
    let listed: f64 = table.rows.iter().map(|row| row.new_per_s).sum();
    let all = model.totals(since).new as f64 * 1e9 / (snapshot.ktime_ns - since) as f64;
    assert!(near(listed + table.other.new_per_s, all), "{} {all}", listed + table.other.new_per_s);
}

proptest! {
    #[test]
    fn every_table_asked_for_at_the_attachment_agrees_with_the_model(acts in acts(120), query in queries()) {
        let (mut engine, mut model) = (engine(), Model::default());
        engine.ask(query.clone());
        play(&mut engine, &mut model, 0, &acts);
        engine.end_interval();
        let snapshot = engine.snapshot();
        expect_agreement(&model, &query, &snapshot, 0);
        prop_assert_eq!(&engine.snapshot(), &snapshot, "the same again");

        let count = |netns, of: fn(Sight) -> bool| {
            let its = model.live.values().filter(|life| life.who.netns == netns);
            its.filter(|life| of(life.sight)).count() as u64
        };
        for row in snapshot.netns.iter().filter(|_| query.rows > 0) {
            prop_assert_eq!(row.evictable, count(row.netns, |sight| sight.is_known() && !sight.assured()));
            prop_assert_eq!(row.unseen, count(row.netns, |sight| !sight.is_known()));
        }
    }

    #[test]
    fn a_table_asked_for_later_counts_since_then(
        before in acts(60),
        after in acts(60),
        query in queries(),
        sort in queries(),
    ) {
        let (mut engine, mut model) = (engine(), Model::default());
        let asked = play(&mut engine, &mut model, 0, &before);
        engine.end_interval();
        engine.ask(query.clone());
        play(&mut engine, &mut model, asked, &after);
        engine.end_interval();
        let table = engine.snapshot().table;
        let counts_anew = match query.view {
            View::Destinations | View::Ports => true,
            View::States => false,
            _ => query.filter.beyond_sources().is_some(),
        };
        prop_assert_eq!(table.since_ktime_ns, if counts_anew { asked } else { 0 });
        expect_adds_up(&table, model.live.len() as u64, &model.totals(table.since_ktime_ns));
        if counts_anew {
            expect_agreement(&model, &query, &engine.snapshot(), asked);
        }
        // Sorted otherwise, it is the same table.
        let query = Query { sort: sort.sort, rows: sort.rows, ..query };
        engine.ask(query.clone());
        if counts_anew {
            expect_agreement(&model, &query, &engine.snapshot(), asked);
        }
    }

    #[test]
    fn with_few_sources_tracked_it_still_adds_up(acts in acts(120), query in queries(), max_sources in 1usize..4) {
        let mut engine = Engine::new(Config { max_sources, ..engine().config });
        let mut model = Model::default();
        engine.ask(query);
        play(&mut engine, &mut model, 0, &acts);
        engine.end_interval();
        expect_adds_up(&engine.snapshot().table, model.live.len() as u64, &model.totals(0));
    }

    #[test]
    fn a_close_look_agrees_with_the_model(acts in acts(120), netns in 1u32..3, host in 1u8..8) {
        let mut engine = Engine::new(Config { live_view: true, ..engine().config });
        let mut model = Model::default();
        let src = Who { netns, host, dst: 1, dport: 80, proto: 6 }.connection().src;
        let (focus, its) = (Focus { netns, src }, |life: &&Life| life.who.connection().src == src && life.who.netns == netns);
        engine.ask(Query { focus: Some(focus), ..Query::default() });
        let now = play(&mut engine, &mut model, 0, &acts);
        engine.end_interval();
        let close = engine.snapshot().focus.expect("asked for");
        let lives: Vec<&Life> = model.live.values().filter(its).collect();
        let ranked = |of: &dyn Fn(&Life) -> Key| {
            let mut counts: BTreeMap<Key, u64> = BTreeMap::new();
            lives.iter().for_each(|life| *counts.entry(of(life)).or_default() += 1);
            let mut counts: Vec<_> = counts.into_iter().collect();
            counts.sort_by_key(|(key, count)| (Reverse(*count), *key));
            counts
        };
        prop_assert_eq!(close.row.entries, lives.len() as u64);
        prop_assert_eq!(close.destinations.map(Key::Destination).top, ranked(&|it| Key::Destination(it.who.connection().dst)));
        let state = |it: &Life| Key::State(EntryState { proto: Proto(it.who.proto), sight: it.sight.as_group() });
        prop_assert_eq!(close.states.map(Key::State).top, ranked(&state));
        prop_assert_eq!(close.ports.total(), lives.len() as u64);
        prop_assert_eq!((close.ages[0], close.age_unknown), (lives.len() as u64, 0));
        let refused: Vec<u64> = model.events.iter().rev()
            .filter(|(_, it, event)| it.netns == netns && it.src == src && matches!(event, Event::Refused))
            .map(|(at, ..)| *at).collect();
        prop_assert_eq!(close.refusals.iter().map(|it| it.ktime_ns).collect::<Vec<_>>(), refused);
        let new = close.row.sums.new as f64;
        prop_assert!(near(close.arrivals_per_s, new * 1e9 / now as f64));
    }
}

fn query(view: View) -> Query {
    Query { view, rows: 10, ..Query::default() }
}

fn look(engine: &mut Engine, query: Query) -> Snapshot {
    engine.ask(query);
    engine.end_interval();
    engine.snapshot()
}

#[test]
fn a_breakdown_lasts_as_long_as_its_filter() {
    let mut engine = engine();
    let since = |engine: &mut Engine, query| look(engine, query).table.since_ktime_ns;
    apply(&mut engine, &batch(S, &[], &[]));
    assert_eq!(since(&mut engine, query(View::Destinations)), S);
    apply(&mut engine, &batch(2 * S, &[], &[]));
    assert_eq!(since(&mut engine, query(View::Ports)), 2 * S);
    assert_eq!(since(&mut engine, query(View::Sources)), 0);
    assert_eq!(since(&mut engine, query(View::Destinations)), S, "kept meanwhile");
    let tcp = Filter { proto: Some(Proto::TCP), ..Filter::default() };
    assert_eq!(since(&mut engine, Query { filter: tcp, ..query(View::Destinations) }), 2 * S);
    apply(&mut engine, &batch(3 * S, &[], &[]));
    assert_eq!(since(&mut engine, query(View::Destinations)), 3 * S, "another filter ended it");
}

#[test]
fn a_pass_is_made_once_an_interval() {
    let mut engine = engine();
    apply(&mut engine, &batch(S, &[Record::New(testing::new(1, 10, 5))], &[]));
    let entries = |snapshot: &Snapshot| snapshot.table.rows.iter().map(|row| row.entries).sum::<u64>();
    assert_eq!(entries(&look(&mut engine, query(View::Destinations))), 1);
    apply(&mut engine, &batch(2 * S, &[Record::New(testing::new(2, S, 5))], &[]));
    engine.ask(Query { sort: Sort { column: Column::Key, reverse: true }, ..query(View::Destinations) });
    let snapshot = engine.snapshot();
    assert_eq!((entries(&snapshot), snapshot.table.other.entries), (1, 1), "as it was, and it adds up");
    assert_eq!(entries(&look(&mut engine, query(View::Destinations))), 2);
}

#[test]
fn causes_have_rates() {
    let mut engine = engine();
    let refused = |at| Record::Refused(testing::refused(at, 5, 9, 10));
    apply(&mut engine, &batch(2 * S, &[], &[refused(S), refused(S + 1)]));
    engine.end_interval();
    apply(&mut engine, &batch(4 * S, &[], &[refused(3 * S)]));
    let snapshot = look(&mut engine, query(View::Causes));
    let rates: Vec<_> =
        snapshot.causes.iter().filter(|it| it.total > 0).map(|it| (it.cause, it.total, it.per_s)).collect();
    assert_eq!(rates, [("table_full", 3, 0.5)]);
    assert_eq!((snapshot.table.rows.len(), snapshot.table.groups), (0, 0));
}

#[test]
fn seconds_are_told_where_something_was_heard() {
    let mut engine = Engine::new(Config { live_view: true, ..engine().config });
    let new = |ct, at| Record::New(testing::new(ct, at, 5));
    apply(&mut engine, &batch(S / 2, &[], &[Record::Count(testing::count(5, 7, 512))]));
    apply(&mut engine, &batch(2 * S + 5, &[new(1, S - 1), new(2, S), new(3, S + 1), new(4, 2 * S + 4)], &[]));
    // Nothing is heard for three seconds.
    apply(&mut engine, &batch(5 * S + 9, &[new(5, 5 * S + 8)], &[]));
    apply(&mut engine, &batch(6 * S + 1, &[], &[]));
    let history = look(&mut engine, query(View::Sources)).history;
    let seconds: Vec<_> =
        history.seconds.iter().map(|it| (it.ktime_ns / S, it.sums.new, it.level.count)).collect();
    assert_eq!(history.netns, 1);
    assert_eq!(seconds, [(1, 1, Some(8)), (2, 2, Some(10)), (3, 1, Some(11)), (6, 1, Some(12))]);
    let of = |engine: &mut Engine, netns| {
        let history = look(engine, Query { netns, ..query(View::Sources) }).history;
        (history.netns, history.seconds.len())
    };
    assert_eq!((of(&mut engine, Some(1)), of(&mut engine, Some(9))), ((1, 4), (9, 0)));
}

#[test]
fn without_a_live_view_nothing_is_kept() {
    let (mut engine, _) = testing::audited_story();
    let snapshot = look(&mut engine, query(View::Sources));
    assert_eq!((snapshot.history.seconds.len(), snapshot.recent.len()), (0, 0));
}

#[test]
fn with_one_recent_is_what_was_told_but_births_and_deaths() {
    let mut engine = Engine::new(Config { live_view: true, ..engine().config });
    let refused = |at, host| Record::Refused(testing::refused(at, host, 9, 10));
    let entries = [Record::New(testing::new(1, 10, 5)), Record::Free(testing::free(1, 20))];
    let incidents = [refused(S, 5), refused(S + 1, 6), Record::Evicted(testing::evicted(9, S + 2, 5, 7))];
    let mut told = apply(&mut engine, &batch(S + 2, &entries, &incidents));
    engine.flush(|notice| told.push(notice));
    told.retain(|it| !matches!(it, Notice::New { .. } | Notice::Free(_)));
    let mut recent = look(&mut engine, query(View::Sources)).recent;
    assert!(recent.is_sorted_by_key(|it| Reverse(it.ktime_ns())));
    recent.sort_by_key(Notice::ktime_ns);
    told.sort_by_key(Notice::ktime_ns);
    assert_eq!((recent.len(), told.len()), (4, 4));
    assert!(told.iter().all(|it| recent.contains(it)), "{recent:?}");
    let filter = Filter { src: parse_network("10.1.0.6").ok(), ..Filter::default() };
    let recent = look(&mut engine, Query { filter, ..query(View::Sources) }).recent;
    assert_eq!(recent.len(), 2, "an edge and a refusal");
}

#[test]
fn a_mark_is_taken_for_none() {
    let mut engine = engine();
    let mark = |text| Filter { mark: crate::engine::filter::parse_mark(text).ok(), ..Filter::default() };
    apply(&mut engine, &batch(S, &[Record::New(testing::new(1, 10, 5))], &[]));
    let entries =
        |engine: &mut Engine, filter| look(engine, Query { filter, ..query(View::Sources) }).table.entries;
    assert_eq!((entries(&mut engine, mark("0")), entries(&mut engine, mark("1"))), (1, 0));
}

#[test]
fn an_audit_keeps_the_breakdown_right() {
    let mut engine = engine();
    engine.ask(query(View::Destinations));
    let step = |phase, number| Record::Audit(testing::audit(phase, AuditTrigger::Missed, number, S, S));
    let seen = |ct, host| Record::Seen(testing::seen(ct, S, host));
    use AuditPhase::{Began, Ended, Walked};
    let (bootstrap, new) = ([step(Began, 1), step(Ended, 1)], |ct| Record::New(testing::new(ct, 10, 5)));
    apply(&mut engine, &batch(S, &[&bootstrap[..], &[new(1), new(2)]].concat(), &[]));
    // 1 is another, 2 is gone, 3 is new; nobody told.
    let walk = [step(Began, 2), seen(1, 6), seen(3, 6), step(Walked, 2), Record::Seen(testing::dead(2, S))];
    apply(&mut engine, &batch(2 * S, &walk, &[]));
    let table = look(&mut engine, query(View::Destinations)).table;
    let [Row { key, entries, sums, .. }] = table.rows[..] else { panic!("{table:?}") };
    assert_eq!((key, entries), (Key::Destination(IpAddr::from([10, 99, 0, 1])), 2));
    assert_eq!((sums, table.other.sums), (Sums { new: 4, freed: 2, ..Sums::default() }, Sums::default()));
    assert_eq!(sums, snapshot::sums(&engine.own, 0));
}

#[test]
fn a_gap_leaves_no_entries() {
    let mut engine = engine();
    apply(&mut engine, &batch(S, &[Record::New(testing::new(1, 10, 5))], &[]));
    look(&mut engine, query(View::Destinations));
    apply(&mut engine, &batch(2 * S, &[Record::Gap(testing::gap(false, S, 2 * S))], &[]));
    for view in [View::Destinations, View::Sources, View::Netns, View::Prefixes, View::States] {
        engine.ask(query(view));
        let table = engine.snapshot().table;
        let held: Vec<_> = table.rows.iter().map(|row| (row.entries, row.oldest_ns)).collect();
        assert!(held.iter().all(|it| *it == (0, None)), "{view:?}: {held:?}");
        assert_eq!((table.entries, table.other.entries), (0, 0));
    }
}
