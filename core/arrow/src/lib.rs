//! The part of Arrow that sources, transforms and sinks speak in: arrays,
//! schemas and batches, under the paths that they have in the crate `arrow`.
//!
//! The types are Arrow's own, so whoever needs a kernel takes `arrow` beside
//! this. That one alone brings all kernels along, which is more than half of what
//! there is to compile for a sink that needs none.

#![forbid(unsafe_code)]

/// Arrays and what builds them.
pub mod array {
    pub use arrow_array::builder::*;
    pub use arrow_array::cast::*;
    pub use arrow_array::iterator::*;
    pub use arrow_array::*;
    pub use arrow_data::{ArrayData, ArrayDataBuilder, BufferSpec, DataTypeLayout, layout};
}

/// Types, fields and schemas.
pub mod datatypes {
    pub use arrow_array::types::*;
    pub use arrow_array::{ArrowNativeTypeOp, ArrowNumericType, ArrowPrimitiveType};
    pub use arrow_buffer::{ArrowNativeType, ToByteSlice, i256};
    pub use arrow_schema::{
        DataType, Field, FieldRef, Fields, IntervalUnit, Metadata, Schema, SchemaBuilder,
        SchemaRef, TimeUnit, UnionFields, UnionMode,
    };
}

/// What goes wrong.
pub mod error {
    pub use arrow_schema::ArrowError;
}

/// Batches of rows.
pub mod record_batch {
    pub use arrow_array::{
        RecordBatch, RecordBatchIterator, RecordBatchOptions, RecordBatchReader, RecordBatchWriter,
    };
}

pub use arrow_buffer::buffer;

#[cfg(feature = "ffi")]
pub use arrow_array::{ffi, ffi_stream};
