//! Checks that what `mixflow components` shows is what serde takes.

use serde::de::DeserializeOwned;

use crate::registry::ComponentDoc;

/// Panics unless `doc` describes the fields of `T`, in their order.
///
/// `T` must deny unknown fields: serde lists the fields it knows when it meets
/// one that it does not. Keys of tables inside, such as `retry.max_wait`, are
/// compared by [`assert_table_described`].
pub fn assert_described<T: DeserializeOwned>(doc: &ComponentDoc) {
    let names = doc.options.iter().map(|option| option.name);
    let described: Vec<&str> = names.filter(|name| !name.contains('.')).collect();
    assert_eq!(described, fields::<T>(), "the options of `{}`", doc.name);
}

/// Panics unless `doc` describes the fields of `T` as keys of the table
/// `table`, in their order.
pub fn assert_table_described<T: DeserializeOwned>(doc: &ComponentDoc, table: &str) {
    let within = |name: &'static str| name.strip_prefix(table)?.strip_prefix('.');
    let names = doc.options.iter().map(|option| option.name);
    let described: Vec<&str> = names.filter_map(within).collect();
    assert_eq!(described, fields::<T>(), "`{table}` of `{}`", doc.name);
}

fn fields<T: DeserializeOwned>() -> Vec<String> {
    let error = toml::from_str::<T>("no_such_field = 1")
        .err()
        .expect("the field is unknown");
    let quoted = error.message().split('`').skip(3).step_by(2);
    quoted.map(str::to_owned).collect()
}
