//! The rows of a page, and of those that nobody announced.

use std::collections::VecDeque;

use arrow::record_batch::RecordBatch;
use mixflow_core::context::{Notice, UnitContext, incomplete};
use mixflow_core::error::{ErrorKind, Result};

use super::fetch::Pages;
use super::snapshot::{MOST_PAGES, Snapshot};
use crate::decode::Decoder;

/// The batches of a page and, if it is the last one, of all that follow and
/// nobody announced; one page at a time.
///
/// A total that is too small, or that grows, must not lose a page. It costs a
/// request when the last page is full.
pub(super) struct PageRows<'a> {
    pages: &'a Pages,
    snapshot: Snapshot,
    cx: &'a UnitContext,
    decoder: Decoder,
    batches: VecDeque<RecordBatch>,
    next: Option<u64>,
}

impl<'a> PageRows<'a> {
    /// Fetches page `n`.
    pub(super) fn of(
        n: u64,
        snapshot: Snapshot,
        pages: &'a Pages,
        cx: &'a UnitContext,
    ) -> Result<PageRows<'a>> {
        let mut rows = PageRows {
            pages,
            snapshot,
            cx,
            decoder: pages.decoder(),
            batches: VecDeque::new(),
            next: None,
        };
        rows.read(n)?;
        Ok(rows)
    }

    fn read(&mut self, n: u64) -> Result<()> {
        if n >= MOST_PAGES {
            return Err(incomplete(format!("{} do not end", self.pages.what()))
                .because(format!("after {MOST_PAGES} pages there are more"))
                .fatal());
        }
        let asked = self.snapshot.page(n);
        let mut page = match self.pages.fetch(&asked, self.cx) {
            Ok(page) => page,
            Err(error)
                if self.snapshot.may_lack(n)
                    && error.kind() == ErrorKind::Request
                    && !error.is_plan_void() =>
            {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.pages.keep(&self.snapshot, n, &mut page)?;
        let label = format!("page {n}");
        let batches = page.decode(&label, &mut self.decoder, self.cx)?;
        self.batches.extend(batches);
        if let Some(warning) = self.snapshot.warning_of(n, &page) {
            self.cx.notify(Notice::Warning(warning));
        }
        if self.snapshot.may_go_on_after(n, &page) {
            self.next = Some(n + 1);
        }
        Ok(())
    }
}

impl Iterator for PageRows<'_> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        loop {
            if let Some(batch) = self.batches.pop_front() {
                return Some(Ok(batch));
            }
            let n = self.next.take()?;
            if let Err(error) = self.read(n) {
                return Some(Err(error));
            }
        }
    }
}
