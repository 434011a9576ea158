//! What the simulated project contains.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::json;

/// The events and profiles of the simulated project, as raw lines.
///
/// An event belongs to the UTC day of its `properties.time`. Lines keep the
/// order in which they were added, day by day.
#[derive(Clone, Debug, Default)]
pub struct Data {
    pub(super) days: BTreeMap<Date, Day>,
    pub(super) profiles: Vec<Arc<[u8]>>,
    pub(super) groups: BTreeMap<i64, Vec<Arc<[u8]>>>,
}

/// The lines of one day in one buffer, so that a whole day is one slice.
#[derive(Clone, Debug, Default)]
pub(super) struct Day {
    text: Arc<Vec<u8>>,
    ends: Vec<usize>,
}

impl Day {
    pub(super) fn push(&mut self, line: &[u8]) {
        let text = Arc::make_mut(&mut self.text);
        text.extend_from_slice(line);
        text.push(b'\n');
        self.ends.push(text.len());
    }

    /// Returns all lines, each with its line feed.
    pub(super) fn text(&self) -> &Arc<Vec<u8>> {
        &self.text
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns one line without its line feed.
    pub(super) fn line(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[index] - 1]
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.line(index))
    }
}

impl Data {
    /// Reads events and profiles, one JSON object a line, plain or gzip.
    ///
    /// Blank lines are skipped. An event without a readable `properties.time`
    /// is an error, because no day would show it; see [`Data::add_raw_line`].
    pub fn load(events: Option<&Path>, profiles: Option<&Path>) -> Result<Self, DataError> {
        let mut data = Self::default();
        if let Some(path) = events {
            for (number, line) in lines(&read(path)?) {
                data.add_event(line)
                    .map_err(|error| error.in_file(path, number))?;
            }
        }
        if let Some(path) = profiles {
            for (_, line) in lines(&read(path)?) {
                data.add_profile(line);
            }
        }
        Ok(data)
    }

    /// Loads the sample data in `tests/fixtures`: 8,000 events, 2,000 profiles.
    ///
    /// # Panics
    ///
    /// If the fixtures are missing or damaged.
    pub fn sample() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        let events = folder.join("events.jsonl.gz");
        let profiles = folder.join("profiles.jsonl");
        Self::load(Some(&events), Some(&profiles)).expect("the fixtures belong to this crate")
    }

    /// Takes lines that are in memory already; the rules are those of [`Data::load`].
    pub fn from_lines<L: AsRef<[u8]>>(
        events: impl IntoIterator<Item = L>,
        profiles: impl IntoIterator<Item = L>,
    ) -> Result<Self, DataError> {
        let mut data = Self::default();
        for line in events {
            data.add_event(line)?;
        }
        for line in profiles {
            data.add_profile(line);
        }
        Ok(data)
    }

    /// Adds an event to the day that its `time` names.
    pub fn add_event(&mut self, line: impl AsRef<[u8]>) -> Result<(), DataError> {
        let line = line.as_ref();
        let date = date_of(line).map_err(|reason| DataError {
            place: None,
            cause: Cause::Line(reason),
        })?;
        self.add_raw_line(date, line);
        Ok(())
    }

    /// Adds a line to a day without looking into it: broken JSON, any bytes.
    ///
    /// Such a line is left out of answers to a request with `event` or `where`
    /// unless it can be read after all.
    pub fn add_raw_line(&mut self, date: Date, bytes: impl AsRef<[u8]>) {
        self.days.entry(date).or_default().push(bytes.as_ref());
    }

    /// Adds a user profile, as it stands in `results` of an engage page.
    pub fn add_profile(&mut self, line: impl AsRef<[u8]>) {
        self.profiles.push(line.as_ref().into());
    }

    /// Adds a profile of the group key that `data_group_id` selects.
    pub fn add_group_profile(&mut self, group_id: i64, line: impl AsRef<[u8]>) {
        let group = self.groups.entry(group_id).or_default();
        group.push(line.as_ref().into());
    }

    /// Returns the data with the lines of `other` behind its own.
    pub fn merged(mut self, other: Self) -> Self {
        for (date, day) in &other.days {
            day.lines().for_each(|line| self.add_raw_line(*date, line));
        }
        self.profiles.extend(other.profiles);
        for (group, profiles) in other.groups {
            self.groups.entry(group).or_default().extend(profiles);
        }
        self
    }

    /// Removes all events of a day.
    pub fn clear_day(&mut self, date: Date) {
        self.days.remove(&date);
    }

    /// Returns the days that have events, in order.
    pub fn dates(&self) -> impl Iterator<Item = Date> {
        self.days.keys().copied()
    }

    /// Returns the lines of a day in the order of the answers.
    pub fn events_on(&self, date: Date) -> impl Iterator<Item = &[u8]> {
        self.days.get(&date).into_iter().flat_map(Day::lines)
    }

    /// Returns the number of events.
    pub fn event_count(&self) -> usize {
        self.days.values().map(Day::len).sum()
    }

    /// Returns the number of user profiles.
    pub fn profile_count(&self) -> usize {
        self.profiles.len()
    }
}

/// Returns the UTC day of an event line.
fn date_of(line: &[u8]) -> Result<Date, String> {
    let text = std::str::from_utf8(line).map_err(|error| error.to_string())?;
    let members = json::members(text)?;
    let properties = json::last(&members, "properties").ok_or("`properties` is missing")?;
    let properties = json::members(properties)?;
    let time = json::last(&properties, "time").ok_or("`time` is missing")?;
    let micros = json::micros(time, false).ok_or_else(|| format!("cannot read the time {time}"))?;
    let instant = Timestamp::from_microsecond(micros).map_err(|error| error.to_string())?;
    Ok(TimeZone::UTC.to_datetime(instant).date())
}

fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    let error = |source| DataError {
        place: Some((path.to_owned(), None)),
        cause: Cause::Io(source),
    };
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(error)?;
    file.read_to_end(&mut bytes).map_err(error)?;
    if !bytes.starts_with(&[0x1F, 0x8B]) {
        return Ok(bytes);
    }
    let mut text = Vec::new();
    let mut decoder = MultiGzDecoder::new(bytes.as_slice());
    decoder.read_to_end(&mut text).map_err(error)?;
    Ok(text)
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let ends = memchr::memchr_iter(b'\n', bytes).chain([bytes.len()]);
    let mut start = 0;
    let split = ends.map(move |end| {
        let line = &bytes[start.min(end)..end];
        start = end + 1;
        line.strip_suffix(b"\r").unwrap_or(line)
    });
    let numbered = split.enumerate().map(|(index, line)| (index + 1, line));
    numbered.filter(|(_, line)| !line.trim_ascii().is_empty())
}

/// The reason why data cannot be loaded.
#[derive(Debug)]
pub struct DataError {
    place: Option<(PathBuf, Option<usize>)>,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Io(io::Error),
    Line(String),
}

impl DataError {
    fn in_file(mut self, path: &Path, line: usize) -> Self {
        self.place = Some((path.to_owned(), Some(line)));
        self
    }
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot read ")?;
        match &self.place {
            None => f.write_str("an event")?,
            Some((path, None)) => write!(f, "`{}`", path.display())?,
            Some((path, Some(line))) => write!(f, "line {line} of `{}`", path.display())?,
        }
        match &self.cause {
            Cause::Io(_) => Ok(()),
            Cause::Line(reason) => write!(f, ": {reason}"),
        }
    }
}

impl std::error::Error for DataError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Io(error) => Some(error),
            Cause::Line(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn the_sample_has_14_days() {
        let data = Data::sample();
        assert_eq!(data.event_count(), 8_000);
        assert_eq!(data.profile_count(), 2_000);
        let dates: Vec<_> = data.dates().collect();
        assert_eq!(dates.len(), 14);
        assert_eq!(dates[0], date(2024, 1, 1));
        assert_eq!(dates[13], date(2024, 1, 14));
    }

    #[test]
    fn an_event_belongs_to_the_utc_day_of_its_time() {
        let second = [
            r#"{"event":"a","properties":{"time":1704153599}}"#,
            r#"{"event":"b","properties":{"time":"1704153600"}}"#,
            r#"{"event":"c","properties":{"time":1704153600.5}}"#,
        ];
        let data = Data::from_lines(second, []).unwrap();
        assert_eq!(data.events_on(date(2024, 1, 1)).count(), 1);
        let next: Vec<_> = data.events_on(date(2024, 1, 2)).collect();
        assert_eq!(next, [second[1].as_bytes(), second[2].as_bytes()]);
    }

    #[test]
    fn raw_lines_go_where_they_are_told() {
        let mut data = Data::default();
        data.add_raw_line(date(2024, 1, 1), b"\xFF{");
        data.add_raw_line(date(2024, 1, 1), b"");
        let lines: Vec<_> = data.events_on(date(2024, 1, 1)).collect();
        assert_eq!(lines, [b"\xFF{".as_slice(), b""]);
    }

    #[test]
    fn an_undated_event_is_an_error() {
        let error = Data::from_lines([r#"{"event":"a","properties":{}}"#], []).unwrap_err();
        assert_eq!(error.to_string(), "cannot read an event: `time` is missing");
    }

    #[test]
    fn lines_end_at_line_feeds_only() {
        let text = "a\u{2028}b\r\n\n c ".as_bytes();
        let found: Vec<_> = lines(text).collect();
        assert_eq!(
            found,
            [(1, "a\u{2028}b".as_bytes()), (3, b" c ".as_slice())]
        );
    }
}
