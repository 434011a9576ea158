//! `mixflow catalog`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, ListBuilder, StringBuilder};
use clap::Args as ClapArgs;
use mixflow::transforms::{ColumnType, Difference, KnownProperty, MOST_PROPERTIES};
use mixflow::{Catalog, Property, Store, catalog_of};
use mixflow_core::{Error, ErrorKind, Result};

use super::query::{how, store};
use super::tables::{counts, dates, show, texts};
use crate::app::App;
use crate::args::{DbArg, Format, ShowArgs, local};
use crate::exit::Exit;
use crate::ui::{count, counted};

/// The columns that every table of events has. The one of profiles is there if
/// the table has it.
const OURS: [&str; 5] = [
    "event_name",
    "event_time",
    "distinct_id",
    "insert_id",
    "properties",
];

/// `mixflow catalog`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CatalogArgs {
    /// The table
    #[arg(default_value = "events")]
    pub(crate) table: String,
    #[command(flatten)]
    pub(crate) db: DbArg,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
    /// Only of the events of this name
    #[arg(long, value_name = "NAME")]
    pub(crate) event: Option<String>,
    /// Show what is new, gone or of another type since a catalogue that --format json has written
    #[arg(long, value_name = "OLD.json", value_parser = local)]
    pub(crate) diff: Option<PathBuf>,
    /// Print an `extract` for a pipeline file that makes a column of each property
    #[arg(long, conflicts_with_all = ["format", "output", "diff"])]
    pub(crate) toml: bool,
}

pub(crate) fn catalog(app: &App, args: &CatalogArgs) -> Exit {
    match answered(app, args) {
        Ok(exit) => exit,
        Err(error) => app.fail(&error),
    }
}

fn answered(app: &App, args: &CatalogArgs) -> Result<Exit> {
    // A file that cannot be read is known before a table of millions is.
    let earlier = args.diff.as_deref().map(read).transpose()?;
    let store = store(app, &args.db)?;
    let catalog = catalog_of(&store, &args.table, args.event.as_deref())?;
    warn(app, &catalog);
    if args.toml {
        app.ui.out(&toml(&store, &args.table, &catalog)?);
        return Ok(Exit::Done);
    }
    let Some(earlier) = earlier else {
        show_properties(&catalog.properties, &args.show)?;
        return Ok(Exit::Done);
    };
    let differences = catalog.differences(&earlier);
    show_differences(&differences, &args.show)?;
    Ok(match differences.is_empty() {
        true => Exit::Done,
        false => Exit::Partial,
    })
}

/// Shows every property of a table on the terminal.
pub(super) fn show_all(store: &Store, table: &str) -> Result<()> {
    let catalog = catalog_of(store, table, None)?;
    let show = ShowArgs {
        format: None,
        output: None,
    };
    show_properties(&catalog.properties, &show)
}

/// Reads an earlier catalogue.
fn read(path: &Path) -> Result<Vec<KnownProperty>> {
    let message = || format!("cannot read the catalogue `{}`", path.display());
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::new(ErrorKind::Io, message()).with_source(error))?;
    serde_json::from_str(&text).map_err(|error| {
        let error = Error::new(ErrorKind::Config, message()).with_source(error);
        error.hint("give `--diff` a file that `mixflow catalog --format json` has written")
    })
}

/// Says what is not in the catalogue.
fn warn(app: &App, catalog: &Catalog) {
    if catalog.is_cut {
        let most = count(MOST_PROPERTIES as u64);
        app.ui.warning(&format!(
            "there are more than {most} properties; only those that came first are counted"
        ));
    }
    if catalog.unreadable > 0 {
        let rows = counted(catalog.unreadable, "row");
        app.ui.warning(&format!(
            "the properties of {rows} are not JSON, and are not counted"
        ));
    }
}

/// Returns the `extract` of a catalogue.
fn toml(store: &Store, table: &str, catalog: &Catalog) -> Result<String> {
    let columns = store.schema(table)?;
    let is_seen = |name: &str| columns.iter().any(|column| column.column_name == name);
    let profiles = ["last_seen"].into_iter().filter(|name| is_seen(name));
    let reserved: Vec<&str> = OURS.into_iter().chain(profiles).collect();
    catalog.extract_toml(&reserved).ok_or_else(|| {
        let message = format!("cannot write an `extract` for `{table}`");
        Error::new(ErrorKind::Query, message).because("no property has a value")
    })
}

fn show_properties(properties: &[Property], args: &ShowArgs) -> Result<()> {
    let is_read = how(args).format == Format::Table;
    let all = || properties.iter();
    let fills = all().map(|one| Some(if is_read { rounded(one.fill) } else { one.fill }));
    let mut columns = vec![
        ("property", texts(all().map(|one| Some(&*one.property)))),
        ("types", types(args, all().map(|one| Some(&*one.types)))),
        (
            "fill",
            Arc::new(fills.collect::<Float64Array>()) as ArrayRef,
        ),
        ("distinct", counts(all().map(|one| one.distinct))),
        ("first_day", dates(all().map(|one| one.first_day))),
        ("last_day", dates(all().map(|one| one.last_day))),
        ("example", texts(all().map(|one| one.example.as_deref()))),
    ];
    if is_read {
        // A narrow terminal has no room for the last one.
        columns.swap(4, 6);
        columns.swap(5, 6);
    }
    show(args, columns)
}

fn show_differences(differences: &[Difference], args: &ShowArgs) -> Result<()> {
    let all = || differences.iter();
    let changes: Vec<String> = all().map(|one| one.change.to_string()).collect();
    show(
        args,
        vec![
            ("property", texts(all().map(|one| Some(&*one.property)))),
            ("change", texts(changes.iter().map(|one| Some(&**one)))),
            (
                "before",
                types(args, all().map(|one| one.before.as_deref())),
            ),
            ("after", types(args, all().map(|one| one.after.as_deref()))),
        ],
    )
}

/// Returns the share as people read it; only a full column has 1, only an empty
/// one 0.
fn rounded(fill: f64) -> f64 {
    match (fill * 1_000.0).floor() / 1_000.0 {
        0.0 if fill > 0.0 => 0.001,
        rounded => rounded,
    }
}

/// Returns a column of types: lists, or texts where a format has no lists.
fn types<'t>(args: &ShowArgs, types: impl Iterator<Item = Option<&'t [ColumnType]>>) -> ArrayRef {
    let words = types.map(|types| {
        let words = types?.iter().map(ToString::to_string);
        Some(words.collect::<Vec<String>>())
    });
    if matches!(how(args).format, Format::Table | Format::Csv) {
        let joined: Vec<Option<String>> = words.map(|words| Some(words?.join(", "))).collect();
        return texts(joined.iter().map(Option::as_deref));
    }
    let mut lists = ListBuilder::new(StringBuilder::new());
    for words in words {
        match words {
            Some(words) => lists.append_value(words.into_iter().map(Some)),
            None => lists.append_null(),
        }
    }
    Arc::new(lists.finish())
}
