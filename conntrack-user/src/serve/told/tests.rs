use conntrack_common::{Cause, End};

use super::*;
use crate::engine::notice::{Audited, Freed, Lost};
use crate::engine::testing::{S, WALL, audited_story, connection};
use crate::engine::tuple::Status;

fn refusal(ktime_ns: u64, netns: u32) -> Notice {
    let connection = Some(connection(5));
    Notice::Refused(Refusal {
        ktime_ns,
        netns,
        cause: Cause::TableFull,
        connection,
        level: Level::new(512, 512),
    })
}

fn lines(told: &Told) -> Vec<Notice> {
    told.lines.from(0, usize::MAX).into_iter().map(|line| line.it).collect()
}

#[test]
fn of_a_flood_a_few_are_told_and_the_rest_is_a_sum() {
    let mut told = Told::new();
    for at in 0..1000 {
        told.tell(&refusal(3 * S + at, 1 + u32::from(at % 10 == 0)), WALL);
    }
    assert_eq!(lines(&told).len(), 5, "the second is not over");
    told.tell(&refusal(4 * S, 1), WALL);
    let lines = lines(&told);
    assert_eq!(lines.len(), 8);
    let sums: Vec<(u32, u64)> = lines
        .iter()
        .filter_map(|line| match line {
            Notice::Summed(it) => Some((it.netns, it.count)),
            _ => None,
        })
        .collect();
    // One of the five was in the other namespace.
    assert_eq!(sums, [(1, 896), (2, 99)]);
    assert!(
        matches!(lines[5], Notice::Summed(it) if it.first_ktime_ns == 3 * S + 5 && it.ktime_ns == 3 * S + 999)
    );
    assert!(matches!(lines[7], Notice::Refused(_)));
}

#[test]
fn namespaces_without_number_do_not_fill_the_memory() {
    let mut told = Told::new();
    for netns in 0..100_000 {
        told.tell(&refusal(3 * S, netns), WALL);
    }
    assert!(told.throttle.rest.len() <= APART + 1, "{}", told.throttle.rest.len());
    assert_eq!(told.throttle.rest.iter().map(|it| it.count).sum::<u64>(), 100_000 - 5);
    for at in 0..100_000 {
        told.tell(&refusal(4 * S + at * S, 1), WALL);
    }
    assert_eq!(told.refusals.from(0, usize::MAX).len(), REFUSALS);
    assert_eq!(told.lines.from(0, usize::MAX).len(), LINES);
    let oldest = told.refusals.from(0, 1)[0].it.ktime_ns;
    assert_eq!(told.gone_unix_ns, Some(WALL.unix_ns(oldest - S)));
}

#[test]
fn only_what_matters_is_kept() {
    let new = Notice::New { ktime_ns: 1, connection: connection(5) };
    let free = Freed {
        ktime_ns: 1,
        connection: connection(5),
        status: Status(0),
        mark: 0,
        lifetime_ns: None,
        end: End::Other,
        tcp_state: None,
    };
    assert!(!concerns(&new) && !concerns(&Notice::Free(free)));
    assert!(concerns(&Notice::Lost(Lost::default())) && concerns(&refusal(1, 1)));
    let (_, notices) = audited_story();
    let audits = notices.iter().filter(|notice| matches!(notice, Notice::Audited(_)));
    let kept: Vec<bool> = audits.map(concerns).collect();
    let said: Vec<bool> = notices
        .iter()
        .filter_map(|notice| match notice {
            Notice::Audited(Audited { report, abandoned }) => Some(*abandoned || report.repaired.total() > 0),
            _ => None,
        })
        .collect();
    assert_eq!(kept, said);
    assert!(kept.contains(&true), "{kept:?}");
}
