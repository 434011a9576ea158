//! Checks arrays before they are believed.

use arrow::array::layout;
use arrow::datatypes::{DataType, FieldRef};
use mixflow_core::{Error, ErrorKind, Result};

use crate::raw::ArrowArray;

/// Checks that an array has the buffers, children and lengths of its type, all
/// the way down.
///
/// A type that lies would otherwise be read from wherever a buffer is taken to
/// be. How long a buffer really is cannot be seen through the C data interface.
///
/// # Safety
///
/// `array` points to an array as the C data interface describes it, of
/// whatever type.
pub(crate) unsafe fn check(array: *const ArrowArray, data_type: &DataType) -> Result<()> {
    // SAFETY: by this function's contract.
    unsafe { check_one(array, data_type, "the batch", 0) }
}

unsafe fn check_one(
    array: *const ArrowArray,
    data_type: &DataType,
    name: &str,
    at_least: i64,
) -> Result<()> {
    // SAFETY: by the contract of `check`; a null pointer is none.
    let Some(array) = (unsafe { array.as_ref() }) else {
        return Err(lie(name, "there is no array".to_owned()));
    };
    if array.release.is_none() {
        return Err(lie(name, "it was released already".to_owned()));
    }
    let values = check_length(array, name, at_least)?;
    check_buffers(array, data_type, name)?;
    let children = children(data_type);
    check_children(array, data_type, name, children.len())?;
    let rows = match data_type {
        DataType::Struct(_) => values.unwrap_or_default(),
        _ => 0,
    };
    for (n, (name, data_type)) in children.into_iter().enumerate() {
        // SAFETY: there are `n_children` pointers, by the contract of `check`.
        unsafe { check_one(*array.children.add(n), data_type, name, rows)? };
    }
    if let DataType::Dictionary(_, values) = data_type {
        // SAFETY: it is an array, by the contract of `check`.
        unsafe { check_one(array.dictionary, values, name, 0)? };
    }
    Ok(())
}

/// Checks an array's range, and returns how many values its buffers have.
fn check_length(array: &ArrowArray, name: &str, at_least: i64) -> Result<Option<i64>> {
    let values = array.offset.checked_add(array.length);
    let in_range = array.length >= 0 && array.offset >= 0 && values.is_some();
    if in_range && values >= Some(at_least) {
        return Ok(values);
    }
    Err(lie(
        name,
        format!(
            "it has {} values from {} on, of at least {at_least}",
            array.length, array.offset
        ),
    ))
}

/// Checks that an array has the number of buffers of its type.
fn check_buffers(array: &ArrowArray, data_type: &DataType, name: &str) -> Result<()> {
    let layout = layout(data_type);
    let buffers = layout.buffers.len() + usize::from(layout.can_contain_null_mask);
    let fits = match usize::try_from(array.n_buffers) {
        Ok(n) if layout.variadic => n >= buffers,
        Ok(n) => n == buffers,
        Err(_) => false,
    };
    if fits && (buffers == 0 || !array.buffers.is_null()) {
        return Ok(());
    }
    Err(lie(
        name,
        format!(
            "{data_type} has {buffers} buffers, this has {}",
            array.n_buffers
        ),
    ))
}

/// Checks that an array has so many children, and a dictionary if its type has.
fn check_children(
    array: &ArrowArray,
    data_type: &DataType,
    name: &str,
    children: usize,
) -> Result<()> {
    if usize::try_from(array.n_children) != Ok(children)
        || (children > 0 && array.children.is_null())
    {
        return Err(lie(
            name,
            format!(
                "{data_type} has {children} children, this has {}",
                array.n_children
            ),
        ));
    }
    if matches!(data_type, DataType::Dictionary(_, _)) == array.dictionary.is_null() {
        return Err(lie(
            name,
            format!("a dictionary is not what {data_type} says"),
        ));
    }
    Ok(())
}

/// Returns the children of a type, with their names.
fn children(data_type: &DataType) -> Vec<(&str, &DataType)> {
    fn of(field: &FieldRef) -> (&str, &DataType) {
        (field.name(), field.data_type())
    }
    match data_type {
        DataType::Struct(fields) => fields.iter().map(of).collect(),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => vec![of(item)],
        DataType::RunEndEncoded(ends, values) => vec![of(ends), of(values)],
        DataType::Union(fields, _) => fields.iter().map(|(_, field)| of(field)).collect(),
        _ => Vec::new(),
    }
}

fn lie(name: &str, cause: String) -> Error {
    Error::new(
        ErrorKind::Other,
        format!("`{name}` is not of the schema that the transaction began with"),
    )
    .because(cause)
}
