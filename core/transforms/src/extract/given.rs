//! Columns that are known when the pipeline is built, or that were fixed since.

use std::sync::Arc;

use arrow::array::AsArray as _;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use mixflow_core::config::Invalid;
use mixflow_core::context::UnitContext;
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::made_of::with_made_of;
use mixflow_core::source::BatchIter;
use mixflow_core::transform::Stateless;

use super::super::columns::Names;
use super::super::json::{Edit, Finder, JsonPath, JsonValue, PathText, Paths};
use super::super::scrub::{PROPERTIES, edited, json_column};
use super::column::Column;
use super::options::{ExtractColumn, ExtractOptions, OnMismatch};

/// Makes columns of what stands in JSON.
#[derive(Clone, Debug)]
pub(super) struct Extract {
    schema: SchemaRef,
    from: usize,
    paths: Paths,
    columns: Vec<ExtractColumn>,
    on_mismatch: OnMismatch,
    remove: bool,
    /// What is told of the values of each column that are of another type.
    warnings: Vec<String>,
}

/// Returns where the values of a column stand.
fn path_of(column: &ExtractColumn) -> JsonPath {
    match &column.path {
        Some(PathText(path)) => path.clone(),
        None => JsonPath::of_key(&column.name),
    }
}

/// Finds paths of which one is inside another: not both can be removed.
fn find_overlaps(columns: &[ExtractColumn], invalid: &mut Vec<Invalid>) {
    let mut paths = Paths::default();
    let mut known: Vec<JsonPath> = Vec::new();
    let columns = columns.iter().enumerate();
    for (n, column) in columns.filter(|(_, column)| !column.name.is_empty()) {
        let path = path_of(column);
        if let Some(other) = paths.overlap(&path) {
            let other = &known[other];
            let message = format!(
                "with `remove`, `{path}` and `{other}` may not be the same value, nor one inside the other"
            );
            invalid.push(Invalid::new(format!("columns.{n}"), message));
        }
        paths.add(&path);
        known.push(path);
    }
}

impl Extract {
    /// Builds the transform for these columns against the schema of its input.
    ///
    /// Fails if `from` is not a JSON column, for a name that is taken, also in
    /// another case, and, if the values are removed, for paths of which one is
    /// inside another.
    pub(super) fn new(
        options: &ExtractOptions,
        columns: &[ExtractColumn],
        input: &Schema,
    ) -> Result<Extract, Vec<Invalid>> {
        let mut invalid = Vec::new();
        let from = json_column("from", &options.from, input);
        let from = from.map_err(|problem| invalid.push(problem)).ok();
        if columns.is_empty() {
            invalid.push(Invalid::new("columns", "this names no column"));
        }
        let mut names = Names::of(input);
        for (n, column) in columns.iter().enumerate() {
            let name = &column.name;
            if name.is_empty() {
                let key = format!("columns.{n}.name");
                invalid.push(Invalid::new(key, "a name is not empty"));
                continue;
            }
            if let Err(message) = names.add(name) {
                invalid.push(Invalid::new(format!("columns.{n}.name"), message));
            }
        }
        if options.remove {
            find_overlaps(columns, &mut invalid);
        }
        match from {
            Some(from) if invalid.is_empty() => {
                Ok(Extract::of(options, from, columns.to_vec(), input))
            }
            _ => Err(invalid),
        }
    }

    /// Builds the transform for columns whose names are free, with the values in
    /// the column at `from`.
    pub(super) fn of(
        options: &ExtractOptions,
        from: usize,
        columns: Vec<ExtractColumn>,
        input: &Schema,
    ) -> Extract {
        let mut fields: Vec<Field> = input.fields().iter().map(|f| (**f).clone()).collect();
        let mut paths = Paths::default();
        for column in &columns {
            let path = path_of(column);
            let field = column.kind.field(&column.name);
            fields.push(match &*options.from {
                PROPERTIES => with_made_of(field, path.to_string()),
                // Of what else there is, nobody knows whether it comes again.
                _ => field,
            });
            paths.add(&path);
        }
        let stays = &options.from;
        let warning = |column: &ExtractColumn| {
            let (name, kind) = (&column.name, column.kind);
            format!(
                "values that are not {kind}, so null in the column `{name}` and left in `{stays}`"
            )
        };
        let schema = Schema::new_with_metadata(fields, input.metadata().clone());
        Extract {
            schema: Arc::new(schema),
            from,
            paths,
            warnings: columns.iter().map(warning).collect(),
            columns,
            on_mismatch: options.on_mismatch,
            remove: options.remove,
        }
    }

    /// Returns the batch with the new columns, and how many values of each
    /// were of another type.
    fn extract(&self, records: &RecordBatch) -> Result<(RecordBatch, Vec<u64>)> {
        let rows = records.num_rows();
        let json = records.column(self.from);
        let new = |column: &ExtractColumn| Column::new(column.kind, rows);
        let mut columns: Vec<Column> = self.columns.iter().map(new).collect();
        let mut mismatches = vec![0; columns.len()];
        let mut fitted: Vec<bool> = Vec::with_capacity(rows * columns.len());
        let mut found = vec![None; columns.len()];
        let mut finder = Finder::new(&self.paths);
        for json in json.as_string::<i32>() {
            match json {
                Some(json) => finder.find(json, &mut found)?,
                None => found.fill(None),
            }
            for (n, (column, value)) in columns.iter_mut().zip(&found).enumerate() {
                let fits = column.push(*value);
                if let (false, Some(value)) = (fits, value) {
                    mismatches[n] += 1;
                    if self.on_mismatch == OnMismatch::Fail {
                        return Err(self.mismatch(n, &JsonValue::of(value)));
                    }
                }
                fitted.push(fits);
            }
        }
        let mut arrays = records.columns().to_vec();
        if self.remove {
            arrays[self.from] = edited(json, |row, json| {
                self.paths.edit(json, |n, _| {
                    if fitted[row * self.columns.len() + n] {
                        Edit::Remove
                    } else {
                        Edit::Keep
                    }
                })
            })?;
        }
        arrays.extend(columns.into_iter().map(Column::finish));
        let records = RecordBatch::try_new(Arc::clone(&self.schema), arrays)?;
        Ok((records, mismatches))
    }

    fn mismatch(&self, n: usize, value: &JsonValue<'_>) -> Error {
        let ExtractColumn { name, kind, .. } = &self.columns[n];
        // Never the value: it may be personal.
        Error::new(
            ErrorKind::Data,
            format!("cannot extract the column `{name}`"),
        )
        .because(format!("a value is {}, not {kind}", value.described()))
        .hint("leave such values out of the column with `on_mismatch = \"null\"`")
    }
}

impl Stateless for Extract {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn apply(&self, records: RecordBatch) -> Result<RecordBatch> {
        self.extract(&records).map(|(records, _)| records)
    }

    fn stream<'a>(&'a self, batches: BatchIter<'a>, cx: &'a UnitContext) -> BatchIter<'a> {
        Box::new(batches.map(move |records| {
            let (records, mismatches) = self.extract(&records?)?;
            for (warning, n) in self.warnings.iter().zip(mismatches) {
                cx.count_warning(warning, n);
            }
            Ok(records)
        }))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array as _, Float64Array, Int64Array};
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    use mixflow_core::batch::is_json;
    use mixflow_core::testing::{counted, unit_context};

    use super::super::super::tests::{events, jsons, rejected};
    use super::super::ExtractColumns;
    use super::*;

    fn built(toml: &str) -> Result<Extract, Vec<Invalid>> {
        let options: ExtractOptions = toml::from_str(toml).expect("they can be read");
        let ExtractColumns::These(columns) = &options.columns else {
            panic!("they are listed");
        };
        Extract::new(&options, columns, &events(&[]).schema())
    }

    fn of_type(kind: &str) -> Extract {
        built(&format!(
            "columns = [{{ name = \"a\", type = \"{kind}\" }}]"
        ))
        .expect("it fits")
    }

    /// What each value is in a column of a type; `-` is null, `!` a mismatch.
    fn extracted(kind: &str, values: &[&str]) -> Vec<String> {
        let extract = of_type(kind);
        let one = |value: &&str| {
            let json = format!("{{\"a\":{value}}}");
            let (records, mismatches) = extract.extract(&events(&[&json])).expect("it is JSON");
            let column = records.column(5);
            match (column.is_null(0), mismatches[0]) {
                (true, 1) => "!".to_owned(),
                (true, _) => "-".to_owned(),
                _ => {
                    let options = FormatOptions::default();
                    let shown = ArrayFormatter::try_new(column.as_ref(), &options);
                    shown.expect("it can be shown").value(0).to_string()
                }
            }
        };
        values.iter().map(one).collect()
    }

    #[test]
    fn each_type_takes_what_it_says_and_nothing_else() {
        assert_eq!(
            extracted(
                "text",
                &["\"x\\ud83d\"", "1.50", "true", "null", "[1]", "{}"]
            ),
            ["x\u{fffd}", "1.50", "true", "-", "!", "!"]
        );
        assert_eq!(
            extracted(
                "int",
                &[
                    "-7",
                    "9223372036854775807",
                    "9223372036854775808",
                    "1.0",
                    "1e3",
                    "\"12\"",
                    "true"
                ]
            ),
            ["-7", "9223372036854775807", "!", "!", "!", "!", "!"]
        );
        assert_eq!(
            extracted("float", &["1", "-1.5e2", "1e999", "\"1.5\"", "null"]),
            ["1.0", "-150.0", "!", "!", "-"]
        );
        assert_eq!(
            extracted("bool", &["true", "false", "0", "\"true\""]),
            ["true", "false", "!", "!"]
        );
        assert_eq!(
            extracted(
                "timestamp",
                &[
                    "\"2024-01-01T02:00:00+02:00\"",
                    "\"2024-01-01\"",
                    "1704067200",
                    "\"soon\""
                ]
            ),
            ["2024-01-01T00:00:00", "2024-01-01T00:00:00", "!", "!"]
        );
        assert_eq!(
            extracted(
                "date",
                &["\"2024-01-31\"", "\"2024-01-31T00:00:00\"", "20240131"]
            ),
            ["2024-01-31", "!", "!"]
        );
        assert_eq!(
            extracted("json", &["{ \"b\":1.50}", "\"x\"", "null"]),
            ["{ \"b\":1.50}", "\"x\"", "-"]
        );
    }

    #[test]
    fn columns_stand_behind_the_others_with_their_types() {
        let extract = built(
            "columns = [{ name = \"n\", path = \"cart.n\", type = \"int\" }, { name = \"j\", path = [\"a.b\"], type = \"json\" }]",
        )
        .expect("they fit");
        let input = events(&[r#"{"cart":{"n":3},"a.b":[]}"#, "{}"]);
        let output = extract.apply(input.clone()).expect("it is JSON");
        assert_eq!(output.schema(), extract.schema());
        assert_eq!(output.columns()[..5], *input.columns());
        assert_eq!(
            output.column(5).as_ref(),
            &Int64Array::from(vec![Some(3), None])
        );
        assert!(is_json(extract.schema.field(6)));
        assert_eq!(output.column(6).as_string::<i32>().value(0), "[]");
    }

    #[test]
    fn removed_values_are_gone_unless_they_are_of_another_type() {
        let extract = built(
            "remove = true\ncolumns = [{ name = \"x\", type = \"float\" }, { name = \"y\", path = \"u.y\", type = \"text\" }]",
        )
        .expect("they fit");
        let input = events(&[
            r#"{"a":1.0,"x":2.5,"u":{"y":"p"}}"#,
            r#"{"x":"2.5","u":{"y":null,"z":0}}"#,
            r#"{"x":1,"x":2}"#,
        ]);
        let (output, mismatches) = extract.extract(&input).expect("it is JSON");
        assert_eq!(
            jsons(&output),
            [r#"{"a":1.0,"u":{}}"#, r#"{"x":"2.5","u":{"z":0}}"#, "{}"]
        );
        assert_eq!(
            output.column(5).as_ref(),
            &Float64Array::from(vec![Some(2.5), None, Some(2.0)])
        );
        assert_eq!(mismatches, [1, 0]);
    }

    #[test]
    fn a_path_does_not_lead_into_a_list() {
        let extract =
            built("remove = true\ncolumns = [{ name = \"a\", path = \"l.a\", type = \"int\" }]");
        let json = r#"{"l":[{"a":1}]}"#;
        let (records, mismatches) = extract
            .expect("it fits")
            .extract(&events(&[json]))
            .expect("it is JSON");
        assert!(records.column(5).is_null(0));
        assert_eq!(
            (jsons(&records), mismatches),
            (vec![json.to_owned()], vec![0])
        );
    }

    #[test]
    fn mismatches_are_counted_for_one_warning() {
        let extract = of_type("int");
        let (cx, _) = unit_context();
        let batches = [
            events(&[r#"{"a":"x"}"#, "{}"]),
            events(&[r#"{"a":1}"#, r#"{"a":[]}"#]),
        ];
        let batches = Box::new(batches.into_iter().map(Ok));
        let rows: usize = extract
            .stream(batches, &cx)
            .map(|r| r.expect("it is JSON").num_rows())
            .sum();
        assert_eq!(rows, 4);
        let warnings: Vec<_> = counted(&cx).warnings.into_iter().collect();
        let warning = "values that are not int, so null in the column `a` and left in `properties`";
        assert_eq!(warnings, [(warning.to_owned(), 2)]);
    }

    #[test]
    fn a_mismatch_can_fail_the_partition_without_telling_the_value() {
        let extract = built("on_mismatch = \"fail\"\ncolumns = [{ name = \"a\", type = \"int\" }]")
            .expect("it fits");
        assert!(extract.apply(events(&[r#"{"a":null}"#, "{}"])).is_ok());
        let error = extract
            .apply(events(&[r#"{"a":"hunter2"}"#]))
            .expect_err("it is no int");
        assert_eq!(error.kind(), ErrorKind::Data);
        assert_eq!(error.message(), "cannot extract the column `a`");
        assert_eq!(error.causes(), ["a value is a text, not int"]);
    }

    #[test]
    fn wrong_options_are_refused_when_the_pipeline_is_built() {
        let column =
            |more: &str| format!("columns = [{{ name = \"a\", type = \"int\" }}, {{ {more} }}]");
        let message = |toml: &str| rejected(built(toml));
        assert_eq!(
            message(&column("name = \"insert_id\", type = \"text\"")),
            "columns.1.name: there is a column `insert_id` already"
        );
        assert_eq!(
            message(&column("name = \"a\", type = \"text\"")),
            "columns.1.name: there is a column `a` already"
        );
        assert_eq!(
            message(&column("name = \"A\", type = \"text\"")),
            "columns.1.name: the column `A` differs only in case from `a`, and a database takes both for one"
        );
        assert_eq!(
            message(&column("name = \"Event_Name\", type = \"text\"")),
            "columns.1.name: the column `Event_Name` differs only in case from `event_name`, and a database takes both for one"
        );
        assert_eq!(
            message(&(column("name = \"b\", path = \"a.b\", type = \"text\"") + "\nremove = true")),
            "columns.1: with `remove`, `a.b` and `a` may not be the same value, nor one inside the other"
        );
        assert_eq!(
            message("from = \"event_name\"\ncolumns = []"),
            "from: the column `event_name` is text, and this needs json; columns: this names no column"
        );
        assert_eq!(
            message("from = \"propertis\"\ncolumns = [{ name = \"\", type = \"int\" }]"),
            "from: there is no column `propertis`, did you mean `properties`?; columns.0.name: a name is not empty"
        );
        for wrong in [
            "columns = [{ name = \"a\", type = \"number\" }]",
            "columns = [{ name = \"a\" }]",
            "columns = []\non_mismatch = \"skip\"",
        ] {
            assert!(toml::from_str::<ExtractOptions>(wrong).is_err(), "{wrong}");
        }
    }
}
