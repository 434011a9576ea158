//! Runs of several machines: one plans, others read units, one commits.
//!
//! A [`PlanFile`] is plain data: pipelines without their secrets, and their units.
//! Whoever has it and the secrets reads a [unit](for_unit) and leaves its
//! part and a receipt on a [stage](crate::stage); the [commit](commit_work) is an
//! ordinary run whose source is the stage.

mod commit;
mod file;
mod unit;

pub use commit::{CommitOptions, CommitWork, commit_work, committed_by, is_blind};
pub use file::{Column, Draft, PlanFile, Planned, PlannedUnit};
pub use unit::{for_stage, for_unit, receipt_of, unit_schema};
