//! Rows of Arrow, written into the vectors of a chunk of DuckDB.
//!
//! The crate `duckdb` does this with a call of DuckDB's for each text, which checks
//! that it is UTF-8 and copies it into a heap, and with three for each null: 9 % of the
//! CPU of a run with 25 typed columns. A text is known to be UTF-8 here, one of up to
//! 12 bytes needs no heap, and the others of a vector are copied in one go: 3 %.
//!
//! The only module of this crate with `unsafe`. What it stands on is what `duckdb.h`
//! says of `duckdb_vector`, `duckdb_string_t` and validity masks.

#![expect(unsafe_code, reason = "a measured hot path, see above")]

use std::error::Error as StdError;
use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::{ptr, slice};

use arrow::array::{Array, AsArray as _, GenericByteArray, RecordBatch};
use arrow::datatypes::{
    ArrowNativeType as _, ArrowPrimitiveType, BinaryType, ByteArrayType, DataType, Date32Type,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, LargeUtf8Type, TimeUnit,
    TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type, Utf8Type,
};
use duckdb::core::{DataChunkHandle, FlatVector, LogicalTypeId};
use duckdb::ffi;

type Filled = Result<(), Box<dyn StdError>>;

/// The longest text that stands in a vector itself.
const INLINE: usize = 12;

/// Fills a chunk, as a table function gets it, with the rows of a batch.
///
/// Fails if the chunk has not these columns, or no room for as many rows, or if a text
/// has over 4 GB.
pub(crate) fn fill(chunk: &mut DataChunkHandle, records: &RecordBatch) -> Filled {
    if records.num_columns() != chunk.num_columns() {
        return Err("the rows have not the columns that were declared".into());
    }
    for (n, array) in records.columns().iter().enumerate() {
        let mut column = Column::of(chunk, n);
        if array.len() > column.vector.capacity() {
            return Err("a chunk has no room for so many rows".into());
        }
        column.write(array)?;
        column.mark_nulls(array);
    }
    chunk.set_len(records.num_rows());
    Ok(())
}

/// A column of a chunk.
struct Column<'c> {
    vector: FlatVector<'c>,
    /// The same vector.
    raw: ffi::duckdb_vector,
    kind: LogicalTypeId,
}

impl Column<'_> {
    /// `n` is less than the number of columns.
    fn of(chunk: &DataChunkHandle, n: usize) -> Column<'_> {
        let vector = chunk.flat_vector(n);
        // SAFETY: the chunk is one of DuckDB's for as long as it is borrowed, and has
        // this column.
        let raw = unsafe { ffi::duckdb_data_chunk_get_vector(chunk.get_ptr(), n as u64) };
        let kind = vector.logical_type().id();
        Column { vector, raw, kind }
    }

    /// Writes the values. The array is no longer than the vector.
    fn write(&mut self, array: &dyn Array) -> Filled {
        use LogicalTypeId as Id;
        match (array.data_type(), &self.kind) {
            (DataType::Utf8, Id::Varchar) => self.write_bytes(array.as_bytes::<Utf8Type>()),
            (DataType::LargeUtf8, Id::Varchar) => {
                self.write_bytes(array.as_bytes::<LargeUtf8Type>())
            }
            (DataType::Binary, Id::Blob) => self.write_bytes(array.as_bytes::<BinaryType>()),
            (DataType::Boolean, Id::Boolean) => {
                let values = array.as_boolean().values();
                // A byte, 0 or 1, as in Rust.
                for (place, value) in self.places::<bool>(values.len()).iter_mut().zip(values) {
                    place.write(value);
                }
                Ok(())
            }
            (DataType::Int8, Id::Tinyint) => self.copy::<Int8Type>(array),
            (DataType::Int16, Id::Smallint) => self.copy::<Int16Type>(array),
            (DataType::Int32, Id::Integer) => self.copy::<Int32Type>(array),
            (DataType::Int64, Id::Bigint) => self.copy::<Int64Type>(array),
            (DataType::UInt8, Id::UTinyint) => self.copy::<UInt8Type>(array),
            (DataType::UInt16, Id::USmallint) => self.copy::<UInt16Type>(array),
            (DataType::UInt32, Id::UInteger) => self.copy::<UInt32Type>(array),
            (DataType::UInt64, Id::UBigint) => self.copy::<UInt64Type>(array),
            (DataType::Float32, Id::Float) => self.copy::<Float32Type>(array),
            (DataType::Float64, Id::Double) => self.copy::<Float64Type>(array),
            (DataType::Date32, Id::Date) => self.copy::<Date32Type>(array),
            (DataType::Timestamp(TimeUnit::Microsecond, None), Id::Timestamp)
            | (DataType::Timestamp(TimeUnit::Microsecond, Some(_)), Id::TimestampTZ) => {
                self.copy::<TimestampMicrosecondType>(array)
            }
            (other, kind) => Err(format!("{other} was not declared, but {kind:?}").into()),
        }
    }

    /// Copies numbers, of which DuckDB's type keeps the same.
    fn copy<T: ArrowPrimitiveType>(&mut self, array: &dyn Array) -> Filled {
        let values = array.as_primitive::<T>().values();
        let places = self.places::<T::Native>(values.len());
        for (place, value) in places.iter_mut().zip(values) {
            place.write(*value);
        }
        Ok(())
    }

    /// Writes texts, or bytes, which are kept in the same way.
    fn write_bytes<T: ByteArrayType>(&mut self, array: &GenericByteArray<T>) -> Filled {
        let offsets = array.value_offsets();
        let (start, end) = (offsets[0].as_usize(), offsets[array.len()].as_usize());
        let lengths = offsets
            .windows(2)
            .map(|ends| (ends[1] - ends[0]).as_usize());
        let longest = lengths.max().unwrap_or(0);
        let bytes = &array.value_data()[start..end];
        if u32::try_from(bytes.len()).is_err() {
            return Err("2,048 values of a column have over 4 GB".into());
        }
        let kept = match longest {
            0..=INLINE => ptr::null_mut(),
            _ => self.keep(bytes),
        };
        let places = self.places::<ffi::duckdb_string_t>(array.len());
        for (place, ends) in places.iter_mut().zip(offsets.windows(2)) {
            let from = ends[0].as_usize() - start;
            let length = (ends[1] - ends[0]).as_usize();
            place.write(if length <= INLINE {
                inlined(bytes, from, length)
            } else {
                elsewhere(&bytes[from..from + length], kept.wrapping_add(from))
            });
        }
        Ok(())
    }

    /// Copies over 12 bytes into the memory that goes with the vector, and returns
    /// where they are. What is in the first row is lost.
    fn keep(&mut self, bytes: &[u8]) -> *mut c_char {
        assert!(bytes.len() > INLINE, "fewer stand in the row itself");
        let length = bytes.len() as u64;
        // SAFETY: the vector has room for one row, and its rows are of this type. The
        // text of the first is copied into a heap that lives as long as the vector and
        // whatever refers to it; so long a text is not in the row, which points to it.
        // That all of it is UTF-8 if the column is of texts is what `unsafe` in the
        // function's name means.
        unsafe {
            ffi::duckdb_unsafe_vector_assign_string_element_len(
                self.raw,
                0,
                bytes.as_ptr().cast(),
                length,
            );
            let first = self.vector.as_mut_ptr::<ffi::duckdb_string_t>();
            (*first).value.pointer.ptr
        }
    }

    /// Returns the first rows, whose values are kept as `T`, which may be anything yet.
    fn places<T>(&mut self, rows: usize) -> &mut [MaybeUninit<T>] {
        assert!(rows <= self.vector.capacity(), "`fill` has looked");
        // SAFETY: `T` is what DuckDB keeps values of this type as, for the `match` in
        // `write` decides; the rows are there, and this is the only reference to them.
        unsafe { self.vector.as_mut_slice_with_len(rows) }
    }

    /// Says which rows are null.
    fn mark_nulls(&mut self, array: &dyn Array) {
        let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0) else {
            return;
        };
        let words = nulls.len().div_ceil(64);
        // SAFETY: once it is made writable, the mask has a bit for each row that the
        // vector has room for, in words of 64, and `fill` has looked that the array has
        // no more; this is the only reference.
        let mask = unsafe {
            ffi::duckdb_vector_ensure_validity_writable(self.raw);
            slice::from_raw_parts_mut(ffi::duckdb_vector_get_validity(self.raw), words)
        };
        // In both a bit of 1 is a value, and the first row is the lowest bit.
        for (word, bits) in mask
            .iter_mut()
            .zip(nulls.inner().bit_chunks().iter_padded())
        {
            *word = bits;
        }
    }
}

/// Returns the text of up to 12 bytes that stands at a place.
#[inline]
fn inlined(bytes: &[u8], from: usize, length: usize) -> ffi::duckdb_string_t {
    let mut text = [0; INLINE];
    match bytes.get(from..from + 16) {
        // To take 16 bytes and clear some is faster than to copy a number of them.
        Some(more) => {
            let more = u128::from_le_bytes(more.try_into().expect("these are 16"));
            let kept = more & ((1 << (8 * length)) - 1);
            text.copy_from_slice(&kept.to_le_bytes()[..INLINE]);
        }
        None => text[..length].copy_from_slice(&bytes[from..from + length]),
    }
    ffi::duckdb_string_t {
        value: ffi::duckdb_string_t__bindgen_ty_1 {
            inlined: ffi::duckdb_string_t__bindgen_ty_1__bindgen_ty_2 {
                length: length as u32,
                inlined: text.map(|byte| byte as c_char),
            },
        },
    }
}

/// Returns a text of more than 12 bytes, which stand at `kept`, too.
#[inline]
fn elsewhere(text: &[u8], kept: *mut c_char) -> ffi::duckdb_string_t {
    let prefix = [text[0], text[1], text[2], text[3]];
    ffi::duckdb_string_t {
        value: ffi::duckdb_string_t__bindgen_ty_1 {
            pointer: ffi::duckdb_string_t__bindgen_ty_1__bindgen_ty_1 {
                length: text.len() as u32,
                prefix: prefix.map(|byte| byte as c_char),
                ptr: kept,
            },
        },
    }
}
