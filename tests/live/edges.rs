//! The states of the table, in the order and at the time the kernel went through them.

use anyhow::{Context as _, Result, ensure};
use conntrack_tests::flood::monotonic_ns;
use conntrack_tests::player::Player;
use conntrack_tests::scenario::Scenario;
use conntrack_tests::watcher::{Signal, Watcher, number};
use serde_json::Value;

use crate::lab::{self, Lab, SOON};

#[test]
fn the_scenario_goes_through_its_states_in_order() -> Result<()> {
    for backend in lab::ready().then(lab::backends).unwrap_or_default() {
        play_and_check(backend).context(backend)?;
    }
    Ok(())
}

fn play_and_check(backend: &str) -> Result<()> {
    let scenario = Scenario::hog()?;
    let lab = Lab::new(scenario.max, scenario.buckets)?;
    let mut watcher = Watcher::watch(&["--backend", backend, "-v"])?;
    let before = lab.stats()?;
    let begun = monotonic_ns();
    let mut player = Player::start(&lab.gateway, &scenario)?;
    for phase in &scenario.phases {
        player.play(phase, || Ok(()))?;
        for state in &phase.reaches {
            watcher
                .wait_for(SOON, |line| line["kind"] == "edge" && line["state"] == **state)
                .with_context(|| format!("phase {}", phase.name))?;
        }
    }
    player.finish()?;
    lab.settle()?;
    let kernel = lab.stats()?.since(&before);
    let ended = watcher.stop(Signal::INT)?;
    lab::expect_lossless(&ended)?;

    let edges: Vec<&Value> = ended.of_kind("edge").collect();
    for edge in &edges {
        println!("{backend}: {edge}");
    }
    let mut last = begun;
    for edge in &edges {
        let at = number(edge, "ktime_ns")?;
        assert!(at >= last, "back in time: {edge}");
        assert_eq!(edge["netns"], lab.inum(), "{edge}");
        last = at;
    }
    expect_in_order(&edges, &scenario.states())?;
    let summary = ended.summary()?;
    assert_eq!(number(summary, "refused")?, kernel.refused());
    lab::expect_evicted(&kernel, number(summary, "evicted")?);
    let episode = &summary["episodes"][0];
    let (holder, held) = (&episode["holders"]["sources"]["top"][0], u64::from(scenario.max) / 2);
    assert_eq!(holder["src"], Player::hog_address().to_string(), "{episode}");
    assert!(number(holder, "entries")? > held, "{episode}");
    assert_eq!(ended.of_kind("refused").count() as u64, kernel.refused());

    let refused: Vec<_> = ended.of_kind("refused").map(|line| line["ktime_ns"].as_u64()).collect();
    assert!(refused.is_sorted(), "refusals on both CPUs are told in the order of time");
    // An edge is stamped by what caused it, which is the first of its kind though not always the first line:
    // evictions wait to be told for whom.
    let first = |kind| ended.of_kind(kind).filter_map(|line| line["ktime_ns"].as_u64()).min();
    let entered = |state: &str| {
        edges.iter().find(|edge| edge["state"] == *state).and_then(|edge| edge["ktime_ns"].as_u64())
    };
    assert_eq!(entered("evicting"), first("evicted"), "evicting begins with the first eviction");
    assert_eq!(entered("refusing"), first("refused"), "refusing begins with the first refusal");
    Ok(())
}

/// All of `wanted` are entered, one after the other; others may come between.
fn expect_in_order(edges: &[&Value], wanted: &[&str]) -> Result<()> {
    let mut entered = edges.iter().filter_map(|edge| edge["state"].as_str());
    for state in wanted {
        ensure!(entered.any(|entered| entered == *state), "{state} was not entered in its turn: {edges:?}");
    }
    Ok(())
}
