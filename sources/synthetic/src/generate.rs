//! Lines that look like Mixpanel's, made from a seed.
//!
//! Line n depends on the seed and n alone, so any part of the data can be made
//! by itself, in any order and on any thread.

use std::ops::Range;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// What to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The number of lines.
    pub rows: u64,
    /// The same seed gives the same lines.
    pub seed: u64,
    /// The first day, UTC.
    pub from: Date,
    /// The last day, inclusive.
    pub to: Date,
    /// The number of people that events are about.
    pub users: u64,
}

impl Shape {
    /// Returns the number of days.
    pub fn days(&self) -> u64 {
        u64::try_from((self.to - self.from).get_days()).unwrap_or(0) + 1
    }

    /// Returns day number `n` of the shape.
    pub fn day(&self, n: u64) -> Date {
        let days = i64::try_from(n).unwrap_or(i64::MAX).min(3_650_000);
        self.from.saturating_add(Span::new().days(days))
    }

    /// Returns the numbers of the events of day number `n`. The events are
    /// spread evenly over the days.
    pub fn rows_of_day(&self, n: u64) -> Range<u64> {
        let start = |n: u64| {
            let exact = u128::from(self.rows) * u128::from(n);
            u64::try_from(exact.div_ceil(u128::from(self.days()))).unwrap_or(self.rows)
        };
        start(n)..start(n + 1)
    }
}

/// Random numbers of one line: splitmix64.
struct Dice(u64);

impl Dice {
    fn new(seed: u64, n: u64) -> Dice {
        let mut dice = Dice(seed ^ n.wrapping_mul(0xD1B5_4A32_D192_ED03));
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        let n = self.below(items.len() as u64);
        items[usize::try_from(n).unwrap_or(0)]
    }
}

/// Appends JSON to a buffer.
struct Line<'a>(&'a mut Vec<u8>);

impl Line<'_> {
    fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn number(&mut self, n: u64) {
        // `write!` costs four times as much, and numbers are a third of a line.
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = n;
        loop {
            at -= 1;
            digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.0.extend_from_slice(&digits[at..]);
    }

    fn hex(&mut self, n: u64) {
        for shift in (0..16).rev() {
            let digit = usize::try_from(n >> (shift * 4) & 15).unwrap_or(0);
            self.0.push(b"0123456789abcdef"[digit]);
        }
    }

    /// Appends a second of a day: `07:05:00`.
    fn time_of_day(&mut self, second: u64) {
        let parts = [second / 3600, second / 60 % 60, second % 60];
        for (n, part) in parts.into_iter().enumerate() {
            self.raw(if n > 0 { ":" } else { "" });
            self.raw(if part < 10 { "0" } else { "" });
            self.number(part);
        }
    }

    /// Appends `,"key":"text"`; the text is JSON already.
    fn text(&mut self, key: &str, text: &str) {
        self.key(key);
        self.raw("\"");
        self.raw(text);
        self.raw("\"");
    }

    /// Appends `,"key":n`.
    fn count(&mut self, key: &str, n: u64) {
        self.key(key);
        self.number(n);
    }

    fn key(&mut self, key: &str) {
        self.raw(",\"");
        self.raw(key);
        self.raw("\":");
    }
}

/// City, region and country, as JSON text; some with escapes, as Mixpanel sends
/// what was sent to it.
const PLACES: [[&str; 3]; 10] = [
    ["London", "England", "GB"],
    ["New York", "New York", "US"],
    ["Berlin", "Land Berlin", "DE"],
    ["S\\u00e3o Paulo", "S\\u00e3o Paulo", "BR"],
    ["\\u6771\\u4eac", "Tokyo", "JP"],
    ["Zürich", "Zürich", "CH"],
    ["München", "Bayern", "DE"],
    ["मुंबई", "Maharashtra", "IN"],
    ["Montr\\u00e9al", "Quebec", "CA"],
    ["Sydney", "New South Wales", "AU"],
];

const BROWSERS: [&str; 5] = ["Chrome", "Safari", "Firefox", "Edge", "Mobile Safari"];
const SYSTEMS: [&str; 5] = ["Windows", "Mac OS X", "iOS", "Android", "Linux"];
const PAGES: [&str; 6] = [
    "/",
    "/pricing",
    "/docs",
    "/blog/caf\\u00e9",
    "/account",
    "/cart",
];
const PLANS: [&str; 4] = ["free", "starter", "pro", "enterprise"];

/// Makes events.
#[derive(Clone, Copy, Debug)]
pub struct EventGenerator {
    shape: Shape,
    /// The first second of the first day.
    start: u64,
}

impl EventGenerator {
    /// Creates a generator. Days before 1970 are made as if they were 1970.
    pub fn new(shape: Shape) -> EventGenerator {
        let midnight = shape.from.to_datetime(jiff::civil::Time::midnight());
        let start = TimeZone::UTC
            .to_timestamp(midnight)
            .unwrap_or(Timestamp::UNIX_EPOCH);
        EventGenerator {
            shape,
            start: u64::try_from(start.as_second()).unwrap_or(0),
        }
    }

    /// Appends event number `n`, without a line end.
    pub fn write(&self, n: u64, out: &mut Vec<u8>) {
        let mut dice = Dice::new(self.shape.seed, n);
        let seconds = self.second_of(n);
        let user = dice.below(self.shape.users);
        let line = &mut Line(out);
        line.raw("{\"event\":\"");
        let event = event_name(&mut dice);
        line.raw(event);
        line.raw("\",\"properties\":{\"time\":");
        line.number(seconds);
        line.raw(",\"distinct_id\":\"user-");
        line.number(user);
        line.raw("\"");
        defaults(line, &mut dice, seconds, user);
        specifics(line, event, &mut dice);
        line.raw("}}");
    }

    fn second_of(&self, n: u64) -> u64 {
        let shape = &self.shape;
        let day = u128::from(n) * u128::from(shape.days()) / u128::from(shape.rows.max(1));
        let day = u64::try_from(day).unwrap_or(0);
        let rows = shape.rows_of_day(day);
        let (place, count) = (n - rows.start, (rows.end - rows.start).max(1));
        let within = u128::from(place) * 86_400 / u128::from(count);
        self.start + day * 86_400 + u64::try_from(within).unwrap_or(0)
    }
}

fn event_name(dice: &mut Dice) -> &'static str {
    match dice.below(100) {
        0..50 => "Page View",
        50..70 => "Button Click",
        70..82 => "Search",
        82..90 => "Video Play",
        90..95 => "Add To Cart",
        95..98 => "Purchase",
        98 => "Sign Up",
        _ => "Caf\\u00e9 \\ud83d\\ude00 Visit",
    }
}

/// The properties that Mixpanel's own libraries send with every event.
fn defaults(line: &mut Line<'_>, dice: &mut Dice, seconds: u64, user: u64) {
    let place = PLACES[usize::try_from(dice.below(10)).unwrap_or(0)];
    let page = dice.pick(&PAGES);
    line.text("$browser", dice.pick(&BROWSERS));
    line.count("$browser_version", 100 + dice.below(40));
    line.text("$city", place[0]);
    line.key("$current_url");
    line.raw("\"https://shop.example.com");
    line.raw(page);
    line.raw("\"");
    line.key("$device_id");
    line.raw("\"");
    line.hex(user.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    line.raw("\"");
    line.text("$initial_referrer", "$direct");
    line.text("$initial_referring_domain", "$direct");
    line.key("$insert_id");
    line.raw("\"");
    line.hex(dice.next());
    line.raw("\"");
    line.text("$lib_version", "2.56.0");
    line.text("$mp_api_endpoint", "api-js.mixpanel.com");
    line.key("$mp_api_timestamp_ms");
    line.number(seconds * 1000 + dice.below(1000));
    line.text("$os", dice.pick(&SYSTEMS));
    line.text("$referrer", "https://www.google.com/");
    line.text("$referring_domain", "www.google.com");
    line.text("$region", place[1]);
    line.count("$screen_height", 720 + dice.below(8) * 90);
    line.count("$screen_width", 1280 + dice.below(8) * 160);
    line.text("$search_engine", "google");
    line.key("$user_id");
    match user % 5 {
        0 => line.raw("null"),
        _ => {
            line.raw("\"user-");
            line.number(user);
            line.raw("\"");
        }
    }
    line.text("mp_country_code", place[2]);
    line.text("mp_lib", "web");
    line.key("mp_processing_time_ms");
    line.number(seconds * 1000 + 1000 + dice.below(60_000));
    line.text("mp_sent_by_lib_version", "2.56.0");
    line.text("plan", PLANS[usize::try_from(user % 4).unwrap_or(0)]);
}

/// The properties of one kind of event.
fn specifics(line: &mut Line<'_>, event: &str, dice: &mut Dice) {
    match event {
        "Purchase" | "Add To Cart" => {
            let items = 1 + dice.below(3);
            line.key("items");
            line.raw("[");
            for n in 0..items {
                line.raw(if n > 0 { ",{\"sku\":\"" } else { "{\"sku\":\"" });
                line.hex(dice.below(500));
                line.raw("\",\"quantity\":");
                line.number(1 + dice.below(4));
                line.raw(",\"tags\":[\"new\",\"größe \\\"L\\\"\"]}");
            }
            line.raw("]");
            line.key("amount");
            line.number(5 + dice.below(400));
            line.raw(".");
            line.number(10 + dice.below(90));
            line.text("currency", dice.pick(&["USD", "EUR", "JPY"]));
            line.key("coupon");
            line.raw("null");
        }
        "Search" => {
            line.text(
                "query",
                dice.pick(&["schuhe", "caf\\u00e9", "靴", "red \\\"dress\\\""]),
            );
            line.count("results", dice.below(200));
        }
        "Video Play" => {
            line.count("watch_seconds", dice.below(600));
            line.key("autoplay");
            line.raw(dice.pick(&["true", "false"]));
            line.key("player");
            line.raw("{\"quality\":{\"height\":1080,\"fps\":59.94},\"muted\":false}");
        }
        _ => {
            line.count("scroll_depth", dice.below(101));
            line.key("is_returning");
            line.raw(dice.pick(&["true", "false"]));
        }
    }
}

/// Makes profiles, one for each person.
#[derive(Clone, Copy, Debug)]
pub struct ProfileGenerator {
    shape: Shape,
}

impl ProfileGenerator {
    /// Creates a generator; of the shape, `users` does not matter.
    pub fn new(shape: Shape) -> ProfileGenerator {
        ProfileGenerator { shape }
    }

    /// Appends profile number `n`, without a line end.
    pub fn write(&self, n: u64, out: &mut Vec<u8>) {
        let mut dice = Dice::new(!self.shape.seed, n);
        let day = dice.below(self.shape.days());
        let seen = self.shape.day(day);
        let place = PLACES[usize::try_from(dice.below(10)).unwrap_or(0)];
        let line = &mut Line(out);
        line.raw("{\"$distinct_id\":");
        // Some projects use numbers.
        match n % 10 {
            0 => line.number(10_000_000_000 + n),
            _ => {
                line.raw("\"user-");
                line.number(n);
                line.raw("\"");
            }
        }
        line.raw(",\"$properties\":{\"$name\":\"");
        line.raw(dice.pick(&[
            "Ana Lima",
            "Jürgen Groß",
            "\\u592a\\u90ce",
            "O\\u2019Neil",
            "Zoë",
        ]));
        line.raw("\"");
        line.key("$email");
        line.raw("\"user-");
        line.number(n);
        line.raw("@example.com\"");
        if n % 7 != 3 {
            line.key("$last_seen");
            line.raw("\"");
            line.raw(&seen.to_string());
            line.raw("T");
            line.time_of_day(dice.below(86_400));
            line.raw("\"");
        }
        line.text("$city", place[0]);
        line.text("$region", place[1]);
        line.text("$country_code", place[2]);
        line.text("plan", dice.pick(&PLANS));
        line.count("orders", dice.below(40));
        line.key("address");
        line.raw("{\"zip\":\"");
        line.number(10_000 + dice.below(89_999));
        line.raw("\",\"lines\":[\"Hauptstraße 1\",null]}");
        line.raw("}}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use serde_json::Value;

    const SHAPE: Shape = Shape {
        rows: 1000,
        seed: 7,
        from: date(2024, 1, 1),
        to: date(2024, 1, 3),
        users: 50,
    };

    fn event(shape: Shape, n: u64) -> Value {
        let mut line = Vec::new();
        EventGenerator::new(shape).write(n, &mut line);
        serde_json::from_slice(&line).expect("an event is JSON")
    }

    #[test]
    fn the_same_seed_gives_the_same_events_and_another_does_not() {
        assert_eq!(event(SHAPE, 5), event(SHAPE, 5));
        assert_ne!(event(SHAPE, 5), event(SHAPE, 6));
        assert_ne!(event(SHAPE, 5), event(Shape { seed: 8, ..SHAPE }, 5));
    }

    #[test]
    fn every_event_lies_in_its_day() {
        let start = 1_704_067_200;
        let mut seen = 0;
        for day in 0..SHAPE.days() {
            for n in SHAPE.rows_of_day(day) {
                let time = event(SHAPE, n)["properties"]["time"]
                    .as_u64()
                    .expect("a time");
                assert_eq!((time - start) / 86_400, day, "event {n}");
                assert_eq!(n, seen);
                seen += 1;
            }
        }
        assert_eq!(seen, SHAPE.rows);
    }

    #[test]
    fn fewer_events_than_days_leave_days_empty() {
        let shape = Shape { rows: 2, ..SHAPE };
        let counts: Vec<u64> = (0..3)
            .map(|day| shape.rows_of_day(day))
            .map(|rows| rows.end - rows.start)
            .collect();
        assert_eq!(counts.iter().sum::<u64>(), 2);
        for day in 0..3 {
            for n in shape.rows_of_day(day) {
                let time = event(shape, n)["properties"]["time"]
                    .as_u64()
                    .expect("a time");
                assert_eq!((time - 1_704_067_200) / 86_400, day);
            }
        }
    }

    #[test]
    fn events_have_about_25_default_properties_and_odd_ones() {
        let mut names = std::collections::BTreeSet::new();
        for n in 0..500 {
            let event = event(SHAPE, n);
            let properties = event["properties"].as_object().expect("an object");
            assert!(properties.len() >= 25, "{event}");
            names.insert(event["event"].as_str().expect("a text").to_owned());
        }
        assert!(
            names.contains("Café 😀 Visit") && names.contains("Purchase"),
            "{names:?}"
        );
    }

    #[test]
    fn profiles_are_json_with_their_oddities() {
        let (mut numeric, mut unseen) = (0, 0);
        for n in 0..100 {
            let mut line = Vec::new();
            ProfileGenerator::new(SHAPE).write(n, &mut line);
            let profile: Value = serde_json::from_slice(&line).expect("a profile is JSON");
            numeric += usize::from(profile["$distinct_id"].is_number());
            unseen += usize::from(profile["$properties"]["$last_seen"].is_null());
        }
        assert_eq!((numeric, unseen), (10, 14));
    }
}
