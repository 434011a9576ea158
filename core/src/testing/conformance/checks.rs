//! The checks, one promise each.

mod content;
mod modes;
mod outside;
mod transactions;

use super::case::{Case, Checked};
use super::summary::Conformance;

type Check = fn(&Case<'_>, &mut Conformance) -> Result<Checked, String>;

pub(super) const ALL: [(&str, Check); 24] = [
    (
        "building and checking touch nothing",
        transactions::building_touches_nothing,
    ),
    (
        "preview changes nothing",
        transactions::preview_changes_nothing,
    ),
    ("begin, then drop", transactions::begin_then_drop),
    ("write, then drop", transactions::write_then_drop),
    (
        "abort tells its residue truly",
        transactions::abort_tells_its_residue,
    ),
    (
        "commit makes rows visible",
        transactions::commit_makes_rows_visible,
    ),
    (
        "commit without a batch",
        transactions::commit_without_a_batch,
    ),
    (
        "commit of a run that lacks something",
        transactions::commit_of_a_partial_run,
    ),
    (
        "a failed write, then commit",
        transactions::failed_write_then_commit,
    ),
    (
        "a batch before its partition",
        transactions::batch_before_its_partition,
    ),
    (
        "partitions that interleave",
        transactions::interleaved_partitions,
    ),
    ("many batches", transactions::many_batches),
    (
        "create on something that is there",
        modes::create_on_existing,
    ),
    ("append adds", modes::append_adds),
    ("two transactions in a row", modes::two_transactions),
    (
        "a schema that differs from what is there",
        modes::other_schema,
    ),
    ("replace swaps everything", modes::replace_swaps),
    ("replace, then abort", modes::replace_then_abort),
    ("replace by nothing", modes::replace_by_nothing),
    ("replace_window replaces days only", modes::replace_window),
    (
        "replace_window replaces just what was fetched",
        outside::rows_outside_their_days,
    ),
    (
        "a place that cannot be written",
        transactions::unwritable_place,
    ),
    ("names and texts of all sorts", content::odd_texts),
    ("every scalar type", content::every_type),
];
