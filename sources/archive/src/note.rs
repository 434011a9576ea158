//! What is known of a body, in a file beside it.

use jiff::Timestamp;
use mixflow_core::unit::{Dataset, Unit};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::hash::Hash;

/// Length and hash of some bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// How many bytes there are.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: Hash,
}

/// What is known of a body that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Which data it is a part of.
    pub dataset: Dataset,
    /// Which part.
    pub unit: Unit,
    /// When it was asked for.
    pub fetched_at: Timestamp,
    /// The body, before compression.
    pub body: Facts,
    /// The file.
    pub file: Facts,
    /// What came, compressed if it was; older files do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire: Option<Facts>,
    /// How it is to be read, in its source's own terms.
    pub reading: Value,
    /// Whether a run has refused its rows for what they say: then it counts only
    /// where there is no other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
}

/// The file: what is known, and a hash of these very bytes.
#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    kept: &'a RawValue,
}

impl Note {
    /// Returns what came; of older files what was made of it, which is the same
    /// but for a body that came without compression.
    pub(crate) fn wire(&self) -> &Facts {
        self.wire.as_ref().unwrap_or(&self.file)
    }

    /// Returns the file's text.
    pub(crate) fn to_text(&self) -> String {
        text_of(&serde_json::to_string(self).expect("all of it has a form in JSON"))
    }

    /// Reads a file's text, of which not one byte may be another one.
    ///
    /// An error says why it is not what was written.
    pub(crate) fn read(text: &[u8]) -> Result<Note, String> {
        let file: File<'_> = serde_json::from_slice(text)
            .map_err(|error| format!("it is not what was written: {error}"))?;
        if text_of(file.kept.get()).as_bytes() != text {
            return Err("it is not what was written: its hash is another one".to_owned());
        }
        serde_json::from_str(file.kept.get())
            .map_err(|error| format!("a version that is not known has written it: {error}"))
    }
}

fn text_of(kept: &str) -> String {
    let hash = Hash::of(kept.as_bytes());
    format!("{{\"kept\":{kept},\"sha256_of_kept\":\"{hash}\"}}\n")
}

#[cfg(test)]
mod tests {
    use mixflow_core::unit::Extent;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_no_flipped_byte_goes_unseen() {
        let dataset = Dataset::default();
        let facts = Facts {
            bytes: 3,
            sha256: Hash::of(b"abc"),
        };
        let note = Note {
            unit: Unit::new(&dataset.key(), Extent::Whole, "all", json!({ "n": 1 })),
            dataset,
            fetched_at: Timestamp::UNIX_EPOCH,
            body: facts.clone(),
            file: facts.clone(),
            wire: Some(facts),
            reading: json!({ "time_in_ms": false }),
            refused: true,
        };
        let text = note.to_text();
        assert_eq!(Note::read(text.as_bytes()), Ok(note));
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut flipped = text.clone().into_bytes();
                flipped[at] ^= 1 << bit;
                assert!(Note::read(&flipped).is_err(), "byte {at}, bit {bit}");
            }
            assert!(Note::read(&text.as_bytes()[..at]).is_err(), "{at} bytes");
        }
    }
}
