//! The scenario without a kernel: a small model of conntrack plays it, and the engine must see what happened,
//! whether it was there from the beginning, came late, or was not told everything.

mod model;

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use conntrack_common::AuditTrigger;
use conntrack_tests::gateway::Gateway;
use conntrack_tests::scenario::Scenario;
use conntrack_user::engine::batch::WallClock;
use conntrack_user::engine::notice::Notice;
use conntrack_user::engine::query::Query;
use conntrack_user::engine::snapshot::{Snapshot, Trust};
use conntrack_user::engine::table::{Key, Row};
use conntrack_user::engine::{Config, Engine};

use model::{Model, NETNS};

/// The engine gets what a drain of the rings would give it, this often.
const DRAIN_NS: u64 = 50_000_000;

#[test]
fn the_scenario_goes_through_its_states_in_order() -> Result<()> {
    let scenario = Scenario::hog()?;
    let mut model = Model::new(&scenario);
    let mut engine = Engine::new(Config::new(model.now(), WallClock::default(), Trust::default()));
    let mut notices = Vec::new();
    for phase in &scenario.phases {
        model.begin(phase);
        let end = model.now() + phase.duration().as_nanos() as u64;
        while model.now() < end {
            engine.apply(&model.run(DRAIN_NS), |notice| notices.push(notice));
            let snapshot = look(&mut engine, usize::MAX);
            let summed: u64 = snapshot.table.rows.iter().map(|row| row.entries).sum();
            assert_eq!(summed, model.count() as u64, "sum of the sources against the model's count");
        }
        let snapshot = look(&mut engine, 1);
        let row = snapshot.netns.first().context("no namespace")?;
        println!(
            "{:8} {:9} {:4} entries; {} evicted, {} refused",
            phase.name,
            row.state.as_str(),
            snapshot.entries,
            snapshot.totals.evicted,
            snapshot.totals.refused()
        );
    }
    engine.flush(|notice| notices.push(notice));
    expect_states(&notices, &scenario);
    expect_account(&engine, &model, &notices)
}

/// Address and entries of a source.
fn source(row: &Row) -> Option<(IpAddr, u64)> {
    let Key::Source(src, _) = row.key else { return None };
    Some((src, row.entries))
}

/// A snapshot of the first `rows` sources.
fn look(engine: &mut Engine, rows: usize) -> Snapshot {
    engine.ask(Query { rows, ..Query::default() });
    engine.end_interval();
    engine.snapshot()
}

/// Lets time pass in drains, and hands the model what the engine asks for.
fn play(model: &mut Model, engine: &mut Engine, end: u64, mut each: impl FnMut(&Model, &mut Engine)) {
    while model.now() < end {
        engine.apply(&model.run(DRAIN_NS), |_| ());
        if let Some(suspects) = engine.suspects() {
            model.look_up(&suspects);
        }
        each(model, engine);
    }
}

/// The engine knows of each source what the model does, and all sums add up.
fn expect_agreement(model: &Model, engine: &mut Engine) {
    let snapshot = look(engine, usize::MAX);
    let holders = snapshot.table.rows.iter().filter(|row| row.entries > 0);
    let held: BTreeMap<_, _> = holders.filter_map(source).collect();
    assert_eq!(held, model.by_source(), "entries per source");
    assert_eq!((snapshot.entries, snapshot.table.other.entries), (model.count() as u64, 0));
    let sum = |of: fn(&conntrack_user::engine::sources::Sums) -> u64| {
        of(&snapshot.table.other.sums) + snapshot.table.rows.iter().map(|row| of(&row.sums)).sum::<u64>()
    };
    assert_eq!(sum(|sums| sums.new), snapshot.totals.new);
    assert_eq!(sum(|sums| sums.freed), snapshot.totals.freed);
    assert_eq!((snapshot.totals.new, snapshot.totals.freed), (model.stats.new, model.stats.freed));
}

#[test]
fn attached_in_the_middle_it_knows_everything_after_one_audit() -> Result<()> {
    let scenario = Scenario::hog()?;
    for late in 1..scenario.phases.len() {
        let mut model = Model::new(&scenario);
        for phase in &scenario.phases[..late] {
            model.begin(phase);
            model.run(phase.duration().as_nanos() as u64);
        }
        model.attach();
        let before = model.count();
        let mut engine = Engine::new(Config::new(model.now(), WallClock::default(), Trust::default()));
        model.audit(AuditTrigger::Attached);
        model.begin(&scenario.phases[late]);
        let end = model.now() + scenario.phases[late].duration().as_nanos() as u64;
        let mut compared = 0;
        play(&mut model, &mut engine, end, |model, engine| {
            if engine.bootstrapped() {
                expect_agreement(model, engine);
                compared += 1;
            }
        });
        let events = engine.summary().events;
        println!("{:8} {before} entries before, {compared} times compared", scenario.phases[late].name);
        assert!(compared > 10, "the first audit took too long");
        assert_eq!((events.missed(), events.repaired.total()), (0, 0), "nothing was missed");
        assert!(!engine.wants_audit());
    }
    Ok(())
}

#[test]
fn what_was_lost_is_mended_by_an_audit() -> Result<()> {
    let scenario = Scenario::hog()?;
    let mut model = Model::new(&scenario);
    let mut engine = Engine::new(Config::new(model.now(), WallClock::default(), Trust::default()));
    model.audit(AuditTrigger::Attached);
    let mut repaired = 0;
    for phase in &scenario.phases {
        model.begin(phase);
        let end = model.now() + phase.duration().as_nanos() as u64;
        let half = model.now() + (end - model.now()) / 2;
        play(&mut model, &mut engine, half, |_, _| ());
        expect_agreement(&model, &mut engine);
        model.losing = true;
        play(&mut model, &mut engine, half + 4 * DRAIN_NS, |_, _| ());
        model.losing = false;
        let audit = engine.summary().events.last_audit.map(|last| last.number);
        model.audit(AuditTrigger::Lost);
        play(&mut model, &mut engine, end, |model, engine| {
            if engine.summary().events.last_audit.map(|last| last.number) > audit {
                expect_agreement(model, engine);
            }
        });
        let summary = engine.summary();
        let last = summary.events.last_audit.context("no audit ended")?;
        println!("{:8} {} lost so far; {:?}", phase.name, summary.totals.lost(), last.repaired);
        assert!(Some(last.number) > audit, "it did not end");
        repaired += last.repaired.total();
    }
    assert!(repaired > 100, "{repaired} repaired");
    assert_eq!(engine.summary().events.repaired.total(), repaired);
    Ok(())
}

/// The states come in the order of the scenario, each at the time of what caused it.
fn expect_states(notices: &[Notice], scenario: &Scenario) {
    let edges: Vec<_> = notices
        .iter()
        .filter_map(|notice| match notice {
            Notice::Edge { netns: NETNS, edge } => Some(edge),
            _ => None,
        })
        .collect();
    let mut entered = edges.iter().map(|edge| edge.state.as_str());
    for state in scenario.states() {
        assert!(entered.any(|entered| entered == state), "{state} was not entered in its turn: {edges:#?}");
    }
    assert!(edges.is_sorted_by_key(|edge| edge.ktime_ns), "edges go back in time: {edges:#?}");
}

/// Totals and episode are those of the model.
fn expect_account(engine: &Engine, model: &Model, notices: &[Notice]) -> Result<()> {
    let summary = engine.summary();
    assert_eq!(summary.totals.new, model.stats.new);
    assert_eq!(summary.totals.freed, model.stats.freed);
    assert_eq!(summary.totals.refused(), model.stats.refused);
    assert_eq!(summary.totals.evicted, model.stats.evicted);
    let refused = notices.iter().filter(|notice| matches!(notice, Notice::Refused(_))).count();
    let evicted = notices.iter().filter(|notice| matches!(notice, Notice::Evicted(_))).count();
    assert_eq!((refused as u64, evicted as u64), (model.stats.refused, model.stats.evicted));

    let episode = summary.episodes.first().context("no episode")?;
    let (holder, held) = episode.holders.sources.top.first().context("nobody held the table")?;
    assert_eq!(*holder, Gateway::source(false, 0), "the hog holds most");
    assert!(*held > u64::from(model.max()) / 2, "it holds {held}");
    let first = episode.first_refused.context("nobody was refused")?;
    let (at, source) = model.first_refused.context("the model refused nobody")?;
    assert_eq!((first.ktime_ns, first.connection.map(|it| it.src)), (at, Some(source)));
    assert!(episode.end_ktime_ns.is_some(), "the episode did not end");
    Ok(())
}
