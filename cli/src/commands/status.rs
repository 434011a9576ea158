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
use crate::app::App;
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
    let (pipeline, days) = match days(app, &asked) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    if is_for_people(&args.show) {
        paint(app, &title(&pipeline, &days), &days);
        return Exit::Done;
    }
    app.exit_of(table(&days, &args.show))
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

/// Looks at the days of a pipeline file's destination, or says why not.
pub(super) fn days(app: &App, args: &DaysArgs) -> Result<(Pipeline, Days), Exit> {
    let changes = Changes {
        set: args.set.clone(),
        ..Changes::default()
    };
    let overrides = overrides(app, &changes)?;
    let pipeline = app.load(&args.file, &overrides).ok_or(Exit::Usage)?;
    let asked = DaysAsked {
        from: args.from,
        to: args.to,
    };
    let days = Days::of(&pipeline, app.state_folder(), asked).map_err(|error| {
        app.ui.error(&error);
        Exit::of(error.kind())
    })?;
    Ok((pipeline, days))
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
fn table(days: &Days, args: &ShowArgs) -> Result<()> {
    let all: Vec<_> = days.iter().collect();
    show(args, columns_of(&all))
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
