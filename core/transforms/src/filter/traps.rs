//! Conditions that leave out more rows than they seem to.
//!
//! `NOT properties.$email LIKE '%@test.com'` is null, not true, of a row that
//! has no `$email`: everybody without one goes with the test accounts.

use arrow::datatypes::Schema;

use super::tree::{Comparison, Condition, Node, Operand};

/// A value that a row may lack: a column's position, or that of a JSON column
/// in the condition and the path in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Column(usize),
    Path(usize, usize),
}

#[derive(Default)]
struct Found {
    /// Of which the condition says that it is not something.
    denied: Vec<Place>,
    /// Of which it asks whether they are there.
    asked: Vec<Place>,
}

impl Condition {
    /// Returns a warning if rows without a value are left out by a condition
    /// that says what the value is not.
    pub(super) fn trap(&self, input: &Schema) -> Option<String> {
        let mut found = Found::default();
        found.look_at(&self.root, false);
        let mut names: Vec<String> = Vec::new();
        for place in &found.denied {
            let name = match *place {
                Place::Column(at) if !input.field(at).is_nullable() => continue,
                Place::Column(at) => format!("`{}`", input.field(at).name()),
                Place::Path(json, path) => self.names[json][path].clone(),
            };
            if !found.asked.contains(place) && !names.contains(&name) {
                names.push(name);
            }
        }
        let first = names.first()?.trim_matches('`');
        Some(format!(
            "`filter` also leaves out the rows that have no {}: of a missing value NOT and <> are null, not true; `OR {first} IS NULL` keeps them, `AND {first} IS NOT NULL` says that this is meant",
            names.join(", no "),
        ))
    }
}

impl Found {
    fn look_at(&mut self, node: &Node, is_denied: bool) {
        match node {
            Node::And(nodes) | Node::Or(nodes) => {
                nodes.iter().for_each(|node| self.look_at(node, is_denied));
            }
            Node::Not(node) => self.look_at(node, !is_denied),
            // Whoever writes `IS TRUE` knows of nulls.
            Node::Is(..) => {}
            Node::IsNull(operand) => self.asked.extend(place(operand)),
            Node::Compare {
                comparison,
                left,
                right,
                ..
            } => {
                if is_denied != (*comparison == Comparison::NotEqual) {
                    self.denied.extend(place(left));
                    self.denied.extend(place(right));
                }
            }
            Node::Bool(operand)
            | Node::InTexts(operand, _)
            | Node::InNumbers(operand, _)
            | Node::Like { text: operand, .. } => {
                if is_denied {
                    self.denied.extend(place(operand));
                }
            }
        }
    }
}

fn place(operand: &Operand) -> Option<Place> {
    match operand {
        Operand::Column(at) => Some(Place::Column(*at)),
        Operand::Path { json, path, .. } => Some(Place::Path(*json, *path)),
        Operand::Literal(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use mixflow_core::transform::Transform as _;

    use super::super::super::tests::events;
    use super::super::{Filter, FilterOptions};

    fn trap(condition: &str) -> String {
        let options = FilterOptions {
            condition: condition.to_owned(),
        };
        let filter = Filter::new(&options, &events(&[]).schema()).expect("it is a condition");
        filter.warnings().join("; ")
    }

    #[test]
    fn saying_what_a_value_is_not_leaves_out_rows_without_one() {
        assert_eq!(
            trap("NOT properties.$email LIKE '%@test.com'"),
            "`filter` also leaves out the rows that have no `properties.$email`: of a missing value NOT and <> are null, not true; `OR properties.$email IS NULL` keeps them, `AND properties.$email IS NOT NULL` says that this is meant"
        );
        for condition in [
            "properties.$email NOT LIKE '%@test.com'",
            "properties.$email NOT ILIKE '%@test.com' AND event_name = 'a'",
            "event_name = 'a' OR properties.$email <> 'x'",
            "NOT properties.$email = 'x'",
            "NOT (event_name = 'a' AND properties.$email = 'x')",
            "properties.$email NOT IN ('x', 'y')",
            "NOT properties.$email",
            "NOT NOT properties.$email <> 'x'",
        ] {
            assert!(
                trap(condition).contains("no `properties.$email`:"),
                "{condition}"
            );
        }
        let two = trap("properties->>'a' <> 'x' AND properties.b NOT BETWEEN 1 AND 2");
        assert!(
            two.contains("have no `properties ->> 'a'`, no `properties.b`:"),
            "{two}"
        );
    }

    #[test]
    fn other_conditions_are_no_trap() {
        for condition in [
            "properties.$email LIKE '%@test.com'",
            "event_name <> 'a' AND NOT event_name LIKE 'b%'",
            "properties.$email <> 'x' OR properties.$email IS NULL",
            "properties.$email IS NOT NULL AND NOT properties->>'$email' LIKE 'x%'",
            "(properties.$email <> 'x') IS NOT FALSE",
            "NOT properties.$email <> 'x'",
            "properties.n > 5",
        ] {
            assert_eq!(trap(condition), "", "{condition}");
        }
    }
}
