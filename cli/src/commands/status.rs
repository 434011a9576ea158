//! `mixflow status`.

use std::io::{self, IsTerminal as _};

use clap::Args as ClapArgs;
use mixflow::{Days, DaysAsked};
use mixflow_core::Result;
use mixflow_core::destination::Destination;
use mixflow_core::engine::Pipeline;
use mixflow_core::ledger::DayRecord;

use super::changes::overrides;
use super::tables::{counts, dates, show, texts, times};
use crate::app::App;
use crate::args::{Changes, DaysArgs, ShowArgs};
use crate::calendar::{Drawing, draw};
use crate::exit::Exit;
use crate::output::width;

/// `mixflow status`.
#[derive(Debug, ClapArgs)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) days: DaysArgs,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

pub(crate) fn status(app: &App, args: &StatusArgs) -> Exit {
    let (pipeline, days) = match days(app, &args.days) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let for_people = args.show.format.is_none() && args.show.output.is_none();
    if for_people && io::stdout().is_terminal() {
        app.ui.out_styled(&draw(&Drawing {
            title: &title(&pipeline, &days),
            days: &days,
            width: width(),
            color: app.ui.has_color_on_stdout(),
        }));
        return Exit::Done;
    }
    app.exit_of(table(&days, &args.show))
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
    let zone = match days.calendar.zone.iana_name() {
        None | Some("UTC") => String::new(),
        Some(zone) => format!(", days of {zone}"),
    };
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

/// Names destinations, for people.
pub(super) fn places(destinations: &[Destination]) -> String {
    let places: Vec<String> = destinations.iter().map(ToString::to_string).collect();
    places.join(" and ")
}

/// Writes a row a day.
fn table(days: &Days, args: &ShowArgs) -> Result<()> {
    let all: Vec<_> = days.iter().collect();
    let records = || all.iter().map(|(_, _, record)| *record);
    // Of a day that is missing there is nothing.
    let count =
        |of: fn(&DayRecord) -> Option<u64>| counts(records().map(|r| r.map_or(Some(0), of)));
    let runs = records().map(|record| Some(record?.run_id.as_str()));
    show(
        args,
        vec![
            ("day", dates(all.iter().map(|(day, ..)| Some(*day)))),
            ("state", texts(all.iter().map(|(_, s, _)| Some(s.as_str())))),
            ("rows", count(|record| record.rows)),
            ("duplicates", count(|record| Some(record.duplicates))),
            ("bytes", count(|record| record.bytes)),
            ("fetched_at", times(records().map(|r| Some(r?.fetched_at)))),
            ("run_id", texts(runs)),
        ],
    )
}
