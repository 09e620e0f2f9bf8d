//! The scenario without a kernel: a small model of conntrack plays it, and the engine must see what happened.

mod model;

use anyhow::{Context as _, Result};
use conntrack_tests::gateway::Gateway;
use conntrack_tests::scenario::Scenario;
use conntrack_user::engine::batch::WallClock;
use conntrack_user::engine::filter::Filter;
use conntrack_user::engine::notice::Notice;
use conntrack_user::engine::snapshot::Trust;
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
            let snapshot = engine.snapshot(usize::MAX, &Filter::default());
            let summed: u64 = snapshot.sources.iter().map(|row| u64::from(row.entries)).sum();
            assert_eq!(summed, model.count() as u64, "sum of the sources against the model's count");
        }
        let snapshot = engine.snapshot(1, &Filter::default());
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
