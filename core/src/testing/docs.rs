//! Checks that what `mixflow components` shows is what serde takes.

use serde::de::DeserializeOwned;

use crate::registry::ComponentDoc;

/// Panics unless `doc` describes the fields of `T`, in their order.
///
/// `T` must deny unknown fields: serde lists the fields it knows when it meets
/// one that it does not.
pub fn assert_described<T: DeserializeOwned>(doc: &ComponentDoc) {
    let error = toml::from_str::<T>("no_such_field = 1")
        .err()
        .expect("the field is unknown");
    let fields: Vec<&str> = error.message().split('`').skip(3).step_by(2).collect();
    let described: Vec<&str> = doc.options.iter().map(|option| option.name).collect();
    assert_eq!(described, fields, "the options of `{}`", doc.name);
}
