//! Ids for events that came without one.
//!
//! Such an event gets a hash of its record, the same on every run. A pipeline
//! that takes personal data out of its rows must not let that through: from
//! the other properties and a list of all phone numbers, a plain hash tells
//! whose it was. So a transform that has a key lends it, and with one that has
//! none the ids are made of the row once nothing is left in it to be found out.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, StringArray};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::batch::is_json;
use crate::error::Result;
use crate::text::{self, push_hex};

/// What ids stand in for: no hash of a text that `hash` makes is one of these.
const PURPOSE: &[u8] = b"mixflow: an id for a record without one\0";

/// What comes before an id that is not final; no API lets an id begin with it.
const MARK: char = '\u{1}';

/// The hexadecimal digits of an id.
const DIGITS: usize = 32;

/// How ids are made for events that have none.
#[derive(Clone, Default)]
pub struct StandIns(Kind);

#[derive(Clone, Default)]
enum Kind {
    #[default]
    Plain,
    Keyed(Hmac<Sha256>),
    OfTheRow,
}

impl StandIns {
    /// Makes them depend on a key: who does not have it finds nothing out.
    pub fn keyed(key: &[u8]) -> StandIns {
        let mut mac = Hmac::new_from_slice(key).expect("HMAC takes keys of any length");
        mac.update(PURPOSE);
        StandIns(Kind::Keyed(mac))
    }

    /// Makes them of rows that have been through the last transform that takes
    /// personal data out.
    pub fn of_the_row() -> StandIns {
        StandIns(Kind::OfTheRow)
    }

    /// Returns whether whoever lacks a key finds nothing out by them.
    pub(crate) fn are_keyed(&self) -> bool {
        matches!(self.0, Kind::Keyed(_))
    }

    /// Returns whether they are made of rows that transforms have been through.
    pub(crate) fn are_of_rows(&self) -> bool {
        matches!(self.0, Kind::OfTheRow)
    }

    /// Returns the id of a record: 32 hexadecimal digits, the same on every
    /// run.
    ///
    /// Where ids are made of rows it is marked, and the engine replaces it.
    pub fn id(&self, record: &[u8]) -> String {
        match &self.0 {
            Kind::Plain => id_of("", &Sha256::digest(record)),
            Kind::Keyed(key) => {
                let mut mac = key.clone();
                mac.update(record);
                id_of("", &mac.finalize().into_bytes())
            }
            Kind::OfTheRow => id_of(MARK.encode_utf8(&mut [0; 4]), &Sha256::digest(record)),
        }
    }
}

/// Returns the rows with hashes of themselves in place of marked ids.
pub(crate) fn settled(records: &RecordBatch) -> Result<RecordBatch> {
    let schema = records.schema();
    let mut columns = records.columns().to_vec();
    for (at, field) in schema.fields().iter().enumerate() {
        let Some(texts) = records.column(at).as_string_opt::<i32>() else {
            continue;
        };
        if is_json(field) || !texts.iter().flatten().any(is_marked) {
            continue;
        }
        let others = Others::new(records, at);
        let mut ids = Vec::with_capacity(texts.len());
        for (row, text) in texts.iter().enumerate() {
            ids.push(match text {
                Some(text) if is_marked(text) => Some(others.hash(row)?),
                text => text.map(str::to_owned),
            });
        }
        columns[at] = Arc::new(StringArray::from(ids));
    }
    Ok(RecordBatch::try_new(schema, columns)?)
}

fn is_marked(text: &str) -> bool {
    let digits = text.strip_prefix(MARK).map(str::as_bytes);
    digits.is_some_and(|digits| digits.len() == DIGITS && digits.iter().all(u8::is_ascii_hexdigit))
}

/// The columns of rows but for their ids.
struct Others<'r>(Vec<&'r ArrayRef>);

impl<'r> Others<'r> {
    fn new(records: &'r RecordBatch, id: usize) -> Others<'r> {
        let others = records.columns().iter().enumerate();
        Others(
            others
                .filter(|(at, _)| *at != id)
                .map(|(_, column)| column)
                .collect(),
        )
    }

    fn hash(&self, row: usize) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(PURPOSE);
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        let mut shown = String::new();
        for column in &self.0 {
            match column.data_type() {
                _ if column.is_null(row) => add(b"\0null"),
                DataType::Utf8 => add(column.as_string::<i32>().value(row).as_bytes()),
                DataType::Timestamp(TimeUnit::Microsecond, None) => {
                    let times = column.as_primitive::<TimestampMicrosecondType>();
                    add(&times.value(row).to_le_bytes());
                }
                _ => {
                    shown.clear();
                    text::push(&mut shown, column, row)?;
                    add(shown.as_bytes());
                }
            }
        }
        Ok(id_of("", &hash.finalize()))
    }
}

fn id_of(before: &str, digest: &[u8]) -> String {
    let mut id = String::with_capacity(before.len() + DIGITS);
    id.push_str(before);
    push_hex(&mut id, &digest[..DIGITS / 2]);
    id
}

#[cfg(test)]
mod tests {
    use arrow::array::TimestampMicrosecondArray;
    use arrow::datatypes::{Field, Schema};

    use super::*;
    use crate::batch::json_field;

    /// Rows with these ids, in the fourth column.
    fn with_ids(ids: &[&str], jsons: &[&str]) -> RecordBatch {
        let text = |name| Field::new(name, DataType::Utf8, false);
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        let schema = Schema::new(vec![
            text("what"),
            Field::new("when", time, false),
            text("who"),
            text("id"),
            json_field("more", false),
        ]);
        let rows = 0..jsons.len();
        let texts = |what: &str| -> ArrayRef {
            let texts = rows.clone().map(|n| format!("{what} {n}"));
            Arc::new(StringArray::from_iter_values(texts))
        };
        let times = rows.clone().map(|n| n as i64 * 1_000_000);
        let columns: Vec<ArrayRef> = vec![
            texts("event"),
            Arc::new(TimestampMicrosecondArray::from_iter_values(times)),
            texts("user"),
            Arc::new(StringArray::from(ids.to_vec())),
            Arc::new(StringArray::from(jsons.to_vec())),
        ];
        RecordBatch::try_new(Arc::new(schema), columns).expect("columns fit")
    }

    fn ids(records: &RecordBatch) -> Vec<&str> {
        records
            .column(3)
            .as_string::<i32>()
            .iter()
            .flatten()
            .collect()
    }

    #[test]
    fn an_id_is_a_hash_that_needs_the_key_if_there_is_one() {
        let record = br#"{"event":"a"}"#;
        let plain = StandIns::default().id(record);
        // What `sha256sum` says.
        assert_eq!(plain, "807703e0d5637b7e10ad781b20b1045b");
        let keyed = StandIns::keyed(b"one key").id(record);
        assert_eq!(keyed.len(), 32);
        assert_eq!(keyed, StandIns::keyed(b"one key").id(record));
        assert_ne!(keyed, StandIns::keyed(b"another").id(record));
        assert_ne!(keyed, plain);
    }

    #[test]
    fn a_marked_id_becomes_a_hash_of_the_row_alone() {
        let marked = |record: &[u8]| StandIns::of_the_row().id(record);
        let (one, other) = (marked(b"phone 1"), marked(b"phone 2"));
        assert_ne!(one, other);
        let rows = [r#"{"a":1}"#, r#"{"a":2}"#];
        let first = settled(&with_ids(&[&one, "own"], &rows)).expect("columns fit");
        let second = settled(&with_ids(&[&other, &one], &rows)).expect("columns fit");
        // Nothing of the record is in it, only what the row still has.
        assert_eq!(ids(&first)[0], ids(&second)[0]);
        assert_eq!(ids(&first)[1], "own");
        assert_ne!(ids(&second)[0], ids(&second)[1]);
        for id in [ids(&first)[0], ids(&second)[1]] {
            assert!(
                id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{id}"
            );
        }
        // The same on every run, so the same in every version.
        assert_eq!(ids(&first)[0], "9376ebca8874052d7edcee9b0dcda55c");
    }

    #[test]
    fn a_text_that_only_begins_like_a_marked_id_stays() {
        let texts = ["\u{1}", "\u{1}abc", "0123456789abcdef0123456789abcdef"];
        let records = with_ids(&texts, &["{}"; 3]);
        assert_eq!(ids(&settled(&records).expect("columns fit")), texts);
    }
}
