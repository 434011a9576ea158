//! Values of columns as texts.

use std::fmt::{Debug, Write as _};

use arrow::array::{Array, ArrowPrimitiveType, AsArray as _};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};

use crate::error::{Error, ErrorKind, Result};

/// Adds the text of a value to `text`: as Arrow's own display writes it, which
/// brings all of Arrow's kernels along.
///
/// Nothing is added for null. Fails for types that consist of others, such as
/// lists, and for times with another zone than UTC.
pub fn push(text: &mut String, column: &dyn Array, row: usize) -> Result<()> {
    if column.is_null(row) {
        return Ok(());
    }
    match column.data_type() {
        DataType::Utf8 => text.push_str(column.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => text.push_str(column.as_string::<i64>().value(row)),
        DataType::Utf8View => text.push_str(column.as_string_view().value(row)),
        DataType::Binary => push_hex(text, column.as_binary::<i32>().value(row)),
        DataType::LargeBinary => push_hex(text, column.as_binary::<i64>().value(row)),
        DataType::BinaryView => push_hex(text, column.as_binary_view().value(row)),
        DataType::Boolean => debug(text, Some(column.as_boolean().value(row)), column)?,
        DataType::Int8 => number::<Int8Type>(text, column, row)?,
        DataType::Int16 => number::<Int16Type>(text, column, row)?,
        DataType::Int32 => number::<Int32Type>(text, column, row)?,
        DataType::Int64 => number::<Int64Type>(text, column, row)?,
        DataType::UInt8 => number::<UInt8Type>(text, column, row)?,
        DataType::UInt16 => number::<UInt16Type>(text, column, row)?,
        DataType::UInt32 => number::<UInt32Type>(text, column, row)?,
        DataType::UInt64 => number::<UInt64Type>(text, column, row)?,
        DataType::Float32 => float(text, column.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => float(text, column.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(..) => {
            text.push_str(&column.as_primitive::<Decimal128Type>().value_as_string(row));
        }
        DataType::Decimal256(..) => {
            text.push_str(&column.as_primitive::<Decimal256Type>().value_as_string(row));
        }
        _ => temporal(text, column, row)?,
    }
    Ok(())
}

fn temporal(text: &mut String, column: &dyn Array, row: usize) -> Result<()> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};

    macro_rules! value {
        ($type:ty, $value:ident) => {
            debug(text, column.as_primitive::<$type>().$value(row), column)
        };
    }
    match column.data_type() {
        DataType::Date32 => value!(Date32Type, value_as_date),
        DataType::Date64 => value!(Date64Type, value_as_datetime),
        DataType::Time32(Second) => value!(Time32SecondType, value_as_time),
        DataType::Time32(Millisecond) => value!(Time32MillisecondType, value_as_time),
        DataType::Time64(Microsecond) => value!(Time64MicrosecondType, value_as_time),
        DataType::Time64(Nanosecond) => value!(Time64NanosecondType, value_as_time),
        DataType::Timestamp(unit, zone) => {
            if !matches!(zone.as_deref(), None | Some("UTC" | "+00:00")) {
                return Err(no_text(column));
            }
            match unit {
                Second => value!(TimestampSecondType, value_as_datetime)?,
                Millisecond => value!(TimestampMillisecondType, value_as_datetime)?,
                Microsecond => value!(TimestampMicrosecondType, value_as_datetime)?,
                Nanosecond => value!(TimestampNanosecondType, value_as_datetime)?,
            }
            if zone.is_some() {
                text.push('Z');
            }
            Ok(())
        }
        _ => Err(no_text(column)),
    }
}

fn number<T: ArrowPrimitiveType>(text: &mut String, column: &dyn Array, row: usize) -> Result<()> {
    debug(text, Some(column.as_primitive::<T>().value(row)), column)
}

/// Adds a value whose `Debug` is what Arrow shows, if it is in range.
fn debug(text: &mut String, value: Option<impl Debug>, column: &dyn Array) -> Result<()> {
    let value = value.ok_or_else(|| no_text(column))?;
    let _ = write!(text, "{value:?}");
    Ok(())
}

fn float(text: &mut String, value: impl ryu::Float) {
    text.push_str(ryu::Buffer::new().format(value));
}

/// Returns bytes as hexadecimal digits, two each.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    push_hex(&mut text, bytes);
    text
}

/// Adds bytes to a text as hexadecimal digits, two each.
pub(crate) fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        for half in [byte >> 4, byte & 15] {
            text.push(char::from(DIGITS[usize::from(half)]));
        }
    }
}

fn no_text(column: &dyn Array) -> Error {
    let message = format!("a value of type {} has no text", column.data_type());
    Error::new(ErrorKind::Data, message)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BinaryArray, BooleanArray, Date32Array, Date64Array, Decimal128Array,
        Float32Array, Float64Array, Int8Array, Int64Array, LargeStringArray, ListArray,
        StringArray, StringViewArray, Time32SecondArray, Time64NanosecondArray,
        TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
        TimestampSecondArray, UInt64Array,
    };
    use arrow_cast::display::{ArrayFormatter, FormatOptions};
    use proptest::prelude::*;

    use super::*;

    fn same(column: ArrayRef) {
        let options = FormatOptions::new();
        let shown = ArrayFormatter::try_new(&column, &options).expect("it has a form");
        for row in 0..column.len() {
            let mut text = String::new();
            let pushed = push(&mut text, &column, row);
            match shown.value(row).try_to_string() {
                Ok(arrows) => assert_eq!(text, arrows, "{}", column.data_type()),
                Err(_) => assert!(pushed.is_err(), "{} is out of range", column.data_type()),
            }
        }
    }

    proptest! {
        #[test]
        fn a_text_is_what_arrow_writes(
            wide in any::<i64>(),
            narrow in any::<i32>(),
            float in any::<f64>(),
            word in ".{0,9}",
        ) {
            let micros = wide / 1_000;
            let columns: [ArrayRef; 20] = [
                Arc::new(StringArray::from(vec![Some(word.as_str()), None])),
                Arc::new(LargeStringArray::from(vec![word.as_str()])),
                Arc::new(StringViewArray::from(vec![word.as_str()])),
                Arc::new(BinaryArray::from(vec![word.as_bytes()])),
                Arc::new(BooleanArray::from(vec![wide > 0])),
                Arc::new(Int8Array::from(vec![narrow as i8])),
                Arc::new(Int64Array::from(vec![Some(wide), None])),
                Arc::new(UInt64Array::from(vec![wide as u64])),
                Arc::new(Float32Array::from(vec![float as f32, f32::NAN, -0.0])),
                Arc::new(Float64Array::from(vec![float, f64::INFINITY, 1e16, 1.2e-5, 0.1])),
                Arc::new(Decimal128Array::from(vec![i128::from(wide)]).with_precision_and_scale(20, 4).expect("it fits")),
                Arc::new(Date32Array::from(vec![narrow, narrow % 50_000])),
                Arc::new(Date64Array::from(vec![wide, micros])),
                Arc::new(Time32SecondArray::from(vec![narrow, narrow.rem_euclid(86_400)])),
                Arc::new(Time64NanosecondArray::from(vec![wide.rem_euclid(86_400_000_000_000)])),
                Arc::new(TimestampSecondArray::from(vec![wide, i64::from(narrow)])),
                Arc::new(TimestampMillisecondArray::from(vec![micros])),
                Arc::new(TimestampMicrosecondArray::from(vec![Some(micros), None])),
                Arc::new(TimestampMicrosecondArray::from(vec![micros, 0]).with_timezone("+00:00")),
                Arc::new(TimestampNanosecondArray::from(vec![wide])),
            ];
            columns.into_iter().for_each(same);
        }
    }

    #[test]
    fn what_consists_of_others_has_no_text() {
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1)])]);
        let error = push(&mut String::new(), &lists, 0).expect_err("it is a list");
        assert!(error.message().contains("has no text"), "{error:?}");
        let berlin = TimestampSecondArray::from(vec![0]).with_timezone("Europe/Berlin");
        push(&mut String::new(), &berlin, 0).expect_err("it has a zone");
    }
}
