//! What keys come to, one after the other.

use ratatui::crossterm::event::KeyCode;

use super::*;
use crate::engine::query::{Column, Focus, PrefixLengths, View};
use crate::engine::table::Key;
use crate::output::tui::app::Item;

/// The question that a key led to, if it did.
fn asked(effects: &[Effect]) -> Option<&Query> {
    effects.iter().find_map(|effect| match effect {
        Effect::Act(Action::Ask(query)) => Some(query),
        _ => None,
    })
}

fn key(app: &mut App, letter: char) -> Query {
    let effects = press(app, KeyCode::Char(letter));
    asked(&effects).unwrap_or_else(|| panic!("{letter} asks nothing: {effects:?} {:?}", app.answer)).clone()
}

fn answer(app: &App) -> &str {
    app.answer.as_ref().map_or("", |answer| &answer.text)
}

fn selected(app: &App) -> String {
    match app.items()[app.cursor(&app.items())] {
        Item::Row(key) => key.to_string(),
        Item::Cause(name) => name.into(),
        Item::Episode(_, start) => start.to_string(),
    }
}

#[test]
fn the_first_thing_is_a_question() {
    let query = Query { rows: 20, ..Query::default() };
    let mut app = App::new(options(query.clone()));
    let first = app.handle(Happening::Redraw);
    assert_eq!(asked(&first), Some(&Query { rows: 128, ..query }));
    assert!(frame(&mut app, 80, 24).contains("waiting for the first numbers"));
    assert!(app.take_changed() && !app.take_changed());
}

#[test]
fn sorting_goes_round() {
    let mut app = app(scenes::refusing());
    assert_eq!(key(&mut app, 'b').sort.column, Column::New);
    assert_eq!(key(&mut app, '<').sort.column, Column::Entries);
    assert_eq!(key(&mut app, 'B').sort.column, Column::Key);
    assert_eq!(key(&mut app, 'B').sort.column, Column::Oldest);
    assert!(frame(&mut app, 80, 24).contains("OLDEST▼"), "the sorted column stays where others go");
    assert!(key(&mut app, 'r').sort.reverse);
    assert!(frame(&mut app, 80, 24).contains("OLDEST▲"));
    assert_eq!(key(&mut app, '>').sort.column, Column::Key);
}

#[test]
fn narrowing_and_back() {
    let mut app = app(scenes::of_view(View::Ports));
    press(&mut app, KeyCode::Down);
    let effects = press(&mut app, KeyCode::Enter);
    let narrowed = asked(&effects).expect("a question");
    assert_eq!((narrowed.view, narrowed.filter.dport), (View::Sources, Some(53)));
    assert_eq!(narrowed.filter.proto.map(|proto| proto.to_string()), Some("udp".into()));
    app.handle(Happening::Snapshot(Arc::new(scenes::refusing())));
    let effects = press(&mut app, KeyCode::Enter);
    let closer = asked(&effects).expect("a question");
    assert_eq!(closer.focus, Some(Focus { netns: scenes::GW, src: scenes::host(17) }));
    assert_eq!(closer.filter.dport, Some(53), "the filter stays");
    let effects = press(&mut app, KeyCode::Backspace);
    assert_eq!(asked(&effects).map(|query| (query.view, query.focus)), Some((View::Sources, None)));
    let effects = press(&mut app, KeyCode::Esc);
    let back = asked(&effects).expect("a question");
    assert!(back.view == View::Ports && back.filter.is_empty());
    app.handle(Happening::Snapshot(Arc::new(scenes::of_view(View::Ports))));
    assert_eq!(selected(&app), "udp 53", "the cursor is where it was");
    assert!(press(&mut app, KeyCode::Esc).is_empty(), "there is nothing before");
}

#[test]
fn every_group_narrows() {
    type Narrows = fn(&Filter) -> bool;
    let cases: [(View, Narrows); 4] = [
        (View::Prefixes, |filter| filter.src.is_some_and(|net| net.to_string() == "10.1.0.0/24")),
        (View::Destinations, |filter| filter.dst.is_some_and(|net| net.to_string() == "203.0.113.1/32")),
        (View::Ports, |filter| filter.proto.is_some() && filter.dport == Some(443)),
        (View::Netns, |filter| filter.netns == Some(vec![scenes::GW])),
    ];
    for (view, narrows) in cases {
        let mut app = app(scenes::of_view(view));
        let effects = press(&mut app, KeyCode::Enter);
        let narrowed = asked(&effects).expect("a question");
        assert!(narrowed.view == View::Sources && narrows(&narrowed.filter), "{narrowed:?}");
    }
    let mut app = app(scenes::of_view(View::States));
    assert!(press(&mut app, KeyCode::Enter).is_empty() && answer(&app).contains("states"));
}

#[test]
fn a_filter_is_in_force_while_it_is_typed() {
    let mut app = app(scenes::refusing());
    press(&mut app, KeyCode::Char('f'));
    type_in(&mut app, "-s 10.1.0");
    assert!(app.query.filter.is_empty());
    assert!(frame(&mut app, 120, 40).contains("`10.1.0` is no address"));
    type_in(&mut app, ".1");
    let one = app.query.filter.clone();
    assert_eq!(one.src.map(|net| net.to_string()), Some("10.1.0.1/32".into()));
    type_in(&mut app, "x");
    assert_eq!(app.query.filter, one, "the last good one stays");
    press(&mut app, KeyCode::Enter);
    assert!(answer(&app).ends_with("; the filter before stays"), "{}", answer(&app));
    press(&mut app, KeyCode::Char('f'));
    assert_eq!(app.prompt.as_ref().map(|prompt| prompt.text.as_str()), Some("-s 10.1.0.1/32"));
    control(&mut app, 'u');
    assert!(app.query.filter.is_empty(), "nothing typed lets everything through");
    control(&mut app, 'g');
    assert_eq!(app.query.filter, one, "as if nothing had been typed");
    assert!(app.prompt.is_none());
}

#[test]
fn each_part_of_a_filter_has_its_key() {
    let mut app = app(scenes::refusing());
    for (letter, text) in [('s', "10.0.0.0/8"), ('d', "2001:db8::1"), ('S', "53"), ('D', "443")] {
        press(&mut app, KeyCode::Char(letter));
        type_in(&mut app, text);
        press(&mut app, KeyCode::Enter);
    }
    let written = crate::output::tui::filter_words::written(&app.query.filter);
    assert_eq!(written, "-s 10.0.0.0/8 -d 2001:db8::1/128 --sport 53 --dport 443");
    press(&mut app, KeyCode::Char('S'));
    assert_eq!(app.prompt.as_ref().map(|prompt| prompt.text.as_str()), Some("53"));
    press(&mut app, KeyCode::Backspace);
    press(&mut app, KeyCode::Backspace);
    press(&mut app, KeyCode::Enter);
    assert_eq!(app.query.filter.sport, None, "blank clears");
}

#[test]
fn searching_moves_the_cursor_and_fetches_all_rows() {
    let mut snapshot = scenes::many();
    snapshot.table.rows.truncate(128);
    let mut app = app(snapshot);
    press(&mut app, KeyCode::Char('/'));
    type_in(&mut app, "10.1.0.99");
    assert_eq!(selected(&app), "10.1.0.99");
    control(&mut app, 'u');
    type_in(&mut app, "10.1.20.");
    let wanted = app.query.rows;
    assert_eq!(wanted, 16_384, "it is not among the rows there are");
    press(&mut app, KeyCode::Enter);
    app.handle(Happening::Snapshot(Arc::new(scenes::many())));
    assert_eq!(selected(&app), "10.1.20.0", "found once all rows are there");
    press(&mut app, KeyCode::Char('&'));
    assert_eq!(selected(&app), "10.1.20.1");
    press(&mut app, KeyCode::Char('N'));
    press(&mut app, KeyCode::Char('N'));
    assert_eq!(selected(&app), "10.1.20.255", "and round");
    assert!(frame(&mut app, 80, 24).contains("10.1.20.255"), "the cursor is on the screen");
    press(&mut app, KeyCode::Esc);
    press(&mut app, KeyCode::Char('&'));
    assert!(answer(&app).contains("search first"));
}

#[test]
fn paging_fetches_more_rows() {
    let mut snapshot = scenes::many();
    snapshot.table.rows.truncate(128);
    let mut app = app(snapshot);
    frame(&mut app, 80, 24);
    assert!(press(&mut app, KeyCode::PageDown).is_empty());
    assert_eq!(selected(&app), format!("10.1.0.{}", app.page));
    for _ in 0..8 {
        press(&mut app, KeyCode::PageDown);
        frame(&mut app, 80, 24);
    }
    press(&mut app, KeyCode::PageDown);
    press(&mut app, KeyCode::PageDown);
    press(&mut app, KeyCode::PageDown);
    assert_eq!(app.query.rows, 256);
    let effects = press(&mut app, KeyCode::End);
    assert_eq!(asked(&effects).map(|query| query.rows), Some(16_384));
    assert_eq!(key(&mut app, '2').rows, 128, "another view begins anew");
}

#[test]
fn the_cursor_stays_on_its_row() {
    let mut app = app(scenes::refusing());
    press(&mut app, KeyCode::Down);
    press(&mut app, KeyCode::Down);
    assert_eq!(selected(&app), "10.1.0.5");
    let mut turned = scenes::refusing();
    turned.table.rows.reverse();
    app.handle(Happening::Snapshot(Arc::new(turned)));
    assert_eq!(selected(&app), "10.1.0.5");
    assert!(frame(&mut app, 80, 24).contains("10.1.0.5  "), "and on the screen");
}

#[test]
fn pinned_rows_stay_on_top() {
    let mut app = app(scenes::refusing());
    press(&mut app, KeyCode::Down);
    press(&mut app, KeyCode::Char('P'));
    let text = frame(&mut app, 80, 24);
    let rows: Vec<_> = text.lines().filter(|line| line.contains("10.1.0.")).take(2).collect();
    assert!(rows[0].starts_with("◆10.1.0.4 ") && rows[1].starts_with(" 10.1.0.17 "), "{text}");
    let mut gone = scenes::refusing();
    gone.table.rows.remove(1);
    let effects = app.handle(Happening::Snapshot(Arc::new(gone)));
    assert_eq!(asked(&effects).map(|query| query.rows), Some(16_384), "it may be below the cut");
    let text = frame(&mut app, 80, 24);
    let row = text.lines().find(|line| line.starts_with("◆10.1.0.4 ")).expect("it is still there");
    assert_eq!(row.split_whitespace().nth(1), Some("-"), "{row}");
    press(&mut app, KeyCode::Home);
    press(&mut app, KeyCode::Char('P'));
    assert!(!frame(&mut app, 80, 24).contains('◆'));
}

#[test]
fn a_frozen_picture_is_kept() {
    let mut app = app(scenes::refusing());
    press(&mut app, KeyCode::Char('p'));
    let frozen = frame(&mut app, 80, 24);
    assert!(frozen.contains(" FROZEN "), "{frozen}");
    app.take_changed();
    app.handle(Happening::Snapshot(Arc::new(scenes::recovered())));
    assert!(!app.take_changed(), "nothing to draw");
    assert_eq!(frame(&mut app, 80, 24), frozen);
    for letter in "b2f R".chars() {
        let effects = press(&mut app, KeyCode::Char(letter));
        assert_eq!(effects, [], "{letter}");
        assert!(answer(&app).contains("frozen") || app.prompt.is_some(), "{letter}: {}", answer(&app));
    }
    press(&mut app, KeyCode::Esc);
    press(&mut app, KeyCode::Char('7'));
    assert!(frame(&mut app, 80, 24).contains("WHAT IT MEANS"), "what the picture has can be seen");
    let effects = press(&mut app, KeyCode::Char('p'));
    assert_eq!(asked(&effects).map(|query| query.view), Some(View::Causes), "the engine learns of it");
    assert!(frame(&mut app, 80, 24).contains("RECOVERED"), "what came meanwhile");
}

#[test]
fn the_interval_is_asked_for() {
    let mut app = app(scenes::refusing());
    for (text, millis) in [("5", 5000), ("0.5", 500), ("250ms", 250), ("1m", 60_000)] {
        press(&mut app, KeyCode::Char('R'));
        type_in(&mut app, text);
        let effects = press(&mut app, KeyCode::Enter);
        assert_eq!(effects, [Effect::Act(Action::Interval(Duration::from_millis(millis)))], "{text}");
    }
    for text in ["0", "-1", "soon", "1ms", "2h", "1e99", "nan"] {
        press(&mut app, KeyCode::Char('R'));
        type_in(&mut app, text);
        assert_eq!(press(&mut app, KeyCode::Enter), [], "{text}");
        assert!(answer(&app).contains("write a time"), "{text}");
    }
    assert!(frame(&mut app, 80, 24).contains("write a time") && app.interval == Duration::from_secs(60));
}

#[test]
fn prefixes_get_longer_and_shorter() {
    let mut app = app(scenes::of_view(View::Prefixes));
    assert_eq!(key(&mut app, '+').prefix, PrefixLengths { v4: 25, v6: 72 });
    assert_eq!(key(&mut app, '-').prefix, PrefixLengths { v4: 24, v6: 64 });
    for _ in 0..6 {
        key(&mut app, '-');
    }
    assert_eq!(press(&mut app, KeyCode::Char('-')), []);
    assert_eq!(answer(&app), "/8 is as far as it goes");
    let mut sources = super::app(scenes::refusing());
    assert_eq!(press(&mut sources, KeyCode::Char('+')), []);
}

#[test]
fn the_header_goes_round_the_namespaces() {
    let mut app = app(scenes::ipv6());
    let worst = frame(&mut app, 80, 24);
    assert!(worst.contains("gw worst of 2"), "{worst}");
    assert_eq!(key(&mut app, ']').netns, Some(scenes::GW));
    assert_eq!(key(&mut app, ']').netns, Some(scenes::GW + 1));
    let other = frame(&mut app, 80, 24);
    assert!(other.contains("netns 4026531841 one of 2") && other.contains("1,200 of 262,144"), "{other}");
    assert_eq!(key(&mut app, ']').netns, None);
    assert_eq!(key(&mut app, '[').netns, Some(scenes::GW + 1));
}

#[test]
fn only_the_last_question_of_many_is_asked() {
    let mut app = app(scenes::refusing());
    press(&mut app, KeyCode::Char('f'));
    app.prompt.as_mut().expect("a prompt").text = "-s 10.1.0.".into();
    let effects = press(&mut app, KeyCode::Char('1'));
    assert_eq!(effects.len(), 1);
}

#[test]
fn names_stand_beside_addresses_once_they_are_known() {
    let mut app = app(scenes::refusing());
    frame(&mut app, 80, 24);
    app.book.enter(scenes::host(17), Some("printer.example"));
    assert!(!frame(&mut app, 80, 24).contains("printer"), "they are off");
    press(&mut app, KeyCode::Char('n'));
    assert!(answer(&app).contains("takes an entry"), "{}", answer(&app));
    assert!(frame(&mut app, 80, 24).contains(" 10.1.0.17 printer.example "));
    press(&mut app, KeyCode::Char('/'));
    type_in(&mut app, "PRINT");
    assert_eq!(selected(&app), "10.1.0.17", "they are searched as well");
}

#[test]
fn the_view_on_the_screen_is_that_of_the_snapshot() {
    let mut app = app(scenes::refusing());
    press(&mut app, KeyCode::Char('4'));
    assert!(frame(&mut app, 80, 24).contains("SOURCE"), "until the engine has answered");
    app.handle(Happening::Snapshot(Arc::new(scenes::of_view(View::Ports))));
    assert!(frame(&mut app, 80, 24).contains(" PORT "));
    assert!(matches!(app.items()[0], Item::Row(Key::Port(..))));
}

#[test]
fn panes_scroll_to_their_end_and_no_further() {
    let mut app = app(scenes::closer());
    press(&mut app, KeyCode::Enter);
    frame(&mut app, 80, 24);
    press(&mut app, KeyCode::End);
    let end = frame(&mut app, 80, 24);
    assert!(end.contains("10:26:40.226110859Z refused"), "the last line is there\n{end}");
    press(&mut app, KeyCode::Down);
    assert_eq!(frame(&mut app, 80, 24), end);
    press(&mut app, KeyCode::Up);
    assert_ne!(frame(&mut app, 80, 24), end);
}

#[test]
fn the_table_stays_until_the_closer_look_has_come() {
    let mut app = app(scenes::refusing());
    press(&mut app, KeyCode::Enter);
    assert!(frame(&mut app, 80, 24).contains("SOURCE"));
    app.handle(Happening::Snapshot(Arc::new(scenes::closer())));
    assert!(frame(&mut app, 80, 24).contains("occupancy = rate x lifetime = 611.0/s x 6m09s = 225,459"));
    app.handle(Happening::Snapshot(Arc::new(scenes::refusing())));
    assert!(frame(&mut app, 80, 24).contains("10.1.0.17: nothing is known of it"));
}

#[test]
fn a_view_that_begins_with_a_closer_look_has_a_way_out() {
    let focus = Some(Focus { netns: scenes::GW, src: scenes::host(17) });
    let mut app = App::new(options(Query { focus, ..Query::default() }));
    app.handle(Happening::Snapshot(Arc::new(scenes::closer())));
    assert!(frame(&mut app, 80, 24).contains("occupancy"));
    let effects = press(&mut app, KeyCode::Esc);
    assert_eq!(asked(&effects).map(|query| query.focus), Some(None));
}
