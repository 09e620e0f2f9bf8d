//! `ctwatch report` as a visitor meets it: what its formats say is the same, what is damaged is said, and nothing is left
//! half written.

#[path = "../conntrack-user/examples/sample_recording.rs"]
mod sample_recording;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use conntrack_tests::watcher::binary;
use serde_json::Value;
use tempfile::TempDir;

/// A folder with a recording of two hours.
fn recorded() -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    sample_recording::write(&folder.path().join("sample.ctw"))?;
    Ok(folder)
}

fn report(folder: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary()?);
    command.arg("report").args(arguments).current_dir(folder).stdin(Stdio::null());
    command.output().context("run ctwatch")
}

fn json(folder: &Path, arguments: &[&str]) -> Result<Value> {
    let output = report(folder, &[&["sample.ctw", "-o", "json"], arguments].concat())?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("JSON")
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// The sum of a column of a table.
fn column(table: &str, name: &str) -> Result<u64> {
    let head = table.lines().next().context("a head")?;
    let at = head.split(',').position(|it| it == name).context("the column")?;
    let cells = table.lines().skip(1).filter_map(|line| line.split(',').nth(at));
    Ok(cells.filter_map(|cell| cell.parse::<u64>().ok()).sum())
}

#[test]
fn all_formats_say_the_same() -> Result<()> {
    let folder = recorded()?;
    let output =
        report(folder.path(), &["sample.ctw", "--html", "page.html", "--csv", "tables", "-o", "json"])?;
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let object: Value = serde_json::from_slice(&output.stdout)?;
    let totals = &object["totals"];
    let page = fs::read_to_string(folder.path().join("page.html"))?;
    let data = page.split("id=\"data\">").nth(1).and_then(|rest| rest.split("</script>").next());
    assert_eq!(serde_json::from_str::<Value>(data.context("the object")?)?, object);
    assert!(number(&totals["refused"]) > 100_000, "{totals}");

    let table = |name: &str| fs::read_to_string(folder.path().join("tables").join(name));
    let missing = &object["known"]["missing"];
    assert_eq!(missing.as_array().map(Vec::len), Some(1), "{missing}");
    let seconds = column(&table("seconds.csv")?, "refused")? + number(&missing[0]["refused"]);
    assert_eq!(seconds, number(&totals["refused"]));
    let told = number(&totals["told"]["table_full"]) + number(&totals["summed"]["table_full"]);
    assert_eq!(column(&table("incidents.csv")?, "events")?, told);
    assert_eq!(column(&table("sources.csv")?, "evicted")?, number(&totals["evicted"]));
    assert_eq!(column(&table("episodes.csv")?, "refused")?, number(&totals["refused"]));
    let left: Vec<_> =
        fs::read_dir(folder.path())?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    assert!(left.iter().all(|name| !name.starts_with('.')), "{left:?}");

    let text = report(folder.path(), &["sample.ctw", "--ascii"])?;
    let text = String::from_utf8(text.stdout)?;
    assert!(text.is_ascii());
    assert!(text.contains(&format!("refused   {:>10}", number(&totals["refused"]))), "{text}");
    for end in ["first_refused", "last_refused"] {
        let time = totals[end]["time"].as_str().context("a time")?;
        assert!(text.contains(time) && page.contains(time), "{time}");
    }
    Ok(())
}

/// Wherever a recording is cut in two, the parts are the whole.
#[test]
fn windows_add_up() -> Result<()> {
    let folder = recorded()?;
    let whole = json(folder.path(), &[])?;
    for cut in ["2026-11-20T09:09:47.025403223Z", "2026-11-20T09:12:00.5Z", "@1795166657.620114325"] {
        let (before, after) =
            (json(folder.path(), &["--until", cut])?, json(folder.path(), &["--since", cut])?);
        for account in ["told", "summed"] {
            let of = |object: &Value| number(&object["totals"][account]["table_full"]);
            assert_eq!(of(&before) + of(&after), of(&whole), "{account} at {cut}");
        }
        // What was only counted is so to the second.
        let of = |object: &Value| number(&object["totals"]["counted"]["evicted"]);
        assert!((of(&before) + of(&after)).abs_diff(of(&whole)) <= 80, "{cut}");
        assert_eq!(number(&before["totals"]["counted"]["table_full"]), 0, "{cut}");
    }
    let one = json(folder.path(), &["--src", "10.20.3.77", "--netns", "init"])?;
    assert_eq!(one["sources"]["top"].as_array().map(Vec::len), Some(1));
    assert_eq!(one["totals"]["refused"], one["sources"]["top"][0]["refused"]);
    Ok(())
}

#[test]
fn an_instant_is_answered_from_the_middle() -> Result<()> {
    let folder = recorded()?;
    let at = "2026-11-20T09:10:00.25Z";
    let object = json(folder.path(), &["--at", at, "--window", "500ms", "--limit", "6"])?;
    let narrow = ["--since", "2026-11-20T09:09:59.75Z", "--until", "2026-11-20T09:10:00.750000001Z"];
    let window = json(folder.path(), &narrow)?;
    let told = ["told", "summed"].map(|account| number(&window["totals"][account]["table_full"]));
    assert_eq!(number(&object["by_cause"]["table_full"]), told.iter().sum::<u64>());
    let listed = object["incidents"].as_array().context("incidents")?;
    assert_eq!(listed.len(), 6);
    let left_out = number(&object["left_out_before"]) + number(&object["left_out_after"]);
    let events = |it: &Value| it["summed"]["events"].as_u64().unwrap_or(1);
    assert_eq!(listed.iter().map(events).sum::<u64>() + left_out, number(&object["by_cause"]["table_full"]));
    assert_eq!(
        (&object["netns"][0]["state"], &object["netns"][0]["name"]),
        (&"refusing".into(), &"init".into())
    );
    assert_eq!(object["holders"]["top"][0]["src"], "10.20.3.77");
    let nothing = json(folder.path(), &["--at", "2026-11-21T09:10:00Z"])?;
    assert_eq!(nothing["recorded"], false);
    Ok(())
}

#[test]
fn what_is_damaged_is_said_and_the_rest_is_told() -> Result<()> {
    let folder = recorded()?;
    let path = folder.path().join("sample.ctw");
    let whole = json(folder.path(), &[])?;
    let mut bytes = fs::read(&path)?;
    let middle = bytes.len() * 3 / 5;
    bytes[middle] ^= 0x10;
    fs::write(&path, &bytes)?;
    let damaged = json(folder.path(), &[])?;
    let kinds: Vec<&Value> =
        damaged["known"]["missing"].as_array().context("missing")?.iter().map(|it| &it["why"]).collect();
    assert!(kinds.contains(&&"damage".into()), "{kinds:?}");
    assert_eq!(damaged["totals"]["refused"], whole["totals"]["refused"], "the sums have what the block had");
    assert!(number(&damaged["totals"]["counted"]["table_full"]) > 0);
    fs::write(&path, &bytes[..middle])?;
    let torn = json(folder.path(), &[])?;
    assert_eq!(torn["known"]["sessions"][0]["ended"], false);
    Ok(())
}

#[test]
fn what_cannot_be_done_is_one_line() -> Result<()> {
    let folder = recorded()?;
    fs::write(folder.path().join("notes.txt"), "no recording")?;
    let cases: &[(&[&str], i32, &str)] = &[
        (&["nowhere.ctw"], 4, "nowhere.ctw"),
        (&["notes.txt"], 4, "not a recording"),
        (&["sample.ctw", "--netns", "nobody"], 2, "init, tenant-a"),
        (&["sample.ctw", "--html", "no/such/folder/page.html"], 4, "page.html"),
        (&["sample.ctw", "--since", "2026-11-20T10:00:00Z", "--until", "2026-11-20T09:00:00Z"], 2, "--until"),
    ];
    for (arguments, code, named) in cases {
        let output = report(folder.path(), arguments)?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {said}");
        assert!(said.contains(named) && said.lines().count() == 1, "{arguments:?}: {said}");
        assert!(output.stdout.is_empty());
    }
    Ok(())
}

#[test]
fn a_closed_pipe_is_no_failure() -> Result<()> {
    let folder = recorded()?;
    let mut command = Command::new(binary()?);
    command.args(["report", "sample.ctw", "-o", "json"]).current_dir(folder.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    drop(child.stdout.take());
    let output = child.wait_with_output()?;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty());
    Ok(())
}
