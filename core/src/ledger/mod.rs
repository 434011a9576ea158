//! The ledger: what a destination holds of a dataset, day by day.
//!
//! A run leaves a [`UnitRecord`] for each unit that it commits and a
//! [`DayRecord`] for each of the unit's days, in the same commit as the rows.
//! A sink that can keeps them with the data
//! ([`Sink::ledger`](crate::sink::Sink::ledger)); for the others the run is
//! given a [`LedgerStore`]. What a [`Ledger`] says is all that `status`,
//! `gaps`, catching up and filling up go by.

mod calendar;
mod counting;
mod missing;
mod outside;
mod record;
mod scope;
mod several;
mod store;

pub use calendar::{Calendar, Standing, days, ranges, start_of};
pub use counting::{BodyFacts, DayCount, DayCounter};
pub use missing::{Missing, add_missing, missing_days, still_missing};
pub use outside::{IDENTITY_SEPARATOR, OutsideRow, OutsideRows};
pub use record::{DayRecord, DayState, FetchedUnit, Holding, Ledger, UnitRecord};
pub use scope::{
    DATASET_COLUMN, Scope, check_dataset_column, check_scope, is_shared, of_dataset,
    with_dataset_column,
};
pub use store::{Earlier, Held, LedgerStore, Recorded};

pub(crate) use counting::UnitFacts;
