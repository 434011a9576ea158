//! The report as a page, in a real browser where there is one.

use std::process::{Command, Stdio};
use std::time::Duration;

use mixflow_tests::sim::Fault;
use serde_json::Value;

use crate::support::{DUCKDB, Place, events, pipeline, sim, started, workers};

/// A partial run of 14 windows with a retry, and one that was refused.
fn runs() -> Place {
    let data = mixflow_tests::sim::Data::generated_between(
        jiff::civil::date(2024, 1, 1),
        jiff::civil::date(2024, 1, 14),
        3_000,
        0,
        7,
    );
    let parsed = |text: &str| Fault::parse(text).unwrap();
    let sim = started(
        sim(data)
            .fault(parsed("export times=1 cut=0.5"))
            .fault(parsed("export from=2024-01-07 always status=500")),
    );
    let place = Place::new();
    let source = events(&sim, "window_days = 1");
    let kept = format!("{}on_failure = \"keep\"\n", workers(3));
    let text = pipeline(&[&source, DUCKDB, &kept]);
    place.run(&text).0.ended(3);
    place.run(&text).0.ended(6);
    place
}

#[test]
fn a_report_says_what_is_missing_and_asks_for_nothing() {
    let place = runs();
    let ran = place.mixflow(&["report", "--last", "2"]).ended(0);
    assert_eq!(ran.stderr, "wrote 2 runs to report.html\n");
    let page = place.read("report.html");
    for text in [
        "<!DOCTYPE html>",
        "<html lang=\"en\">",
        "2024-01-07 could not be had in 5 tries",
        "already exists",
        "Rows by window and event",
        "Run history",
        "Retries and waits",
        "Days of test",
        "Calendar of",
        "2024-01-07: missing",
    ] {
        assert!(page.contains(text), "no {text}");
    }
    // Nothing on it is from elsewhere.
    for text in ["<script", "@import", "url(", " src=", "http://", "https://"] {
        let found = page.replace("http://127.0.0.1", "");
        assert!(!found.contains(text), "{text}");
    }
    let one = place.mixflow(&["runs", "-n", "2", "--format", "json"]);
    let one: Value = serde_json::from_slice(&one.stdout).unwrap();
    let id = one[1]["run_id"].as_str().unwrap();
    place
        .mixflow(&["report", id, "--output", "one.html"])
        .ended(0);
    assert!(place.read("one.html").contains(id));
    place
        .mixflow(&["report", "nope"])
        .ended(1)
        .says("there is no run `nope`");
    Place::new()
        .mixflow(&["report"])
        .ended(1)
        .says("there is no run yet");
}

/// A name in the data is no markup.
#[test]
fn names_are_escaped() {
    let mut data = mixflow_tests::sim::Data::default();
    data.add_event(r#"{"event":"<script>alert('x')</script>","properties":{"time":1704067200,"distinct_id":"a","$insert_id":"1"}}"#)
        .unwrap();
    let sim = started(sim(data));
    let place = Place::new();
    let day = "from = \"2024-01-01\"\nto = \"2024-01-01\"";
    place
        .run(&pipeline(&[&events(&sim, day), DUCKDB]))
        .0
        .ended(0);
    place.mixflow(&["report"]).ended(0);
    let page = place.read("report.html");
    assert!(!page.contains("<script"));
    assert!(page.contains("&lt;script&gt;alert('x')&lt;/script&gt;"));
}

/// Finds a Chromium, or gets Debian's where that is possible.
fn chromium() -> Option<&'static str> {
    let runs = |program: &&str| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    };
    let known = ["chromium", "chromium-browser", "google-chrome"];
    if let Some(found) = known.iter().find(|program| runs(program)) {
        return Some(found);
    }
    let get = "test \"$(id -u)\" = 0 && apt-get update -qq && \
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium";
    let mut getting = Command::new("sh")
        .args(["-c", get])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    // Without a network it would try for minutes.
    for _ in 0..1_800 {
        if getting.try_wait().ok()?.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let _ = getting.kill();
    known.into_iter().find(runs)
}

/// What a browser makes of the page, by a script that the page does not have.
const LOOK: &str = r#"<script>
addEventListener("load", () => {
  const all = (q) => [...document.querySelectorAll(q)];
  const shown = (e) => getComputedStyle(e);
  const bars = all("svg[role=img] rect").filter((r) => r.getBoundingClientRect().width > 0);
  document.title = JSON.stringify({
    overflow: document.documentElement.scrollWidth - innerWidth,
    background: shown(document.body).backgroundColor,
    text: shown(document.body).color,
    size: parseFloat(shown(document.body).fontSize),
    bars: bars.length,
    unnamed: all("svg[role=img]:not([aria-label]), section:not([aria-labelledby]), [role=region]:not([aria-label])").length,
    headless: all("td").filter((td) => !td.closest("tr").querySelector("th[scope=row]")).length,
    focusable: all("a[href], summary, [tabindex='0']").length,
    details: all("details").length,
    resources: performance.getEntriesByType("resource").filter((r) => !r.name.startsWith("data:")).length,
    levels: all("h1, h2, h3").map((h) => h.tagName).join(" "),
    ids: all("[id]").length - new Set(all("[id]").map((e) => e.id)).size,
    legible: Math.min(...all("svg text").map((t) => t.getBoundingClientRect().height)),
  });
});
</script>"#;

fn look(browser: &str, place: &Place, width: u32, dark: bool) -> Value {
    let page = place.read("report.html");
    let (before, after) = page.split_once("<meta http-equiv").unwrap();
    let (_, after) = after.split_once('>').unwrap();
    place.write("look.html", &format!("{before}{LOOK}{after}"));
    let mut command = Command::new(browser);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .arg(format!("--window-size={width},900"))
        .arg(format!(
            "--user-data-dir={}",
            place.path("state/browser").display()
        ));
    if dark {
        command.arg("--blink-settings=preferredColorScheme=0");
    }
    let output = command
        .arg(format!("file://{}", place.path("look.html").display()))
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let dom = String::from_utf8(output.stdout).unwrap();
    let (_, title) = dom.split_once("<title>").expect("a page");
    let (title, _) = title.split_once("</title>").unwrap();
    serde_json::from_str(&title.replace("&amp;", "&")).unwrap()
}

#[test]
fn a_browser_shows_the_page_on_a_desk_on_a_phone_and_in_the_dark() {
    let Some(browser) = chromium() else {
        eprintln!("skipped: there is no Chromium, and it could not be installed");
        return;
    };
    let place = runs();
    place.mixflow(&["report", "--last", "2"]).ended(0);
    let desk = look(browser, &place, 1200, false);
    let phone = look(browser, &place, 500, false);
    let dark = look(browser, &place, 1200, true);
    for seen in [&desk, &phone, &dark] {
        assert_eq!(seen["overflow"].as_i64().unwrap().max(0), 0, "{seen}");
        for nothing in ["unnamed", "headless", "resources", "ids"] {
            assert_eq!(seen[nothing], 0, "{nothing}: {seen}");
        }
        assert!(seen["size"].as_f64().unwrap() >= 16.0);
        assert!(seen["bars"].as_u64().unwrap() > 14 + 13, "{seen}");
        assert!(
            seen["focusable"].as_u64() > seen["details"].as_u64(),
            "{seen}"
        );
        assert!(seen["legible"].as_f64().unwrap() > 9.0, "{seen}");
        assert!(
            seen["levels"].as_str().unwrap().starts_with("H1 H2 "),
            "{seen}"
        );
    }
    assert_eq!(desk["background"], "rgb(255, 255, 255)");
    assert_eq!(dark["background"], "rgb(13, 17, 23)");
    assert_eq!(dark["text"], "rgb(230, 237, 243)");
}
