//! Runs a condition over a batch.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanArray, BooleanBuilder, Date32Array, Datum, Scalar,
    StringArray, TimestampMicrosecondArray,
};
use arrow::compute::kernels::cmp;
use arrow::compute::{and_kleene, cast, ilike, is_null, like, not, or_kleene};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use arrow::record_batch::RecordBatch;
use mixflow_core::error::Result;

use super::super::json::JsonValue;
use super::number::Number;
use super::tree::{Comparison, Condition, Kind, Literal, Node, Operand};

impl Condition {
    /// Returns for each row whether the condition is true, false or null.
    pub(super) fn evaluate(&self, records: &RecordBatch) -> Result<BooleanArray> {
        let mut rows = Rows {
            records,
            found: Vec::with_capacity(self.json.len()),
        };
        for (column, paths) in &self.json {
            let texts = records.column(*column).as_string::<i32>();
            let mut found = vec![None; paths.count() * texts.len()];
            for (json, found) in texts.iter().zip(found.chunks_exact_mut(paths.count())) {
                if let Some(json) = json {
                    paths.find(json, found)?;
                }
            }
            rows.found.push((paths.count(), found));
        }
        rows.evaluate(&self.root)
    }
}

/// A batch, with what was found in its JSON columns.
struct Rows<'r> {
    records: &'r RecordBatch,
    /// The number of paths of each JSON column, and the values, row by row.
    found: Vec<(usize, Vec<Option<&'r str>>)>,
}

impl<'r> Rows<'r> {
    fn evaluate(&self, node: &Node) -> Result<BooleanArray> {
        match node {
            Node::And(nodes) => self.folded(nodes, and_kleene),
            Node::Or(nodes) => self.folded(nodes, or_kleene),
            Node::Not(node) => Ok(not(&self.evaluate(node)?)?),
            Node::Is(node, value) => {
                let values = self.evaluate(node)?;
                Ok(values.iter().map(|is| Some(is == Some(*value))).collect())
            }
            Node::Bool(operand) => self.bools(operand),
            Node::IsNull(operand) => self.is_null(operand),
            Node::Compare {
                comparison,
                kind,
                left,
                right,
            } => self.compare(*comparison, *kind, left, right),
            Node::InTexts(operand, list) => {
                let list: HashSet<&str> = list.iter().map(String::as_str).collect();
                let texts = self.texts(operand);
                let texts = texts.as_string::<i32>().iter();
                Ok(texts.map(|text| Some(list.contains(text?))).collect())
            }
            Node::InNumbers(operand, list) => {
                let is_in = |number: Number| list.iter().any(|n| n.compare(number).is_eq());
                let numbers = self.numbers(operand)?.into_iter();
                Ok(numbers.map(|number| number.map(is_in)).collect())
            }
            Node::Like {
                text,
                pattern,
                any_case,
            } => {
                let (texts, pattern) = (self.texts(text), StringArray::new_scalar(pattern));
                if *any_case {
                    Ok(ilike(&texts, &pattern)?)
                } else {
                    Ok(like(&texts, &pattern)?)
                }
            }
        }
    }

    fn folded(
        &self,
        nodes: &[Node],
        join: impl Fn(
            &BooleanArray,
            &BooleanArray,
        ) -> std::result::Result<BooleanArray, arrow::error::ArrowError>,
    ) -> Result<BooleanArray> {
        let mut joined = self.evaluate(&nodes[0])?;
        for node in &nodes[1..] {
            joined = join(&joined, &self.evaluate(node)?)?;
        }
        Ok(joined)
    }

    fn compare(
        &self,
        comparison: Comparison,
        kind: Kind,
        left: &Operand,
        right: &Operand,
    ) -> Result<BooleanArray> {
        if kind == Kind::Number {
            return self.compare_numbers(comparison, left, right);
        }
        let (left, right) = (self.datum(kind, left)?, self.datum(kind, right)?);
        kernel(comparison, &*left, &*right)
    }

    fn compare_numbers(
        &self,
        comparison: Comparison,
        left: &Operand,
        right: &Operand,
    ) -> Result<BooleanArray> {
        // Most are columns of whole numbers with a whole number.
        if let (Some(left), Some(right)) = (self.whole(left)?, self.whole(right)?) {
            return kernel(comparison, &*left, &*right);
        }
        let (left, right) = (self.numbers(left)?, self.numbers(right)?);
        let pairs = left.into_iter().zip(right);
        let compared = pairs.map(|(left, right)| Some(holds(comparison, left?.compare(right?))));
        Ok(compared.collect())
    }

    /// Returns numbers as what kernels take, if all of them are `i64`.
    fn whole(&self, operand: &Operand) -> Result<Option<Box<dyn Datum>>> {
        Ok(match operand {
            Operand::Column(at) if self.records.column(*at).data_type().is_integer() => {
                let numbers = cast(self.records.column(*at), &DataType::Int64)?;
                Some(Box::new(numbers))
            }
            Operand::Literal(Literal::Number(Number::Whole(whole))) => {
                let whole = i64::try_from(*whole).ok();
                whole.map(|n| Box::new(arrow::array::Int64Array::new_scalar(n)) as _)
            }
            _ => None,
        })
    }

    fn datum(&self, kind: Kind, operand: &Operand) -> Result<Box<dyn Datum + 'r>> {
        Ok(match (kind, operand) {
            (_, Operand::Literal(Literal::Text(text))) => Box::new(StringArray::new_scalar(text)),
            (_, Operand::Literal(Literal::Bool(bool))) => Box::new(BooleanArray::new_scalar(*bool)),
            (_, Operand::Literal(Literal::Timestamp(us))) => {
                Box::new(Scalar::new(TimestampMicrosecondArray::from(vec![*us])))
            }
            (_, Operand::Literal(Literal::Date(day))) => {
                Box::new(Scalar::new(Date32Array::from(vec![*day])))
            }
            (Kind::Bool, operand) => Box::new(self.bools(operand)?),
            (Kind::Timestamp, Operand::Column(at)) => {
                let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
                Box::new(cast(self.records.column(*at), &micros)?)
            }
            (Kind::Date, Operand::Column(at)) => Box::new(Arc::clone(self.records.column(*at))),
            (_, operand) => Box::new(self.texts(operand)),
        })
    }

    fn texts(&self, operand: &Operand) -> ArrayRef {
        match operand {
            Operand::Column(at) => Arc::clone(self.records.column(*at)),
            Operand::Path { as_text, .. } => {
                let texts = self.values(operand).map(|json| match JsonValue::of(json?) {
                    JsonValue::Text(text) => Some(text),
                    JsonValue::Null => None,
                    _ => as_text.then_some(Cow::Borrowed(json?)),
                });
                Arc::new(texts.collect::<StringArray>())
            }
            Operand::Literal(literal) => {
                let text = match literal {
                    Literal::Text(text) => Some(text),
                    _ => None,
                };
                let rows = 0..self.records.num_rows();
                Arc::new(rows.map(|_| text).collect::<StringArray>())
            }
        }
    }

    fn bools(&self, operand: &Operand) -> Result<BooleanArray> {
        Ok(match operand {
            Operand::Column(at) => self.records.column(*at).as_boolean().clone(),
            Operand::Path { .. } => {
                let bools = self.values(operand).map(|json| match JsonValue::of(json?) {
                    JsonValue::Bool(bool) => Some(bool),
                    _ => None,
                });
                bools.collect()
            }
            Operand::Literal(literal) => {
                let bool = match literal {
                    Literal::Bool(bool) => Some(*bool),
                    _ => None,
                };
                let rows = self.records.num_rows();
                let mut builder = BooleanBuilder::with_capacity(rows);
                (0..rows).for_each(|_| builder.append_option(bool));
                builder.finish()
            }
        })
    }

    fn numbers(&self, operand: &Operand) -> Result<Vec<Option<Number>>> {
        Ok(match operand {
            Operand::Column(at) => {
                let column = self.records.column(*at);
                if column.data_type().is_integer() {
                    let numbers = cast(column, &DataType::Int64)?;
                    let numbers = numbers.as_primitive::<Int64Type>().iter();
                    numbers
                        .map(|n| n.map(|n| Number::Whole(n.into())))
                        .collect()
                } else {
                    let numbers = cast(column, &DataType::Float64)?;
                    let numbers = numbers.as_primitive::<Float64Type>().iter();
                    numbers.map(|n| n.map(Number::Float)).collect()
                }
            }
            Operand::Path { .. } => {
                let numbers = self.values(operand);
                numbers
                    .map(|json| JsonValue::of(json?).number().and_then(Number::parse))
                    .collect()
            }
            Operand::Literal(literal) => {
                let number = match literal {
                    Literal::Number(number) => Some(*number),
                    _ => None,
                };
                vec![number; self.records.num_rows()]
            }
        })
    }

    fn is_null(&self, operand: &Operand) -> Result<BooleanArray> {
        Ok(match operand {
            Operand::Column(at) => is_null(self.records.column(*at))?,
            Operand::Path { .. } => {
                let values = self.values(operand);
                let nulls = values.map(|json| json.is_none_or(|json| json == "null"));
                nulls.map(Some).collect()
            }
            Operand::Literal(_) => vec![false; self.records.num_rows()].into(),
        })
    }

    /// Returns the JSON text of a path's value in each row.
    fn values(&self, operand: &Operand) -> impl Iterator<Item = Option<&'r str>> {
        let (count, values, at) = match operand {
            Operand::Path { json, path, .. } => {
                let (count, values) = &self.found[*json];
                (*count, values.as_slice(), *path)
            }
            _ => (1, &[][..], 0),
        };
        values.chunks_exact(count).map(move |row| row[at])
    }
}

fn kernel(comparison: Comparison, left: &dyn Datum, right: &dyn Datum) -> Result<BooleanArray> {
    Ok(match comparison {
        Comparison::Equal => cmp::eq(left, right)?,
        Comparison::NotEqual => cmp::neq(left, right)?,
        Comparison::Less => cmp::lt(left, right)?,
        Comparison::LessOrEqual => cmp::lt_eq(left, right)?,
        Comparison::Greater => cmp::gt(left, right)?,
        Comparison::GreaterOrEqual => cmp::gt_eq(left, right)?,
    })
}

fn holds(comparison: Comparison, ordering: Ordering) -> bool {
    match comparison {
        Comparison::Equal => ordering.is_eq(),
        Comparison::NotEqual => ordering.is_ne(),
        Comparison::Less => ordering.is_lt(),
        Comparison::LessOrEqual => ordering.is_le(),
        Comparison::Greater => ordering.is_gt(),
        Comparison::GreaterOrEqual => ordering.is_ge(),
    }
}
