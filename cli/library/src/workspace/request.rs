//! What to fetch or stream.

use mixflow_core::config::{Override, OverrideValue};
use mixflow_core::sink::WriteMode;
use mixflow_sink_duckdb::DuckdbOptions;

/// Keys of a pipeline, each with where it came from.
#[derive(Clone, Debug, Default)]
struct Keys(Vec<Override>);

impl Keys {
    fn set(&mut self, key: &str, value: OverrideValue) {
        let argument = format!("the request, {key}");
        self.0.retain(|old| old.key != key);
        self.0.push(Override::set(key, value, argument));
    }

    fn text(&mut self, key: &str, value: impl Into<String>) {
        self.set(key, OverrideValue::Text(value.into()));
    }

    fn number(&mut self, key: &str, value: impl ToString) {
        self.set(key, OverrideValue::Guess(value.to_string()));
    }

    fn list<T: Into<String>>(&mut self, key: &str, values: impl IntoIterator<Item = T>) {
        let values = values.into_iter().map(Into::into).collect();
        self.set(key, OverrideValue::List(values));
    }
}

/// Methods that both requests have.
macro_rules! common {
    ($request:ident) => {
        impl $request {
            /// Only records that this expression of Mixpanel's is true of,
            /// such as `properties["plan"] == "pro"`.
            #[must_use]
            pub fn filter(mut self, expression: impl Into<String>) -> $request {
                self.keys.text("source.where", expression);
                self
            }

            /// Reads so many windows or pages at once. More than one means
            /// that what could be had is kept when some cannot.
            #[must_use]
            pub fn workers(mut self, workers: usize) -> $request {
                self.keys.number("run.workers", workers);
                self
            }

            /// Sets any other key of the source as in a pipeline file.
            #[must_use]
            pub fn set(mut self, key: &str, value: impl Into<String>) -> $request {
                let value = OverrideValue::Guess(value.into());
                self.keys.set(&format!("source.{key}"), value);
                self
            }

            /// Names the table. A stream has none.
            #[must_use]
            pub fn table(mut self, table: impl Into<String>) -> $request {
                self.sink.table = Some(table.into());
                self
            }

            /// Adds to the table if it is there.
            #[must_use]
            pub fn append(mut self) -> $request {
                self.sink.mode = Some(WriteMode::Append);
                self
            }

            /// Swaps the table at the end.
            #[must_use]
            pub fn replace(mut self) -> $request {
                self.sink.mode = Some(WriteMode::Replace);
                self
            }

            /// Lets replacing leave less than half of the table, or of a day.
            #[must_use]
            pub fn allow_shrink(mut self) -> $request {
                self.sink.allow_shrink = Some(true);
                self
            }

            pub(super) fn overrides(&self) -> Vec<Override> {
                self.keys.0.clone()
            }
        }
    };
}

/// Which events.
///
/// ```
/// use mixflow::Events;
///
/// let events = Events::between("-7d", "yesterday")
///     .named(["Sign Up", "Purchase"])
///     .filter(r#"properties["plan"] == "pro""#)
///     .table("pro")
///     .replace_window();
/// ```
#[derive(Clone, Debug)]
pub struct Events {
    keys: Keys,
    pub(super) sink: DuckdbOptions,
}

impl Events {
    /// The events of some days, both inclusive: `2024-01-31`, `today`,
    /// `yesterday` or `-7d`.
    pub fn between(from: impl Into<String>, to: impl Into<String>) -> Events {
        let mut keys = Keys::default();
        keys.text("source.type", "mixpanel_events");
        keys.text("source.from", from);
        keys.text("source.to", to);
        Events {
            keys,
            sink: DuckdbOptions::default(),
        }
    }

    /// Only events of these names.
    #[must_use]
    pub fn named<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Events {
        self.keys.list("source.events", names);
        self
    }

    /// At most so many events, 1 to 100,000, of one window.
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Events {
        self.keys.number("source.limit", limit);
        self
    }

    /// Asks for so many days with one request.
    #[must_use]
    pub fn window_days(mut self, days: u32) -> Events {
        self.keys.number("source.window_days", days);
        self
    }

    /// Replaces the fetched days of the table.
    #[must_use]
    pub fn replace_window(mut self) -> Events {
        self.sink.mode = Some(WriteMode::ReplaceWindow);
        self
    }
}

common!(Events);

/// Which profiles.
///
/// ```
/// use mixflow::Profiles;
///
/// let profiles = Profiles::all().cohort("1478097").output_properties(["$email", "plan"]);
/// ```
#[derive(Clone, Debug)]
pub struct Profiles {
    keys: Keys,
    pub(super) sink: DuckdbOptions,
}

impl Profiles {
    /// All profiles of the project.
    pub fn all() -> Profiles {
        let mut keys = Keys::default();
        keys.text("source.type", "mixpanel_profiles");
        Profiles {
            keys,
            sink: DuckdbOptions::default(),
        }
    }

    /// Only members of a cohort.
    #[must_use]
    pub fn cohort(mut self, id: impl Into<String>) -> Profiles {
        self.keys.text("source.cohort_id", id);
        self
    }

    /// Only these properties of each profile.
    #[must_use]
    pub fn output_properties<T: Into<String>>(
        mut self,
        names: impl IntoIterator<Item = T>,
    ) -> Profiles {
        self.keys.list("source.output_properties", names);
        self
    }

    /// Only these profiles.
    #[must_use]
    pub fn distinct_ids<T: Into<String>>(mut self, ids: impl IntoIterator<Item = T>) -> Profiles {
        self.keys.list("source.distinct_ids", ids);
        self
    }

    /// The profiles of groups, by the id of the group key.
    #[must_use]
    pub fn group_id(mut self, id: impl Into<String>) -> Profiles {
        self.keys.text("source.group_id", id);
        self
    }
}

common!(Profiles);
