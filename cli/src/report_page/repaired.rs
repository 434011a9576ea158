//! Which runs of the past a later one has made up for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use mixflow_core::report::{PartitionReport, PartitionStatus, RunReport, Status};
use mixflow_core::source::Extent;

/// For each run that lacked something the later one since which nothing of it is
/// lacking, both by their ids.
pub(crate) type Repairs = BTreeMap<String, String>;

/// What a partition is made of: its days, and itself.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    /// A day of what this file fetches into this destination.
    Day(jiff::civil::Date),
    /// A unit, whoever fetches it.
    Unit(String),
}

/// Finds the repairs among runs in the order of their ends. `files` has the pipeline
/// files of those that had one: runs of one file are after the same days.
pub(crate) fn repairs(all: &[RunReport], files: &BTreeMap<String, PathBuf>) -> Repairs {
    let mut found = Repairs::new();
    for (n, run) in all.iter().enumerate() {
        let mut lacking = lacking(run);
        if lacking.is_empty() {
            continue;
        }
        let file = files.get(&run.run_id);
        let mut got = BTreeSet::new();
        for later in &all[n + 1..] {
            if later.destination != run.destination || later.data_type != run.data_type {
                continue;
            }
            // The same days are the same rows only where the same file asks for them.
            let same_file = file.is_some() && files.get(&later.run_id) == file;
            let counts = |piece: &Piece| same_file || matches!(piece, Piece::Unit(_));
            got.extend(pieces_in(later).filter(counts));
            lacking.retain(|pieces| !is_there(pieces, &got));
            if lacking.is_empty() {
                found.insert(run.run_id.clone(), later.run_id.clone());
                break;
            }
        }
    }
    found
}

/// Returns the pieces of each partition that is not in the destination.
fn lacking(run: &RunReport) -> Vec<Vec<Piece>> {
    let stands = matches!(run.status, Status::Committed | Status::Partial);
    let of = |p: &&PartitionReport| !stands || p.status != PartitionStatus::Done;
    let partitions = run.partitions.iter().filter(of);
    partitions
        .map(|p| pieces(p).collect::<Vec<_>>())
        .filter(|pieces| !pieces.is_empty())
        .collect()
}

/// Whether a partition has come: itself, or all of its days.
fn is_there(pieces: &[Piece], got: &BTreeSet<Piece>) -> bool {
    let (units, days): (Vec<_>, Vec<_>) = pieces
        .iter()
        .partition(|piece| matches!(piece, Piece::Unit(_)));
    let has = |piece: &&Piece| got.contains(*piece);
    units.iter().any(has) || (!days.is_empty() && days.iter().all(has))
}

/// Returns the pieces that a run has put into the destination.
fn pieces_in(run: &RunReport) -> impl Iterator<Item = Piece> {
    let stands = matches!(run.status, Status::Committed | Status::Partial);
    let all_sinks = run.failed_sinks().next().is_none();
    let done = move |p: &&PartitionReport| stands && all_sinks && p.status == PartitionStatus::Done;
    run.partitions.iter().filter(done).flat_map(pieces)
}

fn pieces(partition: &PartitionReport) -> impl Iterator<Item = Piece> {
    let unit = partition.unit.as_ref();
    let key = unit.map(|unit| Piece::Unit(unit.key.to_string()));
    let days = unit.and_then(|unit| match unit.extent {
        Extent::Days(range) => Some(range),
        Extent::Page(_) | Extent::Whole => None,
    });
    let days = days.into_iter().flat_map(|range| {
        range
            .first
            .series(jiff::Span::new().days(1))
            .take_while(move |day| *day <= range.last)
    });
    key.into_iter().chain(days.map(Piece::Day))
}
