//! The part of Mixpanel's `where` language that the simulator evaluates.
//!
//! ```text
//! any     = all ("or" all)*
//! all     = one ("and" one)*
//! one     = "not" one | "(" any ")" | "defined" "(" property ")"
//!         | operand ("==" | "!=" | "<" | "<=" | ">" | ">=" | "in") operand
//! operand = property | literal | "[" literal ("," literal)* "]"
//! property = ("properties" | "user") "[" string "]"
//! ```
//!
//! A literal is a string in single or double quotes, a number, `true` or
//! `false`. A missing property is equal to nothing and ordered nowhere.

use std::cmp::Ordering;

use serde_json::Value;

use super::json;

/// A parsed `where` expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Filter {
    Any(Vec<Filter>),
    All(Vec<Filter>),
    Not(Box<Filter>),
    Defined(String),
    Compare(Operand, Comparison, Operand),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    Property(String),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

impl Filter {
    /// Parses an expression, or says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser {
            tokens: tokens(text)?,
            position: 0,
            depth: 0,
        };
        let filter = parser.any()?;
        match parser.next() {
            None => Ok(filter),
            Some(token) => Err(format!("unexpected {token:?} in the expression")),
        }
    }

    /// Evaluates the expression; `property` looks a property up by name.
    pub(super) fn matches(&self, property: &dyn Fn(&str) -> Option<Value>) -> bool {
        match self {
            Self::Any(parts) => parts.iter().any(|part| part.matches(property)),
            Self::All(parts) => parts.iter().all(|part| part.matches(property)),
            Self::Not(part) => !part.matches(property),
            Self::Defined(name) => property(name).is_some(),
            Self::Compare(left, comparison, right) => {
                let value = |operand: &Operand| match operand {
                    Operand::Property(name) => property(name),
                    Operand::Literal(value) => Some(value.clone()),
                };
                match (value(left), value(right)) {
                    (Some(left), Some(right)) => compare(&left, *comparison, &right),
                    _ => *comparison == Comparison::NotEqual,
                }
            }
        }
    }
}

fn compare(left: &Value, comparison: Comparison, right: &Value) -> bool {
    let order = order(left, right);
    match comparison {
        Comparison::Equal => equal(left, right),
        Comparison::NotEqual => !equal(left, right),
        Comparison::Less => order == Some(Ordering::Less),
        Comparison::LessOrEqual => order.is_some_and(Ordering::is_le),
        Comparison::Greater => order == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        Comparison::In => match (left, right) {
            (Value::String(part), Value::String(whole)) => whole.contains(part.as_str()),
            (_, Value::Array(items)) => items.iter().any(|item| equal(left, item)),
            _ => false,
        },
    }
}

fn equal(left: &Value, right: &Value) -> bool {
    left == right || order(left, right) == Some(Ordering::Equal)
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
        },
        _ => None,
    }
}

/// Reads a value for comparison. What `serde_json` cannot hold is compared as
/// a string with replacement characters, or is equal to nothing.
pub(super) fn value(raw: &str) -> Value {
    let lossy = || json::string(raw).map_or(Value::Null, Value::String);
    serde_json::from_str(raw).unwrap_or_else(|_| lossy())
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number(Value),
    Sign(&'static str),
}

/// Two-character signs come first, so that `<=` is not read as `<`.
const SIGNS: [&str; 11] = ["==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", ","];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, after) = if first == '"' || first == '\'' {
            quoted(&rest[1..], first)?
        } else if first.is_ascii_digit() || first == '-' || first == '.' {
            number(rest)?
        } else if first.is_ascii_alphabetic() {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
            (Token::Word(word.to_owned()), after)
        } else {
            let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
            let sign = sign.ok_or_else(|| format!("unexpected `{first}` in the expression"))?;
            (Token::Sign(sign), &rest[sign.len()..])
        };
        found.push(token);
        rest = after.trim_start();
    }
    Ok(found)
}

fn quoted(rest: &str, quote: char) -> Result<(Token, &str), String> {
    let mut text = String::new();
    let mut chars = rest.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Ok((Token::Text(text), &rest[at + 1..]));
        }
        match c {
            '\\' => match chars.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, escaped)) => text.push(escaped),
                None => break,
            },
            _ => text.push(c),
        }
    }
    Err("a string in the expression is not closed".to_owned())
}

fn number(rest: &str) -> Result<(Token, &str), String> {
    let part = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    let (text, after) = rest.split_at(rest.find(|c| !part(c)).unwrap_or(rest.len()));
    let value = serde_json::from_str(text)
        .map_err(|_| format!("`{text}` in the expression is not a number"))?;
    Ok((Token::Number(value), after))
}

struct Parser {
    tokens: Vec<Token>,
    position: usize,
    depth: usize,
}

impl Parser {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.position).cloned();
        self.position += 1;
        token
    }

    fn accept(&mut self, token: &Token) -> bool {
        let found = self.tokens.get(self.position) == Some(token);
        self.position += usize::from(found);
        found
    }

    fn accept_word(&mut self, word: &str) -> bool {
        self.accept(&Token::Word(word.to_owned()))
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), String> {
        match self.next() {
            Some(Token::Sign(found)) if found == sign => Ok(()),
            found => Err(format!("expected `{sign}`, found {}", described(found))),
        }
    }

    fn any(&mut self) -> Result<Filter, String> {
        let mut parts = vec![self.all()?];
        while self.accept_word("or") {
            parts.push(self.all()?);
        }
        Ok(Filter::Any(parts))
    }

    fn all(&mut self) -> Result<Filter, String> {
        let mut parts = vec![self.one()?];
        while self.accept_word("and") {
            parts.push(self.one()?);
        }
        Ok(Filter::All(parts))
    }

    fn one(&mut self) -> Result<Filter, String> {
        // The parser recurses; a client must not be able to end the process.
        self.depth += 1;
        if self.depth > 100 {
            return Err("the expression is nested too deeply".to_owned());
        }
        let filter = if self.accept_word("not") {
            Filter::Not(Box::new(self.one()?))
        } else if self.accept(&Token::Sign("(")) {
            let inner = self.any()?;
            self.expect(")")?;
            inner
        } else if self.accept_word("defined") {
            self.expect("(")?;
            let Operand::Property(name) = self.operand()? else {
                return Err("`defined` needs a property".to_owned());
            };
            self.expect(")")?;
            Filter::Defined(name)
        } else {
            Filter::Compare(self.operand()?, self.comparison()?, self.operand()?)
        };
        self.depth -= 1;
        Ok(filter)
    }

    fn comparison(&mut self) -> Result<Comparison, String> {
        let token = self.next();
        match &token {
            Some(Token::Sign("==")) => Ok(Comparison::Equal),
            Some(Token::Sign("!=")) => Ok(Comparison::NotEqual),
            Some(Token::Sign("<")) => Ok(Comparison::Less),
            Some(Token::Sign("<=")) => Ok(Comparison::LessOrEqual),
            Some(Token::Sign(">")) => Ok(Comparison::Greater),
            Some(Token::Sign(">=")) => Ok(Comparison::GreaterOrEqual),
            Some(Token::Word(word)) if word == "in" => Ok(Comparison::In),
            _ => Err(format!("expected a comparison, found {}", described(token))),
        }
    }

    fn operand(&mut self) -> Result<Operand, String> {
        let token = self.next();
        match &token {
            Some(Token::Word(word)) if word == "properties" || word == "user" => {
                self.expect("[")?;
                let name = self.next();
                let Some(Token::Text(name)) = name else {
                    return Err(format!(
                        "expected a property's name, found {}",
                        described(name)
                    ));
                };
                self.expect("]")?;
                Ok(Operand::Property(name))
            }
            Some(Token::Sign("[")) => {
                let mut items = vec![literal(self.next())?];
                while self.accept(&Token::Sign(",")) {
                    items.push(literal(self.next())?);
                }
                self.expect("]")?;
                Ok(Operand::Literal(Value::Array(items)))
            }
            _ => literal(token).map(Operand::Literal),
        }
    }
}

fn literal(token: Option<Token>) -> Result<Value, String> {
    match token {
        Some(Token::Text(text)) => Ok(Value::String(text)),
        Some(Token::Number(value)) => Ok(value),
        Some(Token::Word(word)) if word == "true" => Ok(Value::Bool(true)),
        Some(Token::Word(word)) if word == "false" => Ok(Value::Bool(false)),
        token => Err(format!("expected a value, found {}", described(token))),
    }
}

fn described(token: Option<Token>) -> String {
    match token {
        None => "the end".to_owned(),
        Some(Token::Word(word)) => format!("`{word}`"),
        Some(Token::Text(text)) => format!("{text:?}"),
        Some(Token::Number(value)) => format!("`{value}`"),
        Some(Token::Sign(sign)) => format!("`{sign}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(expression: &str) -> bool {
        let properties = serde_json::json!({
            "plan": "pro", "age": 41, "score": 1.5, "tags": ["a", 2], "ok": true, "none": null,
            "it's": "x",
        });
        let filter = Filter::parse(expression).unwrap();
        filter.matches(&|name| properties.get(name).cloned())
    }

    #[test]
    fn comparisons_hold() {
        for expression in [
            r#"properties["plan"] == "pro""#,
            r#"user['plan'] == 'pro'"#,
            r#"properties["age"] >= 41 and properties["age"] < 41.5"#,
            r#"properties["ok"] == true"#,
            r#"properties["plan"] != "free""#,
            r#"properties["missing"] != "free""#,
            r#""a" in properties["tags"]"#,
            r#""r" in properties["plan"]"#,
            r#"properties["age"] in [40, 41]"#,
            r#"defined(properties["none"])"#,
            r#"not defined(properties["missing"])"#,
            r#"properties["it's"] == "x""#,
            r#"(properties["age"] == 1 or properties["score"] > 1) and not properties["plan"] == "x""#,
        ] {
            assert!(holds(expression), "{expression}");
        }
    }

    #[test]
    fn comparisons_fail() {
        for expression in [
            r#"properties["missing"] == "pro""#,
            r#"properties["missing"] < 5"#,
            r#"properties["age"] == "41""#,
            r#"properties["age"] > "4""#,
            r#"properties["tags"] == "a""#,
            r#"properties["age"] == 1 or properties["age"] == 2"#,
        ] {
            assert!(!holds(expression), "{expression}");
        }
    }

    #[test]
    fn and_binds_tighter_than_or() {
        assert!(holds(
            r#"properties["ok"] == true or properties["ok"] == true and 1 == 2"#
        ));
    }

    #[test]
    fn other_syntax_is_refused() {
        for expression in [
            "",
            "properties[\"a\"]",
            "properties.a == 1",
            "properties[\"a\"] = 1",
            "properties[\"a\"] == \"x",
            "properties[\"a\"] == 1 1",
            "number(properties[\"a\"]) == 1",
            "(1 == 1",
            "1 == 1 and",
            "defined(1)",
            "1 == --2",
        ] {
            assert!(Filter::parse(expression).is_err(), "{expression}");
        }
        assert!(Filter::parse(&"(".repeat(10_000)).is_err());
    }
}
