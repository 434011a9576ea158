//! From text to the parser's tree.

use sqlparser::ast::{Expr, Value};
use sqlparser::dialect::Dialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::number::Number;
use super::tree::{Kind, Literal};

/// Longer texts are slips. It bounds the depth of what the parser nests
/// without recursion, such as `a OR b OR c OR …`.
const LONGEST: usize = 10_000;

/// How deep the parser may nest.
const DEEPEST: usize = 64;

/// SQL's expressions, with names that may have a `$` in them.
#[derive(Debug)]
struct Expressions;

impl Dialect for Expressions {
    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || matches!(ch, '_' | '$')
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || matches!(ch, '_' | '$')
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"'
    }
}

/// Reads an expression and nothing behind it.
pub(super) fn expression(text: &str) -> Result<Expr, String> {
    if text.len() > LONGEST {
        return Err(format!("a condition has at most {LONGEST} bytes"));
    }
    let parser = Parser::new(&Expressions).with_recursion_limit(DEEPEST);
    let mut parser = parser.try_with_sql(text).map_err(explain)?;
    let expression = parser.parse_expr().map_err(explain)?;
    let next = parser.peek_token();
    match next.token {
        Token::EOF => Ok(expression),
        token => Err(format!(
            "this is not an expression: nothing is expected at `{token}`, column {}",
            next.span.start.column
        )),
    }
}

/// Returns what a literal stands for, if conditions have such; `shown` is how
/// it was written.
pub(super) fn literal(value: &Value, shown: &str) -> Result<Option<(Literal, Kind)>, String> {
    Ok(Some(match value {
        Value::SingleQuotedString(text) => (Literal::Text(text.clone()), Kind::Text),
        Value::Number(digits, false) => {
            let number = Number::parse(digits);
            let number = number.ok_or_else(|| format!("{shown} is no number"))?;
            (Literal::Number(number), Kind::Number)
        }
        Value::Boolean(bool) => (Literal::Bool(*bool), Kind::Bool),
        Value::Null => {
            let message = "nothing is equal to NULL, nor different: use `IS NULL` or `IS NOT NULL`";
            return Err(message.to_owned());
        }
        _ => return Ok(None),
    }))
}

fn explain(error: ParserError) -> String {
    match error {
        ParserError::RecursionLimitExceeded => "this is nested too deeply".to_owned(),
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => {
            let mut chars = message.chars();
            let first = chars.next().map(|first| first.to_ascii_lowercase());
            let message: String = first.into_iter().chain(chars).collect();
            format!("this is not an expression: {message}")
        }
    }
}
