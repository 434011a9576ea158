//! Names of columns for properties, whatever these are called.

use std::collections::HashSet;

/// Returns a column's name for each property, given in the order in which they
/// choose: the fullest first, then by name.
///
/// A leading `$` goes; other characters than letters, digits and `_` become `_`.
/// A name that is taken, by a property before or one of `reserved`, in whatever
/// case, gets `_2`, `_3` and so on.
pub fn column_names<'p>(
    properties: impl IntoIterator<Item = &'p str>,
    reserved: impl IntoIterator<Item = &'p str>,
) -> Vec<String> {
    let mut taken: HashSet<String> = reserved.into_iter().map(str::to_lowercase).collect();
    let mut choose = |property: &str| {
        let plain = plain_name(property);
        let numbered = (2_u64..).map(|n| format!("{plain}_{n}"));
        let mut names = std::iter::once(plain.clone()).chain(numbered);
        names
            .find(|name| taken.insert(name.to_lowercase()))
            .expect("there are more numbers than names")
    };
    properties.into_iter().map(&mut choose).collect()
}

/// Returns the name without what a column's name has not.
pub(crate) fn plain_name(property: &str) -> String {
    let rest = property.strip_prefix('$').unwrap_or(property);
    let plain: String = rest
        .chars()
        .map(|c| if c.is_alphanumeric() { c } else { '_' })
        .collect();
    // `$` and the empty name have nothing left.
    if plain.is_empty() {
        "_".to_owned()
    } else {
        plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(properties: &[&str]) -> Vec<String> {
        let reserved = ["event_name", "distinct_id"];
        column_names(properties.iter().copied(), reserved)
    }

    #[test]
    fn a_name_has_letters_digits_and_underscores() {
        assert_eq!(
            names(&["plan", "$city", "Total Price (€)", "größe", "$$x", "$", ""]),
            ["plan", "city", "Total_Price____", "größe", "_x", "_", "__2"]
        );
    }

    #[test]
    fn who_comes_later_gets_a_number() {
        assert_eq!(
            names(&[
                "City",
                "$city",
                "city",
                "city_2",
                "EVENT NAME",
                "distinct_id"
            ]),
            [
                "City",
                "city_2",
                "city_3",
                "city_2_2",
                "EVENT_NAME_2",
                "distinct_id_2"
            ]
        );
    }
}
