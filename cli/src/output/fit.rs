//! How wide the columns of a table are on a terminal.

use arrow::datatypes::{DataType, Field};

/// What stands beside the text of a column: a line and two blanks.
const BESIDE: usize = 3;

/// A shortened text is no shorter than this: less of it says nothing.
const LEAST: usize = 10;

/// A shortened name is no shorter than this: others begin alike.
const LEAST_NAME: usize = 30;

/// A column that is to be fitted in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// How wide its widest text is, its name included.
    content: usize,
    keep: Keep,
}

/// How much of a column is to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Keep {
    /// All of it: half of a number or a day misleads.
    Whole,
    /// All of it, unless it is very long.
    Name,
    /// All of it if there is room: an id is there to be pasted.
    Id,
    /// Some of it.
    Some,
}

impl Column {
    pub(super) fn new(field: &Field, content: usize) -> Column {
        let kind = field.data_type();
        let is_short = kind.is_numeric() || kind.is_temporal() || *kind == DataType::Boolean;
        let keep = match field.name().as_str() {
            _ if is_short => Keep::Whole,
            "run_id" | "status" | "state" => Keep::Whole,
            "property" | "pipeline" | "table_name" | "column_name" => Keep::Name,
            name if name.ends_with("_id") || name.ends_with("name") => Keep::Id,
            _ => Keep::Some,
        };
        Column { content, keep }
    }

    fn least(self) -> usize {
        match self.keep {
            Keep::Whole => self.content,
            Keep::Name => self.content.min(LEAST_NAME),
            Keep::Id | Keep::Some => self.content.min(LEAST),
        }
    }
}

/// Returns how wide the text of each column is, within `terminal` columns;
/// `None` of those for which there is no room: the last ones, never the first.
pub(super) fn fit(columns: &[Column], terminal: usize) -> Vec<Option<usize>> {
    let least = |columns: &[Column]| -> usize {
        let widths = columns.iter().map(|column| column.least() + BESIDE);
        widths.sum::<usize>() + 1
    };
    let mut shown = columns.len();
    while shown > 1 && least(&columns[..shown]) > terminal {
        shown -= 1;
    }
    let columns_shown = &columns[..shown];
    let mut widths: Vec<usize> = columns_shown.iter().map(|column| column.least()).collect();
    if let [only] = widths.as_mut_slice() {
        *only = (*only).min(terminal.saturating_sub(BESIDE + 1).max(1));
    }
    let mut room = terminal.saturating_sub(least(columns_shown));
    for n in in_order(columns_shown) {
        let more = columns_shown[n].content.saturating_sub(widths[n]);
        // What cannot be whole leaves its room to what can.
        if more <= room {
            room -= more;
            widths[n] += more;
        }
    }
    let short = |n: &usize| widths[*n] < columns_shown[*n].content;
    let short: Vec<usize> = (0..shown).filter(short).collect();
    for (n, column) in short.iter().rev().enumerate() {
        // Each of them lacks more than all of the room.
        let share = room / (short.len() - n);
        widths[*column] += share;
        room -= share;
    }
    let left_out = columns.len() - shown;
    let widths = widths.into_iter().map(Some);
    widths.chain(std::iter::repeat_n(None, left_out)).collect()
}

/// Returns which column is made whole first: ids, then the narrow ones.
fn in_order(columns: &[Column]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..columns.len()).collect();
    order.sort_by_key(|n| match columns[*n].keep {
        Keep::Some => (Keep::Some, columns[*n].content),
        keep => (keep, *n),
    });
    order
}
