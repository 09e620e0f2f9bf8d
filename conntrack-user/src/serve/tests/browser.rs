//! The page in a real browser: no error, no request but to us, nothing wider than the window, and it lives.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::devtools::{Browser, find};
use super::*;

/// Where screenshots go, for people.
const SCREENSHOTS: &str = "CTWATCH_SCREENSHOTS";

fn look(browser: &mut Browser, width: u32, dark: bool, print: bool) {
    let metrics = json!({ "width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": false });
    browser.call("Emulation.setDeviceMetricsOverride", metrics);
    let scheme = if dark { "dark" } else { "light" };
    let media = if print { "print" } else { "screen" };
    let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
    browser.call("Emulation.setEmulatedMedia", json!({ "media": media, "features": features }));
}

fn screenshot(browser: &mut Browser, name: &str) {
    let Some(folder) = std::env::var_os(SCREENSHOTS) else { return };
    let shot = browser.call("Page.captureScreenshot", json!({ "captureBeyondViewport": true }));
    let bytes = STANDARD.decode(shot["data"].as_str().expect("an image")).expect("base64");
    std::fs::write(PathBuf::from(folder).join(name), bytes).expect("it is written");
}

#[test]
fn the_page_works_in_a_browser() {
    let Some(program) = find() else {
        assert!(std::env::var_os("CTWATCH_REQUIRE_TOOLS").is_none(), "no chromium in PATH");
        return println!("skipped: no chromium in PATH");
    };
    let (_server, address, board) = serving(anywhere());
    board.put_up(scene::scrape(scene::trouble()));
    let mut browser = Browser::start(&program);
    for (width, dark, print) in
        [(390, false, false), (900, true, false), (1600, false, false), (794, false, true)]
    {
        look(&mut browser, width, dark, print);
        browser.visit(&format!("http://{address}/"));
        until("it is live", || browser.evaluate("document.getElementById('status').textContent") == "live");
        let [wide, window] = ["document.documentElement.scrollWidth", "innerWidth"]
            .map(|what| browser.evaluate(what).as_u64().expect("a number"));
        assert!(wide <= window, "{wide} of {window} pixels at {width}");
        screenshot(&mut browser, &format!("page-{width}.png"));
        assert_eq!(browser.complaints(), Vec::<&serde_json::Value>::new(), "at {width}");
        let ours = format!("http://{address}/");
        let elsewhere: Vec<&str> = browser
            .requests()
            .into_iter()
            .filter(|url| !url.starts_with(&ours) && !url.starts_with("data:"))
            .collect();
        assert_eq!(elsewhere, Vec::<&str>::new(), "at {width}");
    }
}

#[test]
fn the_page_lives_and_says_when_it_does_not() {
    let Some(program) = find() else {
        assert!(std::env::var_os("CTWATCH_REQUIRE_TOOLS").is_none(), "no chromium in PATH");
        return println!("skipped: no chromium in PATH");
    };
    let (server, address, board) = serving(anywhere());
    board.put_up(scene::scrape(scene::trouble()));
    let mut browser = Browser::start(&program);
    browser.visit(&format!("http://{address}/"));
    let text = |browser: &mut Browser, id: &str| {
        browser
            .evaluate(&format!("document.getElementById('{id}').textContent"))
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert!(text(&mut browser, "verdict").contains("Connections are being refused"));
    let mut calm = scene::trouble();
    calm.netns.remove(0);
    board.put_up(scene::scrape(calm));
    until("it has changed", || text(&mut browser, "verdict").contains("<b>customer-17</b> is 83 % full"));
    assert_eq!(browser.evaluate("document.querySelectorAll('b').length"), 0, "names are text");
    assert!(browser.evaluate("document.title").as_str().is_some_and(|title| title.contains("pressure 83 %")));
    until("silence is told", || text(&mut browser, "status").starts_with("nothing new for"));
    server.stop();
    until("the end is told", || text(&mut browser, "status").starts_with("connection lost"));
}

/// Without scripts there is all but the news.
#[test]
fn the_page_is_complete_without_scripts() {
    let Some(program) = find() else {
        assert!(std::env::var_os("CTWATCH_REQUIRE_TOOLS").is_none(), "no chromium in PATH");
        return println!("skipped: no chromium in PATH");
    };
    let (_server, address, board) = serving(anywhere());
    board.put_up(scene::scrape(scene::trouble()));
    let mut browser = Browser::start(&program);
    browser.call("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    browser.visit(&format!("http://{address}/"));
    let rows = browser.evaluate("document.querySelectorAll('#sources tbody tr').length");
    assert_eq!(rows, 13, "twelve and the others");
    assert_eq!(
        browser.evaluate("document.getElementById('status').textContent"),
        "as of when this page was loaded"
    );
    let document = browser.requests().into_iter().filter(|url| !url.starts_with("data:")).count();
    assert_eq!(document, 1);
}
