//! Help as a person reads it, at 80 columns.

use crate::sinks::plugin::csv;
use crate::support::Place;

/// Every command that help names, those below others included.
fn commands(place: &Place) -> Vec<Vec<String>> {
    let mut all = vec![Vec::new()];
    let mut at = 0;
    while at < all.len() {
        let path: Vec<String> = all[at].clone();
        at += 1;
        for name in below(&help(place, &path, 80)) {
            let mut path = path.clone();
            path.push(name);
            all.push(path);
        }
    }
    all
}

/// Returns the commands that a help lists.
fn below(help: &str) -> Vec<String> {
    let groups = ["Run:", "Look:", "Ask:", "Build:", "Other:", "Commands:"];
    let mut listed = false;
    let mut names = Vec::new();
    for line in help.lines() {
        listed = groups.contains(&line) || (listed && line.starts_with("  "));
        let name = line
            .strip_prefix("  ")
            .filter(|line| !line.starts_with(' '));
        if let Some(name) = name
            .filter(|_| listed)
            .and_then(|line| line.split(' ').next())
        {
            names.push(name.to_owned());
        }
    }
    names.retain(|name| name != "help");
    names
}

fn help(place: &Place, path: &[String], columns: u16) -> String {
    let mut args: Vec<&str> = path.iter().map(String::as_str).collect();
    args.push("--help");
    let mut command = place.command(&args);
    let output = command
        .env("COLUMNS", columns.to_string())
        .output()
        .unwrap();
    assert!(output.status.success(), "{path:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_help_reads_well_at_80_columns() {
    let place = Place::new();
    let commands = commands(&place);
    assert!(commands.len() > 30, "{commands:?}");
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for path in &commands {
            let text = help(&place, path, 80);
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{path:?}: {line}");
            }
            let name = [vec!["mixflow".to_owned()], path.clone()]
                .concat()
                .join("-");
            insta::assert_snapshot!(name, text);
        }
    });
}

#[test]
fn a_command_shows_its_own_options_first_and_an_example() {
    let place = Place::new();
    for path in commands(&place) {
        let text = help(&place, &path, 80);
        let at = |what: &str| text.find(what);
        assert!(at("\nGlobal options:\n").is_some(), "{path:?}");
        assert!(
            at("\n  -h, --help\n") > at("\nGlobal options:\n"),
            "{path:?}"
        );
        if let Some(own) = at("\nOptions:\n") {
            assert!(Some(own) < at("\nGlobal options:\n"), "{path:?}");
        }
        if path.is_empty() {
            continue;
        }
        let example = format!("  mixflow {}", path.join(" "));
        let examples = text.split_once("\nExamples:\n").map(|(_, after)| after);
        assert!(
            examples.is_some_and(|text| text.contains(&example)),
            "{path:?}:\n{text}"
        );
        let runs = ["run", "fetch", "backfill", "replay", "unit", "commit"].contains(&&*path[0]);
        for option in ["--report <FILE>", "--progress <STYLE>"] {
            assert_eq!(text.contains(option), runs, "{path:?}: {option}");
        }
    }
}

#[test]
fn every_command_is_in_a_group() {
    let place = Place::new();
    let text = help(&place, &[], 80);
    let heads: Vec<&str> = text
        .lines()
        .filter(|line| line.ends_with(':') && !line.starts_with(' '))
        .collect();
    assert_eq!(
        heads,
        ["Run:", "Look:", "Ask:", "Build:", "Global options:"]
    );
}

#[test]
fn a_report_is_refused_where_none_would_be_written() {
    let place = Place::new();
    for args in [
        &["man", "pages", "--report", "r.json"][..],
        &["--report", "r.json", "runs"],
    ] {
        place
            .mixflow(args)
            .ended(2)
            .says("writes no run report: `--report` is for `run`, `fetch`, `backfill`, `replay`");
    }
    assert_eq!(place.names(), [""; 0]);
}

#[test]
fn components_show_every_table_of_a_pipeline_file() {
    let place = Place::new();
    let all = place.mixflow(&["components"]).ended(0).stdout_lossy();
    for head in [
        "at the top of the file: ",
        "[source]\n",
        "[source.retry]: ",
        "[source.limits]: ",
        "[[transform]]\n",
        "[sink]\n",
        "[run]: ",
        "[archive]: ",
        "[notify]: ",
    ] {
        assert!(
            all.contains(&format!("\n{head}")) || all.starts_with(head),
            "no {head} in:\n{all}"
        );
    }
    for line in all.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let some = place.mixflow(&["components", "archive", "source.limits"]);
    insta::assert_snapshot!(some.ended(0).stdout_lossy(), @r"
    [source.limits]: how fast to ask, if Mixpanel has agreed on other limits with
    you (of mixpanel_events)
        per_second (number, default 3)
            requests in any second
        per_hour (number, default 60, or what Mixpanel says of the project)
            requests in any hour
        concurrent (number, default 100)
            requests at the same time

    [source.limits]: how fast to ask, if Mixpanel has agreed on other limits with
    you (of mixpanel_profiles)
        per_second (number, default without a limit)
            requests in any second
        per_hour (number, default 60, or what Mixpanel says of the project)
            requests in any hour
        concurrent (number, default 5)
            requests at the same time

    [archive]: keeps every whole body as it came, to be replayed later; what
    transforms mask is not masked there
        path (a folder, or one in a bucket: s3://… | gs://… | az://…)
            where the bodies are; for its owner alone
        endpoint (address, default that of the service)
            which server has the bucket: MinIO, R2, an emulator
        region (text)
            the region of the bucket
    ");
    place
        .mixflow(&["components", "source.retri"])
        .ended(2)
        .says("error: there is no component or table `source.retri`, did you mean `source.retry`?");
}

#[test]
fn components_show_what_a_plugin_takes() {
    let place = Place::new();
    std::fs::copy(csv(), place.path("libmine.so")).unwrap();
    let shown = place.mixflow(&["components", "--library", "libmine.so"]);
    let shown = shown.ended(0).stdout_lossy();
    insta::assert_snapshot!(shown, @r"
    [sink]

      plugin: the sink `csv` of libmine.so, built for version 1.2 of the plugin
      interface; it has write modes

    [sink.options]
        path (file)
            the file to write
        mode (create | append | replace, default create)
            what happens to a file that is there
        allow_shrink (true | false, default false)
            whether replace may leave less than half of the rows, or none
        delimiter (a character, default `,`)
            what stands between values
        null (text, default empty)
            what stands where there is no value
    ");
    place
        .mixflow(&["components", "--library", "no.so"])
        .ended(2)
        .says("there is no such file");
}
