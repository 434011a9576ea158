//! Whether a run's rows belong beside what is at the destination already.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// How rows were made, as far as rows that were made in another way do not
/// belong beside them: what a thing is called, and what stands for it.
///
/// A sink that adds to what is there keeps it with the rows, and
/// [checks](Provenance::check) the next run's. No value is a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Provenance(BTreeMap<String, String>);

impl Provenance {
    /// Adds what stands for `what`, beside what stands for it already.
    pub fn add(&mut self, what: &str, value: &str) {
        let values = self.0.entry(what.to_owned()).or_default();
        if values.split(',').any(|known| known == value) {
            return;
        }
        if !values.is_empty() {
            values.push(',');
        }
        values.push_str(value);
    }

    /// Whether nothing is known of the rows that others would have to share.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks that `rows` were made as those of `target`, whose provenance
    /// this is.
    ///
    /// What is not known of the target says nothing: an older mixflow may have
    /// written it. Fails with [`ErrorKind::Destination`].
    pub fn check(&self, rows: &Provenance, target: &str) -> Result<()> {
        for (what, value) in &self.0 {
            let reason = match rows.0.get(what) {
                Some(now) if now == value => continue,
                Some(_) => format!("the {what} is not the one that they were made with"),
                None => format!("they were made with a {what}, and this pipeline has none"),
            };
            return Err(Error::new(
                ErrorKind::Destination,
                format!("the rows do not belong beside those of {target}"),
            )
            .because(reason)
            .hint(format!(
                "use the {what} of before, choose another destination, or set `mode = \"replace\"`"
            )));
        }
        Ok(())
    }
}

/// Checks that rows have the columns of `target`, each as `name TYPE`, in
/// whatever order, and returns the places of those that they have beside them.
///
/// One place for the words, because every sink that adds to what is there
/// needs them. Fails with [`ErrorKind::Destination`] and the difference.
pub fn check_columns(target: &str, has: &[String], rows: &[String]) -> Result<Vec<usize>> {
    if has.iter().all(|column| rows.contains(column)) {
        let new = (0..rows.len()).filter(|n| !has.contains(&rows[*n]));
        return Ok(new.collect());
    }
    let without = |all: &[String], others: &[String], sign: char| -> Vec<String> {
        let alone = all.iter().filter(|column| !others.contains(column));
        alone.map(|column| format!("{sign} {column}")).collect()
    };
    let mut difference = without(has, rows, '-');
    difference.extend(without(rows, has, '+'));
    let reason = format!("from there to the rows: {}", difference.join(", "));
    Err(Error::new(
        ErrorKind::Destination,
        format!("{target} has other columns than the rows"),
    )
    .because(reason)
    .hint("choose another destination, or set `mode = \"replace\"`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provenance(known: &[(&str, &str)]) -> Provenance {
        let mut provenance = Provenance::default();
        for (what, value) in known {
            provenance.add(what, value);
        }
        provenance
    }

    fn refused<T: std::fmt::Debug>(result: Result<T>) -> Vec<String> {
        let error = result.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Destination);
        error.causes()
    }

    #[test]
    fn rows_that_were_made_in_another_way_are_refused() {
        let there = provenance(&[("key", "a")]);
        let check = |rows: &[(&str, &str)]| there.check(&provenance(rows), "`t`");
        assert!(check(&[("key", "a"), ("salt", "x")]).is_ok());
        assert_eq!(
            refused(check(&[("key", "b")])),
            ["the key is not the one that they were made with"]
        );
        assert_eq!(
            refused(check(&[])),
            ["they were made with a key, and this pipeline has none"]
        );
        // Two transforms with a key each are told apart from one.
        assert!(check(&[("key", "a"), ("key", "a")]).is_ok());
        refused(check(&[("key", "a"), ("key", "b")]));
        assert!(Provenance::default().check(&there, "`t`").is_ok());
    }

    #[test]
    fn columns_that_differ_are_named_as_a_difference() {
        let texts = |columns: &[&str]| -> Vec<String> {
            columns.iter().map(|&column| column.to_owned()).collect()
        };
        let check = |has: &[&str], rows: &[&str]| check_columns("`t`", &texts(has), &texts(rows));
        let new = |has: &[&str], rows: &[&str]| check(has, rows).expect("they fit");
        assert!(new(&["a INTEGER"], &["a INTEGER"]).is_empty());
        assert_eq!(new(&["a INTEGER"], &["mp BIGINT", "a INTEGER"]), [0]);
        assert!(new(&["a INTEGER", "b DATE"], &["b DATE", "a INTEGER"]).is_empty());
        assert_eq!(
            refused(check(&["a INTEGER", "b DATE"], &["a BIGINT"])),
            ["from there to the rows: - a INTEGER, - b DATE, + a BIGINT"]
        );
    }
}
