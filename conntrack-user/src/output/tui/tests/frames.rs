//! What the screen looks like, letter by letter.

use ratatui::crossterm::event::KeyCode;

use super::*;
use crate::engine::query::View;

/// Compares a frame with the one that was looked at before.
fn assert_frame(name: &str, frame: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, frame));
}

#[test]
fn every_scene_at_every_size() {
    for (name, snapshot) in scenes::all() {
        for (width, height) in [(80, 24), (120, 40), (200, 50)] {
            let mut app = app(snapshot.clone());
            assert_frame(&format!("{name}_{width}x{height}"), &frame(&mut app, width, height));
        }
    }
}

#[test]
fn every_other_view() {
    for view in View::ALL.into_iter().skip(1) {
        let mut app = app(scenes::of_view(view));
        app.query.view = view;
        assert_frame(&format!("view_{}_120x40", view.as_str()), &frame(&mut app, 120, 40));
    }
}

#[test]
fn a_source_looked_at_closely() {
    for (width, height) in [(80, 24), (120, 40), (200, 50)] {
        let mut app = app(scenes::closer());
        press(&mut app, KeyCode::Enter);
        assert_frame(&format!("close_{width}x{height}"), &frame(&mut app, width, height));
    }
}

#[test]
fn panes() {
    let mut app = app(scenes::refusing());
    press(&mut app, KeyCode::Char('?'));
    assert_frame("help_80x24", &frame(&mut app, 80, 24));
    assert_frame("help_120x40", &frame(&mut app, 120, 40));
    press(&mut app, KeyCode::Esc);
    press(&mut app, KeyCode::Char('8'));
    press(&mut app, KeyCode::Enter);
    assert_frame("episode_120x40", &frame(&mut app, 120, 40));
    press(&mut app, KeyCode::Esc);
    press(&mut app, KeyCode::Char('7'));
    press(&mut app, KeyCode::Enter);
    assert_frame("cause_120x40", &frame(&mut app, 120, 40));
}

#[test]
fn every_view_on_a_small_terminal() {
    for view in View::ALL.into_iter().skip(1) {
        let mut app = app(scenes::of_view(view));
        app.query.view = view;
        assert_frame(&format!("view_{}_80x24", view.as_str()), &frame(&mut app, 80, 24));
    }
}

#[test]
fn without_unicode() {
    let mut app = app(scenes::evicting());
    app.look.ascii = true;
    press(&mut app, KeyCode::Char('P'));
    assert_frame("ascii_80x24", &frame(&mut app, 80, 24));
    assert_frame("ascii_120x40", &frame(&mut app, 120, 40));
}

#[test]
fn while_something_is_typed() {
    let mut app = app(scenes::refusing());
    press(&mut app, KeyCode::Char('f'));
    type_in(&mut app, "-s 10.1.0.0/24x");
    assert_frame("filter_120x40", &frame(&mut app, 120, 40));
    press(&mut app, KeyCode::Backspace);
    press(&mut app, KeyCode::Enter);
    press(&mut app, KeyCode::Char('p'));
    press(&mut app, KeyCode::Char('n'));
    assert_frame("frozen_80x24", &frame(&mut app, 80, 24));
}

#[test]
fn where_it_is_too_small() {
    let mut app = app(scenes::refusing());
    assert_frame("refusing_60x15", &frame(&mut app, 60, 15));
    assert_frame("refusing_40x8", &frame(&mut app, 40, 8));
}
