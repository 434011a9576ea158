//! What to fetch or stream.

use std::time::Duration;

use jiff::civil::Date;
use mixflow_core::config::{DateSpec, Invalid, TextOrNumber};
use mixflow_core::context::Delivery;
use mixflow_core::engine::OnFailure;
use mixflow_core::registry::BuildContext;
use mixflow_core::sink::WriteMode;
use mixflow_core::source::Source;
use mixflow_core::unit::Unit;
use mixflow_source_mixpanel::MixpanelSource;
use mixflow_source_mixpanel::options::{EventsOptions, ProfilesOptions, WindowDays};

use super::project::{Project, within};
use super::settings::Settings;
use super::step::Step;

/// A request of either sort: [`Events`] or [`Profiles`].
#[derive(Clone, Debug)]
pub struct Request {
    source: Asked,
    /// What is wrong with it already.
    invalid: Vec<Invalid>,
    pub(super) settings: Settings,
}

#[derive(Clone, Debug)]
enum Asked {
    Events(EventsOptions),
    Profiles(ProfilesOptions),
}

/// Fills in what the project's settings say; the two types of options have these
/// fields of the same names.
macro_rules! complete {
    ($options:ident, $project:ident) => {
        let region = $project.region()?;
        $options.project_id = $options.project_id.or_else(|| $project.id.clone());
        $options.region = $options.region.or(region);
        $options.auth = $options.auth.or_else(|| $project.auth.clone());
        $options.base_url = $options.base_url.or_else(|| $project.base_url.clone());
        $options.retry = $project.retry.clone();
        $options.limits = $project.limits;
    };
}

impl Request {
    pub(super) fn source_type(&self) -> &'static str {
        match &self.source {
            Asked::Events(_) => "mixpanel_events",
            Asked::Profiles(_) => "mixpanel_profiles",
        }
    }

    /// Builds the source. What the request says of the project itself wins.
    pub(super) fn build(
        &self,
        project: &Project,
        cx: &BuildContext,
    ) -> Result<Box<dyn Source>, Vec<Invalid>> {
        if !self.invalid.is_empty() {
            return Err(self.invalid.clone());
        }
        let built = match self.source.clone() {
            Asked::Events(mut options) => {
                complete!(options, project);
                MixpanelSource::events(options, cx)
            }
            Asked::Profiles(mut options) => {
                complete!(options, project);
                MixpanelSource::profiles(options, cx)
            }
        };
        let source = built.map_err(|all| within("source", all))?;
        Ok(Box::new(source))
    }
}

/// Methods that both requests have.
macro_rules! common {
    ($request:ident, $options:ident, $asked:path) => {
        impl From<$request> for Request {
            fn from(request: $request) -> Request {
                Request {
                    source: $asked(request.options),
                    invalid: request.invalid,
                    settings: request.settings,
                }
            }
        }

        impl From<&$request> for Request {
            fn from(request: &$request) -> Request {
                request.clone().into()
            }
        }

        impl From<$options> for $request {
            /// Takes every option that a pipeline file has; `retry` and
            /// `limits` are the workspace's.
            fn from(options: $options) -> $request {
                $request {
                    options,
                    invalid: Vec::new(),
                    settings: Settings::default(),
                }
            }
        }

        impl $request {
            /// Only records that this expression of Mixpanel's is true of,
            /// such as `properties["plan"] == "pro"`.
            pub fn filter(mut self, expression: impl Into<String>) -> $request {
                self.options.where_ = Some(expression.into());
                self
            }

            /// Lets so many records be put aside that cannot be read; one more
            /// fails the run. The default is 1,000.
            pub fn max_rejects(mut self, records: u64) -> $request {
                self.options.max_rejects = Some(records);
                self
            }

            /// Reads so many windows or pages at once. More than one means
            /// that what could be had is kept when some cannot, unless
            /// `on_failure` says otherwise.
            pub fn workers(mut self, workers: usize) -> $request {
                self.settings.workers = Some(workers);
                self
            }

            /// Says what becomes of the rest when a window or page fails.
            pub fn on_failure(mut self, on_failure: OnFailure) -> $request {
                self.settings.on_failure = Some(on_failure);
                self
            }

            /// Fails the run if fewer rows than this come.
            pub fn min_rows(mut self, rows: u64) -> $request {
                self.settings.min_rows = rows;
                self
            }

            /// Says when rows may leave a window: when it is whole, or as they
            /// arrive, which is for sinks that are not transactional.
            pub fn delivery(mut self, delivery: Delivery) -> $request {
                self.settings.delivery = Some(delivery);
                self
            }

            /// Changes the rows on their way; more than one are applied in
            /// their order.
            ///
            /// Takes the options of one of mixflow's own
            /// [transforms](crate::transforms), or a [`Step`].
            pub fn transform(mut self, step: impl Into<Step>) -> $request {
                self.settings.transforms.push(step.into());
                self
            }

            /// Reads only these units, such as those that another run of this
            /// request lacks: [`PartitionReport::unit`].
            ///
            /// [`PartitionReport::unit`]: crate::core::report::PartitionReport::unit
            pub fn only(mut self, units: impl IntoIterator<Item = Unit>) -> $request {
                self.settings.units = Some(units.into_iter().collect());
                self
            }

            /// Waits so long for others that write to the destination. The
            /// default is to fail if another run does, and to wait a minute for
            /// a program.
            pub fn wait(mut self, time: Duration) -> $request {
                self.settings.wait = Some(time);
                self
            }

            /// Names the table of the store. A stream has none.
            pub fn table(mut self, table: impl Into<String>) -> $request {
                self.settings.sink.table = Some(table.into());
                self
            }

            /// Adds to what is there, in the store or another sink.
            pub fn append(mut self) -> $request {
                self.settings.sink.mode = Some(WriteMode::Append);
                self
            }

            /// Swaps what is there at the end, in the store or another sink.
            pub fn replace(mut self) -> $request {
                self.settings.sink.mode = Some(WriteMode::Replace);
                self
            }

            /// Lets replacing leave less than half of the table, or of a day.
            pub fn allow_shrink(mut self) -> $request {
                self.settings.sink.allow_shrink = Some(true);
                self
            }
        }
    };
}

/// Which events, and how they are fetched.
///
/// ```
/// use mixflow::transforms::SelectOptions;
/// use mixflow::{Events, OnFailure};
///
/// let events = Events::between("-7d", "yesterday")
///     .named(["Sign Up", "Purchase"])
///     .filter(r#"properties["plan"] == "pro""#)
///     .transform(SelectOptions {
///         drop: Some(vec!["insert_id".to_owned()]),
///         ..SelectOptions::default()
///     })
///     .workers(4)
///     .on_failure(OnFailure::Abort)
///     .table("pro")
///     .replace_window();
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Events {
    options: EventsOptions,
    invalid: Vec<Invalid>,
    settings: Settings,
}

impl Events {
    /// The events of some days, both inclusive: `2024-01-31`, `today`,
    /// `yesterday` or `-7d`.
    pub fn between(from: impl AsRef<str>, to: impl AsRef<str>) -> Events {
        let mut events = Events::from(EventsOptions::default());
        let from = day("source.from", from.as_ref(), &mut events.invalid);
        events.options.from = from.map(Into::into);
        events.options.to = day("source.to", to.as_ref(), &mut events.invalid);
        events
    }

    /// The events of some days, both inclusive.
    pub fn on(first: Date, last: Date) -> Events {
        Events::from(EventsOptions {
            from: Some(DateSpec::Day(first).into()),
            to: Some(DateSpec::Day(last)),
            ..EventsOptions::default()
        })
    }

    /// Only events of these names.
    pub fn named<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Events {
        self.options.events = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// At most so many events, 1 to 100,000, of one window.
    pub fn limit(mut self, limit: u32) -> Events {
        self.options.limit = Some(limit.into());
        self
    }

    /// Asks for so many days with one request.
    pub fn window_days(mut self, days: u32) -> Events {
        self.options.window_days = Some(WindowDays::Days(days));
        self
    }

    /// Sets the zone of a legacy project, such as `US/Pacific`: dates and times
    /// are then converted to true UTC.
    pub fn timezone(mut self, zone: impl Into<String>) -> Events {
        self.options.timezone = Some(zone.into());
        self
    }

    /// Replaces the fetched days of what is there.
    pub fn replace_window(mut self) -> Events {
        self.settings.sink.mode = Some(WriteMode::ReplaceWindow);
        self
    }
}

common!(Events, EventsOptions, Asked::Events);

fn day(key: &str, text: &str, invalid: &mut Vec<Invalid>) -> Option<DateSpec> {
    let read = text.parse();
    read.map_err(|message: String| invalid.push(Invalid::new(key, message)))
        .ok()
}

/// Which profiles, and how they are fetched.
///
/// ```
/// use mixflow::Profiles;
///
/// let profiles = Profiles::all().cohort("1478097").output_properties(["$email", "plan"]);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Profiles {
    options: ProfilesOptions,
    invalid: Vec<Invalid>,
    settings: Settings,
}

impl Profiles {
    /// All profiles of the project.
    pub fn all() -> Profiles {
        Profiles::from(ProfilesOptions::default())
    }

    /// Only members of a cohort.
    pub fn cohort(mut self, id: impl Into<String>) -> Profiles {
        self.options.cohort_id = Some(TextOrNumber(id.into()));
        self
    }

    /// Only these properties of each profile.
    pub fn output_properties<T: Into<String>>(
        mut self,
        names: impl IntoIterator<Item = T>,
    ) -> Profiles {
        self.options.output_properties = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Only these profiles.
    pub fn distinct_ids<T: Into<String>>(mut self, ids: impl IntoIterator<Item = T>) -> Profiles {
        let ids = ids.into_iter().map(|id| TextOrNumber(id.into()));
        self.options.distinct_ids = Some(ids.collect());
        self
    }

    /// The profiles of groups, by the id of the group key.
    pub fn group_id(mut self, id: impl Into<String>) -> Profiles {
        self.options.group_id = Some(TextOrNumber(id.into()));
        self
    }
}

common!(Profiles, ProfilesOptions, Asked::Profiles);
