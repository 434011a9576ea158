//! The part of Mixpanel's `where` language that the simulator evaluates.
//!
//! ```text
//! any     = all ("or" all)*
//! all     = one ("and" one)*
//! one     = "not" one | "(" any ")" | "defined" "(" property ")"
//!         | operand ("==" | "!=" | "<" | "<=" | ">" | ">=" | "in") operand
//! operand = property | literal | "[" literal ("," literal)* "]"
//!         | ("boolean" | "number" | "string" | "datetime") "(" operand ")"
//! property = ("properties" | "user") "[" string "]"
//! ```
//!
//! A literal is a string in single or double quotes, a number, `true` or
//! `false`. A missing property is equal to nothing and ordered nowhere. What
//! stands beside a `datetime` is read as one.

use serde_json::Value;

use super::filter_value::{Cast, Comparison, Found};

pub(super) use super::filter_value::value;

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
    Cast(Cast, Box<Operand>),
}

impl Operand {
    fn value(&self, property: &dyn Fn(&str) -> Option<Value>) -> Option<Found> {
        match self {
            Self::Property(name) => property(name).map(Found::Json),
            Self::Literal(value) => Some(Found::Json(value.clone())),
            Self::Cast(cast, operand) => cast.apply(operand.value(property)),
        }
    }
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
                comparison.holds(left.value(property), right.value(property))
            }
        }
    }
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

    /// Counts a step down. The parser recurses, and a client must not be able
    /// to end the process.
    fn deeper(&mut self) -> Result<(), String> {
        self.depth += 1;
        match self.depth {
            0..=100 => Ok(()),
            _ => Err("the expression is nested too deeply".to_owned()),
        }
    }

    fn one(&mut self) -> Result<Filter, String> {
        self.deeper()?;
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

    fn cast(&mut self, cast: Cast) -> Result<Operand, String> {
        self.deeper()?;
        self.expect("(")?;
        let operand = self.operand()?;
        self.expect(")")?;
        self.depth -= 1;
        if cast == Cast::Datetime
            && let Operand::Literal(value) = &operand
            && cast.apply(Some(Found::Json(value.clone()))).is_none()
        {
            return Err(format!("{value} in the expression is not a date"));
        }
        Ok(Operand::Cast(cast, Box::new(operand)))
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
        if let Some(Token::Word(word)) = &token
            && let Some(cast) = Cast::of(word)
        {
            return self.cast(cast);
        }
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
            "it's": "x", "digits": " 12.5", "seen": "2024-01-03T10:00:00", "at": 1704276000,
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
    fn values_are_cast() {
        for expression in [
            r#"number(properties["digits"]) == 12.5"#,
            r#"number(properties["age"]) < number("41.5")"#,
            r#"number(properties["plan"]) != 1"#,
            r#"number(properties["ok"]) == 1"#,
            r#"string(properties["age"]) == "41""#,
            r#"string(datetime(properties["at"])) == "2024-01-03T10:00:00""#,
            r#"(boolean(properties["plan"]) == true)"#,
            r#"boolean(properties["missing"]) == false"#,
            r#"properties["seen"] > datetime("2024-01-03")"#,
            r#"properties["seen"] == datetime(1704276000)"#,
            r#"datetime(properties["seen"]) <= datetime("2024-01-03T11:00:00+01:00")"#,
            r#"datetime(properties["at"]) == datetime(properties["seen"])"#,
            r#"datetime(properties["plan"]) != datetime("2024-01-03")"#,
        ] {
            assert!(holds(expression), "{expression}");
        }
        for expression in [
            r#"number(properties["plan"]) == 0"#,
            r#"number(properties["missing"]) < 1"#,
            r#"properties["seen"] < datetime("2024-01-03")"#,
            r#"properties["plan"] < datetime("2024-01-03")"#,
            r#"datetime(properties["missing"]) > datetime("2024-01-03")"#,
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
            "number(properties[\"a\"])",
            "number(properties[\"a\"] == 1",
            "number() == 1",
            "list(properties[\"a\"]) == 1",
            "properties[\"a\"] > datetime(\"yesterday\")",
            "(1 == 1",
            "1 == 1 and",
            "defined(1)",
            "1 == --2",
        ] {
            assert!(Filter::parse(expression).is_err(), "{expression}");
        }
        assert!(Filter::parse(&"(".repeat(10_000)).is_err());
        assert!(Filter::parse(&"number(".repeat(10_000)).is_err());
    }
}
