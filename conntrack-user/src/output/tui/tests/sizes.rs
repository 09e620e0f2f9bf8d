//! Any terminal: every size, no Unicode, no colours.

use std::cell::RefCell;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::KeyCode;
use ratatui::layout::Rect;
use ratatui::style::Color;

use super::*;
use crate::engine::query::View;

/// Every scene, every view and every pane.
fn everything() -> Vec<App> {
    let mut apps: Vec<App> = scenes::all().into_iter().map(|(_, snapshot)| app(snapshot)).collect();
    for view in View::ALL {
        let mut app = app(scenes::of_view(view));
        app.query.view = view;
        apps.push(app);
    }
    for keys in ["?", "8", "7", "fx", "P", "/10", "ssss", "n", "r", "rb"] {
        let mut app = app(scenes::refusing());
        type_in(&mut app, keys);
        if matches!(keys, "8" | "7") {
            press(&mut app, KeyCode::Enter);
        }
        apps.push(app);
    }
    let mut close = app(scenes::closer());
    press(&mut close, KeyCode::Enter);
    apps.push(close);
    apps.push(App::new(options(Query::default())));
    apps
}

fn drawn(app: &mut App, width: u16, height: u16) -> Buffer {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    app.draw_on(&mut buffer, area);
    buffer
}

#[test]
fn no_small_size_is_too_small() {
    for app in &mut everything() {
        for (width, height) in
            (1..=24).flat_map(|height| [1, 2, 3, 5, 8, 13, 21, 34, 55].map(|width| (width, height)))
        {
            drawn(app, width, height);
        }
        if app.prompt.is_none() && app.answer.is_none() {
            let small = frame(app, 60, 12);
            assert!(small.contains("60x12: too small, make it 80x24"), "{small}");
        }
    }
}

#[test]
fn no_size_is_too_odd() {
    let apps = RefCell::new(everything());
    let cases = (0usize..64, 0u16..300, 0u16..120, "[ -~]{0,12}");
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let outcome = runner.run(&cases, |(which, width, height, keys)| {
        let mut apps = apps.borrow_mut();
        let at = which % apps.len();
        drawn(&mut apps[at], width, height);
        type_in(&mut apps[at], &keys);
        drawn(&mut apps[at], width, height);
        Ok(())
    });
    assert_eq!(outcome, Ok(()));
}

#[test]
fn ascii_is_all_there_is_where_it_was_asked_for() {
    for app in &mut everything() {
        for (width, height) in [(80, 24), (120, 40)] {
            app.look.ascii = false;
            let unicode = frame(app, width, height);
            app.look.ascii = true;
            let text = frame(app, width, height);
            let questions = |text: &str| text.matches('?').count();
            assert_eq!(questions(&text), questions(&unicode), "a sign of ours has no ASCII\n{text}");
            let odd: String = text.chars().filter(|it| *it > '~' || (*it < ' ' && *it != '\n')).collect();
            assert_eq!(odd, "", "{text}");
        }
    }
}

#[test]
fn ascii_replaces_what_names_bring_along() {
    let mut app = app(scenes::refusing());
    let mut snapshot = scenes::refusing();
    snapshot.netns[0].name = Some("gäteway\u{1b}[31m".into());
    app.look.ascii = true;
    app.handle(Happening::Snapshot(Arc::new(snapshot)));
    let text = frame(&mut app, 80, 24);
    assert!(text.contains(" g?teway"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn no_colours_where_none_were_asked_for() {
    for colors in [Colors::Dark, Colors::Light, Colors::None] {
        let mut seen = std::collections::HashSet::new();
        for app in &mut everything() {
            app.look.colors = colors;
            let buffer = drawn(app, 120, 40);
            seen.extend(buffer.content().iter().flat_map(|cell| [cell.fg, cell.bg]));
        }
        match colors {
            Colors::None => assert_eq!(seen, [Color::Reset].into()),
            // White on white and black on black cannot be read.
            Colors::Light => {
                assert!(![Color::White, Color::Gray, Color::Yellow].iter().any(|it| seen.contains(it)))
            }
            Colors::Dark => assert!(![Color::Black, Color::Blue].iter().any(|it| seen.contains(it))),
        }
        assert!(colors == Colors::None || seen.len() > 4, "{seen:?}");
    }
}
