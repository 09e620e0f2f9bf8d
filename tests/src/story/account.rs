//! What happened, as ctwatch saw it, beside the same facts as the kernel counts them.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::kernel::Stats;
use crate::player::Player;
use crate::scenario::Scenario;
use crate::watcher::{Ended, number};

use super::screen::{Look, Screen, grouped};

/// The facts of both sides.
#[derive(Debug)]
pub struct Account {
    holder: Option<(String, u64)>,
    max: u64,
    first_refused: Option<String>,
    /// Clients other than the hog that were refused.
    bystanders: usize,
    users: u32,
    refused: u64,
    evicted: u64,
    entries: u64,
    lost: u64,
    backend: String,
    kernel: Stats,
    kernel_entries: u64,
}

/// Entries of one namespace by the events of `--all`: those that came less those that went.
pub fn entries(lines: &[Value], netns: u32) -> u64 {
    let of = |kind| ours(lines, netns, kind).count() as u64;
    of("new").saturating_sub(of("free"))
}

/// Whether one namespace has entered all these states.
pub fn entered(lines: &[Value], netns: u32, states: &[String]) -> bool {
    states.iter().all(|state| ours(lines, netns, "edge").any(|edge| edge["state"] == **state))
}

fn ours<'a>(lines: &'a [Value], netns: u32, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    lines.iter().filter(move |line| line["kind"] == kind && line["netns"] == netns)
}

impl Account {
    /// From what ctwatch printed about one namespace, for the visitor and to be counted, and what the kernel
    /// counted there; `entries` are the kernel's and ctwatch's, once the traffic was over.
    pub fn new(
        shown: &Ended,
        counted: &Ended,
        netns: u32,
        scenario: &Scenario,
        kernel: Stats,
        entries: (u64, u64),
    ) -> Result<Self> {
        let summary = counted.summary()?;
        Ok(Self {
            holder: holder(summary, netns),
            max: u64::from(scenario.max),
            // What the visitor saw: another ctwatch has other nanoseconds.
            first_refused: first_refused(&shown.stdout, netns),
            bystanders: bystanders(&counted.lines, netns),
            users: scenario.users.sources,
            refused: ours(&counted.lines, netns, "refused").count() as u64,
            evicted: ours(&counted.lines, netns, "evicted").count() as u64,
            entries: entries.1,
            lost: number(summary, "lost")?,
            backend: summary["backend"].as_str().context("no backend in the summary")?.to_owned(),
            kernel,
            kernel_entries: entries.0,
        })
    }

    /// Shows it; true if both sides agree.
    pub fn show(&self, screen: &mut Screen) -> bool {
        screen.heading("In short");
        if let Some((source, held)) = &self.holder {
            let (held, max) = (grouped(*held), grouped(self.max));
            screen.text(&format!(
                "   held the table  {source}, {held} of {max} entries when it was first full"
            ));
        }
        let first = self.first_refused.as_deref().unwrap_or("nobody");
        screen.text(&format!("   first refused   {first}"));
        screen
            .text(&format!("   refused in all  {} of {} users who did nothing", self.bystanders, self.users));
        screen.heading("The same, counted by the kernel");
        screen.text(&screen.dressed(Look::Faint, "                    ctwatch      kernel"));
        let evicted_apart = 5 + self.kernel.early_drop / 1_000;
        let freed_later = self.kernel.early_drop.saturating_sub(self.evicted);
        let mut evicted_from = "conntrack -S: early_drop".to_owned();
        if (1..=evicted_apart).contains(&freed_later) {
            evicted_from += &format!(", with {freed_later} that another CPU held and freed later");
        }
        let rows = [
            Row {
                what: "refused",
                ours: self.refused,
                kernels: self.kernel.refused(),
                apart: 0,
                from: "conntrack -S: drop - insert_failed",
            },
            Row {
                what: "evicted",
                ours: self.evicted,
                kernels: self.kernel.early_drop,
                apart: evicted_apart,
                from: &evicted_from,
            },
            Row {
                what: "entries now",
                ours: self.entries,
                kernels: self.kernel_entries,
                apart: 0,
                from: "nf_conntrack_count",
            },
        ];
        let agreed: Vec<bool> = rows.iter().map(|row| row.show(screen)).collect();
        let lost = match self.lost {
            0 => "no event was lost".to_owned(),
            lost => format!("{} events were lost", grouped(lost)),
        };
        screen.text(&format!("   Seen through {}; {lost}.\n", self.backend));
        !agreed.contains(&false)
    }
}

/// One fact of both sides.
struct Row<'a> {
    what: &'a str,
    ours: u64,
    kernels: u64,
    /// How far apart both may be.
    apart: u64,
    from: &'a str,
}

impl Row<'_> {
    fn show(&self, screen: &mut Screen) -> bool {
        let agreed = self.ours.abs_diff(self.kernels) <= self.apart;
        let mark = if agreed {
            screen.dressed(Look::Green, "ok     ")
        } else {
            screen.dressed(Look::Red, "DIFFERS")
        };
        let from = screen.dressed(Look::Faint, self.from);
        let (ours, kernels) = (grouped(self.ours), grouped(self.kernels));
        screen.text(&format!("   {:12} {ours:>11} {kernels:>11}   {mark}  {from}", self.what));
        agreed
    }
}

/// Who held most of the namespace's table when its first episode began.
fn holder(summary: &Value, netns: u32) -> Option<(String, u64)> {
    let episodes = summary["episodes"].as_array()?;
    let first = episodes.iter().find(|episode| episode["netns"] == netns)?;
    let holder = first["holders"]["sources"]["top"].get(0)?;
    Some((holder["src"].as_str()?.to_owned(), holder["entries"].as_u64()?))
}

/// How many clients were refused that are not the hog.
fn bystanders(lines: &[Value], netns: u32) -> usize {
    let hog = Player::hog_address().to_string();
    let sources = ours(lines, netns, "refused").filter_map(|line| line["src"].as_str());
    sources.filter(|source| *source != hog).collect::<BTreeSet<_>>().len()
}

/// Who was refused first, and when, from the lines of `watch`.
fn first_refused(lines: &str, netns: u32) -> Option<String> {
    let netns = format!("netns={netns}");
    let mut refused = lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let first = refused.find(|words| words.get(1) == Some(&"refused") && words.contains(&netns.as_str()))?;
    let token = |name| first.iter().find_map(|word| word.strip_prefix(name)).unwrap_or("?");
    let (src, dst, dport) = (token("src="), token("dst="), token("dport="));
    Some(format!("{src}, {} to {dst} port {dport}, at {}", first.get(3)?, first.first()?))
}
