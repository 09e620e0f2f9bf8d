//! What the tests show.

use std::net::IpAddr;

use super::Board;
use crate::engine::filter::Filter;
use crate::engine::gauge::Level;
use crate::engine::notice::Notice;
use crate::engine::saturation::State;
use crate::engine::snapshot::{History, Second, Snapshot};
use crate::engine::sources::{Rates, Sums};
use crate::engine::table::Key;
use crate::engine::testing::{self, S, WALL, audited_story};
use crate::engine::top_sources::TopSources;
use crate::output::metrics::{Options, Own, Scrape};

/// What puts on the board.
pub fn scrape(snapshot: Snapshot) -> Scrape {
    Scrape { snapshot, sources: TopSources::default(), own: Own::default(), options: Options::default() }
}

pub fn story() -> (Snapshot, Vec<Notice>) {
    let (mut engine, notices) = audited_story();
    let (_, mut before) = testing::story();
    before.extend(notices);
    (testing::snapshot(&mut engine, 10, &Filter::default()), before)
}

/// Tells the story and puts it up.
pub fn tell(board: &Board) {
    let (snapshot, notices) = story();
    for notice in &notices {
        board.tell(notice, WALL);
    }
    board.put_up(scrape(snapshot));
}

/// A gateway in trouble, for people to look at: four minutes of history, three namespaces, twelve sources.
pub fn trouble() -> Snapshot {
    let (mut snapshot, _) = story();
    let ktime_ns = 400 * S;
    snapshot.ktime_ns = ktime_ns;
    let second = |at: u64| {
        let count = (21_000 + at * 220 + (at * 7919) % 900).min(65_536) as u32;
        let refused = if (190..215).contains(&at) { 40 + at % 13 } else { 0 };
        let sums = Sums { new: 300, freed: 80, refused, evicted: refused / 3, ..Sums::default() };
        Second { ktime_ns: (160 + at) * S, level: Level::new(count, 65_536), sums }
    };
    snapshot.history = History { netns: 1, seconds: (0..240).map(second).collect() };
    let mut row = snapshot.netns[0].clone();
    row.level = Level::new(65_536, 65_536);
    (row.state, row.since_ktime_ns, row.entries, row.evictable) = (State::Refusing, 374 * S, 65_531, 1_204);
    row.rates =
        Rates { new: 312.4, freed: 80.1, refused: 47.5, evicted: 15.2, failed: 0.4, unconfirmed: 3.0 };
    let mut quiet = row.clone();
    quiet.netns = 4_026_532_301;
    quiet.name = Some("<b>customer-17</b>".into());
    (quiet.state, quiet.level, quiet.since_ktime_ns) = (State::Pressure, Level::new(54_100, 65_536), 20 * S);
    quiet.rates = Rates { new: 91.0, freed: 60.5, ..Rates::default() };
    let mut calm = quiet.clone();
    (calm.netns, calm.name, calm.state) = (4_026_532_455, None, State::Ok);
    calm.level = Level::new(311, 65_536);
    snapshot.netns = vec![row, quiet, calm];
    let row = snapshot.table.rows[0];
    snapshot.table.rows = (0..12)
        .map(|at| {
            let mut row = row;
            let v6 = at % 4 == 3;
            let src: IpAddr = if v6 { format!("2001:db8:17:{at}::5") } else { format!("10.1.{at}.5") }
                .parse()
                .expect("an address");
            row.key = Key::Source(src, 1);
            row.entries = 30_000 / (at + 1);
            row.new_per_s = 200.0 / (at + 1) as f64;
            row.mean_lifetime_ns = Some((at + 1) * 7 * S);
            row.oldest_ns = Some(300 * S);
            (row.sums.refused, row.sums.evicted) = (1_000 / (at + 1) - 50, 12);
            row
        })
        .collect();
    (snapshot.table.entries, snapshot.table.groups) = (119_947, 4_817);
    snapshot.totals.refused_table_full = 1_140;
    snapshot.totals.evicted = 380;
    for cause in &mut snapshot.causes {
        match cause.cause {
            "table_full" => (cause.total, cause.per_s) = (1_140, 47.5),
            "evicted" => (cause.total, cause.per_s) = (380, 15.2),
            _ => {}
        }
    }
    snapshot
}
