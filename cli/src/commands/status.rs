//! `mixflow status`.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use arrow::array::ArrayRef;
use clap::Args as ClapArgs;
use jiff::civil::Date;
use mixflow::{Days, DaysAsked};
use mixflow_core::config::DateSpec;
use mixflow_core::destination::Destination;
use mixflow_core::engine::Pipeline;
use mixflow_core::ledger::{DayRecord, Holding, Standing};
use mixflow_core::{Error, ErrorKind, Result};

use super::changes::overrides;
use super::query::store;
use super::tables::{counts, dates, show, texts, times};
use crate::app::{App, OfFile};
use crate::args::{Changes, DaysArgs, DbArg, ShowArgs};
use crate::calendar::{Drawing, draw};
use crate::exit::Exit;
use crate::output::width;

/// `mixflow status`.
#[derive(Debug, ClapArgs)]
pub(crate) struct StatusArgs {
    /// Pipeline file; with --db a table [default: all tables]
    #[arg(value_name = "FILE", required_unless_present = "db")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) db: DbArg,
    /// Override a key of the file, such as sink.table=other
    #[arg(long, value_name = "KEY=VALUE", conflicts_with = "db")]
    pub(crate) set: Vec<String>,
    /// First day: YYYY-MM-DD, today, yesterday or -7d [default: `start`, else the first day held]
    #[arg(long, value_name = "DAY", allow_hyphen_values = true)]
    pub(crate) from: Option<DateSpec>,
    /// Last day [default: yesterday]
    #[arg(long, value_name = "DAY", allow_hyphen_values = true)]
    pub(crate) to: Option<DateSpec>,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

pub(crate) fn status(app: &App, args: &StatusArgs) -> Exit {
    let file = match &args.file {
        Some(file) if args.db.db.is_none() => file.clone(),
        _ => return app.exit_of(of_database(app, args)),
    };
    let asked = DaysArgs {
        file,
        set: args.set.clone(),
        from: args.from,
        to: args.to,
    };
    let (all, worst) = match days(app, &asked) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    if is_for_people(&args.show) {
        for (n, of) in all.iter().enumerate() {
            if n > 0 {
                app.ui.out("\n");
            }
            paint(app, &title(&of.pipeline, &of.days), &of.days);
        }
        return worst;
    }
    app.exit_of(table(&all, &args.show)).max(worst)
}

/// Whether a calendar is wanted.
fn is_for_people(args: &ShowArgs) -> bool {
    args.format.is_none() && args.output.is_none() && io::stdout().is_terminal()
}

fn paint(app: &App, title: &[String], days: &Days) {
    app.ui.out_styled(&draw(&Drawing {
        title,
        days,
        width: width(),
        color: app.ui.has_color_on_stdout(),
    }));
}

/// Shows what the tables of a database hold, whoever has written them.
fn of_database(app: &App, args: &StatusArgs) -> Result<()> {
    let name = args.file.as_deref().map(Path::to_string_lossy);
    let mut holdings = holdings(app, &args.db, name.as_deref())?;
    holdings.retain(|holding| !holding.ledger.is_empty());
    if let (Some(name), true) = (&name, holdings.is_empty()) {
        let message = format!("nothing is known of the days of `{name}`");
        return Err(Error::new(ErrorKind::Destination, message)
            .because("there is no ledger of it: mixflow did not write it, or it has no days")
            .hint("see `mixflow metadata` for how it was fetched"));
    }
    let asked = DaysAsked {
        from: args.from,
        to: args.to,
    };
    let mut all = Vec::new();
    for holding in holdings {
        all.push((Days::held(&holding, asked)?, holding));
    }
    if !is_for_people(&args.show) {
        return rows_of_tables(&all, &args.show);
    }
    for (days, holding) in &all {
        let dataset = &holding.dataset;
        let mut what = format!("{} of project {}", dataset.kind, dataset.project);
        if !dataset.filters.is_empty() {
            what += &format!(", of which {}", serde_json::json!(dataset.filters));
        }
        what += &of_zone(days);
        paint(app, &[what, format!("table {}", holding.table)], days);
    }
    Ok(())
}

#[cfg(feature = "databases")]
fn holdings(app: &App, db: &DbArg, table: Option<&str>) -> Result<Vec<Holding>> {
    match db.uri() {
        Some(_) => super::databases::holdings(app, db, table),
        None => store(app, db)?.holdings(table),
    }
}

#[cfg(not(feature = "databases"))]
fn holdings(app: &App, db: &DbArg, table: Option<&str>) -> Result<Vec<Holding>> {
    store(app, db)?.holdings(table)
}

/// Writes a row a day of each table.
fn rows_of_tables(all: &[(Days, Holding)], args: &ShowArgs) -> Result<()> {
    let (mut tables, mut filters, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for (days, holding) in all {
        let before = rows.len();
        rows.extend(days.iter());
        let n = rows.len() - before;
        let text = serde_json::json!(holding.dataset.filters).to_string();
        tables.extend(std::iter::repeat_n(holding.table.as_str(), n));
        filters.extend(std::iter::repeat_n(text, n));
    }
    let mut columns = vec![("table_name", texts(tables.into_iter().map(Some)))];
    columns.extend(columns_of(&rows));
    columns.push((
        "filters",
        texts(filters.iter().map(|text| Some(text.as_str()))),
    ));
    show(args, columns)
}

/// The days of a destination, and the pipeline whose it is.
pub(super) struct DaysOf {
    /// The project, if the file is for several.
    project: Option<String>,
    pipeline: Pipeline,
    pub(super) days: Days,
}

/// Looks at the days of the destinations of a file's pipelines, and returns them with
/// the worst of what is wrong with others; or says why there are none.
pub(super) fn days(app: &App, args: &DaysArgs) -> Result<(Vec<DaysOf>, Exit), Exit> {
    let changes = Changes {
        set: args.set.clone(),
        ..Changes::default()
    };
    let overrides = overrides(app, &changes)?;
    let asked = DaysAsked {
        from: args.from,
        to: args.to,
    };
    let (mut all, mut worst) = (Vec::new(), Exit::Done);
    for of in app.each(&args.file, &overrides) {
        match days_of(app, &of, asked) {
            Ok(found) => all.push(found),
            Err(exit) => {
                if of.project.is_some() {
                    app.ui.warning(&format!("{} is left out", of.shown()));
                }
                worst = worst.max(exit);
            }
        }
    }
    if all.is_empty() && worst != Exit::Done {
        return Err(worst);
    }
    Ok((all, worst))
}

fn days_of(app: &App, of: &OfFile, asked: DaysAsked) -> Result<DaysOf, Exit> {
    let pipeline = app.load_or_report(of).map_err(|_| Exit::Usage)?;
    let days = Days::of(&pipeline, app.state_folder(), asked).map_err(|error| app.fail(&error))?;
    Ok(DaysOf {
        project: of.project.clone(),
        pipeline,
        days,
    })
}

/// Returns a first column with the project of each row, if there are several.
///
/// `rows` says how many there are of each.
pub(super) fn project_column(
    all: &[DaysOf],
    rows: impl Fn(&DaysOf) -> usize,
) -> Option<(&'static str, ArrayRef)> {
    let several = all.iter().any(|of| of.project.is_some());
    let names = all
        .iter()
        .flat_map(|of| std::iter::repeat_n(of.project.as_deref(), rows(of)));
    several.then(|| ("project", texts(names)))
}

fn title(pipeline: &Pipeline, days: &Days) -> [String; 2] {
    let info = pipeline.source.info();
    let zone = of_zone(days);
    let filters = match info.dataset.filters.is_empty() {
        true => String::new(),
        false => {
            let filters = serde_json::Value::Object(info.dataset.filters);
            format!(", of which {filters}")
        }
    };
    [
        format!("{}: {}{filters}{zone}", pipeline.name, info.title),
        places(&pipeline.destinations()),
    ]
}

/// Says whose days they are, if not those of UTC.
fn of_zone(days: &Days) -> String {
    match days.calendar.zone.iana_name() {
        None | Some("UTC") => String::new(),
        Some(zone) => format!(", days of {zone}"),
    }
}

/// Names destinations, for people.
pub(super) fn places(destinations: &[Destination]) -> String {
    let places: Vec<String> = destinations.iter().map(ToString::to_string).collect();
    places.join(" and ")
}

/// Writes a row a day.
fn table(all: &[DaysOf], args: &ShowArgs) -> Result<()> {
    let rows: Vec<_> = all.iter().flat_map(|of| of.days.iter()).collect();
    let projects = project_column(all, |of| of.days.iter().count());
    show(
        args,
        projects.into_iter().chain(columns_of(&rows)).collect(),
    )
}

/// A day, how it stands, and what is held of it.
type Day<'d> = (Date, Standing, Option<&'d DayRecord>);

fn columns_of(all: &[Day<'_>]) -> Vec<(&'static str, ArrayRef)> {
    let records = || all.iter().map(|(_, _, record)| *record);
    // Of a day that is missing there is nothing.
    let count =
        |of: fn(&DayRecord) -> Option<u64>| counts(records().map(|r| r.map_or(Some(0), of)));
    let runs = records().map(|record| Some(record?.run_id.as_str()));
    vec![
        ("day", dates(all.iter().map(|(day, ..)| Some(*day)))),
        ("state", texts(all.iter().map(|(_, s, _)| Some(s.as_str())))),
        ("rows", count(|record| record.rows)),
        ("duplicates", count(|record| Some(record.duplicates))),
        ("bytes", count(|record| record.bytes)),
        ("fetched_at", times(records().map(|r| Some(r?.fetched_at)))),
        ("run_id", texts(runs)),
    ]
}
