//! What page 0 tells of the pages that follow.

use mixflow_core::context::incomplete;
use mixflow_core::error::Result;
use serde::{Deserialize, Serialize};

use super::asked::Asked;
use super::fetched::FetchedPage;

/// The page size that Mixpanel documents, for a snapshot that does not tell.
const PAGE_SIZE: u64 = 1000;

/// The most pages of a snapshot: 100 million profiles. More are an answer that
/// is wrong, and each page of a plan takes some 500 bytes.
pub(super) const MOST_PAGES: u64 = 100_000;

/// What page 0 tells of the pages that follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Snapshot {
    id: Option<String>,
    /// The time of `behaviors`, which every page is asked for with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    as_of: Option<i64>,
    pub(super) total: Option<u64>,
    size: u64,
    /// The pages that the total stands for.
    pub(super) announced: u64,
    /// The pages that are planned, page 0 included and one that proves the end;
    /// after the last of them more may follow.
    pub(super) pages: u64,
    /// Whether only an empty page ends it: pages are smaller than was said.
    pub(super) until_empty: bool,
}

impl Snapshot {
    /// Reads what page 0 says; fails when that cannot be.
    pub(super) fn of(
        first: &FetchedPage,
        as_of: Option<i64>,
        accept_short: bool,
    ) -> Result<Snapshot> {
        let count = first.count();
        let mut total = first.page.total;
        let size = match first.page.page_size {
            Some(size) => size,
            None if count > 0 => count,
            None => PAGE_SIZE,
        };
        let announced = announced_pages(&mut total, size, accept_short)?;
        let until_empty = count < size && total.is_some_and(|total| total > count);
        // A full page may be followed by another one, whatever the total says. Where
        // all pages are to be full, the one that proves their end is asked for with
        // the last of them, not after it.
        let proof = u64::from(is_filled_by(total, announced, size));
        let mut pages = (announced + proof).max(1 + u64::from(first.is_full() || until_empty));
        let id = first.page.session_id.clone();
        if pages > 1 && id.is_none() {
            if total != Some(count) {
                return Err(incomplete(
                    "page 0 has no `session_id`, without which page 1 cannot be asked for",
                ));
            }
            pages = 1;
        }
        Ok(Snapshot {
            id,
            as_of,
            total,
            size,
            announced,
            pages,
            until_empty,
        })
    }

    /// Returns whether a page that nobody announced may follow page `n`.
    pub(super) fn may_go_on_after(&self, n: u64, page: &FetchedPage) -> bool {
        n + 1 >= self.pages && (page.is_full() || (self.until_empty && page.count() > 0))
    }

    /// Returns what a person should know of it.
    pub(super) fn warning(&self, first: &FetchedPage) -> Option<String> {
        let (count, size, pages) = (first.count(), self.size, self.announced);
        (pages > 1 && count < size).then(|| {
            format!("page 0 has {count} of {size} profiles although {pages} pages were announced")
        })
    }

    /// Returns what a person should know of page `n`, if it is announced and not
    /// the last one.
    pub(super) fn warning_of(&self, n: u64, page: &FetchedPage) -> Option<String> {
        if n + 1 >= self.announced {
            return None;
        }
        let (count, size) = (page.count(), self.size);
        let is_other_size = page.page.page_size.is_some_and(|found| found != size);
        (count < self.announced_on(n) || is_other_size).then(|| {
            format!(
                "page {n} has {count} profiles where {size} were announced, and is not the last page"
            )
        })
    }

    /// Returns how to ask for page `n`.
    pub(super) fn page(&self, n: u64) -> Asked<'_> {
        Asked {
            number: n,
            session_id: self.id.as_deref(),
            announced: self.announced_on(n),
            as_of: self.as_of,
        }
    }

    /// Returns how many profiles page `n` has if the total is right.
    fn announced_on(&self, n: u64) -> u64 {
        let before = n.saturating_mul(self.size);
        self.total
            .map_or(0, |total| total.saturating_sub(before).min(self.size))
    }

    /// Returns whether a server may say that there is no page `n`: it is the
    /// first one after a total that the pages before it fill.
    pub(super) fn may_lack(&self, n: u64) -> bool {
        n == self.announced && is_filled_by(self.total, n, self.size)
    }
}

/// Returns whether a total fills so many pages to the last place.
fn is_filled_by(total: Option<u64>, pages: u64, size: u64) -> bool {
    total.is_some() && total == pages.checked_mul(size)
}

/// Returns the pages that a total stands for. One that cannot be is an error,
/// or no total if `accept_short`.
fn announced_pages(total: &mut Option<u64>, size: u64, accept_short: bool) -> Result<u64> {
    let announced = total.map_or(0, |total| total.div_ceil(size).max(1));
    if announced <= MOST_PAGES {
        return Ok(announced);
    }
    if accept_short {
        *total = None;
        return Ok(0);
    }
    Err(incomplete(format!(
        "{} profiles were announced, which are {announced} pages; at most {MOST_PAGES} can be read",
        total.unwrap_or_default()
    ))
    .hint("narrow them by `where`, or set `accept_short = true` if the total is known to be wrong"))
}
