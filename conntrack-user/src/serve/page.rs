//! The page for people: complete as it is delivered, and live where scripts run. All of it is written here, so that there is
//! one place that escapes; the script only puts what it gets where it belongs.

mod chart;
mod parts;
mod tables;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest;
use serde_json::{Map, Value};

use super::board::Board;
use crate::output::markup::Esc;
use crate::output::metrics::Scrape;

const PAGE: &str = include_str!("page/page.html");
const SCRIPT: &str = include_str!("page/live.js");
/// The look of a report's page, and what is only here.
const STYLE: &str = concat!(include_str!("../output/report/page.css"), include_str!("page/live.css"));

/// What the browser may do: run this script, with this style, and ask us.
pub fn policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
            fingerprint(SCRIPT),
            fingerprint(STYLE)
        )
    });
    &POLICY
}

fn fingerprint(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(digest::digest(&digest::SHA256, text.as_bytes())))
}

/// The page as of now.
pub fn page(board: &Board, stale_after: Duration) -> String {
    let posted = board.posted();
    let mut parts = match &posted {
        Some(posted) => posted.parts(board),
        None => Arc::new(Parts::nothing()),
    };
    if let Some(posted) = posted.filter(|posted| posted.age() > stale_after) {
        parts = Arc::new(parts.old(posted.age()));
    }
    let mut out = String::with_capacity(64 * 1024);
    // In one pass, so that nothing that is put in is looked at again.
    for (at, piece) in PAGE.split("{{").enumerate() {
        let Some((name, rest)) = piece.split_once("}}").filter(|_| at > 0) else {
            out.push_str(piece);
            continue;
        };
        match name {
            "style" => out.push_str(STYLE),
            "script" => out.push_str(SCRIPT),
            "title" => out.push_str(&Esc(parts.get("title")).to_string()),
            name => out.push_str(parts.get(name)),
        }
        out.push_str(rest);
    }
    out
}

/// The parts of the page that change, by the id of their element, as HTML; `title` is text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts(Vec<(&'static str, String)>);

impl Parts {
    /// What there is to show.
    pub fn new(scrape: &Scrape, board: &Board) -> Self {
        let snapshot = &scrape.snapshot;
        Self(vec![
            ("title", parts::title(snapshot)),
            ("verdict", parts::verdict(snapshot)),
            ("where", parts::origin(snapshot)),
            ("figures", parts::figures(snapshot)),
            ("chart", chart::chart(snapshot)),
            ("namespaces", tables::namespaces(snapshot)),
            ("sources", tables::sources(snapshot)),
            ("causes", parts::causes(snapshot)),
            ("lines", parts::lines(&board.last_lines(20))),
            ("episodes", tables::episodes(snapshot)),
            ("known", parts::known(snapshot)),
        ])
    }

    /// Before anything is known.
    fn nothing() -> Self {
        Self(vec![
            ("title", "ctwatch".into()),
            ("verdict", "Nothing is known yet: ctwatch is attaching to the kernel.".into()),
        ])
    }

    /// The same, with a warning.
    fn old(&self, age: Duration) -> Self {
        let verdict = format!("These numbers are {:.0} s old: the monitor tells nothing.", age.as_secs_f64());
        let part = |(name, text): &(&'static str, String)| {
            (*name, if *name == "verdict" { verdict.clone() } else { text.clone() })
        };
        Self(self.0.iter().map(part).collect())
    }

    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| *known == name).map_or("", |(_, text)| text)
    }

    /// Those that are not the same as before, as a JSON object.
    pub fn changes(&self, before: Option<&Self>) -> String {
        let differs = |(name, text): &&(&str, String)| before.is_none_or(|before| before.get(name) != text);
        let changed = self.0.iter().filter(differs);
        let object: Map<String, Value> =
            changed.map(|(name, text)| ((*name).to_owned(), Value::String(text.clone()))).collect();
        Value::Object(object).to_string()
    }
}

#[cfg(test)]
mod tests;
