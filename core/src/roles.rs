//! What the columns of a source are for.

/// What stands where in the rows of a source, for whoever works with them and
/// knows no source: the engine, which counts rows by their kind, and transforms.
///
/// All of them are columns of [`Source::schema`](crate::source::Source::schema).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnRoles {
    /// The text that says what kind of row it is, such as an event's name.
    pub kind: &'static str,
    /// The texts that all copies of a record share.
    pub identity: &'static [&'static str],
    /// The timestamp that they share, too.
    pub time: &'static str,
    /// A JSON column, and the key in it whose number is largest in the copy
    /// that counts.
    pub version: (&'static str, &'static str),
}
