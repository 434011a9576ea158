//! A condition whose types have been checked.

use super::super::json::Paths;
use super::number::Number;

/// A condition, with what it looks for in JSON.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) root: Node,
    /// The JSON columns that are looked into, and for what.
    pub(super) json: Vec<(usize, Paths)>,
    /// How each path of each of them was first written, for messages.
    pub(super) names: Vec<Vec<String>>,
}

/// Something that is true, false or null.
#[derive(Clone, Debug)]
pub(super) enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    /// `IS TRUE` and `IS FALSE`; never null.
    Is(Box<Node>, bool),
    /// An operand that is itself true or false.
    Bool(Operand),
    IsNull(Operand),
    Compare {
        comparison: Comparison,
        kind: Kind,
        left: Operand,
        right: Operand,
    },
    InTexts(Operand, Vec<String>),
    InNumbers(Operand, Vec<Number>),
    Like {
        text: Operand,
        pattern: String,
        any_case: bool,
    },
}

/// Something that has a value in each row.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    Column(usize),
    /// A value in a JSON column: the column's and the path's position in
    /// [`Condition::json`].
    Path {
        json: usize,
        path: usize,
        /// Whether a value of another type is its JSON text: `->>`.
        as_text: bool,
    },
    Literal(Literal),
}

/// A value that is the same in each row.
#[derive(Clone, Debug)]
pub(super) enum Literal {
    Text(String),
    Number(Number),
    Bool(bool),
    /// Microseconds since 1970.
    Timestamp(i64),
    /// Days since 1970.
    Date(i32),
}

/// The type of what is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Bool,
    Timestamp,
    Date,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Kind {
    /// Returns what people call the type.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Number => "a number",
            Kind::Bool => "bool",
            Kind::Timestamp => "timestamp",
            Kind::Date => "date",
        }
    }
}
