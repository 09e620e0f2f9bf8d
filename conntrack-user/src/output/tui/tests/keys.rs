//! Every key of the table does something, and no other key does.

use ratatui::crossterm::event::KeyCode;

use super::*;
use crate::engine::query::View;
use crate::output::tui::keys::{Does, Key, TABLE};

/// One in which the key has something to do, and that no other key has been pressed in.
fn scene_for(does: Does) -> App {
    let mut app = match does {
        Does::Longer | Does::Shorter | Does::Show(View::Sources) => app(scenes::of_view(View::Prefixes)),
        Does::NextNetns | Does::PreviousNetns => app(scenes::ipv6()),
        _ => app(scenes::refusing()),
    };
    frame(&mut app, 80, 24);
    match does {
        Does::Up | Does::PageUp | Does::Home => drop(press(&mut app, KeyCode::End)),
        Does::Back => drop(press(&mut app, KeyCode::Char('?'))),
        Does::NextHit | Does::PreviousHit => {
            type_in(&mut app, "/10.1.0.2");
            press(&mut app, KeyCode::Enter);
        }
        _ => {}
    }
    app
}

fn strike(app: &mut App, key: Key) -> Vec<Effect> {
    let modifiers = if key.control { KeyModifiers::CONTROL } else { KeyModifiers::NONE };
    app.handle(Happening::Input(Event::Key(KeyEvent::new(key.code, modifiers))))
}

#[test]
fn every_key_does_something() {
    for binding in TABLE {
        for key in binding.keys {
            let mut app = scene_for(binding.does);
            let before = frame(&mut app, 80, 24);
            let (cursor, selected) = (app.items().len(), app.selected);
            app.take_changed();
            let effects = strike(&mut app, *key);
            assert!(app.take_changed(), "{key} asks for no drawing");
            let moved = app.selected != selected || app.items().len() != cursor;
            let after = frame(&mut app, 80, 24);
            assert!(!effects.is_empty() || moved || after != before, "{key}: {}\n{after}", binding.help);
            let refused = app.answer.as_ref().is_some_and(|answer| answer.failed);
            assert!(!refused, "{key} is refused where it should work: {:?}", app.answer);
        }
    }
}

#[test]
fn keys_that_act_on_the_world_have_their_effects() {
    let mut app = app(scenes::refusing());
    let act = |action| vec![Effect::Act(action)];
    assert_eq!(press(&mut app, KeyCode::Char('q')), act(Action::Quit));
    assert_eq!(control(&mut app, 'c'), act(Action::Quit));
    assert_eq!(press(&mut app, KeyCode::Char(' ')), act(Action::Refresh));
    assert_eq!(control(&mut app, 'z'), [Effect::Suspend]);
    assert_eq!(control(&mut app, 'l'), [Effect::Redraw]);
    assert_eq!(press(&mut app, KeyCode::Char('w')), [Effect::Write]);
    assert_eq!(app.handle(Happening::Suspend), [Effect::Suspend]);
    assert_eq!(app.handle(Happening::Continue), [Effect::Resume]);
    assert_eq!(app.handle(Happening::End), act(Action::Quit));
}

#[test]
fn unknown_keys_do_nothing() {
    let known: Vec<Key> = TABLE.iter().flat_map(|binding| binding.keys).copied().collect();
    let letters = (' '..='~').chain("äß€\u{7f}".chars()).map(KeyCode::Char);
    let others = (1..=12).map(KeyCode::F).chain([
        KeyCode::Left,
        KeyCode::Right,
        KeyCode::Insert,
        KeyCode::Delete,
        KeyCode::Null,
        KeyCode::CapsLock,
        KeyCode::Menu,
        KeyCode::Pause,
    ]);
    let codes: Vec<_> = letters.chain(others).collect();
    let keys = codes.iter().flat_map(|code| [false, true].map(|control| Key { code: *code, control }));
    for key in keys.filter(|key| !known.contains(key)) {
        assert_unmoved(key, if key.control { KeyModifiers::CONTROL } else { KeyModifiers::NONE });
    }
    for key in known {
        assert_unmoved(key, KeyModifiers::ALT);
    }
}

fn assert_unmoved(key: Key, modifiers: KeyModifiers) {
    let mut app = app(scenes::refusing());
    let before = frame(&mut app, 80, 24);
    app.take_changed();
    let effects = app.handle(Happening::Input(Event::Key(KeyEvent::new(key.code, modifiers))));
    assert!(effects.is_empty() && !app.take_changed(), "{key} {modifiers:?}");
    assert_eq!(frame(&mut app, 80, 24), before, "{key} {modifiers:?}");
}

#[test]
fn the_help_has_every_key() {
    let mut app = app(scenes::refusing());
    press(&mut app, KeyCode::Char('?'));
    for (width, height) in [(80, 24), (120, 40), (200, 50)] {
        let text = frame(&mut app, width, height);
        for binding in TABLE {
            let keys: Vec<_> = binding.keys.iter().map(Key::to_string).collect();
            let line = format!("{}  {}", keys.join(" "), binding.help);
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
    }
}
