//! The page says what the object says, holds together, and asks for nothing.

mod browser;

use serde_json::Value;

use super::*;
use crate::engine::report::{Narrow, tests};

fn page_of(report: &Report) -> String {
    let mut out = Vec::new();
    page(&mut out, report).expect("a vector takes all");
    String::from_utf8(out).expect("text")
}

fn story() -> Report {
    tests::report_of(&tests::story(), Narrow::default()).0
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let from = text.find(begin).expect(begin) + begin.len();
    &text[from..from + text[from..].find(end).expect(end)]
}

#[test]
fn the_page_carries_the_object() {
    let report = story();
    let page = page_of(&report);
    let data = between(&page, "<script type=\"application/json\" id=\"data\">", "</script>");
    let mut json = Vec::new();
    crate::output::json::report(&mut json, &report).expect("a vector takes all");
    let carried: Value = serde_json::from_str(data).expect("JSON");
    assert_eq!(carried, serde_json::from_slice::<Value>(&json).expect("JSON"));
    assert!(!data.contains('<'));
}

#[test]
fn nothing_is_asked_of_anybody() {
    let page = page_of(&story());
    for word in ["http:", "https:", "//", "@import", "url(", "src=\"", "<link rel=\"stylesheet"] {
        let found = page.lines().filter(|line| {
            let code = line.trim_start();
            // Comments of the script, and the times of a script's own.
            line.contains(word) && !(word == "//" && (code.starts_with("//") || code.starts_with("{")))
        });
        assert_eq!(found.collect::<Vec<_>>(), Vec::<&str>::new(), "{word}");
    }
    let policy = between(&page, "Content-Security-Policy\" content=\"", "\"");
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    let allowed = |word: &str| {
        let word = word.trim_end_matches(';');
        word.ends_with("-src") || word.ends_with("-inline'") || ["'none'", "data:"].contains(&word)
    };
    assert!(policy.split(' ').all(allowed), "{policy}");
}

#[test]
fn what_was_recorded_is_text() {
    let mut report = story();
    let evil = "</script><img src=x onerror=alert(1)>&\"'";
    report.known.sessions[0].head.host = evil.into();
    report.known.sessions[0].trust.degradations = vec![evil.into(), "{{data}}".into()];
    report.known.names.insert(1, evil.into());
    let page = page_of(&report);
    assert!(!page.contains("<img"));
    assert_eq!(page.matches("</script>").count(), 2);
    assert!(page.contains("&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;&amp;&quot;&#39;"));
    assert!(page.contains("but: {{data}}"));
}

#[test]
fn tags_are_closed_in_order() {
    // Their ends may be left out.
    const OPTIONAL: [&str; 8] = ["tr", "td", "th", "dt", "dd", "thead", "tbody", "tfoot"];
    const EMPTY: [&str; 5] = ["!doctype", "meta", "link", "br", "hr"];
    let page = page_of(&story());
    let mut rest = page.as_str();
    let mut open: Vec<&str> = Vec::new();
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let tag = rest.split(['>', ' ', '\n']).next().unwrap_or_default();
        let whole = rest.split('>').next().unwrap_or_default();
        assert!(!whole.contains('<'), "{whole}");
        rest = &rest[whole.len()..];
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
    let ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let mut distinct = ids.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), ids.len());
}

#[test]
fn an_empty_recording_makes_a_page() {
    let report = crate::engine::report::Builder::new(Narrow::default()).finish(&mut |_| {});
    assert!(page_of(&report).contains("Nothing was recorded."));
}
