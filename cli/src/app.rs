//! What the commands share: how pipelines are loaded and run.

use std::cell::Cell;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use mixflow::alarms::{self, Means, News};
use mixflow::launch::{HistoryEntry, Launch, Patience, run_id};
#[cfg(feature = "lake")]
use mixflow::objects::Location;
#[cfg(feature = "lake")]
use mixflow::plans::Planned;
#[cfg(feature = "lake")]
use mixflow::stage::Stage;
use mixflow::state_folder;
use mixflow_core::config::{
    Alarms, Document, Env, Known, Override, OverrideValue, Parsed, Problems, build,
};
use mixflow_core::engine::Pipeline;
use mixflow_core::registry::{BuildContext, Registry};
use mixflow_core::report::{RunReport, Status};
#[cfg(feature = "lake")]
use mixflow_core::slots::RequestSlots;
use mixflow_core::unit::Unit;
use mixflow_core::{Error, ErrorKind};
use mixflow_state::State;
#[cfg(feature = "lake")]
use serde_json::{Map, Value};

use crate::args::Global;
use crate::defaults::Defaults;
use crate::ending;
use crate::exit::Exit;
use crate::interrupt::{self, Tidying};
use crate::lines::{During, Form};
use crate::progress::Reporter;
use crate::provenance::{self, Fact};
use crate::remedies;
use crate::report_file::{self, METRICS, REPORT, Reports};
use crate::screen::plain;
use crate::ui::{self, Ui};
use crate::unrun::{self, Unbuilt};

/// How a pipeline is run.
pub(crate) struct Manner {
    /// How long another run that writes to the same destination is waited for
    /// before this one fails.
    pub(crate) patience: Patience,
    /// The units to read; `None` is what the source plans.
    pub(crate) units: Option<Vec<Unit>>,
    /// Requests that may be made; `None` is any number.
    pub(crate) most_requests: Option<u64>,
    /// What the history says of it.
    pub(crate) entry: HistoryEntry,
    /// What to do when something is missing at the end.
    pub(crate) remedy: String,
}

/// A pipeline that was built, and what is known of it.
pub(crate) struct Loaded {
    pub(crate) pipeline: Pipeline,
    /// Who says which project is asked.
    pub(crate) facts: Vec<Fact>,
    /// What another machine can build it from, or the keys of secrets in plain text.
    #[cfg(feature = "lake")]
    pub(crate) portable: Result<Map<String, Value>, Vec<String>>,
}

/// One of the pipelines of a file.
#[derive(Clone)]
pub(crate) struct OfFile {
    pub(crate) file: PathBuf,
    /// The project, if the file is for several.
    pub(crate) project: Option<String>,
    /// What is different from the file, the choice of the project included.
    pub(crate) overrides: Vec<Override>,
    /// The text, where it is parsed once for all projects.
    parsed: Option<&'static Parsed<'static>>,
}

impl OfFile {
    /// Returns the same with these differences from the file.
    pub(crate) fn with(&self, overrides: Vec<Override>) -> OfFile {
        OfFile {
            overrides,
            ..self.clone()
        }
    }

    /// Returns what people call it: `daily.toml`, `daily.toml for shop`.
    pub(crate) fn shown(&self) -> String {
        let file = self.file.display();
        match &self.project {
            Some(project) => format!("{file} for {project}"),
            None => file.to_string(),
        }
    }
}

/// Runs among which the one is looked for that has left something.
const LOOKED_BACK: usize = 50;

/// What a pipeline is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To be run, or to see how it would be.
    Run,
    /// To be run over its archive, or to look after that.
    Replay,
}

/// What only a server is asked with.
const FOR_SERVER: [&str; 2] = ["source.auth", "source.base_url"];

/// Leaves that out: a variable in it may not be set.
fn without_server() -> impl Iterator<Item = Override> {
    FOR_SERVER
        .into_iter()
        .map(|key| Override::set(key, OverrideValue::Nothing, "replay".to_owned()))
}

fn is_for_server(change: &Override) -> bool {
    let within = |key: &str| {
        let rest = change.key.strip_prefix(key);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    FOR_SERVER.into_iter().any(within)
}

/// The process: its components, its surroundings and its terminal.
pub(crate) struct App {
    pub(crate) registry: Registry,
    pub(crate) ui: Ui,
    pub(crate) env: Env,
    global: Global,
    home: Option<PathBuf>,
    /// Whether it has been said that others may read the connections.
    is_warned: Cell<bool>,
    /// Held for as long as the process runs, so that nothing that it has to say
    /// is lost, whoever finds it.
    state: Option<Arc<State>>,
}

impl App {
    pub(crate) fn new(registry: Registry, global: &Global) -> App {
        let ui = Ui::new(global);
        interrupt::catch(
            move || ui.complaint("interrupted"),
            move || ui.status("stopping; Ctrl-C again leaves at once"),
        );
        start_logging(global.verbose, ui);
        if ui.form() != Form::Screen {
            // The line of a panic is a line of the log, too.
            std::panic::set_hook(Box::new(move |panic| ui.complaint(&panic.to_string())));
        }
        let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
        App {
            registry,
            ui,
            env: Env::new(|name| std::env::var(name).ok()),
            global: global.clone(),
            state: state_folder(home.as_deref()).map(|folder| State::at(&folder)),
            home,
            is_warned: Cell::new(false),
        }
    }

    /// Returns what is remembered from run to run, if there is a folder for it.
    pub(crate) fn state(&self) -> Option<&State> {
        self.state.as_deref()
    }

    /// Returns the folder of what is remembered, if there is one.
    pub(crate) fn state_folder(&self) -> Option<&Path> {
        self.state().map(State::folder)
    }

    /// Says what went wrong, if something did, and returns how to end.
    pub(crate) fn exit_of(&self, result: Result<impl Into<Exit>, Error>) -> Exit {
        match result {
            Ok(exit) => exit.into(),
            Err(error) => self.fail(&error),
        }
    }

    /// Says what went wrong, and returns how to end.
    pub(crate) fn fail(&self, error: &Error) -> Exit {
        self.ui.error(error);
        Exit::of(error.kind())
    }

    /// Tells what a person should know of the state and has not been told.
    pub(crate) fn warn_of_state(&self) {
        let warnings = self.state().map(State::take_warnings);
        for warning in warnings.iter().flatten() {
            self.ui.warning(warning);
        }
    }

    /// Returns the runs of the history, the one that ended last first.
    pub(crate) fn history(&self, most: usize) -> Result<Vec<RunReport>, Error> {
        let Some(state) = self.state() else {
            return Ok(Vec::new());
        };
        let runs = state.runs(most).map_err(|error| {
            let folder = state.folder().display();
            let message = format!("cannot read the history in `{folder}`");
            Error::new(ErrorKind::Destination, message).with_source(error)
        });
        if runs.is_err() {
            // The error says it.
            state.take_warnings();
        }
        runs
    }

    /// Returns the database that commands without a pipeline mean.
    pub(crate) fn default_db(&self) -> Option<PathBuf> {
        let project = self.env.get("MIXPANEL_PROJECT_ID")?;
        Some(mixflow_sink_duckdb::default_path(
            self.home.as_deref()?,
            &project,
        ))
    }

    /// Builds the pipeline of a text, or says what is wrong with it. Makes no
    /// I/O.
    pub(crate) fn build(
        &self,
        origin: &str,
        name: &str,
        text: &str,
        overrides: &[Override],
    ) -> Result<Pipeline, Box<Unbuilt>> {
        let parsed = Parsed::of(text);
        let built = self.build_in(self.build_context(), origin, name, &parsed, overrides);
        built.map(|built| built.pipeline)
    }

    fn build_in(
        &self,
        cx: BuildContext,
        origin: &str,
        name: &str,
        parsed: &Parsed<'_>,
        overrides: &[Override],
    ) -> Result<Loaded, Box<Unbuilt>> {
        let defaults = self.defaults(parsed, overrides);
        if let Some(warning) = &defaults.warning
            && !self.is_warned.replace(true)
        {
            self.ui.warning(warning);
        }
        let asks_nobody = cx.replays;
        let needed = |change: &&Override| !(asks_nobody && is_for_server(change));
        let changes = overrides.iter().chain(&defaults.overrides).filter(needed);
        let mut changes: Vec<Override> = changes.cloned().collect();
        if asks_nobody {
            changes.extend(without_server());
        }
        let mut document = Document::of(origin, parsed, &self.env, &changes);
        defaults.tell(&mut document);
        let known = Known::of(&document, self.home.as_deref());
        let facts = provenance::of(&document);
        #[cfg(feature = "lake")]
        let portable = document.portable();
        let built = build(document, name, &self.registry, &cx);
        let loaded = |pipeline| Loaded {
            pipeline,
            facts,
            #[cfg(feature = "lake")]
            portable,
        };
        built.map(loaded).map_err(|problems| {
            self.complain(&problems);
            Box::new(Unbuilt::new(name, known, unrun::of_problems(&problems)))
        })
    }

    /// Finds what is said elsewhere of what a pipeline's text leaves out.
    fn defaults(&self, parsed: &Parsed<'_>, changes: &[Override]) -> Defaults {
        let home = self.home.as_deref();
        Defaults::find(parsed, changes, &self.registry, &self.env, home)
    }

    /// Returns what was said of every command, for another process.
    pub(crate) fn global_flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        if self.global.quiet {
            flags.push("--quiet".to_owned());
        }
        flags.extend((0..self.global.verbose).map(|_| "-v".to_owned()));
        if self.ui.form() == Form::Json {
            flags.push("--log-format=json".to_owned());
        }
        flags
    }

    /// Returns where named connections are, if there is a folder for them.
    pub(crate) fn connections_file(&self) -> Option<PathBuf> {
        mixflow::connections::connections_file(self.home.as_deref())
    }

    fn build_context(&self) -> BuildContext {
        BuildContext {
            env: self.env.clone(),
            home: self.home.clone(),
            state: self.state_folder().map(ToOwned::to_owned),
            ..BuildContext::new(mixflow_core::clock::now())
        }
    }

    /// Does `one` for each of the pipelines, and returns the worst that came of it.
    /// An error ends them all, and is at least as bad.
    pub(crate) fn in_turn(
        &self,
        doing: &str,
        all: &[OfFile],
        mut one: impl FnMut(&OfFile) -> Result<Exit, Exit>,
    ) -> Result<Exit, Exit> {
        let mut worst = Exit::Done;
        for of in all {
            if all.len() > 1 {
                self.ui.status(&format!("{doing} {}", of.shown()));
            }
            let exit = one(of).map_err(|exit| worst.max(exit))?;
            worst = worst.max(exit);
            // Who interrupts means all of it.
            if exit == Exit::Interrupted {
                break;
            }
        }
        Ok(worst)
    }

    /// Returns the pipelines of a file: one for each of its projects, unless
    /// `overrides` choose one, and otherwise one.
    pub(crate) fn each(&self, file: &Path, overrides: &[Override]) -> Vec<OfFile> {
        let alone = OfFile {
            file: file.to_owned(),
            project: None,
            overrides: overrides.to_vec(),
            parsed: None,
        };
        if overrides.iter().any(|change| change.key == "project") {
            return vec![alone];
        }
        // A pipe can be read once, and that is for who builds the pipeline. What cannot
        // be read is told then.
        let is_file = std::fs::metadata(file).is_ok_and(|found| found.is_file());
        let text = is_file.then(|| std::fs::read_to_string(file).unwrap_or_default());
        let text = text.unwrap_or_default();
        let names = Parsed::of(&text).projects();
        if names.is_empty() {
            return vec![alone];
        }
        // To parse 1,000 projects for each of them takes a second. The text is needed
        // until the process ends, and what is parsed points into it.
        let parsed = Parsed::of(Box::leak(text.into_boxed_str()));
        let parsed: &'static Parsed<'static> = Box::leak(Box::new(parsed));
        let of = |name: String| {
            let value = OverrideValue::Text(name.clone());
            let choice = Override::set("project", value, format!("--set project={name}"));
            let mut overrides = overrides.to_vec();
            overrides.push(choice);
            OfFile {
                file: file.to_owned(),
                project: Some(name),
                overrides,
                parsed: Some(parsed),
            }
        };
        names.into_iter().map(of).collect()
    }

    /// Builds the pipeline of a file, and says nothing if that cannot be done.
    pub(crate) fn load_quietly(&self, file: &Path) -> Option<Pipeline> {
        let text = std::fs::read_to_string(file).ok()?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let parsed = Parsed::of(&text);
        let defaults = self.defaults(&parsed, &[]);
        let origin = file.display().to_string();
        let mut document = Document::of(&origin, &parsed, &self.env, &defaults.overrides);
        defaults.tell(&mut document);
        build(document, &name, &self.registry, &self.build_context()).ok()
    }

    /// Builds the pipeline of a file, or says why not.
    pub(crate) fn load(&self, file: &Path, overrides: &[Override]) -> Option<Pipeline> {
        let loaded = self.load_for(Purpose::Run, file, None, overrides).ok();
        loaded.map(|loaded| loaded.pipeline)
    }

    /// Builds one of the pipelines of a file; or says why not, and returns it for the
    /// report.
    pub(crate) fn load_or_report(&self, of: &OfFile) -> Result<Pipeline, Box<Unbuilt>> {
        self.load_one(of).map(|loaded| loaded.pipeline)
    }

    /// Builds one of the pipelines of a file, with all that is known of it; or says
    /// why not.
    pub(crate) fn load_one(&self, of: &OfFile) -> Result<Loaded, Box<Unbuilt>> {
        self.load_for(Purpose::Run, &of.file, of.parsed, &of.overrides)
    }

    /// Builds a pipeline of the plan in `file`, or says why not. The requests that it
    /// makes are shared with all machines that use `stage`.
    #[cfg(feature = "lake")]
    pub(crate) fn load_planned(
        &self,
        file: &Path,
        planned: &Planned,
        stage: Option<&Stage>,
    ) -> Option<Pipeline> {
        let text = planned.to_toml().map_err(|error| self.ui.error(&error));
        let cx = BuildContext {
            slots: stage.map(|stage| Arc::new(stage.slots()) as Arc<dyn RequestSlots>),
            ..self.build_context()
        };
        let origin = file.display().to_string();
        let text = text.ok()?;
        let built = self.build_in(cx, &origin, planned.name(), &Parsed::of(&text), &[]);
        built.ok().map(|built| built.pipeline)
    }

    /// Opens the part of the stage at `place` that a plan has.
    #[cfg(feature = "lake")]
    pub(crate) fn stage(&self, place: &str, plan: &str) -> Result<Stage, Error> {
        let location = Location::parse(place, self.home.as_deref()).map_err(|why| {
            Error::new(ErrorKind::Config, "cannot use what `--stage` names").because(why)
        })?;
        Stage::open(&location, plan, &interrupt::token())
    }

    /// Returns a folder for files without a name.
    #[cfg(feature = "lake")]
    pub(crate) fn scratch(&self) -> PathBuf {
        let folder = self.state_folder().filter(|folder| folder.is_dir());
        folder.map_or_else(std::env::temp_dir, Path::to_owned)
    }

    /// Builds the pipeline of a file with its archive as the source, or says why
    /// not.
    pub(crate) fn load_to_replay(&self, of: &OfFile) -> Result<Pipeline, Box<Unbuilt>> {
        let loaded = self.load_for(Purpose::Replay, &of.file, of.parsed, &of.overrides);
        loaded.map(|loaded| loaded.pipeline)
    }

    fn load_for(
        &self,
        purpose: Purpose,
        file: &Path,
        parsed: Option<&Parsed<'static>>,
        overrides: &[Override],
    ) -> Result<Loaded, Box<Unbuilt>> {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let origin = file.display().to_string();
        let cx = BuildContext {
            replays: purpose == Purpose::Replay,
            ..self.build_context()
        };
        if let Some(parsed) = parsed {
            return self.build_in(cx, &origin, &name, parsed, overrides);
        }
        let text = std::fs::read_to_string(file).map_err(|error| {
            let error = unreadable(file, error);
            self.ui.error(&error);
            Box::new(Unbuilt::new(&name, Known::default(), error))
        })?;
        self.build_in(cx, &origin, &name, &Parsed::of(&text), overrides)
    }

    /// Prints what is wrong with a pipeline.
    fn complain(&self, problems: &Problems) {
        let text = problems.to_string();
        for problem in text.split("\n\n") {
            self.ui.complaint(problem);
        }
    }

    /// Runs a pipeline and tells how it went.
    pub(crate) fn run(&self, pipeline: &Pipeline, manner: Manner) -> RunReport {
        let _tidying = Tidying::begin();
        let mut reporter = Reporter::new(self.ui, &self.global, &*pipeline.source);
        let file = manner.entry.pipeline_path.clone();
        let run_id = run_id();
        let _during = During::run(&pipeline.name, &run_id);
        let launch = Launch {
            run_id: Some(run_id),
            state: self.state_folder().map(ToOwned::to_owned),
            patience: manner.patience,
            units: manner.units,
            most_requests: manner.most_requests,
            history: Some(manner.entry),
        };
        let mut report = launch.run(pipeline, &mut reporter, &interrupt::token());
        report.error = report.error.take().map(remedies::as_typed);
        for sink in &mut report.sinks {
            sink.error = sink.error.take().map(remedies::as_typed);
        }
        reporter.finish();
        if !reporter.finished(&report) {
            ending::tell(self.ui, &report, &manner.remedy, self.left_by(&report));
        }
        let missing_days = self.missing_days(pipeline);
        self.raise(&pipeline.alarms, &mut report, file.as_deref(), missing_days);
        report
    }

    /// Returns when the run ended that has left what this one has reused; `None` if
    /// it cannot be told: one that was killed is in no history.
    fn left_by(&self, report: &RunReport) -> Option<Timestamp> {
        if report.reused_partitions.is_empty() {
            return None;
        }
        let runs = self.history(LOOKED_BACK).ok()?;
        let mut before = runs.into_iter().filter(|run| run.run_id != report.run_id);
        let left = &report.reused_partitions;
        let found = before.find(|run| {
            let mut partitions = run.partitions.iter();
            run.status != Status::Committed
                && run.pipeline == report.pipeline
                && partitions.any(|partition| left.contains(&partition.label))
        });
        found.map(|run| run.completed_at)
    }

    /// Returns how many days the destination lacks, if somebody is to be told
    /// and it is known.
    pub(crate) fn missing_days(&self, pipeline: &Pipeline) -> Option<u64> {
        pipeline.alarms.metrics.as_ref()?;
        mixflow::missing_days(pipeline, self.state_folder())
            .inspect_err(|error| log::info!("{}", error.in_a_line()))
            .ok()?
    }

    /// Tells those that a pipeline names how its run has ended, or why there
    /// was none. Who cannot be told is a warning.
    pub(crate) fn raise(
        &self,
        alarms: &Alarms,
        report: &mut RunReport,
        file: Option<&Path>,
        missing_days: Option<u64>,
    ) {
        let _tidying = Tidying::begin();
        let news = News {
            report,
            pipeline_path: file,
            missing_days,
        };
        let means = Means {
            env: &self.env,
            state: self.state(),
            cancel: &interrupt::token(),
        };
        let warnings = alarms::raise(alarms, &news, &means);
        for warning in &warnings {
            self.ui.warning(warning);
        }
        report.warnings.extend(warnings);
    }

    /// Checks that `--report` is not one of the pipelines' files, or says so.
    pub(crate) fn check_report_beside(&self, files: &[PathBuf]) -> Result<(), Exit> {
        let Some(report) = &self.global.report else {
            return Ok(());
        };
        let mut checks = files
            .iter()
            .map(|file| report_file::check_file(report, file));
        checks.find_map(Result::err).map_or(Ok(()), |error| {
            self.ui.error(&error);
            Err(Exit::Usage)
        })
    }

    /// Checks that neither `--report` nor the metrics stand where the run
    /// writes, or says so.
    pub(crate) fn check_report(&self, pipeline: &Pipeline) -> Result<(), Exit> {
        let destinations = pipeline.destinations();
        let places = destinations.iter().filter_map(|one| one.path.as_deref());
        let report = self.global.report.as_deref().map(|path| (REPORT, path));
        let metrics = pipeline.alarms.metrics.as_deref();
        let metrics = metrics.map(|path| (METRICS, path));
        let files = report.into_iter().chain(metrics);
        let mut pairs = files.flat_map(|file| places.clone().map(move |place| (file, place)));
        let checked =
            pairs.try_for_each(|((what, path), place)| report_file::check(what, path, place));
        checked.map_err(|error| {
            self.ui.error(&error);
            Exit::Usage
        })
    }

    /// Writes `--report`. What became of the rows does not depend on it.
    pub(crate) fn write_report(&self, reports: &Reports) {
        if let Some(path) = &self.global.report
            && let Err(error) = report_file::write(path, reports)
        {
            self.ui.warning(&error.in_a_line());
        }
    }
}

fn unreadable(file: &Path, error: io::Error) -> Error {
    let missing = error.kind() == io::ErrorKind::NotFound;
    let file = file.display();
    let message = format!("cannot read the pipeline file `{file}`");
    let error = Error::new(ErrorKind::Config, message).with_source(error);
    match missing {
        true => error.hint(format!("`mixflow init {file}` writes one to begin with")),
        false => error,
    }
}

/// Where the lines of loaded sinks come from.
const PLUGIN: &str = "mixflow_plugin";

fn start_logging(verbose: u8, ui: Ui) {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(log::LevelFilter::Off);
    // The HTTP client's own logs say too much: it is named only by RUST_LOG.
    let level = match verbose {
        0 => log::LevelFilter::Off,
        1 => log::LevelFilter::Info,
        2 => log::LevelFilter::Debug,
        _ => log::LevelFilter::Trace,
    };
    builder.filter_module("mixflow", level);
    // What a loaded sink warns of concerns who runs it, as our own warnings do.
    builder.filter_module(PLUGIN, level.max(log::LevelFilter::Warn));
    builder.parse_default_env();
    // Like everything else on stderr: it holds up no process that is to end,
    // and gives no orders to a terminal.
    if ui.has_color() {
        builder.write_style(env_logger::WriteStyle::Always);
    }
    builder.target(env_logger::Target::Pipe(Box::new(LogLines)));
    let form = ui.form();
    builder.format(move |out, record| {
        let plugin = record.target().strip_prefix(PLUGIN);
        if let Some(sink) = plugin.and_then(|rest| rest.strip_prefix("::"))
            && record.level() <= log::Level::Warn
            && verbose == 0
        {
            ui.warning(&format!("`{sink}` says: {}", record.args()));
            return Ok(());
        }
        if form != Form::Screen {
            let text = record.args().to_string();
            ui.logged(record.level(), record.target(), &text);
            return Ok(());
        }
        let (time, level) = (out.timestamp(), record.level());
        let style = out.default_level_style(level);
        let text = record.args().to_string();
        let target = record.target();
        writeln!(
            out,
            "[{time} {style}{level:<5}{style:#} {target}] {}",
            plain(&text)
        )
    });
    // Tests may start it twice.
    let _ = builder.try_init();
}

/// Where log lines go.
struct LogLines;

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        ui::stderr().write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
