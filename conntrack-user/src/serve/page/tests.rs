//! The page holds together, escapes what it is told, and asks for nothing but what it may.

use super::*;
use crate::engine::snapshot::Snapshot;
use crate::output::metrics::Scrape;
use crate::serve::tests::scene;

const LONG: Duration = Duration::from_secs(1000);

fn shown(snapshot: Snapshot) -> String {
    let board = Board::new();
    scene::tell(&board);
    board.put_up(scene::scrape(snapshot));
    page(&board, LONG)
}

#[test]
fn what_is_told_is_text() {
    let mut snapshot = scene::trouble();
    let evil = "</script><img src=x onerror=alert(1)>&\"' {{script}}";
    snapshot.trust.backend = evil.into();
    snapshot.trust.degradations = vec![evil.into()];
    for row in &mut snapshot.netns {
        row.name = Some(evil.into());
    }
    let page = shown(snapshot);
    assert!(!page.contains("<img"));
    assert_eq!(page.matches("</script>").count(), 1);
    assert!(
        page.matches("&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;&amp;&quot;&#39; {{script}}").count()
            > 5
    );
}

#[test]
fn nothing_is_asked_of_others_and_nothing_inline_is_left() {
    let page = shown(scene::trouble());
    for word in [
        "http:",
        "https:",
        "//",
        "@import",
        "url(",
        "src=\"",
        " style=\"",
        " onclick",
        "<link rel=\"stylesheet",
    ] {
        let found = page.lines().filter(|line| line.contains(word) && !line.trim_start().starts_with("//"));
        assert_eq!(found.collect::<Vec<_>>(), Vec::<&str>::new(), "{word}");
    }
    let allowed = |word: &str| {
        let word = word.trim_end_matches(';');
        let own = word.starts_with("'sha256-") || ["'none'", "'self'", "data:"].contains(&word);
        own || word.ends_with("-src") || ["base-uri", "form-action", "frame-ancestors"].contains(&word)
    };
    assert!(policy().split(' ').all(allowed), "{}", policy());
}

#[test]
fn tags_are_closed_in_order() {
    // Their ends may be left out.
    const OPTIONAL: [&str; 8] = ["tr", "td", "th", "li", "thead", "tbody", "dt", "dd"];
    const EMPTY: [&str; 5] = ["!doctype", "meta", "link", "br", "hr"];
    let page = shown(scene::trouble());
    let mut rest = page.as_str();
    let mut open: Vec<&str> = Vec::new();
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let whole = rest.split('>').next().unwrap_or_default();
        assert!(!whole.contains('<'), "{whole}");
        rest = &rest[whole.len()..];
        let tag = whole.split([' ', '\n']).next().unwrap_or_default();
        let name = tag.trim_start_matches('/').trim_end_matches('/');
        if EMPTY.contains(&name) || OPTIONAL.contains(&name) || whole.ends_with('/') {
            continue;
        }
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{:?}", &rest[..rest.len().min(80)]);
        } else {
            open.push(name);
            if name == "script" || name == "style" {
                rest = &rest[rest.find("</").expect("its end")..];
            }
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}

#[test]
fn every_part_has_its_place() {
    let parts = {
        let board = Board::new();
        Parts::new(&scene::scrape(scene::trouble()), &board)
    };
    for (name, _) in &parts.0 {
        assert!(PAGE.contains(&format!("{{{{{name}}}}}")), "{name} is delivered");
        assert!(*name == "title" || PAGE.contains(&format!("id=\"{name}\"")), "{name} is live");
    }
    let places = PAGE.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
    for name in places.filter(|name| !["style", "script"].contains(name)) {
        assert!(parts.0.iter().any(|(known, _)| *known == name), "{name}");
    }
}

#[test]
fn only_what_changed_is_sent() {
    let board = Board::new();
    let before = Parts::new(&scene::scrape(scene::trouble()), &board);
    let mut scrape: Scrape = scene::scrape(scene::trouble());
    assert_eq!(Parts::new(&scrape, &board).changes(Some(&before)), "{}");
    scrape.snapshot.totals.refused_table_full += 1;
    let after = Parts::new(&scrape, &board);
    let changes: Value = serde_json::from_str(&after.changes(Some(&before))).expect("JSON");
    assert_eq!(
        changes.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>()),
        Some(vec!["figures".into()])
    );
    let all: Value = serde_json::from_str(&after.changes(None)).expect("JSON");
    assert_eq!(all.as_object().map(Map::len), Some(after.0.len()));
}

/// Every state has its sentence, and no number is invented where none is known.
#[test]
fn the_first_sentence_says_how_it_stands() {
    use crate::engine::gauge::Level;
    use crate::engine::saturation::State;
    for (state, words) in [
        (State::Ok, "No connection is refused or cut off. The fullest table"),
        (State::Pressure, "full"),
        (State::Evicting, "being cut off"),
        (State::Refusing, "Connections are being refused"),
        (State::Recovered, "has recovered"),
    ] {
        let mut snapshot = scene::trouble();
        snapshot.netns[0].state = state;
        let said = parts::verdict(&snapshot);
        assert!(said.contains(words), "{said}");
        snapshot.netns[0].level = Level::default();
        let page = shown(snapshot.clone());
        assert!(!page.contains("NaN") && !page.contains("inf"), "{state:?}");
    }
    let mut snapshot = scene::trouble();
    snapshot.netns.clear();
    snapshot.table.rows.clear();
    snapshot.history.seconds.clear();
    assert!(shown(snapshot).contains("No network namespace has been seen yet."));
}
