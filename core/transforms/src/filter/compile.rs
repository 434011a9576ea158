//! From the parser's tree to one whose types have been checked.

use arrow::datatypes::{DataType, Schema};
use mixflow_core::suggest::did_you_mean;
use sqlparser::ast::{BinaryOperator, Expr, Ident, UnaryOperator, Value};

use super::super::columns::{is_json_text, type_name};
use super::super::json::{JsonPath, Paths};
use super::super::time;
use super::number::Number;
use super::parse;
use super::tree::{Comparison, Condition, Kind, Literal, Node, Operand};

/// How deep conditions may nest; the parser's own limit does not count what
/// stands behind an operand, such as `IS TRUE`.
const DEEPEST: usize = 200;

/// Compiles `expression` against the schema of the rows.
pub(super) fn condition(expression: &Expr, input: &Schema) -> Result<Condition, String> {
    let mut compiler = Compiler {
        input,
        json: Vec::new(),
        names: Vec::new(),
        paths: Vec::new(),
        depth: 0,
    };
    let root = compiler.node(expression)?;
    Ok(Condition {
        root,
        json: compiler.json,
        names: compiler.names,
    })
}

struct Compiler<'a> {
    input: &'a Schema,
    json: Vec<(usize, Paths)>,
    names: Vec<Vec<String>>,
    /// The paths so far, with where they are in `json`.
    paths: Vec<(usize, JsonPath, usize)>,
    depth: usize,
}

/// An operand, with its type as far as it has one by itself.
struct Typed {
    operand: Operand,
    /// None for a path, which has the type of what it is compared with.
    kind: Option<Kind>,
    /// How it was written.
    shown: String,
}

impl Compiler<'_> {
    fn node(&mut self, expression: &Expr) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("this is nested too deeply".to_owned());
        }
        let node = self.any_node(expression);
        self.depth -= 1;
        node
    }

    fn any_node(&mut self, expression: &Expr) -> Result<Node, String> {
        match expression {
            Expr::Nested(inner) => self.node(inner),
            Expr::BinaryOp {
                op: op @ (BinaryOperator::And | BinaryOperator::Or),
                ..
            } => self.chain(expression, op),
            Expr::BinaryOp { left, op, right } if comparison(op).is_some() => {
                let comparison = comparison(op).expect("it is one");
                let (left, right) = (self.operand(left)?, self.operand(right)?);
                compare(comparison, left, right)
            }
            Expr::UnaryOp {
                op: UnaryOperator::Not,
                expr,
            } => Ok(negated(true, self.node(expr)?)),
            Expr::IsTrue(inner) => self.is(inner, true),
            Expr::IsFalse(inner) => self.is(inner, false),
            Expr::IsNotTrue(inner) => Ok(negated(true, self.is(inner, true)?)),
            Expr::IsNotFalse(inner) => Ok(negated(true, self.is(inner, false)?)),
            Expr::IsNull(inner) => Ok(Node::IsNull(self.nullable(inner)?)),
            Expr::IsNotNull(inner) => Ok(negated(true, Node::IsNull(self.nullable(inner)?))),
            Expr::InList {
                expr,
                list,
                negated: not,
            } => Ok(negated(*not, self.in_list(expr, list)?)),
            Expr::Between {
                expr,
                negated: not,
                low,
                high,
            } => Ok(negated(*not, self.between(expr, low, high)?)),
            Expr::Like {
                negated: not,
                any: false,
                expr,
                pattern,
                escape_char: None,
            } => Ok(negated(*not, self.like(expr, pattern, false)?)),
            Expr::ILike {
                negated: not,
                any: false,
                expr,
                pattern,
                escape_char: None,
            } => Ok(negated(*not, self.like(expr, pattern, true)?)),
            other => self.bool(other),
        }
    }

    /// `a AND b AND c` is nested to the left without end, so it is taken apart
    /// in a loop.
    fn chain(&mut self, expression: &Expr, chained: &BinaryOperator) -> Result<Node, String> {
        let mut parts = Vec::new();
        let mut rest = expression;
        while let Expr::BinaryOp { left, op, right } = rest
            && op == chained
        {
            parts.push(&**right);
            rest = left;
        }
        parts.push(rest);
        let nodes: Result<_, _> = parts
            .into_iter()
            .rev()
            .map(|part| self.node(part))
            .collect();
        match chained {
            BinaryOperator::And => nodes.map(Node::And),
            _ => nodes.map(Node::Or),
        }
    }

    fn bool(&mut self, expression: &Expr) -> Result<Node, String> {
        let typed = self.operand(expression)?;
        match (typed.kind, &typed.operand) {
            (Some(Kind::Bool), _) | (None, _) => Ok(Node::Bool(typed.operand)),
            (Some(kind), _) => Err(format!(
                "{} is {}, and a condition is true or false: compare it with something",
                typed.shown,
                kind.name()
            )),
        }
    }

    fn in_list(&mut self, expression: &Expr, list: &[Expr]) -> Result<Node, String> {
        let mut equal = Vec::with_capacity(list.len());
        for item in list {
            let item = self.operand(item)?;
            if !matches!(item.operand, Operand::Literal(_)) {
                return Err(format!(
                    "{} stands in a list, which takes texts, numbers, TRUE and FALSE",
                    item.shown
                ));
            }
            equal.push(compare(Comparison::Equal, self.operand(expression)?, item)?);
        }
        // Comparing with each would read the texts of a path again each time.
        let operand = self.operand(expression)?.operand;
        let (mut texts, mut numbers) = (Vec::new(), Vec::new());
        for node in &equal {
            if let Node::Compare { right, .. } = node {
                match right {
                    Operand::Literal(Literal::Text(text)) => texts.push(text.clone()),
                    Operand::Literal(Literal::Number(number)) => numbers.push(*number),
                    _ => {}
                }
            }
        }
        Ok(match equal.len() {
            n if n == texts.len() => Node::InTexts(operand, texts),
            n if n == numbers.len() => Node::InNumbers(operand, numbers),
            _ => Node::Or(equal),
        })
    }

    fn like(&mut self, text: &Expr, pattern: &Expr, any_case: bool) -> Result<Node, String> {
        let text = self.operand(text)?;
        if !matches!(text.kind, None | Some(Kind::Text)) {
            let kind = text.kind.map_or("", Kind::name);
            return Err(format!("{} is {kind}, and LIKE needs text", text.shown));
        }
        let pattern = self.operand(pattern)?;
        let Operand::Literal(Literal::Text(pattern)) = pattern.operand else {
            return Err(format!("{} is no pattern, which is a text", pattern.shown));
        };
        Ok(Node::Like {
            text: text.operand,
            pattern,
            any_case,
        })
    }

    /// Returns an operand that is asked only whether it is null: a column of
    /// any type, too.
    fn nullable(&mut self, expression: &Expr) -> Result<Operand, String> {
        match expression {
            Expr::Nested(inner) => self.nullable(inner),
            Expr::Identifier(name) => self.column(name).map(Operand::Column),
            other => Ok(self.operand(other)?.operand),
        }
    }

    fn is(&mut self, inner: &Expr, truth: bool) -> Result<Node, String> {
        Ok(Node::Is(Box::new(self.node(inner)?), truth))
    }

    fn between(&mut self, value: &Expr, low: &Expr, high: &Expr) -> Result<Node, String> {
        let low = self.operand(low)?;
        let low = compare(Comparison::GreaterOrEqual, self.operand(value)?, low)?;
        let high = self.operand(high)?;
        let high = compare(Comparison::LessOrEqual, self.operand(value)?, high)?;
        Ok(Node::And(vec![low, high]))
    }

    fn operand(&mut self, expression: &Expr) -> Result<Typed, String> {
        let shown = shown(expression);
        let literal = |literal, kind| Typed {
            operand: Operand::Literal(literal),
            kind: Some(kind),
            shown: shown.clone(),
        };
        match expression {
            Expr::Nested(inner) => self.operand(inner),
            Expr::Identifier(name) => {
                let at = self.column(name)?;
                Ok(Typed {
                    operand: Operand::Column(at),
                    kind: Some(self.kind(at)?),
                    shown,
                })
            }
            Expr::CompoundIdentifier(names) => {
                let keys = names[1..].iter().map(|name| name.value.clone());
                self.path(&names[0], keys.collect(), false, shown)
            }
            Expr::BinaryOp {
                op: op @ (BinaryOperator::Arrow | BinaryOperator::LongArrow),
                ..
            } => {
                let (column, keys) = arrows(expression).ok_or_else(|| {
                    format!("{shown} is no path; one is `properties->'cart'->>'sku'`")
                })?;
                self.path(&column, keys, *op == BinaryOperator::LongArrow, shown)
            }
            Expr::UnaryOp {
                op: op @ (UnaryOperator::Minus | UnaryOperator::Plus),
                expr,
            } => {
                let number = self.signed(op, expr)?;
                let number = number.ok_or_else(|| unsupported(&shown))?;
                Ok(literal(Literal::Number(number), Kind::Number))
            }
            Expr::Value(value) => {
                let value = parse::literal(&value.value, &shown)?;
                let (value, kind) = value.ok_or_else(|| unsupported(&shown))?;
                Ok(literal(value, kind))
            }
            _ => Err(unsupported(&shown)),
        }
    }

    /// Returns a number with the sign that stands before it, if it is one.
    fn signed(
        &mut self,
        sign: &UnaryOperator,
        expression: &Expr,
    ) -> Result<Option<Number>, String> {
        Ok(match (sign, self.operand(expression)?.operand) {
            (UnaryOperator::Minus, Operand::Literal(Literal::Number(number))) => {
                Some(number.negated())
            }
            (_, Operand::Literal(Literal::Number(number))) => Some(number),
            _ => None,
        })
    }

    fn column(&self, name: &Ident) -> Result<usize, String> {
        self.input.index_of(&name.value).map_err(|_| {
            let known = self.input.fields().iter().map(|f| f.name().as_str());
            let mut hint = did_you_mean(&name.value, &known.collect::<Vec<_>>());
            if hint.is_empty() && name.quote_style.is_some() {
                hint = "; texts stand in single quotes".to_owned();
            }
            format!("there is no column `{}`{hint}", name.value)
        })
    }

    fn kind(&self, at: usize) -> Result<Kind, String> {
        let field = self.input.field(at);
        let name = field.name();
        match field.data_type() {
            _ if is_json_text(field) => Err(format!(
                "the column `{name}` is json: compare a value in it, such as `{name}.amount`"
            )),
            DataType::Utf8 => Ok(Kind::Text),
            DataType::Boolean => Ok(Kind::Bool),
            DataType::Timestamp(_, None) => Ok(Kind::Timestamp),
            DataType::Date32 => Ok(Kind::Date),
            kind if kind.is_floating() && *kind != DataType::Float16 => Ok(Kind::Number),
            // Of the whole numbers these have values that no `i64` has.
            kind if kind.is_integer() && *kind != DataType::UInt64 => Ok(Kind::Number),
            _ => Err(format!(
                "the column `{name}` is {}, which a filter cannot compare",
                type_name(field)
            )),
        }
    }

    fn path(
        &mut self,
        column: &Ident,
        keys: Vec<String>,
        as_text: bool,
        shown: String,
    ) -> Result<Typed, String> {
        let at = self.column(column)?;
        let field = self.input.field(at);
        if !is_json_text(field) {
            return Err(format!(
                "the column `{}` is {}, and only json has values in it",
                field.name(),
                type_name(field)
            ));
        }
        let path = JsonPath::new(keys)?;
        let known = self.json.iter().position(|(column, _)| *column == at);
        let json = known.unwrap_or_else(|| {
            self.json.push((at, Paths::default()));
            self.names.push(Vec::new());
            self.json.len() - 1
        });
        // `IN` and `BETWEEN` name theirs several times.
        let mut known = self.paths.iter();
        let known = known.find(|(other, known, _)| *other == json && *known == path);
        let number = match known {
            Some((_, _, number)) => *number,
            None => {
                let number = self.json[json].1.add(&path);
                self.names[json].push(shown.clone());
                self.paths.push((json, path, number));
                number
            }
        };
        Ok(Typed {
            operand: Operand::Path {
                json,
                path: number,
                as_text,
            },
            kind: as_text.then_some(Kind::Text),
            shown,
        })
    }
}

fn negated(not: bool, node: Node) -> Node {
    if not { Node::Not(Box::new(node)) } else { node }
}

fn comparison(op: &BinaryOperator) -> Option<Comparison> {
    Some(match op {
        BinaryOperator::Eq => Comparison::Equal,
        BinaryOperator::NotEq => Comparison::NotEqual,
        BinaryOperator::Lt => Comparison::Less,
        BinaryOperator::LtEq => Comparison::LessOrEqual,
        BinaryOperator::Gt => Comparison::Greater,
        BinaryOperator::GtEq => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn compare(comparison: Comparison, left: Typed, right: Typed) -> Result<Node, String> {
    if let (Operand::Literal(_), Operand::Literal(_)) = (&left.operand, &right.operand) {
        let (left, right) = (left.shown, right.shown);
        return Err(format!(
            "{left} and {right} are the same in every row: name a column"
        ));
    }
    let (left_is, right_is) = (
        (left.kind, left.shown.clone()),
        (right.kind, right.shown.clone()),
    );
    let (left, right) = (against(left, &right_is)?, against(right, &left_is)?);
    let kind = match (left.kind, right.kind) {
        (Some(a), Some(b)) if a == b => a,
        (Some(kind @ (Kind::Timestamp | Kind::Date)), None)
        | (None, Some(kind @ (Kind::Timestamp | Kind::Date))) => {
            let path = if left.kind.is_none() { left } else { right };
            let (path, kind) = (path.shown, kind.name());
            return Err(format!(
                "{path} has no type of its own, and JSON has no {kind}: `extract` makes a column of it"
            ));
        }
        (Some(kind), None) | (None, Some(kind)) => kind,
        (None, None) => {
            let (left, right) = (left.shown, right.shown);
            return Err(format!(
                "neither {left} nor {right} has a type of its own: `extract` makes columns of them"
            ));
        }
        (Some(a), Some(b)) => {
            let (left, right) = (left.shown, right.shown);
            return Err(format!(
                "{left} is {}, and {right} is {}: they cannot be compared",
                a.name(),
                b.name()
            ));
        }
    };
    Ok(Node::Compare {
        comparison,
        kind,
        left: left.operand,
        right: right.operand,
    })
}

/// Reads a text that is compared with times as a time.
fn against(this: Typed, other: &(Option<Kind>, String)) -> Result<Typed, String> {
    let (Operand::Literal(Literal::Text(text)), (Some(kind), other)) = (&this.operand, other)
    else {
        return Ok(this);
    };
    let (literal, example) = match kind {
        Kind::Timestamp => (
            time::timestamp(text).map(Literal::Timestamp),
            "2024-01-31 12:00",
        ),
        Kind::Date => (time::date(text).map(Literal::Date), "2024-01-31"),
        _ => return Ok(this),
    };
    let Some(literal) = literal else {
        return Err(format!(
            "{} is {}, and {} is none; one is '{example}'",
            other,
            kind.name(),
            this.shown
        ));
    };
    Ok(Typed {
        operand: Operand::Literal(literal),
        kind: Some(*kind),
        shown: this.shown,
    })
}

/// Takes `properties->'cart'->>'sku'` apart.
fn arrows(expression: &Expr) -> Option<(Ident, Vec<String>)> {
    let mut keys = Vec::new();
    let mut rest = expression;
    loop {
        match rest {
            Expr::Identifier(column) => {
                keys.reverse();
                return Some((column.clone(), keys));
            }
            Expr::BinaryOp { left, op, right } => {
                // Only the last arrow may be the one that gives a text.
                if !matches!(op, BinaryOperator::Arrow) && !keys.is_empty() {
                    return None;
                }
                let Expr::Value(key) = &**right else {
                    return None;
                };
                let Value::SingleQuotedString(key) = &key.value else {
                    return None;
                };
                keys.push(key.clone());
                rest = left;
            }
            _ => return None,
        }
    }
}

/// Returns how something was written, not too long.
fn shown(expression: &Expr) -> String {
    const MOST: usize = 60;
    let text = expression.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}

fn unsupported(shown: &str) -> String {
    format!(
        "{shown} is not supported: a condition has columns, paths such as `properties.amount`, texts in single quotes, numbers, TRUE and FALSE with = <> < <= > >=, AND, OR, NOT, IN, BETWEEN, LIKE, ILIKE, IS NULL and IS TRUE"
    )
}
