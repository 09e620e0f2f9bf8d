//! The page of a report says what the object says: every table cell, every figure and every fact, in order, as it is made
//! again here from the object alone.

#[path = "../conntrack-user/examples/sample_recording.rs"]
mod sample_recording;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use conntrack_tests::watcher::binary;
use conntrack_user::output::time::Span;
use serde_json::Value;

/// What the page and the object say of a recording.
struct Told {
    page: String,
    object: Value,
}

impl Told {
    fn of(recording: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let page = folder.path().join("page.html");
        let mut command = Command::new(binary()?);
        let output =
            command.arg("report").arg(recording).arg("--html").arg(&page).args(["-o", "json"]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(Self { page: fs::read_to_string(page)?, object: serde_json::from_slice(&output.stdout)? })
    }

    /// What is between two marks, the first one left out.
    fn between(&self, begin: &str, end: &str) -> Result<&str> {
        between(&self.page, begin, end).with_context(|| format!("no {begin}"))
    }
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let rest = &text[text.find(begin)? + begin.len()..];
    rest.get(..rest.find(end)?)
}

/// What somebody reads: numbers and times as they are for programs, all else without tags, lines as words.
fn read(html: &str) -> String {
    let (mut text, mut rest) = (String::new(), html);
    while let Some((before, tag)) = rest.split_once('<') {
        text.push_str(before);
        let (tag, after) = tag.split_once('>').unwrap_or((tag, ""));
        if ["dt", "dd", "br", "div", "p"].contains(&tag.split(' ').next().unwrap_or_default()) {
            text.push(' ');
        }
        let exact = tag.strip_prefix("data value=\"").or(tag.strip_prefix("time datetime=\""));
        rest = after;
        if let Some(exact) = exact {
            text.push_str(exact.trim_end_matches('"'));
            let end = if tag.starts_with("data") { "</data>" } else { "</time>" };
            rest = after.split_once(end).map_or("", |(_, after)| after);
        }
    }
    text.push_str(rest);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The cells of each row of a table.
fn rows(html: &str) -> Vec<Vec<String>> {
    let cells = |row: &str| -> Vec<String> {
        row.replace("<th", "<td").split("<td").skip(1).map(|cell| read(&format!("<td{cell}"))).collect()
    };
    html.split("<tr").skip(1).map(cells).collect()
}

/// The body of the first table of a part of the page, and what follows it up to the table's end.
fn table(html: &str) -> Vec<Vec<String>> {
    rows(between(html, "<tbody>", "</table>").unwrap_or_default())
}

/// Numbers, times and words, as they stand in a cell.
fn say(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// First and last, with what is left out between.
fn ends(value: &Value) -> Vec<&Value> {
    list(&value["first"]).iter().chain(list(&value["last"])).collect()
}

/// Refused, evicted and not inserted, of sums by cause.
fn classes(by_cause: &Value) -> [u64; 3] {
    let sum = |causes: &[&str]| causes.iter().map(|cause| number(&by_cause[cause])).sum();
    [
        sum(&["table_full", "no_memory", "ctnetlink"]),
        sum(&["evicted"]),
        sum(&["clash", "chain_too_long", "nat_ports", "dying", "failed"]),
    ]
}

fn port(proto: &Value, dport: &Value) -> String {
    match proto.as_str().unwrap_or_default() {
        proto @ ("tcp" | "udp" | "sctp" | "dccp") => format!("{proto}/{dport}"),
        proto => proto.to_owned(),
    }
}

fn seconds(value: &Value) -> String {
    value.as_f64().map_or("–".to_owned(), |seconds| Span { seconds }.to_string())
}

/// Rows of the tables, at most so many.
const ROWS: usize = 25;

fn sources(told: &Told) -> Vec<Vec<String>> {
    let top = list(&told.object["sources"]["top"]);
    let mut rows: Vec<Vec<String>> = top
        .iter()
        .take(ROWS)
        .map(|it| {
            let counts = ["refused", "evicted", "failed"].map(|class| say(&it[class]));
            let times = ["first", "last"].map(|end| say(&it[end]["time"]));
            [&[say(&it["src"])], &counts[..], &[String::new()], &times[..]].concat()
        })
        .collect();
    let mut other = classes(&told.object["sources"]["other"]);
    for it in top.iter().skip(ROWS) {
        for (sum, more) in other.iter_mut().zip(classes(&it["by_cause"])) {
            *sum += more;
        }
    }
    let other = other.map(|count| count.to_string());
    let empty = [const { String::new() }; 3];
    rows.push([&["other".to_owned()], &other[..], &empty[..]].concat());
    rows
}

fn episodes(told: &Told) -> Vec<Vec<String>> {
    let row = |it: &&Value| {
        let end = it["end_ktime_ns"].as_u64();
        let length = end.unwrap_or(number(&it["last"]["ktime_ns"])) - number(&it["start_ktime_ns"]);
        let lasted = format!("{}{}", Span::ns(length), if end.is_some() { "" } else { "+" });
        let counts = ["refused", "evicted", "peak"].map(|what| say(&it[what]));
        let times = ["first_refused", "last_refused"].map(|end| say(&it[end]["time"]));
        [&[say(&it["start"]), lasted], &counts[..], &times[..]].concat()
    };
    ends(&told.object["episodes"]).iter().map(row).collect()
}

fn destinations(told: &Told) -> Vec<Vec<String>> {
    let row = |it: &Value| {
        vec![say(&it["dst"]), port(&it["proto"], &it["dport"]), say(&it["refused"]), String::new()]
    };
    list(&told.object["destinations"]["top"]).iter().take(ROWS).map(row).collect()
}

fn occupancy(told: &Told) -> Vec<Vec<String>> {
    let round = |value: &Value, digits: usize| {
        value.as_f64().map_or("–".to_owned(), |value| format!("{value:.digits$}"))
    };
    let row = |it: &Value| {
        vec![
            say(&it["src"]),
            round(&it["new_per_s"], 1),
            seconds(&it["mean_lifetime_s"]),
            round(&it["expected"], 0),
            round(&it["held"], 0),
            say(&it["most"]),
            seconds(&it["seconds"]),
        ]
    };
    list(&told.object["occupancy"]).iter().take(ROWS).map(row).collect()
}

fn incidents(told: &Told) -> Vec<Vec<String>> {
    let kept = ends(&told.object["incidents"]);
    let end = |address: &Value, port: &Value| {
        let address = say(address);
        if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
    };
    let who = |it: &Value| match (&it["src"], &it["summed"]) {
        (_, Value::Object(summed)) if summed["src"].is_null() => {
            format!("{} times, not caught", summed["events"])
        }
        (_, Value::Object(summed)) => format!("{} times, {}", summed["events"], say(&summed["src"])),
        (Value::Null, _) => "1 times, not caught".to_owned(),
        (src, _) => {
            let (from, to) = (end(src, &it["sport"]), end(&it["dst"], &it["dport"]));
            format!("{} {from} → {to}", say(&it["proto"]))
        }
    };
    let row =
        |it: &&Value| vec![say(&it["time"]), say(&it["kind"]), say(&it["cause"]), who(it), say(&it["count"])];
    let mut rows: Vec<_> = kept.iter().map(row).collect();
    if kept.len() > 2 * ROWS {
        let hidden = number(&told.object["incidents"]["total"]) - 2 * ROWS as u64;
        let gap = vec![format!("{hidden} between are not shown; --csv writes all")];
        rows.splice(ROWS..kept.len() - ROWS, [gap]);
    }
    rows
}

/// Captions and rows of the rankings of an episode.
fn rankings(it: &Value) -> Vec<(String, Vec<Vec<String>>)> {
    let holders = &it["holders"];
    let minute = holders["arrivals_window_s"].as_f64().map(|seconds| Span { seconds }.to_string());
    let arrivals = format!("New in the {} before", minute.unwrap_or_default());
    let rank = |title: &str, of: &Value, key: &dyn Fn(&Value) -> String, count: &str| {
        let mut rows: Vec<Vec<String>> =
            list(&of["top"]).iter().map(|row| vec![key(row), say(&row[count]), String::new()]).collect();
        if number(&of["other"]) > 0 {
            rows.push(vec!["other".to_owned(), say(&of["other"]), String::new()]);
        }
        (title.to_owned(), rows)
    };
    let name = |field: &'static str| move |row: &Value| say(&row[field]);
    let ports = |row: &Value| port(&row["proto"], &row["dport"]);
    let victims = &it["victims"];
    let refused_to = |row: &Value| format!("{} {}", say(&row["dst"]), ports(row));
    let all = [
        rank("Who held it", &holders["sources"], &name("src"), "entries"),
        rank("Networks", &holders["prefixes"], &name("prefix"), "entries"),
        rank("To", &holders["destinations"], &name("dst"), "entries"),
        rank("Ports", &holders["ports"], &ports, "entries"),
        rank(&arrivals, &holders["arrivals"], &name("src"), "new"),
        rank("Refused", &victims["refused"], &name("src"), "events"),
        rank("Refused to", &victims["destinations"], &refused_to, "refused"),
        rank("Evicted", &victims["evicted"], &name("src"), "events"),
    ];
    all.into_iter().filter(|(_, rows)| !rows.is_empty()).collect()
}

/// What is said of an episode besides.
fn facts(it: &Value) -> Vec<String> {
    let mut facts = Vec::new();
    for (class, what) in [("refused", "refused"), ("evicted", "evicted"), ("failed", "not inserted")] {
        if class == "refused" || number(&it[class]) > 0 {
            facts.push(format!("{what} {}", it[class]));
        }
        let (first, last) = (&it[format!("first_{class}")]["time"], &it[format!("last_{class}")]["time"]);
        if !first.is_null() {
            facts.push(format!("first {what} {}", say(first)));
            facts.push(format!("last {what} {}", say(last)));
        }
    }
    if number(&it["counted"]) > 0 {
        facts.push(format!("only counted {}", it["counted"]));
    }
    facts.push(it["end"].as_str().map_or("recovered not known".into(), |end| format!("recovered {end}")));
    if !it["count"].is_null() {
        facts.push(format!("count at the start {} of {}", it["count"], it["max"]));
    }
    facts
}

/// The figures at the top.
fn figures(told: &Told) -> Vec<String> {
    let totals = &told.object["totals"];
    let mut figures = Vec::new();
    for (class, what) in [("refused", "▲ refused"), ("evicted", "▼ evicted"), ("failed", "× not inserted")]
    {
        let time = |end: &str| say(&totals[format!("{end}_{class}")]["time"]);
        // What was only counted has no times.
        let times = match &totals[format!("first_{class}")] {
            Value::Null => String::new(),
            _ => format!(" first {} last {}", time("first"), time("last")),
        };
        figures.push(format!("{what} {}{times}", totals[class]));
    }
    let points = list(&told.object["timelines"]).iter().map(|line| &line["points"]);
    let levels = points.flat_map(|points| list(&points["peak"]).iter().zip(list(&points["max"])));
    let levels = levels.filter_map(|(peak, max)| peak.as_u64().zip(max.as_u64()));
    if let Some((peak, max)) = levels.max_by_key(|(peak, max)| peak * 1000 / max) {
        let percent = peak as f64 * 100.0 / max as f64;
        figures.push(format!("fullest {percent:.0}&#8239;% {peak} of {max}"));
    }
    figures
}

/// What the numbers are worth.
fn known(told: &Told) -> Vec<String> {
    let (known, totals) = (&told.object["known"], &told.object["totals"]);
    let mut facts = Vec::new();
    for it in list(&known["sessions"]) {
        let end = if it["ended"] == true { "" } else { "; it did not end by itself, or goes on" };
        let words = ["host", "kernel", "program", "backend"].map(|field| say(&it[field]));
        let [host, kernel, program, backend] = words;
        let (first, last) = (say(&it["first"]["time"]), say(&it["last"]["time"]));
        facts.push(format!(
            "{host}, kernel {kernel}, ctwatch {program}, backend {backend}: {first} to {last}, {} file(s){end}",
            it["files"]
        ));
        facts.extend(list(&it["degradations"]).iter().map(|it| format!("but: {}", say(it))));
    }
    let sum = |account: &str| {
        let by_cause = totals[account].as_object();
        by_cause.map_or(0, |causes| causes.values().map(number).sum::<u64>())
    };
    facts.push(format!(
        "Of what went wrong {} told one by one, {} in sums per second and source, {} only counted.",
        sum("told"),
        sum("summed"),
        sum("counted")
    ));
    facts.push(format!(
        "{} audits against the kernel's table put {} entries right; {} events were missed, {} records lost.",
        known["audits"]["ended"],
        known["audits"]["repaired"],
        known["missed"],
        number(&totals["lost_entries"]) + number(&totals["lost_incidents"])
    ));
    for it in list(&known["missing"]) {
        let (from, until) = (say(&it["from"]["time"]), say(&it["until"]["time"]));
        let [refused, evicted, failed] = ["refused", "evicted", "failed"].map(|class| number(&it[class]));
        let meanwhile = match refused + evicted + failed {
            0 => String::new(),
            _ => format!("; meanwhile {refused} refused, {evicted} evicted, {failed} not inserted"),
        };
        facts.push(format!("{from} to {until}{meanwhile}"));
    }
    facts
}

/// What is said of the charts to those who do not see them.
fn descriptions(told: &Told) -> Vec<String> {
    let mut texts = Vec::new();
    for line in list(&told.object["timelines"]) {
        let points = &line["points"];
        let most = |of: &str| list(&points[of]).iter().map(number).max().unwrap_or(0);
        let sum = |of: &str| list(&points[of]).iter().map(number).sum::<u64>();
        let max = list(&points["max"]).iter().rev().find_map(Value::as_u64).unwrap_or(0);
        texts.push(format!(
            "Entries in the conntrack table over time: at most {}, the limit is {max}; at the end the state is {}.",
            most("peak"),
            say(&line["state"])
        ));
        texts.push(format!(
            "Over time, {} refused (at most {} a second), {} evicted (at most {} a second), {} not inserted.",
            sum("refused"),
            most("most_refused"),
            sum("evicted"),
            most("most_evicted"),
            sum("failed")
        ));
    }
    texts
}

fn items(html: &str) -> Vec<String> {
    html.split("<li").skip(1).map(|item| read(&format!("<li{item}"))).collect()
}

/// Compares all that the page says in numbers; how many cells that is.
fn compare(told: &Told) -> Result<usize> {
    let main = told.between("<section id=\"episodes\">", "</section>")?;
    let episodes = episodes(told);
    assert_eq!(table(main), episodes);
    for (at, article) in main.split("<article").skip(1).enumerate() {
        let episode = ends(&told.object["episodes"])[at];
        let began = read(between(article, "<h3>", "</dl>").unwrap_or_default());
        let name = told.object["known"]["names"][say(&episode["netns"])].as_str();
        let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
        let before = if episode["began_before"] == true { ", begun before it was recorded" } else { "" };
        let title = format!(
            "{} netns {}{name}, {} first{before}; lasted {} ",
            say(&episode["start"]),
            episode["netns"],
            say(&episode["began"]),
            episodes[at][1]
        );
        assert!(began.starts_with(&title), "{began}\n{title}");
        let lines = between(article, "<dl class=\"facts\">", "</dl>").context("facts")?;
        assert_eq!(read(lines), facts(episode).join(" "));
        let ranked = article.split("<table class=\"rank\">").skip(1);
        let ranked = ranked.map(|of| (read(between(of, "<caption>", "</caption>").unwrap_or("")), table(of)));
        assert_eq!(ranked.collect::<Vec<_>>(), rankings(episode));
    }
    let victims = told.between("<section id=\"victims\">", "</section>")?;
    let (of_sources, of_destinations) = victims.split_once("<h3>To whom</h3>").unwrap_or((victims, ""));
    assert_eq!(table(of_sources), sources(told));
    assert_eq!(table(of_destinations), destinations(told));
    let to = &told.object["destinations"];
    let beyond = list(&to["top"]).iter().skip(ROWS).map(|it| number(&it["refused"])).sum::<u64>();
    let note = format!("{} refused to others; of {} nobody", number(&to["other"]) + beyond, to["unknown"]);
    assert!(of_destinations.is_empty() || read(of_destinations).contains(&note), "{note}");

    let explained = told.between("<h2>Why they held it</h2>", "</section>").unwrap_or_default();
    assert_eq!(table(explained), occupancy(told));
    let one_by_one = told.between("<section id=\"incidents\">", "</section>")?;
    assert_eq!(table(one_by_one), incidents(told));
    let settings = told.between("<h2>Kernel settings</h2>", "</section>").unwrap_or_default();
    let expected = list(&told.object["known"]["settings"]).iter();
    let expected = expected.map(|it| ["name", "value", "changes"].map(|field| say(&it[field])).to_vec());
    assert_eq!(table(settings), expected.collect::<Vec<_>>());

    let top = told.between("<dl class=\"figures\">", "</dl>")?;
    assert_eq!(
        top.split("<div").skip(1).map(|it| read(&format!("<div{it}"))).collect::<Vec<_>>(),
        figures(told)
    );
    let worth = items(told.between("<section id=\"known\">", "</section>")?);
    assert!(worth.len() >= known(told).len(), "{worth:?}");
    for (said, expected) in worth.iter().zip(known(told)) {
        assert!(said.ends_with(&expected), "{said}\n{expected}");
    }
    let charts = told.between("<section id=\"charts\">", "</section>")?;
    let described: Vec<String> = charts
        .split("<desc")
        .skip(1)
        .map(|it| read(between(it, ">", "</desc>").unwrap_or_default()))
        .collect();
    for text in descriptions(told)
        .iter()
        .filter(|text| !text.starts_with("Over time, 0 refused (at most 0 a second), 0"))
    {
        assert!(described.contains(text), "{text}\n{described:?}");
    }
    Ok([episodes, sources(told), destinations(told), occupancy(told), incidents(told)]
        .concat()
        .concat()
        .len())
}

#[test]
fn every_number_on_the_page_is_the_objects() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sample = folder.path().join("sample.ctw");
    sample_recording::write(&sample)?;
    let hog = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings/hog.ctw");
    for (recording, at_least) in [(sample, 300), (hog, 400)] {
        let told = Told::of(&recording)?;
        let cells = compare(&told).with_context(|| format!("{}", recording.display()))?;
        println!("{}: {cells} cells", recording.display());
        assert!(cells > at_least, "{cells}");
    }
    Ok(())
}
