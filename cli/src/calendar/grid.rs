//! Days in rows, a week or a month each.

use jiff::ToSpan as _;
use jiff::civil::Date;
use mixflow::Days;
use mixflow_core::ledger::Standing;

use crate::ui::counted;

/// Up to here a row is a week; it shows what each day has.
const WEEKS: i32 = 10;

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// From Monday to Sunday.
    Weeks,
    /// From the 1st to the 31st.
    Months,
}

/// A day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) day: Date,
    pub(crate) standing: Standing,
    /// `None` where it is not known.
    pub(crate) rows: Option<u64>,
}

/// Some days, a place each, of which those that were not asked for are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The first day that has a place: a Monday, or the first of a month.
    pub(crate) begins: Date,
    pub(crate) cells: Vec<Option<Cell>>,
}

/// All days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) shape: Shape,
    pub(crate) rows: Vec<Row>,
}

impl Row {
    /// Returns how many rows its days have, as far as it is known.
    pub(crate) fn count(&self) -> u64 {
        let cells = self.cells.iter().flatten();
        cells.filter_map(|cell| cell.rows).sum()
    }
}

impl Grid {
    /// Lays out days: a row a week if there are few, else a row a month.
    pub(crate) fn of(days: &Days) -> Grid {
        let shape = match days.range {
            Some((first, last)) if (last - first).get_days() >= 7 * WEEKS => Shape::Months,
            _ => Shape::Weeks,
        };
        let mut rows: Vec<Row> = Vec::new();
        for (day, standing, record) in days.iter() {
            let begins = shape.row_of(day);
            if rows.last().is_none_or(|row| row.begins != begins) {
                let cells = vec![None; shape.places()];
                rows.push(Row { begins, cells });
            }
            let row = rows.last_mut().expect("one was added");
            row.cells[shape.place_of(day)] = Some(Cell {
                day,
                standing,
                rows: record.map_or(Some(0), |record| record.rows),
            });
        }
        Grid { shape, rows }
    }
}

impl Shape {
    /// Returns how many places a row has.
    pub(crate) fn places(self) -> usize {
        match self {
            Shape::Weeks => 7,
            Shape::Months => 31,
        }
    }

    /// Returns what each place is called.
    pub(crate) fn names(self) -> Vec<String> {
        match self {
            Shape::Weeks => ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
                .map(str::to_owned)
                .to_vec(),
            Shape::Months => (1..=31).map(|day: u8| day.to_string()).collect(),
        }
    }

    /// Returns whether the name of a place stands above it: of numbers every
    /// fifth is enough.
    pub(crate) fn is_marked(self, place: usize) -> bool {
        self == Shape::Weeks || place == 0 || place % 5 == 4
    }

    /// Returns what a row is called.
    pub(crate) fn label(self, row: &Row) -> String {
        match self {
            Shape::Weeks => row.begins.to_string(),
            Shape::Months => row.begins.strftime("%Y-%m").to_string(),
        }
    }

    fn row_of(self, day: Date) -> Date {
        match self {
            Shape::Weeks => {
                let past = day.weekday().to_monday_zero_offset();
                day.saturating_sub(i32::from(past).days())
            }
            Shape::Months => day.first_of_month(),
        }
    }

    fn place_of(self, day: Date) -> usize {
        let place = match self {
            Shape::Weeks => day.weekday().to_monday_zero_offset(),
            Shape::Months => day.day() - 1,
        };
        usize::try_from(place).unwrap_or_default()
    }
}

/// What the days come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// How many days stand so, in the order of [`Standing::ALL`].
    pub(crate) days: [u64; Standing::ALL.len()],
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl Totals {
    pub(crate) fn of(days: &Days) -> Totals {
        let mut totals = Totals::default();
        for (_, standing, record) in days.iter() {
            let place = Standing::ALL.iter().position(|one| *one == standing);
            totals.days[place.expect("all are there")] += 1;
            if let Some(record) = record {
                totals.rows += record.rows.unwrap_or(0);
                totals.bytes += record.bytes.unwrap_or(0);
            }
        }
        totals
    }
}

/// Names at most so many ranges of days, and how many more there are.
pub(crate) fn named_gaps(gaps: &[(Date, Date)], most: usize) -> String {
    let name = |(first, last): &(Date, Date)| match (*last - *first).get_days() {
        0 => first.to_string(),
        more => format!("{first} to {last} ({more} days)", more = more + 1),
    };
    let named: Vec<String> = gaps.iter().take(most).map(name).collect();
    let named = named.join(", ");
    match gaps.len().saturating_sub(most) {
        0 => named,
        more => format!("{named} and {}", counted(more as u64, "more gap")),
    }
}
