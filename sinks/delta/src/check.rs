//! Whether a run's rows belong into a table.

use arrow::datatypes::Schema;
use delta_kernel::schema::StructField;
use mixflow_core::fit::check_columns;
use mixflow_core::ledger::check_scope;
use mixflow_core::sink::{TxnContext, WriteMode, already_exists};
use mixflow_core::{Error, ErrorKind, Result};

use crate::columns::{date_field, named, struct_of, table_fields};
use crate::commit::NewColumns;
use crate::going::Replacement;
use crate::place::Place;
use crate::table::Table;

/// What a run is about to do, as far as it has to fit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check {
    pub(crate) replacement: Replacement,
    /// Whether the table is partitioned by date.
    pub(crate) by_date: bool,
    /// Whether the rows have a time that says their day.
    pub(crate) has_day: bool,
}

impl Check {
    /// Returns the columns that rows of `schema` have in a table.
    pub(crate) fn fields(&self, schema: &Schema) -> Result<Vec<StructField>> {
        table_fields(schema, self.by_date)
    }

    /// Says what a run does to the table, or why it cannot.
    pub(crate) fn preview(
        &self,
        place: &Place,
        table: Option<&Table>,
        cx: &TxnContext,
    ) -> Result<String> {
        let shown = format!("the Delta table `{}`", place.shown());
        let Some(table) = table else {
            return Ok(format!("creates {shown}"));
        };
        let mode = self.replacement.mode;
        if mode == WriteMode::Create {
            return Err(already_exists(&shown).hint(
                "choose another path, or set `mode` to `append`, `replace` or `replace_window`",
            ));
        }
        if table.by_date != self.by_date {
            return Err(other_layout(&shown, table.by_date));
        }
        if mode == WriteMode::Replace {
            return Ok(format!("replaces {shown}"));
        }
        self.new_columns(place, table, cx)?;
        if let Some(ours) = &cx.source.provenance {
            for theirs in table.ledger.provenances.values() {
                theirs.check(ours, &shown)?;
            }
        }
        if mode == WriteMode::Append {
            return Ok(format!("adds rows to {shown}"));
        }
        let theirs = table.ledger.files.datasets();
        check_scope(&shown, self.replacement.scope, &cx.source.dataset, &theirs)?;
        Ok(format!("replaces the fetched days in {shown}"))
    }

    /// Returns the columns that the rows have beside those of the table, or, where
    /// all of it is replaced and its columns differ, those that it gets.
    pub(crate) fn new_columns(
        &self,
        place: &Place,
        table: &Table,
        cx: &TxnContext,
    ) -> Result<(Vec<StructField>, Option<NewColumns>)> {
        let rows = self.fields(&cx.schema)?;
        let shown = format!("the Delta table `{}`", place.shown());
        let has = named(table.columns().iter());
        match check_columns(&shown, &has, &named(rows.iter())) {
            Ok(new) => Ok((new.into_iter().map(|n| rows[n].clone()).collect(), None)),
            Err(_) if self.replacement.mode == WriteMode::Replace => {
                let date = self.by_date.then(date_field);
                let columns = struct_of(rows.into_iter().chain(date))?;
                let schema = serde_json::to_string(&columns).map_err(|error| {
                    Error::new(ErrorKind::Other, "cannot write the columns of the table")
                        .with_source(error)
                })?;
                Ok((Vec::new(), Some(NewColumns { schema })))
            }
            Err(error) => Err(error),
        }
    }
}

fn other_layout(shown: &str, by_date: bool) -> Error {
    let (is, way_out) = match by_date {
        true => (
            "is partitioned by date, and these rows would not be",
            "date",
        ),
        false => ("is not partitioned, and these rows would be", "none"),
    };
    Error::new(ErrorKind::Destination, format!("cannot write {shown}"))
        .because(format!("it {is}"))
        .hint(format!(
            "set `partition_by = \"{way_out}\"`, or choose another folder"
        ))
}
