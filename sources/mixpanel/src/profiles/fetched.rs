//! A page that has come: its text, and the profiles in it.

use arrow::record_batch::RecordBatch;
use mixflow_core::context::UnitContext;
use mixflow_core::error::Result;
use mixflow_core::reject::Reject;

use super::page::Page;
use crate::decode::Decoder;
use crate::http::body::Body;
use crate::json::repair::repair;

/// A longer page is not one: pages have 1,000 profiles. It is read as a whole,
/// so the cap bounds the memory.
pub(super) const MAX_PAGE: u64 = 256 << 20;

/// A page with the text that its profiles stand in.
pub(super) struct FetchedPage {
    pub(super) text: String,
    pub(super) page: Page,
    /// As it came, until it is kept.
    pub(super) body: Option<Body>,
}

impl FetchedPage {
    /// Reads a page; an error says why this is none.
    pub(super) fn read(bytes: Vec<u8>) -> Result<FetchedPage, String> {
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => repair(error.as_bytes()),
        };
        match Page::parse(&text) {
            Ok(page) => Ok(FetchedPage::of(text, page)),
            // A control character in a text costs no page.
            Err(reason) => {
                let text = repair(text.as_bytes());
                let page = Page::parse(&text).map_err(|_| reason)?;
                Ok(FetchedPage::of(text, page))
            }
        }
    }

    fn of(text: String, page: Page) -> FetchedPage {
        FetchedPage {
            text,
            page,
            body: None,
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.page
            .results
            .as_ref()
            .map_or(0, |found| found.len() as u64)
    }

    /// Returns whether another page may follow. Without a page size only an
    /// empty page tells that none does.
    pub(super) fn is_full(&self) -> bool {
        self.count() >= self.page.page_size.unwrap_or(1)
    }

    /// Decodes the profiles. A bad one is a reject and costs no page.
    pub(super) fn decode(
        &self,
        label: &str,
        decoder: &mut Decoder,
        cx: &UnitContext,
    ) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        for (n, span) in self.page.results.iter().flatten().enumerate() {
            let record = self.text[span.clone()].as_bytes();
            if let Err(reason) = decoder.push(record) {
                cx.reject(&Reject {
                    partition: label,
                    line: n as u64 + 1,
                    reason: &reason,
                    record,
                })?;
            }
            if decoder.is_full() {
                batches.extend(decoder.take());
            }
        }
        batches.extend(decoder.take());
        Ok(batches)
    }
}
