//! The page in a real browser: no error, no request, nothing wider than the window, and what the script promises.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{page_of, story};

/// What a person would do, as far as a script can; the answer is left where it can be read.
const VISITOR: &str = include_str!("visitor.js");

/// Looks for one in `PATH`.
fn browser() -> Option<PathBuf> {
    const NAMES: [&str; 4] = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    NAMES
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| path.is_file())
}

/// Runs the browser on a page; its DOM in the end.
fn visit(browser: &Path, folder: &Path, width: u32, dark: bool) -> String {
    let colours = if dark {
        "--blink-settings=preferredColorScheme=0"
    } else {
        "--blink-settings=preferredColorScheme=1"
    };
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--virtual-time-budget=3000",
            "--dump-dom",
            colours,
        ])
        .arg(format!("--window-size={width},1200"))
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("--log-net-log={}", folder.join("net.json").display()))
        .arg(format!("file://{}", folder.join("page.html").display()))
        .output()
        .expect("the browser runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_page_works_in_a_browser() {
    let Some(browser) = browser() else {
        assert!(std::env::var_os("CTWATCH_REQUIRE_TOOLS").is_none(), "no chromium in PATH");
        return eprintln!("skipped: no chromium in PATH");
    };
    let folder = std::env::temp_dir().join(format!("ctwatch-page-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let page = page_of(&story()).replace("</body>", &format!("<script>{VISITOR}</script></body>"));
    fs::write(folder.join("page.html"), page).expect("the page is written");
    for (width, dark) in [(390, false), (900, true), (1600, false)] {
        let dom = visit(&browser, &folder, width, dark);
        let answer = super::between(&dom, "<pre id=\"visited\">", "</pre>");
        let answer: Value = serde_json::from_str(answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
        assert_eq!(answer["errors"], Value::Array(vec![]), "{width}: {answer}");
        assert_eq!(answer["dark"], Value::Bool(dark), "{answer}");
        for what in ["fits", "reads", "zooms", "resets", "sorts"] {
            assert_eq!(answer[what], Value::Bool(true), "{what} at {width}: {answer}");
        }
        let requests = fs::read_to_string(folder.join("net.json")).expect("a log of requests");
        let away: Vec<&str> =
            requests.split("\"url\":\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let away: Vec<&str> =
            away.into_iter().filter(|url| !url.starts_with("file:") && !url.starts_with("data:")).collect();
        assert_eq!(away, Vec::<&str>::new(), "requests");
    }
    fs::remove_dir_all(&folder).expect("the folder goes");
}
