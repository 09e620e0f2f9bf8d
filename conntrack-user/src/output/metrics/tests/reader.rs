//! Reads both formats, strictly, by what their specifications say and nothing of how they are written here.

use std::collections::{BTreeMap, BTreeSet};

/// A sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub value: String,
}

/// A scrape.
#[derive(Debug, Default)]
pub struct Page {
    pub lines: Vec<Line>,
    pub kinds: BTreeMap<String, String>,
    pub units: BTreeMap<String, String>,
}

/// Reads OpenMetrics, or else the classic format.
pub fn read(text: &str, open: bool) -> Result<Page, String> {
    let mut page = Page::default();
    let (mut family, mut helped, mut seen) = (String::new(), BTreeSet::new(), BTreeSet::new());
    let body = match (open, text.strip_suffix("# EOF\n")) {
        (true, Some(body)) => body,
        (true, None) => return Err("no EOF".into()),
        (false, Some(_)) => return Err("EOF is none of it".into()),
        (false, None) => text,
    };
    if !body.ends_with('\n') {
        return Err("the last line does not end".into());
    }
    for text in body.lines() {
        if let Some(comment) = text.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let mut word = || words.next().map(str::to_owned).ok_or(format!("cut short: {text}"));
            let (what, name, rest) = (word()?, word()?, word()?);
            match what.as_str() {
                "HELP" if helped.insert(name.clone()) => family = name,
                "TYPE" if name == family && !page.kinds.contains_key(&name) => {
                    page.kinds.insert(name, rest);
                }
                "UNIT" if open && name == family && name.ends_with(&format!("_{rest}")) => {
                    page.units.insert(name, rest);
                }
                _ => return Err(format!("out of place: {text}")),
            }
            continue;
        }
        let line = sample(text)?;
        let kind = page.kinds.get(&family).ok_or(format!("no type: {text}"))?;
        let ending = line.name.strip_prefix(&family).ok_or(format!("not of {family}: {text}"))?;
        let has_le = line.labels.iter().any(|(name, _)| name == "le");
        let fits = match (kind.as_str(), ending) {
            ("counter", "_total") => open,
            ("counter", "") => !open,
            ("info", "_info") => open && line.value == "1",
            ("gauge", "") | ("histogram" | "summary", "_sum" | "_count") => !has_le,
            ("histogram", "_bucket") => has_le,
            _ => false,
        };
        let grows = kind != "counter" || !line.value.starts_with('-');
        if !fits || !grows || !line.value.parse::<f64>().is_ok_and(f64::is_finite) {
            return Err(format!("no {kind}: {text}"));
        }
        if !seen.insert((line.name.clone(), line.labels.clone())) {
            return Err(format!("twice: {text}"));
        }
        page.lines.push(line);
    }
    Ok(page)
}

fn sample(text: &str) -> Result<Line, String> {
    let wrong = || format!("no sample: {text}");
    let name_end = text.find(['{', ' ']).ok_or_else(wrong)?;
    let (name, mut rest) = text.split_at(name_end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").ok_or_else(wrong)?;
            if label.is_empty() || !label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
                return Err(wrong());
            }
            let (value, after) = quoted(after).ok_or_else(wrong)?;
            labels.push((label.to_owned(), value));
            match after.strip_prefix(',') {
                Some(more) => rest = more,
                None => {
                    rest = after.strip_prefix('}').ok_or_else(wrong)?;
                    break;
                }
            }
        }
    }
    let value = rest.strip_prefix(' ').filter(|value| !value.contains(' ')).ok_or_else(wrong)?;
    Ok(Line { name: name.to_owned(), labels, value: value.to_owned() })
}

/// What is before the closing quote, and what is after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
    None
}
