//! What runs that died have left in a bucket.

use std::collections::BTreeMap;

use mixflow_core::Result;
use mixflow_core::sink::Removed;
use mixflow_objects::Objects;

use super::found::Folder;
use crate::tree::OURS;

/// Objects of runs that died are removed when they are so old, in milliseconds.
const OLD_MS: i64 = 24 * 3_600_000;

/// Removes what runs that died have left of a folder: what is staged, or was put in
/// place and never counted, when it is a day old; what they have replaced, at once.
pub(super) fn sweep(objects: &Objects, folder: &Folder) -> Result<Removed> {
    // One that was there before the last commit cannot be a part of any: of each try
    // they have other names.
    let in_place = folder.orphans.iter();
    let in_place = in_place.filter(|(_, ms)| folder.committed_ms.is_some_and(|last| *ms < last));
    let in_place = in_place.map(|(path, _)| path).chain(&folder.gone);
    let gone = in_place.map(|path| path.to_string_lossy().into_owned());
    let mut gone: Vec<String> = gone.collect();
    gone.extend(old(objects, &folder.staged)?);
    remove(objects, gone)
}

/// Removes what runs that died have staged of one object, `name`, in the folder that
/// it is in.
pub(super) fn sweep_staged(folder: &Objects, name: &str) -> Result<Removed> {
    let start = format!("{OURS}/{name}.");
    let staged = folder.list(OURS)?.into_iter();
    let staged = staged.filter(|found| found.name.starts_with(&start));
    let staged: Vec<_> = staged.map(|found| (found.name, found.written_ms)).collect();
    remove(folder, old(folder, &staged)?)
}

/// Returns what is old of what is staged. That of one run goes by what it has staged
/// last: a run that waits for its quota may take days.
fn old(objects: &Objects, staged: &[(String, i64)]) -> Result<Vec<String>> {
    if staged.is_empty() {
        return Ok(Vec::new());
    }
    let run_of = |name: &str| match name.rsplit_once('/') {
        Some((run, _)) if run != OURS => run.to_owned(),
        _ => name.to_owned(),
    };
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    for (name, ms) in staged {
        let last = last.entry(run_of(name)).or_insert(*ms);
        *last = (*last).max(*ms);
    }
    let now = now(objects)?;
    let is_old = |name: &str| last.get(&run_of(name)).is_some_and(|ms| now - ms > OLD_MS);
    let old = staged.iter().map(|(name, _)| name);
    Ok(old.filter(|name| is_old(name)).cloned().collect())
}

fn remove(objects: &Objects, names: Vec<String>) -> Result<Removed> {
    let mut removed = Removed::default();
    for name in names {
        let bytes = objects.size(&name)?.unwrap_or(0);
        objects.delete(&name)?;
        removed.add(Removed { files: 1, bytes });
    }
    Ok(removed)
}

/// Returns the time by the clock of the service, in milliseconds since 1970.
fn now(objects: &Objects) -> Result<i64> {
    let name = format!("{OURS}/{:016x}.now", fastrand::u64(..));
    objects.put(&name, "")?;
    let listed = objects.list(OURS);
    objects.delete(&name)?;
    let found = listed?.into_iter().find(|found| found.name == name);
    Ok(found.map_or(0, |found| found.written_ms))
}
