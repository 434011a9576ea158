//! What a destination has of columns, for those that go by it.

use arrow::datatypes::Field;

/// Where a column's field says what it was made of, in a form that whoever made
/// it understands. A sink that adds to what is there keeps it with the data.
pub const MADE_OF: &str = "mixflow.made_of";

/// Returns what a column says that it was made of.
pub fn made_of(field: &Field) -> Option<&str> {
    field.metadata().get(MADE_OF).map(String::as_str)
}

/// Returns the column with what it was made of.
pub fn with_made_of(mut field: Field, made_of: impl Into<String>) -> Field {
    field
        .metadata_mut()
        .insert(MADE_OF.to_owned(), made_of.into());
    field
}

/// The columns of a destination, as far as a run's may depend on them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Existing {
    /// Those of the rows that a run adds to, with what they were [made
    /// of](made_of) where that is known; none if these rows go, or there are none.
    /// Of a type that no run makes, and where no column can be, the name is taken.
    pub columns: Vec<Field>,
    /// What columns were made of, and their names, also of those that are gone:
    /// what comes again is called as before.
    pub names: Vec<(String, String)>,
}
