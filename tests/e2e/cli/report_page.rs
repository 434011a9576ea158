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

/// A sim that has a day only when it is asked for the sixth time, and the pipeline.
fn with_a_gap(place: &Place, window: u32) -> mixflow_tests::sim::Simulator {
    let data = mixflow_tests::sim::Data::generated_between(
        jiff::civil::date(2024, 1, 1),
        jiff::civil::date(2024, 1, 6),
        1_000,
        0,
        7,
    );
    let fault = "export from=2024-01-03 times=5 status=500";
    let sim = started(sim(data).fault(Fault::parse(fault).unwrap()));
    let source = events(&sim, &format!("window_days = {window}"));
    let kept = format!("{}on_failure = \"keep\"\n", workers(2));
    let sink = format!("{DUCKDB}mode = \"replace_window\"\n");
    place.write("gap.toml", &pipeline(&[&source, &sink, &kept]));
    sim
}

fn page_of(place: &Place, more: &[&str]) -> String {
    let args: Vec<&str> = ["report"].iter().chain(more).copied().collect();
    place.mixflow(&args).ended(0);
    place.read("report.html")
}

#[test]
fn a_run_that_lacked_something_is_repaired_by_what_came_later() {
    let place = Place::new();
    let sim = with_a_gap(&place, 1);
    place.mixflow(&["run", "gap.toml"]).ended(3);
    let lacking = page_of(&place, &[]);
    assert!(lacking.contains("run FILE --only-failed"));
    assert!(!lacking.contains("Repaired."));
    place
        .mixflow(&["run", "gap.toml", "--only-failed"])
        .ended(0);
    let mended = page_of(&place, &["--last", "2"]);
    assert!(!mended.contains("run FILE --only-failed"));
    for text in [
        "partial, repaired</span>",
        "<strong>Repaired.</strong>",
        "2024-01-03 could not be had",
    ] {
        assert!(mended.contains(text), "no {text}");
    }
    // What the destination holds now comes first.
    let at = |text: &str| mended.find(text).unwrap_or_else(|| panic!("no {text}"));
    assert!(at("Days of gap") < at("Run of gap"));
    assert!(at("Run of gap") < at("Run history"));
    drop(sim);
}

#[test]
fn another_window_of_the_same_file_repairs_a_run_too() {
    let place = Place::new();
    let _sim = with_a_gap(&place, 2);
    place.mixflow(&["run", "gap.toml"]).ended(3);
    // A single day of the two that are lacking.
    let one = [
        "run",
        "gap.toml",
        "--from",
        "2024-01-03",
        "--to",
        "2024-01-03",
    ];
    place.mixflow(&one).ended(0);
    assert!(!page_of(&place, &["--last", "2"]).contains("Repaired."));
    let other = [
        "run",
        "gap.toml",
        "--from",
        "2024-01-04",
        "--to",
        "2024-01-04",
    ];
    place.mixflow(&other).ended(0);
    assert!(page_of(&place, &["--last", "3"]).contains("<strong>Repaired.</strong>"));
}

#[test]
fn all_pipelines_stand_on_one_page() {
    let place = Place::new();
    let _sim = with_a_gap(&place, 1);
    place.mixflow(&["run", "gap.toml"]).ended(3);
    place
        .mixflow(&["run", "gap.toml", "--only-failed"])
        .ended(0);
    let made = "[source]\ntype = \"synthetic_events\"\nrows = 10\nfrom = \"2024-01-01\"\nto = \"2024-01-02\"\n[sink]\ntype = \"jsonl\"\npath = \"a.jsonl\"\n";
    place.write("made.toml", made);
    place.mixflow(&["run", "made.toml"]).ended(0);
    place.mixflow(&["run", "made.toml"]).ended(6);
    let ran = place.mixflow(&["report", "--all"]).ended(0);
    assert_eq!(ran.stderr, "wrote 2 runs to report.html\n");
    let page = place.read("report.html");
    assert_eq!(
        page.matches("<title>mixflow: 2 pipelines</title>").count(),
        1
    );
    let (_, overview) = page.split_once("All pipelines</h2>").unwrap();
    let (overview, _) = overview.split_once("</section>").unwrap();
    for text in [
        ">gap</a>",
        ">made</a>",
        "committed</span>",
        "aborted</span>",
    ] {
        assert!(overview.contains(text), "no {text} in {overview}");
    }
    // The last success of the one that failed is the run before.
    assert_eq!(overview.matches("never").count(), 0, "{overview}");
    place
        .mixflow(&["report", "--all", "--last", "2"])
        .ended(2)
        .says("cannot be used with");
}

#[test]
fn waits_stand_in_the_order_in_which_they_were() {
    let place = runs();
    let reports = place.mixflow(&["runs", "-n", "2", "--format", "json"]);
    reports.ended(0);
    let page = page_of(&place, &["--last", "2"]);
    let (_, waits) = page.split_once("Retries and waits</h3>").unwrap();
    let (waits, _) = waits.split_once("</table>").unwrap();
    let after: Vec<f64> = waits
        .split("<tr>")
        .skip(2)
        .map(|row| {
            let (_, rest) = row.split_once("<td class=\"n\">").unwrap();
            let (spent, _) = rest.split_once(" s").unwrap();
            spent.parse().unwrap()
        })
        .collect();
    assert!(after.len() >= 5, "{waits}");
    assert!(after.is_sorted(), "{after:?}");
    // In the bar of a window that was tried five times there are four waits.
    let (bar, _) = page
        .split("<g class=\"unit failed\">")
        .nth(1)
        .unwrap()
        .split_once("</g>")
        .unwrap();
    assert_eq!(bar.matches("class=\"wait\"").count(), 4, "{bar}");
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
  parent.postMessage(JSON.stringify({
    width: innerWidth,
    cues: all(".cue").filter((p) => shown(p).display !== "none").length,
    charts: all(".cue").length,
    // Text that reaches over the edge of its chart.
    clipped: all("svg[role=img] text").filter((t) => {
      const [a, b] = [t.getBoundingClientRect(), t.closest("svg").getBoundingClientRect()];
      return a.left < b.left - 1 || a.right > b.right + 1 || a.top < b.top - 2 || a.bottom > b.bottom + 2;
    }).map((t) => t.textContent),
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
  }), "*");
});
</script>"#;

fn look(browser: &str, place: &Place, width: u32, dark: bool) -> Value {
    let page = place.read("report.html");
    let (before, after) = page.split_once("<meta http-equiv").unwrap();
    let (_, after) = after.split_once('>').unwrap();
    place.write("look.html", &format!("{before}{LOOK}{after}"));
    // No window is as narrow as a phone, but a frame is.
    place.write(
        "frame.html",
        &format!(
            "<title>none</title><script>onmessage = (e) => document.title = e.data</script>\
         <iframe src=look.html style='width:{width}px;height:900px;border:0'></iframe>"
        ),
    );
    let mut command = Command::new(browser);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .args(["--virtual-time-budget=5000", "--window-size=1300,1000"])
        .arg(format!(
            "--user-data-dir={}",
            place.path("state/browser").display()
        ));
    if dark {
        command.arg("--blink-settings=preferredColorScheme=0");
    }
    let output = command
        .arg(format!("file://{}", place.path("frame.html").display()))
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let dom = String::from_utf8(output.stdout).unwrap();
    let (_, title) = dom.split_once("<title>").expect("a page");
    let (title, _) = title.split_once("</title>").unwrap();
    let seen: Value = serde_json::from_str(&title.replace("&amp;", "&")).unwrap();
    assert_eq!(seen["width"], width, "the browser has another width");
    seen
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
    let tablet = look(browser, &place, 800, false);
    let phone = look(browser, &place, 400, false);
    let dark = look(browser, &place, 1200, true);
    assert_eq!(phone["cues"], phone["charts"], "{phone}");
    assert_eq!(desk["cues"], 0, "{desk}");
    for seen in [&desk, &tablet, &phone, &dark] {
        assert_eq!(seen["clipped"], serde_json::json!([]), "{seen}");
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
