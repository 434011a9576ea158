//! The baseline: how most people write it.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use super::Failure;

/// Reads a gzipped export and writes normalised lines to stdout, with a tree
/// of values for each event.
pub fn run(file: &Path) -> Result<(), Failure> {
    let lines = BufReader::new(GzDecoder::new(File::open(file)?)).lines();
    let mut out = BufWriter::new(io::stdout().lock());
    for line in lines {
        let mut event: Value = serde_json::from_str(&line?)?;
        let mut properties = event["properties"].take();
        let object = properties.as_object_mut().ok_or("no properties")?;
        let mut take = |name: &str| object.remove(name).unwrap_or(Value::Null);
        let (time, id, insert) = (take("time"), take("distinct_id"), take("$insert_id"));
        let seconds = time.as_i64().ok_or("no time")?;
        let row = json!({
            "event_name": event["event"],
            "event_time": jiff::Timestamp::from_second(seconds)?.to_string(),
            "distinct_id": id,
            "insert_id": insert,
            "properties": properties,
        });
        serde_json::to_writer(&mut out, &row)?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}
