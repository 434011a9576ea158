//! The members of an object that are kept, as runs of the record's own text.

use std::fmt::Write as _;

use arrow::array::StringBuilder;

use super::record::Refused;
use crate::json::mend::mended;
use mixflow_core::json::scan::{Fault, Key, Scanner, Value};

/// Where members that follow one another begin and end.
pub(super) type Run = (usize, usize);

/// The members that are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Properties<'a> {
    pub(super) text: &'a str,
    pub(super) runs: &'a [Run],
}

impl<'a> Properties<'a> {
    /// Returns the members that `runs` of `text` are. If they are to be mended,
    /// `mended` is the text that they stand in, and `runs` say where.
    pub(super) fn of(
        text: &'a str,
        runs: &'a mut Vec<Run>,
        is_to_be_mended: bool,
        mended: &'a mut String,
    ) -> Result<Properties<'a>, Refused> {
        if !is_to_be_mended {
            return Ok(Properties { text, runs });
        }
        *mended = self::mended(&Properties { text, runs }.joined())?;
        runs.clear();
        // Between the braces.
        if mended.len() > 2 {
            runs.push((1, mended.len() - 1));
        }
        Ok(Properties { text: mended, runs })
    }

    /// Returns the object of the members.
    fn joined(&self) -> String {
        let runs = self.runs.iter();
        let members: Vec<&str> = runs.map(|(start, end)| &self.text[*start..*end]).collect();
        format!("{{{}}}", members.join(","))
    }

    /// Appends `{` run `,` run … `}` and returns its length.
    pub(super) fn append_to(self, column: &mut StringBuilder) -> usize {
        let mut write = |text: &str| {
            column
                .write_str(text)
                .expect("writing into a builder cannot fail");
            text.len()
        };
        let mut length = write("{");
        for (n, (start, end)) in self.runs.iter().enumerate() {
            if n > 0 {
                length += write(",");
            }
            length += write(&self.text[*start..*end]);
        }
        length += write("}");
        column.append_value("");
        length
    }
}

/// Reads an object's members; keeps, as runs, those that `taken` does not take.
pub(super) fn scan(
    scanner: &mut Scanner<'_>,
    text: &str,
    runs: &mut Vec<Run>,
    mut taken: impl FnMut(Key, Value) -> bool,
) -> Result<(), Fault> {
    runs.clear();
    scanner.enter_object()?;
    let mut first = true;
    // Whether the run goes on: the member before was kept too.
    let mut open = false;
    while let Some(key) = scanner.next_key(&mut first)? {
        let value = scanner.value()?;
        let end = value.span.end;
        // Keys that matter begin with one of four letters; most keys do not.
        let candidate = matches!(
            text.as_bytes().get(key.start + 1),
            Some(b't' | b'd' | b'$' | b'm' | b'\\')
        );
        if candidate && taken(key, value) {
            open = false;
            continue;
        }
        match runs.last_mut() {
            Some(run) if open => run.1 = end,
            _ => runs.push((key.start, end)),
        }
        open = true;
    }
    Ok(())
}
