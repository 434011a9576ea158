//! `mixflow summarize`: what is in a table, in the terms of events and people.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array};
use clap::Args as ClapArgs;
use jiff::civil::Date;
use mixflow::catalog_of;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_sink_duckdb::{Store, quoted};

use super::query::{answer, how, store};
use super::tables::{TableArgs, batch, counts, dates, texts};
use crate::app::App;
use crate::args::Format;
use crate::output;
use crate::plot::bars;
use crate::screen::plain_line;
use crate::ui::{count, counted};

/// Names of events that are listed.
const NAMES: usize = 20;

/// Properties and columns that are listed.
const PROPERTIES: usize = 10;

/// `mixflow summarize`.
#[derive(Debug, ClapArgs)]
pub(crate) struct SummarizeArgs {
    #[command(flatten)]
    pub(crate) of: TableArgs,
    /// Draw the rows of each day instead
    #[arg(long, conflicts_with_all = ["format", "output", "columns"])]
    pub(crate) plot: bool,
    /// Show the smallest, largest and middle values of each column instead, as formats other than
    /// table always do
    #[arg(long)]
    pub(crate) columns: bool,
}

pub(crate) fn summarize(app: &App, args: &SummarizeArgs) -> Result<()> {
    let store = store(app, &args.of.db)?;
    let table = store.table(&args.of.table)?;
    let of = Summarized::look(&store, &table)?;
    if args.plot {
        return plot(app, &of);
    }
    let how = how(&args.of.show);
    if args.columns || how.format != Format::Table || of.person.is_none() {
        let sql = format!("SUMMARIZE {}", quoted(&table));
        return answer(&store, &sql, &args.of.show);
    }
    let mut text = String::new();
    of.overview(&mut text)?;
    if of.has_names {
        of.names(&mut text)?;
    }
    of.columns(&mut text)?;
    of.properties(&mut text)?;
    output::put(&how, &text)
}

/// A table, and what of ours it has.
struct Summarized<'s> {
    store: &'s Store,
    table: &'s str,
    from: String,
    /// Its time, without a zone.
    time: Option<String>,
    /// The column of who did it.
    person: Option<&'static str>,
    has_names: bool,
    has_properties: bool,
    /// Columns that are not in every table of ours.
    more: Vec<String>,
}

impl<'s> Summarized<'s> {
    fn look(store: &'s Store, table: &'s str) -> Result<Summarized<'s>> {
        let columns = store.schema(table)?;
        let type_of = |name: &str| {
            let found = columns.iter().find(|column| column.column_name == name);
            found.map(|column| column.column_type.as_str())
        };
        let time = ["event_time", "last_seen"].into_iter();
        let time = time.clone().find_map(|name| match type_of(name)? {
            // A cast would need ICU, and go by the machine's zone.
            "TIMESTAMP WITH TIME ZONE" => Some(format!("make_timestamp(epoch_us({name}))")),
            kind => kind.starts_with("TIMESTAMP").then(|| name.to_owned()),
        });
        let person = time.is_some() && type_of("distinct_id").is_some();
        let ours = [
            "event_name",
            "event_time",
            "last_seen",
            "distinct_id",
            "insert_id",
            "properties",
        ];
        let more = columns.iter().map(|column| column.column_name.clone());
        Ok(Summarized {
            store,
            table,
            from: quoted(table),
            time,
            person: person.then_some("distinct_id"),
            has_names: type_of("event_name").is_some() && type_of("event_time").is_some(),
            has_properties: matches!(type_of("properties"), Some("JSON" | "VARCHAR")),
            more: more.filter(|name| !ours.contains(&&**name)).collect(),
        })
    }

    fn people(&self) -> String {
        let person = self.person.unwrap_or("NULL");
        format!("count(DISTINCT nullif({person}, ''))::UBIGINT")
    }

    fn day(&self) -> String {
        let time = self.time.as_deref().unwrap_or("NULL::TIMESTAMP");
        format!("{time}::DATE")
    }

    /// Says how many rows there are, of how many people, on which days.
    fn overview(&self, text: &mut String) -> Result<()> {
        let (people, from) = (self.people(), &self.from);
        let totals = format!("SELECT count(*)::UBIGINT, {people} FROM {from}");
        let totals = self.store.rows::<(u64, u64)>(&totals)?;
        let (rows, people) = totals.first().copied().unwrap_or_default();
        let table = plain_line(self.table);
        let people = match people {
            1 => "1 person".to_owned(),
            people => format!("{} people", count(people)),
        };
        let _ = writeln!(text, "{table}: {} of {people}", counted(rows, "row"));
        let days = self.days()?;
        let days = days.iter().map(|(day, n)| Ok((day.parse::<Date>()?, *n)));
        let days = days.collect::<Result<Vec<_>, jiff::Error>>();
        let days = days.map_err(|error| {
            Error::new(ErrorKind::Query, "cannot read a day").with_source(error)
        })?;
        let busiest = days.iter().rev().max_by_key(|(_, n)| *n);
        let quietest = days.iter().filter(|(_, n)| *n > 0).min_by_key(|(_, n)| *n);
        let (Some(busiest), Some(quietest)) = (busiest, quietest) else {
            return Ok(());
        };
        let (first, last) = (days[0].0, days[days.len() - 1].0);
        let empty = days.iter().filter(|(_, n)| *n == 0).count();
        let empty = match empty {
            0 => String::new(),
            empty => format!(", {} of them without rows", count(empty as u64)),
        };
        let span = counted(days.len() as u64, "day");
        let _ = writeln!(text, "{first} to {last}: {span}{empty}");
        if busiest.1 != quietest.1 {
            let (most, least) = (counted(busiest.1, "row"), count(quietest.1));
            let (busiest, quietest) = (busiest.0, quietest.0);
            let _ = writeln!(
                text,
                "busiest {busiest} with {most}, quietest {quietest} with {least}"
            );
        }
        Ok(())
    }

    /// Returns the rows of each day between the first and the last.
    fn days(&self) -> Result<Vec<(String, u64)>> {
        let (day, from) = (self.day(), &self.from);
        self.store.rows(&format!(
            "WITH days AS (SELECT {day} AS day, count(*) AS n FROM {from} \
             WHERE {day} IS NOT NULL GROUP BY 1), \
             span AS (SELECT unnest(range(min(day)::TIMESTAMP, max(day)::TIMESTAMP + INTERVAL 1 DAY, \
             INTERVAL 1 DAY))::DATE AS day FROM days) \
             SELECT strftime(span.day, '%Y-%m-%d'), coalesce(n, 0)::UBIGINT \
             FROM span LEFT JOIN days USING (day) ORDER BY 1"
        ))
    }

    /// Shows the events, those with most rows first.
    fn names(&self, text: &mut String) -> Result<()> {
        let (day, people, from) = (self.day(), self.people(), &self.from);
        let all: u64 = self.store.scalar(&format!(
            "SELECT count(DISTINCT event_name)::UBIGINT FROM {from}"
        ))?;
        let sql = format!(
            "SELECT event_name, count(*)::BIGINT AS rows, \
             round(100 * count(*) / sum(count(*)) OVER (), 1)::DOUBLE AS percent, \
             {people} AS people, min({day}) AS first_day, max({day}) AS last_day \
             FROM {from} GROUP BY event_name ORDER BY rows DESC, event_name LIMIT {NAMES}"
        );
        let mut query = self.store.query(&sql)?;
        let batches = query.batches()?;
        let schema = batches.schema();
        text.push('\n');
        if all > NAMES as u64 {
            let _ = writeln!(text, "the {NAMES} most frequent of {} events", count(all));
        }
        text.push_str(&output::drawn(&schema, batches)?);
        Ok(())
    }

    /// Shows the columns that are this table's own: what `extract` has made.
    fn columns(&self, text: &mut String) -> Result<()> {
        if self.more.is_empty() {
            return Ok(());
        }
        let more = self.more.iter().map(|name| quoted(name));
        let more = more.collect::<Vec<_>>().join(", ");
        let sql = format!(
            "SELECT column_name AS column, column_type AS type, \
             round(1 - null_percentage::DOUBLE / 100, 3) AS fill, \
             approx_unique AS about_distinct, min, max \
             FROM (SUMMARIZE SELECT {more} FROM {})",
            self.from
        );
        let mut query = self.store.query(&sql)?;
        let batches = query.batches()?;
        let schema = batches.schema();
        text.push('\n');
        text.push_str(&output::drawn(&schema, batches)?);
        Ok(())
    }

    /// Shows the fullest properties, those that Mixpanel's own libraries send last.
    fn properties(&self, text: &mut String) -> Result<()> {
        if !self.has_properties {
            return Ok(());
        }
        let catalog = catalog_of(self.store, self.table, None)?;
        let all = catalog.properties.len();
        if all == 0 {
            return Ok(());
        }
        let is_mixpanels = |name: &str| name.starts_with('$') || name.starts_with("mp_");
        let mut properties: Vec<_> = catalog.properties.iter().collect();
        properties.sort_by_key(|one| is_mixpanels(&one.property));
        let top = || properties.iter().take(PROPERTIES);
        let types: Vec<String> = top()
            .map(|one| {
                let words = one.types.iter().map(ToString::to_string);
                words.collect::<Vec<_>>().join(", ")
            })
            .collect();
        let fills = top().map(|one| Some((one.fill * 1_000.0).round() / 1_000.0));
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("property", texts(top().map(|one| Some(&*one.property)))),
            ("types", texts(types.iter().map(|types| Some(&**types)))),
            ("fill", Arc::new(fills.collect::<Float64Array>())),
            ("distinct", counts(top().map(|one| one.distinct))),
            ("example", texts(top().map(|one| one.example.as_deref()))),
            ("first_day", dates(top().map(|one| one.first_day))),
        ];
        let shown = batch(columns)?;
        text.push('\n');
        if all > PROPERTIES {
            let (all, table) = (count(all as u64), plain_line(self.table));
            let _ = writeln!(
                text,
                "{PROPERTIES} of {all} properties, your own first; `mixflow catalog {table}` has all"
            );
        }
        text.push_str(&output::drawn(&shown.schema(), [Ok(shown)].into_iter())?);
        Ok(())
    }
}

/// Draws how many rows each day has; a day without any shows as such.
fn plot(app: &App, of: &Summarized<'_>) -> Result<()> {
    if of.time.is_none() {
        let table = of.table;
        return Err(
            Error::new(ErrorKind::Request, format!("cannot draw `{table}`"))
                .because("it has neither `event_time` nor `last_seen`"),
        );
    }
    let days = of.days()?;
    app.ui.out(&bars(&days, output::width()));
    let rows: u64 = days.iter().map(|(_, rows)| rows).sum();
    app.ui.out(&format!(
        "{} on {}\n",
        counted(rows, "row"),
        counted(days.len() as u64, "day")
    ));
    Ok(())
}
