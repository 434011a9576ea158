//! Values of each type, written to DuckDB and read again.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, LargeStringArray, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::Schema;
use mixflow_core::batch::json_field;
use mixflow_sink_duckdb::{Store, TableInput};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::support::Place;

/// Texts with ends on either side of 12 bytes, up to which one stands in its row.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-cé東]{0,6}",
        4 => "[a-c東\u{0}]{8,16}",
        1 => "\\PC{30,60}",
    ]
}

/// Returns a row for each value in a column of each type that a table takes, and in a
/// second one of texts, in which each is short.
fn batch(values: &[Option<(i64, String)>]) -> RecordBatch {
    let texts = || {
        values
            .iter()
            .map(|value| value.as_ref().map(|(_, text)| text.as_str()))
    };
    let numbers = || {
        values
            .iter()
            .map(|value| value.as_ref().map(|(number, _)| *number))
    };
    let short = texts().map(|text| text.filter(|text| text.len() <= 12));
    let json = texts().map(|text| text.map(|text| serde_json::to_string(text).unwrap()));
    let zoned: TimestampMicrosecondArray = numbers().map(|n| n.map(|n| n >> 20)).collect();
    macro_rules! of {
        ($array:ty, $number:ty) => {
            Arc::new(<$array>::from_iter(
                numbers().map(|n| n.map(|n| n as $number)),
            )) as ArrayRef
        };
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("text", Arc::new(texts().collect::<StringArray>())),
        ("short", Arc::new(short.collect::<StringArray>())),
        ("large", Arc::new(texts().collect::<LargeStringArray>())),
        ("json", Arc::new(json.collect::<StringArray>())),
        (
            "bytes",
            Arc::new(
                texts()
                    .map(|text| text.map(str::as_bytes))
                    .collect::<BinaryArray>(),
            ),
        ),
        (
            "bool",
            Arc::new(
                numbers()
                    .map(|n| n.map(|n| n % 2 == 0))
                    .collect::<BooleanArray>(),
            ),
        ),
        ("i8", of!(Int8Array, i8)),
        ("i16", of!(Int16Array, i16)),
        ("i32", of!(Int32Array, i32)),
        ("i64", of!(Int64Array, i64)),
        ("u8", of!(UInt8Array, u8)),
        ("u16", of!(UInt16Array, u16)),
        ("u32", of!(UInt32Array, u32)),
        ("u64", of!(UInt64Array, u64)),
        ("f32", of!(Float32Array, f32)),
        ("f64", of!(Float64Array, f64)),
        (
            "date",
            Arc::new(
                numbers()
                    .map(|n| n.map(|n| n as i16 as i32))
                    .collect::<Date32Array>(),
            ),
        ),
        ("time", Arc::new(zoned.clone())),
        ("zoned", Arc::new(zoned.with_timezone("UTC"))),
    ];
    let plain = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    );
    let plain = plain.unwrap();
    let names = plain.schema();
    let fields = names
        .fields()
        .iter()
        .map(|field| match field.name().as_str() {
            "json" => Arc::new(json_field("json", true)),
            _ => Arc::clone(field),
        });
    let schema = Schema::new(fields.collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), plain.columns().to_vec()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn values_of_each_type_come_back(
        values in vec(option::weighted(0.8, (any::<i64>(), texts())), 0..2_500),
        from in 0_usize..70,
        full in any::<bool>(),
    ) {
        let values: Vec<_> = values.into_iter().filter(|value| !full || value.is_some()).collect();
        // A batch may be a part of another one, so that its bits begin anywhere.
        let whole = batch(&values);
        let from = from.min(whole.num_rows());
        let written = [whole.slice(from, whole.num_rows() - from), whole.clone(), whole.slice(0, from)];
        let schema = whole.schema();
        let wanted = concat_batches(&schema, &written).unwrap();

        let place = Place::new();
        let store = Store::open(place.path("out.db")).unwrap();
        let input = TableInput { data_type: "profiles".to_owned(), ..TableInput::default() };
        store.create_table("t", &input, &schema, written.into_iter().map(Ok), |_| {}).unwrap();
        let mut query = store.query("SELECT * FROM t ORDER BY rowid").unwrap();
        let batches = query.batches().unwrap();
        let read: Vec<RecordBatch> = batches.map(Result::unwrap).collect();
        let mut rows = 0;
        for batch in &read {
            for (n, field) in schema.fields().iter().enumerate() {
                let column = cast(batch.column(n), field.data_type()).unwrap();
                let expected = wanted.column(n).slice(rows, batch.num_rows());
                prop_assert_eq!(&*column, &*expected, "{} from row {}", field.name(), rows);
            }
            rows += batch.num_rows();
        }
        prop_assert_eq!(rows, wanted.num_rows());
    }
}
