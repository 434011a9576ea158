//! `mixflow tables`, `schema`, `metadata`, `sample` and `drop`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, Schema};
use clap::Args as ClapArgs;
use mixflow_core::batch::json_field;
use mixflow_core::table::{ColumnInfo, TableMetadata};
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_sink_duckdb::{Store, quoted};

use super::query::{answer, how, path, store};
use crate::app::App;
use crate::args::{DbArg, Format, ShowArgs};
use crate::interrupt::EndsAtSignals;
use crate::output;

/// `mixflow tables`.
#[derive(Debug, ClapArgs)]
pub(crate) struct TablesArgs {
    #[command(flatten)]
    pub(crate) db: DbArg,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

/// `mixflow schema` and `mixflow metadata`.
#[derive(Debug, ClapArgs)]
pub(crate) struct TableArgs {
    /// The table
    pub(crate) table: String,
    #[command(flatten)]
    pub(crate) db: DbArg,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

/// `mixflow sample`.
#[derive(Debug, ClapArgs)]
pub(crate) struct SampleArgs {
    /// How many rows
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rows: u32,
    #[command(flatten)]
    pub(crate) of: TableArgs,
}

/// `mixflow drop`.
#[derive(Debug, ClapArgs)]
pub(crate) struct DropArgs {
    /// The table
    pub(crate) table: String,
    #[command(flatten)]
    pub(crate) db: DbArg,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

pub(crate) fn tables(app: &App, args: &TablesArgs) -> Result<()> {
    let tables = store(app, &args.db)?.describe_tables()?.into_iter();
    let tables = tables.map(|(table, known)| Listed {
        table_name: table.table_name,
        kind: table.kind,
        row_count: table.row_count,
        known,
    });
    listed(&tables.collect::<Vec<_>>(), &args.show)
}

/// A table, whatever database it is in.
pub(super) struct Listed {
    pub(super) table_name: String,
    pub(super) kind: String,
    pub(super) row_count: Option<u64>,
    pub(super) known: Option<TableMetadata>,
}

/// Shows which tables there are.
pub(super) fn listed(tables: &[Listed], show_args: &ShowArgs) -> Result<()> {
    let known = || tables.iter().map(|table| table.known.as_ref());
    let names = tables.iter().map(|table| Some(table.table_name.as_str()));
    let kinds = tables.iter().map(|table| Some(table.kind.as_str()));
    let rows = tables.iter().map(|table| table.row_count);
    let statuses = known().map(|data| Some(data?.status.as_str()));
    let mut columns = vec![
        ("table_name", texts(names)),
        ("type", texts(kinds)),
        ("row_count", counts(rows)),
        ("from_date", dates(known().map(|data| data?.from_date))),
        ("to_date", dates(known().map(|data| data?.to_date))),
        (
            "fetched_at",
            times(known().map(|data| Some(data?.fetched_at))),
        ),
        ("status", texts(statuses)),
    ];
    if how(show_args).format == Format::Table {
        // A narrow terminal has no room for the last one.
        columns.swap(5, 6);
    }
    show(show_args, columns)
}

pub(crate) fn schema(app: &App, args: &TableArgs) -> Result<()> {
    columns(&store(app, &args.db)?.schema(&args.table)?, &args.show)
}

/// Shows the columns of a table.
pub(super) fn columns(columns: &[ColumnInfo], show_args: &ShowArgs) -> Result<()> {
    let names = columns.iter().map(|one| Some(one.column_name.as_str()));
    let types = columns.iter().map(|one| Some(one.column_type.as_str()));
    let nullable: BooleanArray = columns.iter().map(|one| Some(one.nullable)).collect();
    show(
        show_args,
        vec![
            ("column_name", texts(names)),
            ("column_type", texts(types)),
            ("nullable", Arc::new(nullable)),
        ],
    )
}

pub(crate) fn metadata(app: &App, args: &TableArgs) -> Result<()> {
    shown(&store(app, &args.db)?.metadata(&args.table)?, &args.show)
}

/// Shows what is known of a table.
pub(super) fn shown(data: &TableMetadata, show_args: &ShowArgs) -> Result<()> {
    if how(show_args).format == Format::Table {
        return facts(data, show_args);
    }
    let filters = data.filters.to_string();
    let missing = serde_json::json!(data.missing).to_string();
    show(
        show_args,
        vec![
            ("table_name", texts([Some(data.table_name.as_str())])),
            ("type", texts([Some(data.data_type.as_str())])),
            ("fetched_at", times([Some(data.fetched_at)])),
            ("from_date", dates([data.from_date])),
            ("to_date", dates([data.to_date])),
            ("row_count", counts([data.row_count])),
            ("filters", texts([Some(filters.as_str())])),
            ("run_id", texts([Some(data.run_id.as_str())])),
            (
                "mixflow_version",
                texts([Some(data.mixflow_version.as_str())]),
            ),
            ("status", texts([Some(data.status.as_str())])),
            ("missing", texts([Some(missing.as_str())])),
        ],
    )
}

/// Shows metadata as people read them: a fact a line.
fn facts(data: &TableMetadata, show_args: &ShowArgs) -> Result<()> {
    let date = |date: Option<jiff::civil::Date>| date.map_or_else(String::new, |d| d.to_string());
    let missing: Vec<String> = data
        .missing
        .iter()
        .map(|missing| format!("{}: {}", missing.partition, missing.error))
        .collect();
    let facts = [
        ("table_name", data.table_name.clone()),
        ("type", data.data_type.clone()),
        ("fetched_at", data.fetched_at.to_string()),
        ("from_date", date(data.from_date)),
        ("to_date", date(data.to_date)),
        ("row_count", data.row_count.to_string()),
        ("filters", data.filters.to_string()),
        ("run_id", data.run_id.clone()),
        ("mixflow_version", data.mixflow_version.clone()),
        ("status", data.status.clone()),
        ("missing", missing.join("; ")),
    ];
    let names = facts.iter().map(|(name, _)| Some(*name));
    let values = facts.iter().map(|(_, value)| Some(value.as_str()));
    show(
        show_args,
        vec![("fact", texts(names)), ("value", texts(values))],
    )
}

pub(crate) fn sample(app: &App, args: &SampleArgs) -> Result<()> {
    let store = store(app, &args.of.db)?;
    let table = quoted(&store.table(&args.of.table)?);
    let rows = args.rows;
    let sql = format!("SELECT * FROM {table} USING SAMPLE reservoir({rows} ROWS)");
    answer(&store, &sql, &args.of.show)
}

pub(crate) fn drop(app: &App, args: &DropArgs) -> Result<()> {
    let _signals = EndsAtSignals::from_now();
    let path = path(app, &args.db)?;
    // Looked at first, and only for reading: a typo must not make a file.
    let table = Store::open_read_only(&path)?.table(&args.table)?;
    let what = format!("table {table} of {}", path.display());
    if !args.yes {
        match app.ui.confirmed(&format!("drop {what}?"))? {
            Some(true) => {}
            Some(false) => {
                app.ui.status("nothing was dropped");
                return Ok(());
            }
            None => {
                let error = Error::new(ErrorKind::Config, format!("cannot drop {what}"));
                return Err(error
                    .because("there is no terminal to ask whether that is meant")
                    .hint("add `--yes`"));
            }
        }
    }
    Store::open(&path)?.drop_table(&table)?;
    app.ui.status(&format!("dropped {what}"));
    Ok(())
}

/// Writes columns as one batch.
pub(super) fn show(args: &ShowArgs, columns: Vec<(&str, ArrayRef)>) -> Result<()> {
    let batch = batch(columns)?;
    output::write(&how(args), &batch.schema(), [Ok(batch)].into_iter())
}

/// Returns columns as one batch.
pub(super) fn batch(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
    let fields = columns.iter().map(|(name, values)| match *name {
        "filters" | "missing" | "failed_partitions" => json_field(name, true),
        _ => Field::new(*name, values.data_type().clone(), true),
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let values = columns.into_iter().map(|(_, values)| values).collect();
    Ok(RecordBatch::try_new(schema, values)?)
}

pub(super) fn texts<'t>(values: impl IntoIterator<Item = Option<&'t str>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

pub(super) fn counts(values: impl IntoIterator<Item = impl Into<Option<u64>>>) -> ArrayRef {
    let values = values.into_iter().map(|n| i64::try_from(n.into()?).ok());
    Arc::new(values.collect::<Int64Array>())
}

pub(super) fn dates(values: impl IntoIterator<Item = Option<jiff::civil::Date>>) -> ArrayRef {
    let epoch = jiff::civil::date(1970, 1, 1);
    let days = |day: jiff::civil::Date| (day - epoch).get_days();
    Arc::new(
        values
            .into_iter()
            .map(|day| day.map(days))
            .collect::<Date32Array>(),
    )
}

pub(super) fn times(values: impl IntoIterator<Item = Option<jiff::Timestamp>>) -> ArrayRef {
    let micros = |time: jiff::Timestamp| time.as_microsecond();
    let values = values.into_iter().map(|time| time.map(micros));
    Arc::new(values.collect::<TimestampMicrosecondArray>())
}
