//! Events and profiles made up from a seed.

use std::fmt::Write as _;

use jiff::civil::{Date, date};
use jiff::tz::TimeZone;

use super::data::Data;
use super::days::{SECONDS_A_DAY, after, days_between, seconds_at};
use super::random::Random;

const EVENTS: [&str; 7] = [
    "page view",
    "sign up",
    "add to cart",
    "checkout",
    "watch video",
    "$ae_session",
    "Käufe 🛒",
];
/// City, region and country, as JSON text: escaped, plain and beyond the BMP.
const PLACES: [(&str, &str, &str); 6] = [
    ("Berlin", "Land Berlin", "DE"),
    ("S\\u00e3o Paulo", "S\\u00e3o Paulo", "BR"),
    ("東京", "Tokyo", "JP"),
    ("New York", "New York", "US"),
    ("\\u6771\\u4eac", "Tokyo", "JP"),
    ("İstanbul", "İstanbul", "TR"),
];
const BROWSERS: [&str; 4] = ["Chrome", "Safari", "Firefox", "Microsoft Edge"];
const SYSTEMS: [&str; 5] = ["Windows", "Mac OS X", "iOS", "Android", "Linux"];
const PLANS: [&str; 3] = ["free", "pro", "enterprise"];
const TITLES: [&str; 4] = [
    "Home",
    "Prices \\u2014 mixflow",
    "a \\\"quoted\\\" title\\nin two lines",
    "日本語のページ 🎌",
];

impl Data {
    /// Makes events from 2024-01-01 to 2024-01-30 and profiles of their users.
    ///
    /// The same arguments give the same bytes. Events have about 25 properties,
    /// letters outside ASCII both escaped and not, and nested values.
    pub fn generated(events: usize, profiles: usize, seed: u64) -> Self {
        let (first, last) = (date(2024, 1, 1), date(2024, 1, 30));
        Self::generated_between(first, last, events, profiles, seed)
    }

    /// Makes events from `first` to `last`; see [`Data::generated`].
    ///
    /// # Panics
    ///
    /// If `last` is before `first`.
    pub fn generated_between(
        first: Date,
        last: Date,
        events: usize,
        profiles: usize,
        seed: u64,
    ) -> Self {
        let days = days_between(first, last);
        let mut random = Random(seed);
        let mut data = Self::default();
        let users = profiles.max(events / 20).max(1) as u64;
        for _ in 0..events {
            let day = random.below(days as u64) as i64;
            let second = random.below(SECONDS_A_DAY as u64) as i64;
            let time = seconds_at(first) + day * SECONDS_A_DAY + second;
            data.add_raw_line(after(first, day), event(&mut random, time, users));
        }
        for number in 0..profiles {
            let seen = seconds_at(first) + random.below(days as u64 * 86_400) as i64;
            data.add_profile(profile(&mut random, number as u64, seen));
        }
        data
    }
}

fn user_id(number: u64) -> String {
    let mut random = Random(number ^ 0x5EED);
    let (high, low) = (random.next(), random.next());
    let groups = [
        high >> 48 & 0xFFFF,
        high >> 32 & 0xFFFF,
        high >> 16 & 0xFFFF,
    ];
    let [a, b, c] = groups;
    format!(
        "{:08x}-{a:04x}-{b:04x}-{c:04x}-{:012x}",
        low >> 32,
        low & 0xFFFF_FFFF_FFFF
    )
}

fn event(random: &mut Random, time: i64, users: u64) -> String {
    let (city, region, country) = PLACES[random.below(PLACES.len() as u64) as usize];
    let user = user_id(random.below(users));
    let mut line = format!(
        r#"{{"event":"{}","properties":{{"time":{time},"distinct_id":"{user}","$browser":"{}","$browser_version":{},"$city":"{city}","$current_url":"https://example.com/p/{}?q=%C3%A9","$device_id":"{:016x}","$initial_referrer":"$direct","$insert_id":"{:016x}","$lib_version":"2.{}.0","$mp_api_endpoint":"api-js.mixpanel.com","$os":"{}","$region":"{region}","$screen_height":{},"$screen_width":{},"$user_id":"{user}","mp_country_code":"{country}","mp_lib":"web","mp_processing_time_ms":{}"#,
        random.pick(&EVENTS),
        random.pick(&BROWSERS),
        random.below(140),
        random.below(10_000),
        random.next(),
        random.next(),
        random.below(60),
        random.pick(&SYSTEMS),
        600 + random.below(1_000),
        800 + random.below(2_000),
        time * 1_000 + random.below(90_000) as i64,
    );
    let price = random.below(100_000);
    // Infallible: a `String` takes all text.
    let _ = write!(
        line,
        r#","plan":"{}","page_title":"{}","price":{}.{:02},"is_member":{},"referral":null,"tags":["a","{}",{}]"#,
        random.pick(&PLANS),
        random.pick(&TITLES),
        price / 100,
        price % 100,
        price.is_multiple_of(2),
        random.pick(&PLANS),
        random.below(10),
    );
    if random.below(4) == 0 {
        let _ = write!(
            line,
            r#","cart":{{"items":[{{"sku":"sku-{}","qty":{},"price":1.10}}],"coupon":null}}"#,
            random.below(500),
            1 + random.below(5),
        );
    }
    line + "}}"
}

fn profile(random: &mut Random, number: u64, last_seen: i64) -> String {
    let (city, region, country) = PLACES[random.below(PLACES.len() as u64) as usize];
    let seen = jiff::Timestamp::from_second(last_seen).expect("it lies within the dates asked for");
    let seen = TimeZone::UTC.to_datetime(seen);
    format!(
        r#"{{"$distinct_id":"{}","$properties":{{"$name":"User {number} Müller","$email":"user{number}@example.com","$city":"{city}","$region":"{region}","$country_code":"{country}","$created":"2023-06-01T08:00:00","plan":"{}","visits":{},"score":{}.5,"flags":{{"beta":{},"list":[1,"two",null]}},"$last_seen":"{seen}"}}}}"#,
        user_id(number),
        random.pick(&PLANS),
        random.below(1_000),
        random.below(100),
        random.below(2) == 0,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::model::{normalize_event, normalize_profile};
    use std::collections::HashSet;

    fn lines(data: &Data) -> Vec<Vec<u8>> {
        let dates: Vec<_> = data.dates().collect();
        let lines = dates.iter().flat_map(|&date| data.events_on(date));
        lines.map(<[u8]>::to_vec).collect()
    }

    fn distinct_ids(data: &Data) -> HashSet<String> {
        let events = lines(data).into_iter();
        let ids = events.map(|line| normalize_event(&line, false).unwrap().insert_id.unwrap());
        ids.collect()
    }

    #[test]
    fn generated_events_can_be_read_and_lie_on_their_days() {
        let data = Data::generated(500, 20, 7);
        assert_eq!(data.event_count(), 500);
        let again = Data::from_lines(lines(&data), []).unwrap();
        assert_eq!(lines(&data), lines(&again));
        assert_eq!(distinct_ids(&data).len(), 500);
        for line in lines(&data) {
            let event = normalize_event(&line, false).unwrap();
            assert!(event.properties.value().is_some());
            assert!(event.properties.members.len() >= 20);
        }
    }

    #[test]
    fn generated_profiles_can_be_read() {
        let data = Data::generated(0, 20, 7);
        for profile in &data.profiles {
            assert!(normalize_profile(profile).unwrap().last_seen_us.is_some());
        }
        assert_eq!(data.profile_count(), 20);
    }

    #[test]
    fn the_seed_decides() {
        assert_eq!(
            lines(&Data::generated(50, 0, 1)),
            lines(&Data::generated(50, 0, 1))
        );
        assert_ne!(
            lines(&Data::generated(50, 0, 1)),
            lines(&Data::generated(50, 0, 2))
        );
    }
}
