//! `mixflow query`.

use arrow::util::display::FormatOptions;
use arrow::util::pretty::pretty_format_batches_with_options;
use mixflow_core::{Error, ErrorKind, Result};

use crate::app::App;
use crate::args::QueryArgs;
use crate::exit::Exit;
use crate::ui::counted;

pub(crate) fn query(app: &App, args: &QueryArgs) -> Exit {
    match table(app, args) {
        Ok(table) => {
            app.ui.out(&table);
            Exit::Done
        }
        Err(error) => {
            app.ui.error(&error);
            Exit::of(error.kind())
        }
    }
}

fn table(app: &App, args: &QueryArgs) -> Result<String> {
    let db = args
        .db
        .clone()
        .or_else(|| app.default_db())
        .ok_or_else(|| {
            Error::new(ErrorKind::Config, "it is not known which database to ask")
                .hint("give `--db PATH`, or set MIXPANEL_PROJECT_ID")
        })?;
    let batches = mixflow_sink_duckdb::query(&db, &args.sql)?;
    let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
    let options = FormatOptions::default().with_null("NULL");
    let table = pretty_format_batches_with_options(&batches, &options)?;
    Ok(format!("{table}\n{}\n", counted(rows as u64, "row")))
}
