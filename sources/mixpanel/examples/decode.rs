//! Decodes a file of events, for counting instructions: see `tests/bench/instructions.sh`.
//!
//! ```text
//! cargo run --release -p mixflow-source-mixpanel --example decode -- events.jsonl
//! ```

use mixflow_source_mixpanel::decode::{Decoder, Form};
use mixflow_source_mixpanel::time::EventClock;

#[expect(clippy::print_stdout, reason = "the count is what it is for")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("name a file of events")?;
    let bytes = std::fs::read(path)?;
    let mut decoder = Decoder::new(Form::Events(EventClock::UTC_SECONDS));
    let mut rows = 0;
    for line in bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        decoder.push(line)?;
        if decoder.is_full() {
            rows += decoder.take().map_or(0, |batch| batch.num_rows());
        }
    }
    rows += decoder.take().map_or(0, |batch| batch.num_rows());
    println!("{rows} rows");
    Ok(())
}
