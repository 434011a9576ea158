//! `mixflow archive`: what is kept, whether it is whole, and removing it.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use clap::{Args as ClapArgs, Subcommand};
use jiff::Span;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use mixflow::archive::{Archive, Kept, Note, Pruned};
use mixflow_core::config::Days;
use mixflow_core::engine::Pipeline;
use mixflow_core::unit::{Dataset, Extent};
use mixflow_core::{Error, ErrorKind, Result};

use super::query::how;
use super::tables::{counts, dates, show, texts, times};
use crate::app::App;
use crate::args::{Format, ShowArgs};
use crate::exit::Exit;
use crate::interrupt;
use crate::ui::{bytes, count, counted};

/// `mixflow archive`.
#[derive(Debug, Subcommand)]
pub(crate) enum ArchiveCommand {
    /// List what is kept
    List(ListArgs),
    /// Compare every byte with the hashes that were made while it was fetched
    ///
    /// Exits with 1 and names what differs, is gone, or is not known.
    Verify(ListArgs),
    /// Remove old days of the pipeline's data; asks nothing
    Prune(PruneArgs),
}

/// `mixflow archive list` and `mixflow archive verify`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ListArgs {
    /// Pipeline file, with `[archive]`
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

/// `mixflow archive prune`.
#[derive(Debug, ClapArgs)]
pub(crate) struct PruneArgs {
    /// Pipeline file, with `[archive]`
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Remove days that are older, such as `730d`
    #[arg(long, value_name = "DAYS", value_parser = Days::from_str)]
    pub(crate) older_than: Days,
}

pub(crate) fn archive(app: &App, command: &ArchiveCommand) -> Exit {
    let (ArchiveCommand::List(ListArgs { file, .. })
    | ArchiveCommand::Verify(ListArgs { file, .. })
    | ArchiveCommand::Prune(PruneArgs { file, .. })) = command;
    let mut pipelines = Vec::new();
    let mut worst = Exit::Done;
    for of in app.each(file, &[]) {
        match app.load_to_replay(&of) {
            Ok(pipeline) => pipelines.push((of.project, pipeline)),
            Err(_) => worst = Exit::Usage,
        }
    }
    if pipelines.is_empty() {
        return worst;
    }
    let done = match command {
        ArchiveCommand::List(args) => app.exit_of(list(&archives(&pipelines), args)),
        ArchiveCommand::Verify(args) => verify_all(app, &archives(&pipelines), args),
        ArchiveCommand::Prune(args) => prune_all(app, &pipelines, args),
    };
    done.max(worst)
}

/// An archive, and the project that it is of; none if it is of several or there is
/// but one.
type Named = (Option<String>, Archive);

/// Returns the archives of pipelines, each once: projects may share one.
fn archives(pipelines: &[(Option<String>, Pipeline)]) -> Vec<Named> {
    let mut archives: Vec<Named> = Vec::new();
    for (project, pipeline) in pipelines {
        let archive = archive_of(pipeline);
        let known = archives
            .iter_mut()
            .find(|(_, known)| known.path() == archive.path());
        match known {
            Some((project, _)) => *project = None,
            None => archives.push((project.clone(), archive)),
        }
    }
    archives
}

fn archive_of(pipeline: &Pipeline) -> Archive {
    // Without one it cannot be loaded.
    Archive::of(&pipeline.source.archive().cloned().unwrap_or_default())
}

fn verify_all(app: &App, archives: &[Named], args: &ListArgs) -> Exit {
    let exits = archives
        .iter()
        .map(|(_, archive)| app.exit_of(verify(app, archive, args)));
    exits.max().unwrap_or(Exit::Done)
}

fn prune_all(app: &App, pipelines: &[(Option<String>, Pipeline)], args: &PruneArgs) -> Exit {
    let exits = pipelines.iter().map(|(_, pipeline)| {
        let dataset = pipeline.source.info().dataset;
        app.exit_of(prune(app, &archive_of(pipeline), &dataset, args))
    });
    exits.max().unwrap_or(Exit::Done)
}

fn list(archives: &[Named], args: &ListArgs) -> Result<()> {
    let mut all: Vec<(Option<&str>, &Archive, Kept)> = Vec::new();
    for (project, archive) in archives {
        let kept = archive.list()?.into_iter();
        all.extend(kept.map(|kept| (project.as_deref(), archive, kept)));
    }
    let kept = || all.iter().map(|(_, _, kept)| kept);
    let notes: Vec<Option<&Note>> = kept().map(|kept| kept.note.as_ref().ok()).collect();
    let notes = || notes.iter().copied();
    let files = all.iter().map(|(_, archive, kept)| within(archive, kept));
    let mut columns = vec![
        ("first_day", dates(kept().map(|kept| Some(kept.day)))),
        ("last_day", dates(kept().map(last_day))),
        (
            "fetched_at",
            times(kept().map(|kept| Some(kept.fetched_at()))),
        ),
        ("bytes", counts(notes().map(|note| Some(note?.body.bytes)))),
        (
            "stored_bytes",
            counts(notes().map(|note| Some(note?.file.bytes))),
        ),
    ];
    // A table is to fit a terminal.
    if how(&args.show).format != Format::Table {
        let filters: Vec<Option<String>> = notes()
            .map(|note| Some(serde_json::json!(note?.dataset.filters).to_string()))
            .collect();
        columns.extend([
            (
                "project",
                texts(notes().map(|note| Some(note?.dataset.project.as_str()))),
            ),
            (
                "type",
                texts(notes().map(|note| Some(note?.dataset.kind.as_str()))),
            ),
            ("filters", texts(filters.iter().map(Option::as_deref))),
            (
                "sha256",
                texts(notes().map(|note| Some(note?.body.sha256.as_str()))),
            ),
            ("unit_key", texts(kept().map(|kept| Some(kept.unit_key())))),
        ]);
    } else if all.iter().any(|(project, ..)| project.is_some()) {
        let projects = all.iter().map(|(project, ..)| *project);
        columns.insert(0, ("project", texts(projects)));
    }
    columns.push((
        "file",
        Arc::new(files.map(Some).collect::<StringArray>()) as ArrayRef,
    ));
    show(&args.show, columns)
}

/// Returns the last day of a body; of a damaged one it is not known.
fn last_day(kept: &Kept) -> Option<Date> {
    match kept.note.as_ref().ok()?.unit.extent {
        Extent::Days(days) => Some(days.last),
        Extent::Page(_) | Extent::Whole => Some(kept.day),
    }
}

/// Returns the path of a body in its archive.
fn within(archive: &Archive, kept: &Kept) -> String {
    let path = kept.path.strip_prefix(archive.path());
    path.unwrap_or(&kept.path).display().to_string()
}

fn verify(app: &App, archive: &Archive, args: &ListArgs) -> Result<()> {
    let place = archive.path().display();
    if !archive.is_there()? {
        let message = format!("cannot verify the archive `{place}`");
        return Err(Error::new(ErrorKind::Io, message).because("it is not there"));
    }
    let verdict = archive.verify(&interrupt::token())?;
    let found = &verdict.differences;
    if found.is_empty() {
        app.ui.status(&format!(
            "{} in `{place}`, {}: all as fetched",
            bodies(verdict.bodies),
            bytes(verdict.bytes)
        ));
    }
    let paths: Vec<String> = found
        .iter()
        .map(|differs| differs.path.display().to_string())
        .collect();
    if !found.is_empty() || how(&args.show).format != Format::Table {
        let what = found.iter().map(|differs| Some(differs.what));
        let why = found.iter().map(|differs| Some(differs.reason.as_str()));
        show(
            &args.show,
            vec![
                ("problem", texts(what)),
                ("file", texts(paths.iter().map(|path| Some(path.as_str())))),
                ("reason", texts(why)),
            ],
        )?;
    }
    if found.is_empty() {
        return Ok(());
    }
    for (differs, path) in found.iter().zip(&paths) {
        app.ui
            .warning(&format!("`{path}` is {}: {}", differs.what, differs.reason));
    }
    let message = format!(
        "{} of the archive `{place}` not as fetched",
        counted(found.len() as u64, "file")
    );
    Err(Error::new(ErrorKind::Data, message).hint(
        "fetch these days again with `mixflow run FILE --from D --to D`: the newest body of a day counts",
    ))
}

fn prune(app: &App, archive: &Archive, dataset: &Dataset, args: &PruneArgs) -> Result<()> {
    let Days(days) = args.older_than;
    let zone = TimeZone::get(&dataset.zone).unwrap_or(TimeZone::UTC);
    let today = mixflow_core::clock::now().to_zoned(zone).date();
    let first_to_stay = today.saturating_sub(Span::new().days(i64::from(days)));
    let pruned = archive.prune(dataset, first_to_stay)?;
    tell(app, archive, first_to_stay, &pruned);
    Ok(())
}

fn tell(app: &App, archive: &Archive, first_to_stay: Date, pruned: &Pruned) {
    let Pruned {
        removed,
        bytes: freed,
        others,
        unknown,
    } = pruned;
    for path in removed {
        app.ui.status(&format!("removed {}", path.display()));
    }
    app.ui.status(&format!(
        "removed {} of days before {first_to_stay} from `{}`, {}",
        bodies(removed.len() as u64),
        archive.path().display(),
        bytes(*freed)
    ));
    if *others > 0 {
        let bodies = bodies(*others);
        app.ui.note(&format!(
            "{bodies} of such days stay, which are of other filters than the pipeline's"
        ));
    }
    if *unknown > 0 {
        let bodies = bodies(*unknown);
        app.ui.warning(&format!(
            "{bodies} of such days stay, since it is not known what they are; `mixflow archive verify` names them"
        ));
    }
}

fn bodies(n: u64) -> String {
    match n {
        1 => "1 body".to_owned(),
        n => format!("{} bodies", count(n)),
    }
}
