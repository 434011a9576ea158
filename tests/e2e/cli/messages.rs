//! What a user reads when something goes wrong, in full: what was attempted,
//! on what, why it failed, and what to do. One snapshot for each exit code.

use insta::assert_snapshot;
use mixflow_tests::sim::{Data, Fault, Simulator};

use crate::support::{
    DUCKDB, Place, Ran, SECRET, events, pipeline, profiles, sim, started, workers,
};

/// Adds what one command said, without what differs from run to run.
struct Gallery {
    text: String,
    place: Place,
    sim: Simulator,
}

impl Gallery {
    fn new() -> Gallery {
        Gallery::with(sim(Data::sample()))
    }

    fn with(builder: mixflow_tests::sim::Builder) -> Gallery {
        Gallery {
            text: String::new(),
            place: Place::new(),
            sim: started(builder),
        }
    }

    fn add(&mut self, what: &str, ran: Ran, code: i32) {
        let ran = ran.ended(code);
        let mut said = ran.stderr.replace(self.sim.base_url(), "http://SERVER");
        let folder = self.place.path("").display().to_string();
        said = said.replace(folder.trim_end_matches('/'), "FOLDER");
        self.text.push_str(&format!("# {what}\n{said}\n"));
    }

    fn command(&mut self, args: &[&str], code: i32) {
        let ran = self.place.mixflow(args);
        self.add(&format!("mixflow {}", args.join(" ")), ran, code);
    }

    fn run(&mut self, what: &str, text: &str, code: i32) {
        let (ran, _) = self.place.run(text);
        self.add(what, ran, code);
    }

    fn file(&mut self, text: &str) {
        self.place.write("test.toml", text);
        let ran = self.place.mixflow(&["check", "test.toml"]);
        self.add("check", ran, 2);
    }
}

fn day(sim: &Simulator, more: &str) -> String {
    events(
        sim,
        &format!("from = \"2024-01-14\"\nto = \"2024-01-14\"\n{more}"),
    )
}

/// Retries without their waits, which are random.
fn fault(text: &str) -> Fault {
    Fault::parse(text).unwrap()
}

const ONCE: &str = "retry = { max_attempts = 1 }";

#[test]
fn exit_2_says_where_in_the_file_and_what_would_be_right() {
    let mut gallery = Gallery::new();
    gallery.file("[source]\ntype = \"mixpanel_event\"\n[sink]\ntype = \"duckdb\"\npath = \"a.db\"\nmod = \"append\"\n");
    gallery.file("[source]\ntype = \"synthetic_events\"\nrows = \"many\"\n[sink]\ntype = \"jsonl\"\n[run]\nworkers = 0\n");
    gallery.file("[source\ntype = 1");
    gallery.file("[source]\ntype = \"mixpanel_profiles\"\nproject_id = 1\nauth = { username = \"a\", secret = { env = \"X\" } }\n[sink]\ntype = \"duckdb\"\npath = \"${NO_SUCH}\"\nmode = \"replace_window\"\n");
    gallery.command(&["check", "nowhere.toml"], 2);
    gallery.command(&["run", "test.toml", "--set", "sink.mode"], 2);
    gallery.command(&["fetch", "events", "--from", "today", "--to", "today"], 2);
    gallery.command(&["query", "SELECT 1"], 2);
    let text = day(&gallery.sim, "").replace("SIM_SECRET", "UNSET");
    gallery.run("a secret that is not there", &pipeline(&[&text, DUCKDB]), 2);
    assert_snapshot!(gallery.text, @r#"
    # check
    error: test.toml:2:8: `source.type`: there is no source `mixpanel_event`, known are `mixpanel_events`, `mixpanel_profiles`, `synthetic_events`, `synthetic_profiles`, did you mean `mixpanel_events`?
      |
    2 | type = "mixpanel_event"
      |        ^^^^^^^^^^^^^^^^
    error: test.toml:6:1: `sink.mod`: unknown field `mod`, expected one of `path`, `table`, `mode`, `allow_shrink`, `scope`, `storage_version`, `macros`, did you mean `mode`?
      |
    6 | mod = "append"
      | ^^^

    # check
    error: test.toml:3:8: `source.rows`: invalid type: string "many", expected a whole number from 0
      |
    3 | rows = "many"
      |        ^^^^^^
    error: test.toml:7:11: `run.workers`: invalid value: integer `0`, expected a whole number from 1
      |
    7 | workers = 0
      |           ^

    # check
    error: test.toml:1:8: unclosed table, expected `]`
      |
    1 | [source
      |        ^

    # check
    error: test.toml:5:2: `sink`: `replace_window` needs the column `event_time`
      |
    5 | [sink]
      |  ^^^^
    error: test.toml:7:8: `sink.path`: the environment variable `NO_SUCH` is not set
      |
    7 | path = "${NO_SUCH}"
      |        ^^^^^^^^^^^^
    error: test.toml:8:8: `sink.mode`: `replace_window` needs a source whose partitions are days; use `replace`
      |
    8 | mode = "replace_window"
      |        ^^^^^^^^^^^^^^^^

    # mixflow check nowhere.toml
    error: cannot read the pipeline file `nowhere.toml`
      caused by: No such file or directory (os error 2)
    hint: `mixflow init nowhere.toml` writes one to begin with

    # mixflow run test.toml --set sink.mode
    error: `--set sink.mode` has no `=`: write it as `--set sink.mode=replace`

    # mixflow fetch events --from today --to today
    error: there are no credentials
      caused by: MIXPANEL_USERNAME is not set
    hint: set MIXPANEL_USERNAME, MIXPANEL_SECRET and MIXPANEL_PROJECT_ID, or give `--connection NAME` or `--config FILE`

    # mixflow query SELECT 1
    error: it is not known which database to ask
    hint: give `--db PATH`, or set MIXPANEL_PROJECT_ID

    # a secret that is not there
    error: cannot get the service account's secret from `UNSET`
      caused by: the environment variable is not set
    hint: set UNSET; under cron, in the crontab or the script
    note: nothing was written
    "#);
}

#[test]
fn exit_1_says_what_the_server_or_the_data_did() {
    let mut gallery = Gallery::new();
    let bad = pipeline(&[&day(&gallery.sim, "where = \"properties[\""), DUCKDB]);
    gallery.run("an expression that Mixpanel does not understand", &bad, 1);
    for text in [
        "export times=1 cut=0.5",
        "export times=1 terminated_early=300",
        "export times=1 status=500",
        "export times=1 drop",
    ] {
        gallery.sim.add_fault(fault(text));
        let text_run = pipeline(&[&day(&gallery.sim, ONCE), DUCKDB]);
        gallery.run(text, &text_run, 1);
    }
    let few = pipeline(&[&day(&gallery.sim, ""), DUCKDB, "[run]\nmin_rows = 100000\n"]);
    gallery.run("fewer rows than there must be", &few, 1);
    assert_snapshot!(gallery.text, @r"
    # an expression that Mixpanel does not understand
    error: cannot read the events of project 12345
      caused by: the server answered 400 Bad Request: expected a property's name, found the end
    hint: check `where`, the names and the dates of the source
    note: nothing was written

    # export times=1 cut=0.5
    error: 2024-01-14 could not be had in 1 try
      caused by: the events of project 12345 are incomplete
      caused by: the connection broke off: Peer disconnected
    hint: run it again later, or raise `source.retry.max_attempts`; what has been fetched whole is not asked for again
    note: nothing was written

    # export times=1 terminated_early=300
    error: 2024-01-14 could not be had in 1 try
      caused by: the events of project 12345 are incomplete
      caused by: it ends with `export terminated early`
    hint: run it again later, or raise `source.retry.max_attempts`; what has been fetched whole is not asked for again
    note: nothing was written

    # export times=1 status=500
    error: 2024-01-14 could not be had in 1 try
      caused by: cannot read the events of project 12345
      caused by: the server answered 500 Internal Server Error: injected fault
    hint: run it again later, or raise `source.retry.max_attempts`; what has been fetched whole is not asked for again
    note: nothing was written

    # export times=1 drop
    error: 2024-01-14 could not be had in 1 try
      caused by: cannot reach http://SERVER
      caused by: io: Peer disconnected
    hint: check the network, a proxy in between, and `base_url` if it is set
    note: nothing was written

    # fewer rows than there must be
    error: 7845 rows arrived, fewer than `min_rows = 100000`
    hint: check the dates and filters, or lower `min_rows`
    note: nothing was written
    ");
}

#[test]
fn exit_3_names_what_is_missing() {
    let mut gallery = Gallery::new();
    gallery
        .sim
        .add_fault(fault("export from=2024-01-03 always status=500"));
    let source = events(
        &gallery.sim,
        &format!("from = \"2024-01-01\"\nto = \"2024-01-04\"\nwindow_days = 1\n{ONCE}"),
    );
    let text = pipeline(&[
        &source,
        DUCKDB,
        &format!("{}on_failure = \"keep\"\n", workers(1)),
    ]);
    let (ran, _) = gallery.place.run(&text);
    let said = ran.stderr.clone();
    gallery.add("one window of four", ran, 3);
    // The only figure that differs.
    let (before, after) = said.split_once(" in ").unwrap();
    assert!(before.contains("warning") && after.contains("missing: 2024-01-03"));
    let took = gallery
        .text
        .split(" s; missing")
        .next()
        .unwrap()
        .rsplit(' ')
        .next()
        .unwrap()
        .to_owned();
    assert_snapshot!(gallery.text.replace(&format!("{took} s;"), "N s;"), @r"
    # one window of four
    warning: 2024-01-03 could not be had in 1 try: the server answered 500 Internal Server Error: injected fault
    warning: committed 10 rows from 3 partitions to table events in out.db in N s; missing: 2024-01-03
    hint: fetch what is missing with `mixflow run test.toml --only-failed`, or all of it again
    ");
}

#[test]
fn exit_4_says_whose_credentials_are_wrong() {
    let mut gallery = Gallery::with(
        Simulator::builder()
            .data(Data::sample())
            .credentials("sim", "another")
            .project_id("12345"),
    );
    let text = pipeline(&[&day(&gallery.sim, ""), DUCKDB]);
    gallery.run("wrong credentials", &text, 4);
    assert!(!gallery.text.contains(SECRET));
    let mut other = Gallery::with(sim(Data::sample()).project_id("777"));
    let text = pipeline(&[&profiles(&other.sim, ""), DUCKDB]);
    other.run("another project", &text, 4);
    assert_snapshot!(format!("{}{}", gallery.text, other.text), @r"
    # wrong credentials
    error: cannot read the events of project 12345
      caused by: the server answered 401 Unauthorized: Invalid credentials
    hint: check that the credentials are right and belong to project 12345
    note: nothing was written

    # another project
    error: cannot read the profiles of project 12345
      caused by: the server answered 403 Forbidden: you do not have permission to read project 12345
    hint: check that the account may use /api/query/engage, and that the dates are not too far back
    note: nothing was written
    ");
}

#[test]
fn exit_5_says_when_to_come_back() {
    let mut gallery = Gallery::new();
    let source = day(&gallery.sim, "retry = { max_wait = \"1s\" }");
    gallery
        .sim
        .add_fault(fault("export always status=429 retry_after=120"));
    let text = pipeline(&[&source, DUCKDB]);
    gallery.run("a server that wants two minutes", &text, 5);
    assert_snapshot!(gallery.text, @r"
    # a server that wants two minutes
    error: 2024-01-14 would have to wait 2 min, longer than `max_wait` (1 s)
      caused by: cannot read the events of project 12345
      caused by: the server answered 429 Too Many Requests: injected fault
    hint: run again later, or raise `source.retry.max_wait`
    note: nothing was written
    ");
}

#[test]
fn exit_6_says_what_is_in_the_way() {
    let mut gallery = Gallery::new();
    let text = pipeline(&[&day(&gallery.sim, ""), DUCKDB]);
    gallery.place.run(&text).0.ended(0);
    gallery.run("a table that is there", &text, 6);
    let people = pipeline(&[
        &profiles(&gallery.sim, ""),
        DUCKDB,
        "table = \"events\"\nmode = \"append\"\n",
    ]);
    gallery.run("a table of another shape", &people, 6);
    let nowhere = text.replace("out.db", "no/such/folder/out.db");
    gallery.run("a folder that is not there", &nowhere, 6);
    gallery.place.write(
        "notes.txt",
        "not a database, and long enough to be looked at",
    );
    gallery.run(
        "a file that is no database",
        &text.replace("out.db", "notes.txt"),
        6,
    );
    gallery.command(&["query", "SELECT 1", "--db", "missing.db"], 6);
    gallery.command(&["schema", "event", "--db", "out.db"], 6);
    assert_snapshot!(gallery.text, @r#"
    # a table that is there
    error: the table `events` in `out.db` already exists
    hint: drop it first (`mixflow drop events --db out.db`), choose another name, or set `mode` to `append`, `replace` or `replace_window` (`fetch` has `--append`, `--replace` and `--replace-window`)
    note: nothing was written; table events in out.db is as it was before

    # a table of another shape
    error: the table `events` has other columns than the rows
      caused by: from there to the rows: - event_name VARCHAR, - event_time TIMESTAMP, - insert_id VARCHAR, + last_seen TIMESTAMP
    hint: choose another destination, or set `mode = "replace"`
    note: nothing was written; table events in out.db is as it was before

    # a folder that is not there
    error: cannot create `no/such/folder/out.db`
      caused by: the folder `no/such/folder` does not exist
    hint: create it: mkdir -p no/such/folder
    note: nothing was written

    # a file that is no database
    error: cannot open `notes.txt`
      caused by: the file is not a DuckDB database
    hint: choose another path, or move the file away
    note: nothing was written; table events in notes.txt is as it was before

    # mixflow query SELECT 1 --db missing.db
    error: cannot open `missing.db`
      caused by: there is no such file
    hint: name the database with `--db`, or fetch something into it first

    # mixflow schema event --db out.db
    error: there is no table `event` in `out.db`
      caused by: it has events, did you mean `events`?
    hint: `mixflow tables` lists them
    "#);
}
